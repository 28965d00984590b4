"""Finds and reads the presets: those of deployd, and the administrator's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from deployd.errors import DeploydError, InvalidFile, InvalidRequest
from deployd_cli.presets.preset import Preset, parse

_HERE = Path(__file__).resolve()
SHIPPED = (_HERE.parent / "shipped", _HERE.parents[3] / "presets")
"""In a wheel the presets are inside the package, in a checkout next to it."""
OWN = Path("/etc/deployd/presets")
"""Presets of the administrator. They win over those of deployd with the same name."""
LARGEST = 256 * 1024


@dataclass(frozen=True, slots=True)
class Catalog:
    """Presets by name, and the directories in which their templates are."""

    presets: Mapping[str, Preset]
    directories: tuple[Path, ...]

    def get(self, name: str) -> Preset:
        """Return a preset. Raises InvalidRequest if there is none of that name."""
        if (found := self.presets.get(name)) is not None:
            return found
        import difflib

        close = difflib.get_close_matches(name, self.presets, n=1)
        hint = f"did you mean {close[0]}?" if close else "deployd presets lists them"
        raise InvalidRequest(f'there is no preset "{name}"; {hint}')


def load(own: Path = OWN) -> Catalog:
    """Read all presets. Raises InvalidFile for one that is wrong, and DeploydError if there are none."""
    shipped = next((directory for directory in SHIPPED if directory.is_dir()), None)
    if shipped is None:
        raise DeploydError("the presets of deployd are missing; install deployd again")
    directories = tuple(directory for directory in (own, shipped) if directory.is_dir())
    presets: dict[str, Preset] = {}
    for directory in directories:
        for preset in _read(directory):
            presets.setdefault(preset.name, preset)
    return Catalog(dict(sorted(presets.items())), directories)


def _read(directory: Path) -> Iterator[Preset]:
    try:
        for folder in sorted(directory.iterdir()):
            file = folder / "preset.toml"
            if file.is_file():
                with file.open(encoding="utf-8") as opened:
                    yield parse(folder.name, opened.read(LARGEST), str(file))
    except OSError as error:
        raise InvalidFile(f"{error.filename or directory}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidFile(f"{file}: is not UTF-8 text; save it as UTF-8") from None
