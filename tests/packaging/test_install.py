"""packaging/install installs the files of the one list (tests/setup) below any root."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from deployd_cli.setup import places
from tests.docs.readme import CHECKOUT

LIST = ["usr/bin/deployd", "usr/lib/systemd/system/deployd.service", "usr/share/man/man1/deployd.1"]


def install(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(CHECKOUT / "packaging/install"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment or None)


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_what_is_installed_is_what_the_list_has(tmp_path: Path) -> None:
    done = install("--root", tmp_path, "--command", "true")
    installed = files(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"install: {len(installed)} files are in /usr below {tmp_path}\n"
    listed = install("--command", "true", "--list").stdout.splitlines()
    assert listed == sorted(f"/{name}" for name in installed)
    assert set(LIST) < installed.keys()
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in installed}
    assert {name for name, mode in modes.items() if mode != 0o644} == {"usr/bin/deployd"}
    assert (tmp_path / "etc/deployd/apps").is_dir()


def test_installing_again_changes_nothing(tmp_path: Path) -> None:
    trees = []
    for _ in range(2):
        assert install("--root", f"{tmp_path}/", "--command", "true").returncode == 0
        trees.append(files(tmp_path))
    assert trees[0] == trees[1]


def test_the_manual_can_be_read(tmp_path: Path) -> None:
    assert install("--root", tmp_path).returncode == 0
    pages = sorted((tmp_path / "usr/share/man").rglob("*.[1-8]"))
    assert len(pages) == len(list((CHECKOUT / "packaging/man").glob("*.md")))
    for page in pages:
        name, section = page.stem, page.suffix.removeprefix(".")
        assert page.read_text().splitlines()[1] == f".TH {name} {section}"
        assert "\\fC" not in page.read_text()
        shown = subprocess.run(["man", "--warnings", "--local-file", page], capture_output=True, text=True, check=True)
        assert shown.stderr == "", "a table that is too wide, or text that man takes for a macro"


def test_integrations_are_where_app_files_name_them(tmp_path: Path) -> None:
    assert install("--root", tmp_path).returncode == 0
    for source in (CHECKOUT / "integrations").iterdir():
        if source.is_file():
            place = f"/usr/share/deployd/integrations/{source.name}"
            assert place in source.read_text(), "its header says how it is used"
            assert (tmp_path / place.lstrip("/")).read_bytes() == source.read_bytes()


def test_the_page_is_where_cockpit_looks_for_it(tmp_path: Path) -> None:
    assert install("--root", tmp_path).returncode == 0
    page = tmp_path / "usr/share/cockpit/deployd"
    sources = CHECKOUT / "packaging/cockpit"
    assert {path.name: path.read_bytes() for path in page.iterdir()} == {
        path.name: path.read_bytes() for path in sources.iterdir()
    }


def test_what_the_documentation_names_is_installed(tmp_path: Path) -> None:
    assert install("--root", tmp_path).returncode == 0
    pages = [CHECKOUT / "README.md", CHECKOUT / "NEWS.md", *(CHECKOUT / "docs").glob("*.md")]
    pages += (CHECKOUT / "packaging/man").glob("*.md")
    named = {path for page in pages for path in re.findall(r"/usr/share/deployd/[\w./-]*\w", page.read_text())}
    assert [path for path in named if not (tmp_path / path.lstrip("/")).exists()] == []


def test_without_go_md2man_all_but_the_manual_is_installed(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "python3").symlink_to(Path(sys.executable).resolve())
    root = tmp_path / "root"
    done = install("--root", root, PATH=str(programs))
    assert done.returncode == 0
    assert "install: no manual page deployd.1: go-md2man is not installed\n" in done.stderr
    assert (root / "usr/lib/systemd/system/deployd.service").exists()
    assert not (root / "usr/share/man").exists()


def test_another_prefix_is_that_of_units_too(tmp_path: Path) -> None:
    assert install("--root", tmp_path, "--prefix", "/opt/a&b/").returncode == 0
    unit = tmp_path / "opt/a&b/lib/systemd/system/deployd.service"
    assert "ExecStart=/opt/a&b/bin/deployd daemon\n" in unit.read_text()


def test_command_makes_a_wrapper_that_passes_its_arguments_on(tmp_path: Path) -> None:
    assert install("--root", tmp_path, "--command", "printf '<%s>'").returncode == 0
    wrapper = tmp_path / places.system().wrapper.lstrip("/")
    done = subprocess.run([wrapper, "status", "my app"], capture_output=True, text=True, check=True)
    assert done.stdout == "<status><my app>"


@pytest.mark.parametrize(
    "arguments",
    [["--root"], ["--root", ""], ["--prefix", "usr"], ["--prefix", "/"], ["--unknown", "x"], ["x"]],
)
def test_wrong_usage_is_2_and_installs_nothing(arguments: list[str], tmp_path: Path) -> None:
    done = install("--root", tmp_path / "root", *arguments)
    assert done.returncode == 2
    assert "usage:" in done.stderr
    assert not (tmp_path / "root").exists()
