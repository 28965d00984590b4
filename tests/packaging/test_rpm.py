"""The RPM has the files of the one list, and the code."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.docs.readme import CHECKOUT
from tests.packaging.test_deb import project_version
from tests.packaging.test_lint import tool

SPEC = CHECKOUT / "packaging/rpm/deployd.spec"
BUILD = 120.0
SITE = re.compile(r"/usr/lib/python3\.[0-9]+/site-packages/")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tool("rpmbuild")
    out = tmp_path_factory.mktemp("rpm")
    subprocess.run([CHECKOUT / "packaging/rpm/build", "--output", out], check=True, timeout=BUILD)
    (found,) = out.glob("deployd-*.noarch.rpm")
    return found


@pytest.fixture(scope="module")
def files(package: Path) -> set[str]:
    shown = subprocess.run(
        ["rpm", "--query", "--list", "--package", package], capture_output=True, text=True, check=True
    )
    return set(shown.stdout.splitlines())


def test_the_version_is_that_of_the_project() -> None:
    assert f"\nVersion: {project_version()}\n" in SPEC.read_text()


@pytest.mark.thorough
def test_it_has_what_is_installed_everywhere(files: set[str]) -> None:
    command = [str(CHECKOUT / "packaging/install"), "--list", "--command", "deployd"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    expected = {name.replace("/zsh/vendor-completions/", "/zsh/site-functions/") for name in listed}
    own = {
        name for name in files if not SITE.match(name) and not name.startswith(("/usr/share/doc/", "/usr/share/lic"))
    }
    places = ("/etc/deployd", "/usr/share/deployd", "/usr/share/cockpit/deployd")
    directories = {name for name in own if name.startswith(places) and name not in expected}
    assert own - directories == expected
    assert {"/etc/deployd/apps", "/usr/share/deployd/examples"} < directories
    assert not [name for name in directories if "." in Path(name).name]


@pytest.mark.thorough
def test_it_has_the_code_and_what_the_code_reads(files: set[str]) -> None:
    code = {SITE.sub("", name) for name in files if SITE.match(name)}
    for name, root in (("deployd", "daemon"), ("deployd_cli", "cli")):
        modules = {str(path.relative_to(CHECKOUT / root)) for path in (CHECKOUT / root / name).rglob("*.py")}
        assert modules == {found for found in code if found.startswith(f"{name}/") and found.endswith(".py")}
    assert {"deployd/templates/instance.j2", "deployd_cli/presets/shipped/puma/preset.toml"} < code
    assert not [name for name in code if name.startswith("deployd_cli/setup/files")], "packages need no setup"
