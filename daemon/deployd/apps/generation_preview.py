"""The files of the generation that an app file would make, next to those of the live one.

Values of variables are replaced by keyed digests: a changed one can be seen, none can be read or guessed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from deployd.config.credentials import Digest
from deployd.config.environment_syntax import without_values
from deployd.documents import Json
from deployd.model.app import App
from deployd.state.disk import reported
from deployd.units.text import credentials, generation_files

SHOWN = 12
"""Digits of a digest that are shown."""
RELEASE = "release"


@dataclass(frozen=True, slots=True)
class _File:
    contents: bytes
    """Of a symlink, what it leads to."""
    is_link: bool = False


def preview(app: App, number: int, release: str, *, directory: Path, digest: Digest, names: bool) -> list[Json]:
    """Return the files that `app` would have with the number of the live generation, so that it makes no difference,
    and those in its `directory`. Reads the disk, in threads as well. Raises StateError.

    `names`: the names of the variables in environment files may be shown. deployd's own markers are left out.
    """
    texts, links = generation_files(app, number, release), {**credentials(app), RELEASE: release}
    wanted = {name: _File(text.encode(errors="surrogateescape")) for name, (text, _) in texts.items()}
    wanted |= {name: _File(target.encode(errors="surrogateescape"), is_link=True) for name, target in links.items()}
    there = dict(_read(directory))
    show = partial(_shown, digest=digest, names=names)
    return [
        {
            "name": name,
            "path": str(directory / name),
            "link": (wanted.get(name) or there[name]).is_link,
            "text": show(name, wanted.get(name)),
            "installed": show(name, there.get(name)),
        }
        for name in sorted({*wanted, *there})
    ]


def _read(directory: Path) -> Iterator[tuple[str, _File]]:
    """Yield the files that instances start with; none if the generation is not on the disk."""
    with reported(f"read {directory}"):
        for path in directory.iterdir() if directory.is_dir() else ():
            if path.is_symlink():
                yield path.name, _File(bytes(path.readlink()), is_link=True)
            elif path.name.startswith(("environment", "run")):
                yield path.name, _File(path.read_bytes())


def _shown(name: str, file: _File | None, digest: Digest, *, names: bool) -> str | None:
    if file is None:
        return None
    text = file.contents.decode(errors="backslashreplace")
    if not name.startswith("environment"):
        return text
    if name != "environment" and not names:
        return f"(hidden, {digest(file.contents)[:SHOWN]})\n"
    return without_values(text, partial(_hidden, digest))


def _hidden(digest: Digest, name: str, value: str) -> str:
    """Return what is shown for a value. Its digest includes the name: equal values of two variables look different."""
    if name.startswith("DEPLOYD_"):
        return value
    return f"(hidden, {digest(f'{name}={value}'.encode())[:SHOWN]})"
