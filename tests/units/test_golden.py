"""App files and the units they become, side by side in golden/: NAME.toml and NAME.units.

After an intended change, review its effect: UPDATE_GOLDEN=1 pytest tests/units/test_golden.py && git diff
"""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from deployd import config
from deployd.model.app import App
from deployd.units.directory import UnitDirectory
from deployd.units.text import Unit, generation_files, unit_files

GOLDEN = Path(__file__).parent / "golden"
STATE = "/var/lib/deployd"
FILES = sorted(GOLDEN.glob("*.toml"))
PATH_OF_ANALYZE = "/usr/bin:/bin"


def socket_of(app: App) -> int | None:
    """Return the UNIX socket of the app's generation, if it has one."""
    return 5 if app.steered and app.has_unix else None


def units_of(app: App, command: str = "/usr/bin/deployd") -> tuple[Unit, ...]:
    return unit_files(app, app.instances + 1, STATE, command, steer=app.steered, generation_socket=socket_of(app))


def show(app: App) -> str:
    """Return everything that is generated for an app, in one text."""
    texts = {unit.name: unit.text for unit in units_of(app)}
    for name, (text, mode) in generation_files(app, 7, app.release, socket_of(app)).items():
        texts[f"generations/7/{name} (mode {mode:o})"] = text
    return "\n".join(f"==> {name} <==\n{text}" for name, text in texts.items())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_units_are_unchanged(file: Path) -> None:
    text = show(config.load(file))
    expected = file.with_suffix(".units")
    if os.environ.get("UPDATE_GOLDEN"):
        expected.write_bytes(text.encode())
    assert text == expected.read_bytes().decode()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_systemd_accepts_the_units(file: Path, tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze", path=PATH_OF_ANALYZE):
        verdict = pytest.fail if os.environ.get("CI") else pytest.skip
        verdict("systemd-analyze is not installed")
    app = config.load(file)
    # systemd-analyze checks that the command exists, and deployd need not be installed here.
    asyncio.run(UnitDirectory(tmp_path).verify(app.name, units_of(app, "/bin/true")))
