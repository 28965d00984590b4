"""packaging/install puts every file where systemd, D-Bus, polkit, man and the shells look for it, below any root."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]

PLACES = {
    "deployd.service": "lib/systemd/system",
    "org.deployd1.service": "share/dbus-1/system-services",
    "org.deployd1.conf": "share/dbus-1/system.d",
    "org.deployd1.policy": "share/polkit-1/actions",
    "org.deployd1.xml": "share/dbus-1/interfaces",
}


def install(*arguments: str | Path, checkout: Path = CHECKOUT) -> subprocess.CompletedProcess[str]:
    script = checkout / "packaging/install"
    return subprocess.run([script, *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with nothing but the script and a unit of each kind."""
    copy = tmp_path / "check out"
    (copy / "packaging").mkdir(parents=True)
    (copy / "units").mkdir()
    shutil.copy2(CHECKOUT / "packaging/install", copy / "packaging")
    for name in PLACES:
        (copy / "units" / name).write_text(f"# {name}\nExecStart=/usr/bin/deployd daemon\n")
    return copy


def test_every_file_goes_to_its_place(checkout: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    done = install("--root", root, checkout=checkout)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    installed = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    assert installed == {f"usr/{place}/{name}" for name, place in PLACES.items()}
    assert {stat.S_IMODE((root / name).stat().st_mode) for name in installed} == {0o644}
    assert (root / "etc/deployd/apps").is_dir()


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """A root whose systemd knows all directives."""
    root = tmp_path / "newer"
    library = root / "usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-257.so"
    library.parent.mkdir(parents=True)
    library.touch()
    return root


def test_a_directive_that_the_systemd_of_the_root_does_not_know_is_left_out(newer: Path) -> None:
    library = next(newer.rglob("libsystemd-shared-257.so"))
    unit = newer / "usr/lib/systemd/system/deployd.service"
    for version, preserves in (("257", True), ("252", False), ("254~rc1", True)):
        library = library.rename(library.with_name(f"libsystemd-shared-{version}.so"))
        done = install("--root", newer)
        assert (done.returncode, done.stderr) == (0, "")
        assert ("\nFileDescriptorStorePreserve=yes\n" in unit.read_text()) == preserves
        assert "\nFileDescriptorStoreMax=" in unit.read_text()


def test_the_units_of_this_checkout_all_have_a_place(newer: Path) -> None:
    done = install("--root", newer)
    assert (done.returncode, done.stderr) == (0, "")
    for source in (CHECKOUT / "units").iterdir():
        found = [path for path in newer.rglob(source.name) if path.read_bytes() == source.read_bytes()]
        assert len(found) == 1, source.name
        assert str(found[0].relative_to(newer / "usr").parent) == PLACES.get(source.name, "lib/systemd/system")


def test_the_manual_and_the_completions_have_their_places(tmp_path: Path) -> None:
    done = install("--root", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    share = tmp_path / "usr/share"
    page = share / "man/man1/deployd.1"
    assert page.read_text().splitlines()[1] == ".TH deployd 1"
    assert "\\fC" not in page.read_text()
    shown = subprocess.run(["man", "--warnings", "--local-file", page], capture_output=True, text=True, check=True)
    assert shown.stderr == "", "a table that is too wide, or text that man takes for a macro"
    for place in ("bash-completion/completions/deployd", "fish/vendor_completions.d/deployd.fish"):
        assert "deployd" in (share / place).read_text()
    assert (share / "zsh/vendor-completions/_deployd").read_text().startswith("#compdef deployd")


def test_integrations_are_where_app_files_name_them(tmp_path: Path) -> None:
    assert install("--root", tmp_path).returncode == 0
    for source in (CHECKOUT / "integrations").iterdir():
        if source.is_file():
            place = f"/usr/share/deployd/integrations/{source.name}"
            assert place in source.read_text(), "its header says how it is used"
            assert (tmp_path / place.lstrip("/")).read_bytes() == source.read_bytes()


@pytest.mark.parametrize(
    ("source", "place"), [("packaging/grafana", "share/deployd/grafana"), ("packaging/sysusers", "lib/sysusers.d")]
)
def test_the_dashboard_and_the_user_of_the_metrics_have_their_places(tmp_path: Path, source: str, place: str) -> None:
    assert install("--root", tmp_path).returncode == 0
    (file,) = (CHECKOUT / source).iterdir()
    assert (tmp_path / "usr" / place / file.name).read_bytes() == file.read_bytes()


def test_what_the_documentation_names_is_installed(tmp_path: Path) -> None:
    assert install("--root", tmp_path).returncode == 0
    pages = [CHECKOUT / "README.md", CHECKOUT / "NEWS.md", *(CHECKOUT / "docs").glob("*.md")]
    pages += (CHECKOUT / "packaging/man").glob("*.md")
    named = {path for page in pages for path in re.findall(r"/usr/share/deployd/[\w./-]*\w", page.read_text())}
    assert [path for path in named if not (tmp_path / path.lstrip("/")).exists()] == []
    for source in (CHECKOUT / "packaging/examples").iterdir():
        assert (tmp_path / f"usr/share/deployd/examples/{source.name}").read_bytes() == source.read_bytes()


def test_without_go_md2man_all_but_the_manual_is_installed(checkout: Path, tmp_path: Path) -> None:
    (checkout / "packaging/man").mkdir()
    (checkout / "packaging/man/deployd.8.md").write_text("# DEPLOYD(8)\n\n## NAME\n")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "dirname", "sed", "mkdir", "chmod", "mv"):
        found = shutil.which(name)
        assert found
        (programs / name).symlink_to(found)
    root = tmp_path / "root"
    script = checkout / "packaging/install"
    command = [str(script), "--root", str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": str(programs)})
    assert (done.returncode, done.stderr) == (0, "install: no manual page deployd.8: go-md2man is not installed\n")
    assert (root / "usr/lib/systemd/system/deployd.service").exists()
    assert not (root / "usr/share/man/man8").exists()


def test_installing_again_changes_nothing(checkout: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    trees = []
    for _ in range(2):
        assert install("--root", f"{root}/", "--command", "true", checkout=checkout).returncode == 0
        trees.append({path: path.read_bytes() for path in root.rglob("*") if path.is_file()})
    assert trees[0] == trees[1]


def test_another_prefix_is_told_to_systemd(checkout: Path, tmp_path: Path) -> None:
    assert install("--root", tmp_path, "--prefix", "/opt/a&b/", checkout=checkout).returncode == 0
    unit = tmp_path / "opt/a&b/lib/systemd/system/deployd.service"
    assert "ExecStart=/opt/a&b/bin/deployd daemon\n" in unit.read_text()


def test_command_makes_a_wrapper_that_hands_its_arguments_on(checkout: Path, tmp_path: Path) -> None:
    assert install("--root", tmp_path, "--command", "printf '<%s>'", checkout=checkout).returncode == 0
    wrapper = tmp_path / "usr/bin/deployd"
    done = subprocess.run([wrapper, "status", "my app"], capture_output=True, text=True, check=True)
    assert done.stdout == "<status><my app>"


def test_an_unknown_file_is_refused(checkout: Path, tmp_path: Path) -> None:
    (checkout / "units/deployd.surprise").touch()
    done = install("--root", tmp_path, checkout=checkout)
    assert done.returncode == 1
    assert "deployd.surprise" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [["--root"], ["--root", ""], ["--prefix", "usr"], ["--prefix", "/"], ["--unknown", "x"], ["x"]],
)
def test_wrong_usage_is_2_and_installs_nothing(checkout: Path, tmp_path: Path, arguments: list[str]) -> None:
    done = install("--root", tmp_path / "root", *arguments, checkout=checkout)
    assert done.returncode == 2
    assert "usage:" in done.stderr
    assert not (tmp_path / "root").exists()
