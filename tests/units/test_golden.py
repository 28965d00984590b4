"""App files and the units they become, side by side in golden/: NAME.toml and NAME.units.

After an intended change, review its effect: UPDATE_GOLDEN=1 pytest tests/units/test_golden.py && git diff
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from deployd import config
from deployd.model.app import App
from deployd.model.scope import of_user
from deployd.units.directory import UnitDirectory
from deployd.units.text import Unit, generation_files, timer_units, unit_files

GOLDEN = Path(__file__).parent / "golden"
STATE = "/var/lib/deployd"
FILES = sorted(GOLDEN.glob("*.toml"))
PATH_OF_ANALYZE = "/usr/bin:/bin"
OF_USER = of_user(1000, "/people/dora", {})
USERS = ("port", "steered", "minimal")
"""Apps whose units are compared for a user manager as well."""


def socket_of(app: App) -> int | None:
    """Return the UNIX socket of the app's generation, if it has one."""
    return 5 if app.steered and app.has_unix else None


def units_of(app: App, command: str = "/usr/bin/deployd") -> tuple[Unit, ...]:
    units = unit_files(app, app.instances + 1, STATE, command, steer=app.steered, generation_socket=socket_of(app))
    return (*units, *timer_units(app, 7, STATE))


def units_of_user(app: App, command: str = "/usr/bin/deployd") -> tuple[Unit, ...]:
    state = str(OF_USER.state)
    return (*unit_files(app, app.instances + 1, state, command, scope=OF_USER), *timer_units(app, 7, state, OF_USER))


def show(app: App, units: Iterable[Unit], socket: int | None) -> str:
    """Return everything that is generated for an app, in one text."""
    texts = {unit.name: unit.text for unit in units}
    for name, (text, mode) in generation_files(app, 7, app.release, socket).items():
        texts[f"generations/7/{name} (mode {mode:o})"] = text
    return "\n".join(f"==> {name} <==\n{text}" for name, text in texts.items())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_units_are_unchanged(file: Path) -> None:
    app = config.load(file)
    _compare(show(app, units_of(app), socket_of(app)), file.with_suffix(".units"))


def test_units_of_a_process_type_are_unchanged() -> None:
    (worker,) = config.load(GOLDEN / "types.toml").processes
    _compare(show(worker, units_of(worker), None), GOLDEN / "types.worker.units")


@pytest.mark.parametrize("name", USERS)
def test_units_of_a_user_are_unchanged(name: str) -> None:
    app = config.load(GOLDEN / f"{name}.toml")
    _compare(show(app, units_of_user(app), None), GOLDEN / f"{name}.user.units")


def _compare(text: str, expected: Path) -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        expected.write_bytes(text.encode())
    assert text == expected.read_bytes().decode()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_systemd_accepts_the_units(file: Path, tmp_path: Path) -> None:
    _require_analyze()
    app = config.load(file)
    # systemd-analyze checks that the command exists, and deployd need not be installed here.
    asyncio.run(UnitDirectory(tmp_path).verify(app.name, units_of(app, "/bin/true")))


def test_systemd_accepts_the_units_of_a_process_type(tmp_path: Path) -> None:
    _require_analyze()
    (worker,) = config.load(GOLDEN / "types.toml").processes
    asyncio.run(UnitDirectory(tmp_path).verify(worker.name, units_of(worker, "/bin/true")))


@pytest.mark.parametrize("name", USERS)
def test_systemd_accepts_the_units_of_a_user(name: str, tmp_path: Path) -> None:
    _require_analyze()
    app = config.load(GOLDEN / f"{name}.toml")
    units = UnitDirectory(tmp_path, others=(), control=(), user=True)
    asyncio.run(units.verify(app.name, units_of_user(app, "/bin/true")))


def _require_analyze() -> None:
    if not shutil.which("systemd-analyze", path=PATH_OF_ANALYZE):
        verdict = pytest.fail if os.environ.get("CI") else pytest.skip
        verdict("systemd-analyze is not installed")
