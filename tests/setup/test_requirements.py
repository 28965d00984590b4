"""deployd setup is refused with one sentence where it cannot work, or would not be safe."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deployd.errors import Refused
from deployd_cli.setup import requirements

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users")


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of root in directories of root."""
    monkeypatch.setattr(requirements, "ROOT", os.geteuid())
    program = tmp_path / "bin/python"
    program.parent.mkdir(mode=0o755)
    program.touch(mode=0o755)
    return program


def refusal(program: Path, top: Path) -> str:
    """Return why a program is refused, without what is above the directory of the test."""
    with pytest.raises(Refused) as caught:
        requirements.require_trusted([program, *(path for path in program.parents if top in path.parents)])
    return str(caught.value)


def test_only_root_may_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Refused, match=r"^deployd setup installs system files; run it as root$"):
        requirements.require_root()


def test_a_missing_module_is_named_with_the_packages_that_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "MODULES", ("json", "no_such_module"))
    with pytest.raises(Refused, match=r"^the Python module no_such_module is missing.*; install deployd again"):
        requirements.require_modules()
    assert "python3-systemd" in requirements.REMEDIES["systemd"]


@ROOT_ONLY
def test_code_of_another_user_is_refused(program: Path, tmp_path: Path) -> None:
    os.chown(program, 1000, -1)
    assert refusal(program, tmp_path).startswith(f"{program} can be written by another user than root, ")


@ROOT_ONLY
@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_a_directory_that_others_can_write_is_refused(program: Path, tmp_path: Path, mode: int) -> None:
    os.chown(program.parent, -1, 1000)
    program.parent.chmod(mode)
    assert refusal(program, tmp_path).startswith(f"{program.parent} can be written by another user than root, ")


def test_a_directory_that_hides_the_code_is_found(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    (hidden / "venv/bin").mkdir(parents=True)
    hidden.chmod(0o700)
    above = requirements.hidden([tmp_path / "python"])  # pytest's own directories may be hidden
    assert requirements.hidden([hidden / "venv/bin/python"]) == (above or hidden)


@pytest.mark.parametrize(
    ("said", "package"),
    [
        ("deployd: /usr/bin/deployd\n", "deployd"),
        ("libfoo:amd64: /usr/lib/foo\n", "libfoo"),
        ("file /usr/bin/deployd is not owned by any package\n", ""),
        ("", ""),
    ],
)
def test_the_package_of_a_file_is_found(said: str, package: str) -> None:
    assert requirements._owner(("printf", "%s", said), []) == package


def test_files_of_a_package_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "OWNERS", (("/no/such",), ("echo", "deployd: ")))
    requirements.require_unowned([str(tmp_path / "missing")])
    with pytest.raises(Refused, match=r"^the package deployd has installed deployd's files; "):
        requirements.require_unowned([str(tmp_path)])
