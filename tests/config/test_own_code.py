"""Code that belongs to the app's user: what is certainly code, what is likely code, and what is data."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from deployd.config.contents import changed, contents
from tests.config.test_contents import AS_NOBODY, NOBODY, PAST, write
from tests.state.four_rollouts import generation

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="gives files to another user")
APP = replace(AS_NOBODY, exec=("bin/serve", "app.py", "data.db"))


def git(release: Path, *argv: str) -> None:
    settings = ("safe.directory=*", "user.name=x", "user.email=x@example.com")
    options = [word for setting in settings for word in ("-c", setting)]
    subprocess.run(["git", "-C", str(release), *options, *argv], check=True)
    own(release)


def commit(release: Path) -> None:
    git(release, "commit", "--allow-empty", "--quiet", "--message=next")


def own(release: Path) -> None:
    for path in (release, *release.rglob("*")):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A checkout that belongs to the user of the app."""
    made = tmp_path / "shop"
    for name in ("bin/serve", "app.py", "lib/models.py", "data.db"):
        write(made / name)
    git(made, "init", "--quiet")
    commit(made)
    return made


CERTAIN: dict[str, Callable[[Path], object]] = {
    "git pull": commit,
    "the program": lambda release: write(release / "bin/serve", "another"),
    "its script": lambda release: write(release / "app.py", mtime=PAST + 1),
}
LIKELY: dict[str, Callable[[Path], object]] = {
    "a module": lambda release: write(release / "lib/models.py", "another"),
    "a template": lambda release: write(release / "templates/shop.html"),
}
DATA: dict[str, Callable[[Path], object]] = {
    "a database": lambda release: write(release / "data.db", "another"),
    "a compiled template": lambda release: write(release / "tmp/shop.html"),
    "an upload": lambda release: write(release / "uploads/x.js"),
}


@pytest.mark.parametrize(
    "change", [*CERTAIN.values(), *LIKELY.values(), *DATA.values()], ids=[*CERTAIN, *LIKELY, *DATA]
)
def test_code_is_rolled_out_and_what_is_certain_is_needed_for_a_rollback(
    release: Path, change: Callable[[Path], object]
) -> None:
    made = replace(generation(3), release=str(release), settings=APP, contents=contents(str(release), APP).digest)
    assert changed(made) == ""
    change(release)
    own(release)
    assert (contents(str(release), APP).digest == made.contents) == (change in DATA.values())
    assert changed(made) == ("code that belongs to user nobody was changed" if change in CERTAIN.values() else "")
    # If nothing belonged to the user when the generation was made, there is nothing to compare with.
    assert changed(replace(made, contents=made.contents.rpartition(":")[0].rpartition(":")[0])) == ""


def test_packed_references_are_read(release: Path) -> None:
    before = contents(str(release), APP).digest
    git(release, "pack-refs", "--all")
    assert contents(str(release), APP).digest == before


def test_a_data_directory_in_a_release_of_root_has_no_code(tmp_path: Path) -> None:
    release = tmp_path / "v1"
    for name in ("bin/serve", "app.py"):
        write(release / name)
    before = contents(str(release), APP)
    write(release / "themes/shop.css")
    own(release / "themes")
    assert contents(str(release), APP) == before
