"""The wheel and the source archive have everything that is installed; they need no checkout and no go-md2man."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from deployd_cli.setup import places, sources
from tests.docs.readme import CHECKOUT

BUILD = 120.0
FILES = "deployd_cli/setup/files"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the source archive, and the wheel that was built from it."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir"]
    done = subprocess.run(
        [*command, str(out), str(CHECKOUT)], capture_output=True, text=True, check=False, timeout=BUILD
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    (found,) = built.glob("*.whl")
    return zipfile.ZipFile(found)


def test_the_wheel_has_what_setup_installs(wheel: zipfile.ZipFile) -> None:
    expected, missing = sources.read(CHECKOUT, places.system().sources)
    assert missing == []
    there = {name.removeprefix(f"{FILES}/"): wheel.read(name) for name in wheel.namelist() if name.startswith(FILES)}
    script = "packaging/debian/deployd.postrm"
    assert there == {**expected, script: (CHECKOUT / script).read_bytes()}


def test_the_wheel_has_what_the_code_reads(wheel: zipfile.ZipFile) -> None:
    """All files of the packages, the templates of units and the presets."""
    roots = {"deployd": "daemon/deployd", "deployd_cli": "cli/deployd_cli", "deployd/templates": "templates"}
    roots |= {"deployd_cli/presets/shipped": "presets"}
    expected = {"deployd/org.deployd1.xml"}
    for inside, root in roots.items():
        paths = (path for path in (CHECKOUT / root).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        expected |= {str(PurePosixPath(inside, path.relative_to(CHECKOUT / root))) for path in paths}
    there = {name for name in wheel.namelist() if not name.startswith(FILES) and ".dist-info/" not in name}
    assert there == expected


def test_the_source_archive_has_the_checkout_and_the_manual(built: Path) -> None:
    (found,) = built.glob("*.tar.gz")
    with tarfile.open(found) as archive:
        there = {name.partition("/")[2] for name in archive.getnames()}
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    tracked = {name for name in listed.split("\0") if name and (CHECKOUT / name).exists()}
    assert tracked <= there
    pages = {name.removesuffix(".md") for name in tracked if name.startswith("packaging/man/")}
    assert pages <= there, "roff, so that nothing needs go-md2man"


def test_code_without_wheels_is_no_dependency(wheel: zipfile.ZipFile) -> None:
    """pip would compile systemd-python and fail without a compiler; `deployd setup` says what to install instead."""
    (metadata,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    required = [line for line in wheel.read(metadata).decode().splitlines() if line.startswith("Requires-Dist:")]
    assert [line for line in required if "systemd-python" in line and "extra ==" not in line] == []
