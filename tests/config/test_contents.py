"""The digest of a release directory: it changes with the code, but not when the app writes its data."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployd.config import contents as module
from deployd.config.contents import changed, contents, refuse_changed
from deployd.errors import Refused
from deployd.model.app import App
from deployd.model.generation import Result
from tests.state.four_rollouts import SETTINGS, generation

PAST = 1_000_000_000
NOBODY = 65534
AS_NOBODY = replace(SETTINGS, user="nobody")


@pytest.fixture
def release(tmp_path: Path) -> Path:
    made = tmp_path / "v1"
    for name in ("app.py", "lib/a.py", "lib/deep/b.py"):
        write(made / name)
    (made / "link").symlink_to("app.py")
    os.utime(made / "link", (PAST, PAST), follow_symlinks=False)
    return made


def write(path: Path, text: str = "text", mtime: float = PAST) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (mtime, mtime))


def relink(release: Path) -> None:
    (release / "link").unlink()
    (release / "link").symlink_to("lib")


CHANGES: dict[str, Callable[[Path], object]] = {
    "another size": lambda release: write(release / "lib/deep/b.py", "longer text"),
    "another time": lambda release: write(release / "app.py", mtime=PAST + 1),
    "a new file": lambda release: write(release / "lib/c.py"),
    "a file less": lambda release: (release / "lib/a.py").unlink(),
    "renamed": lambda release: (release / "lib/a.py").rename(release / "lib/z.py"),
    "a link that leads elsewhere": relink,
}
LEFTOVERS: dict[str, Callable[[Path], object]] = {
    "bytecode": lambda release: write(release / "lib/__pycache__/a.cpython-311.pyc"),
    "a hidden file": lambda release: write(release / ".cache/x"),
    "a log": lambda release: write(release / "log/app.log"),
    "a pid file": lambda release: write(release / "app.pid"),
    "a pipe": lambda release: os.mkfifo(release / "pipe"),
    "an empty directory": lambda release: (release / "tmp").mkdir(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_of_the_code_changes_the_digest(release: Path, change: Callable[[Path], object]) -> None:
    before = contents(str(release), SETTINGS)
    change(release)
    assert contents(str(release), SETTINGS).digest != before.digest


@pytest.mark.parametrize("change", LEFTOVERS.values(), ids=LEFTOVERS)
def test_leftovers_of_running_do_not_change_the_digest(release: Path, change: Callable[[Path], object]) -> None:
    before = contents(str(release), SETTINGS)
    assert before.files == 4
    change(release)
    assert contents(str(release), SETTINGS) == before


def test_a_copy_has_the_same_digest(release: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(release, tmp_path / "copy", symlinks=True))
    assert contents(str(copy), SETTINGS) == contents(str(release), SETTINGS)


@pytest.mark.skipif(os.getuid() != 0, reason="gives files to another user")
@pytest.mark.parametrize("user", ["nobody", str(NOBODY)])
def test_files_of_the_apps_user_are_data(release: Path, user: str) -> None:
    app = replace(SETTINGS, user=user)
    before = contents(str(release), app)
    write(release / "uploads/by-root.txt")
    assert contents(str(release), app).files == before.files + 1
    for path in (release, release / "uploads"):
        os.chown(path, NOBODY, NOBODY)
    assert contents(str(release), app) == before  # the owner of a directory may change anything in it
    write(release / "data.sqlite")
    os.chown(release / "data.sqlite", NOBODY, NOBODY)
    assert contents(str(release), app) == before
    assert contents(str(release), SETTINGS).files == before.files + 2


@pytest.mark.parametrize("user", [None, "root", "0", "no-such-user"])
def test_files_of_root_are_code_even_if_the_app_runs_as_root(release: Path, user: str | None) -> None:
    assert contents(str(release), replace(SETTINGS, user=user)).files == 4


def test_a_large_release_is_read_from_the_top_up_to_a_limit(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT", 5)
    before = contents(str(release), SETTINGS)
    assert before.digest.startswith("3+:")  # app.py, link and lib/a.py, besides two directories
    write(release / "lib/deep/b.py", "changed below the limit")
    assert contents(str(release), SETTINGS) == before
    write(release / "app.py", "changed above the limit")
    assert contents(str(release), SETTINGS).digest != before.digest
    monkeypatch.setattr(module, "LIMIT", 6)
    assert contents(str(release), SETTINGS).digest.startswith("4:")


@settings(max_examples=30)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("de"), st.integers(0, 3)), max_size=12))
def test_the_digest_does_not_depend_on_the_order_of_creation(
    tmp_path_factory: pytest.TempPathFactory, files: list[tuple[str, str, int]]
) -> None:
    last = {f"{directory}/{name}": size for directory, name, size in files}
    made = [tmp_path_factory.mktemp("release") for _ in range(2)]
    for directory, order in zip(made, (last.items(), reversed(last.items())), strict=True):
        for name, size in order:
            write(directory / name, "x" * size)
    assert contents(str(made[0]), SETTINGS) == contents(str(made[1]), SETTINGS)


def test_a_release_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="gone cannot be read: No such file or directory; correct that first"):
        contents(str(tmp_path / "gone"), SETTINGS)


def test_a_change_is_described_by_file_and_time(release: Path) -> None:
    made = replace(
        generation(3, Result.SUCCEEDED),
        release=str(release),
        contents=contents(str(release), SETTINGS).digest,
        started=PAST + 10.0,
    )
    assert changed(made) == ""
    refuse_changed(made)
    write(release / "app.py", mtime=PAST + 5)
    assert changed(made) == "a file was replaced by an older file or one of a different size"
    (release / "link").unlink()
    assert changed(made) == "it has 3 files instead of 4"
    write(release / "lib/n\new", mtime=PAST + 60)
    with pytest.raises(Refused) as refused:
        refuse_changed(made)
    sentence = str(refused.value)
    assert sentence.startswith(f"the release {release} has changed since generation 3: lib/n\\new was changed on ")
    assert sentence.endswith(f"restore it, or run deployd rollout demo --release {release} to roll it out as it is now")
    assert changed(replace(made, contents="")) == ""  # unknown: the record of the generation was lost
    shutil.rmtree(release)
    assert changed(made) == ""


def test_the_settings_of_the_generation_apply(release: Path) -> None:
    app: App = AS_NOBODY
    made = replace(generation(3), release=str(release), settings=app, contents=contents(str(release), app).digest)
    assert changed(made) == ""


def test_a_directory_swapped_for_a_symlink_is_not_followed(release: Path, tmp_path: Path) -> None:
    before = contents(str(release), SETTINGS)
    write(tmp_path / "elsewhere/deep/secret")
    for directory in ("lib/deep", "lib"):
        path = release / directory
        shutil.rmtree(path)
        path.symlink_to(tmp_path / "elsewhere")
        now = contents(str(release), SETTINGS)
        assert now.digest != before.digest
        assert now.newest is not None
        assert "secret" not in now.newest[0]


@pytest.mark.skipif(os.getuid() != 0, reason="gives a link to another user")
def test_a_release_swapped_for_a_symlink_is_not_read(release: Path, tmp_path: Path) -> None:
    link = tmp_path / "current"
    link.symlink_to(release)
    assert contents(str(link), SETTINGS).files == 4
    os.lchown(link, NOBODY, NOBODY)
    with pytest.raises(Refused, match=r"cannot be read: .*current is now a symlink of user nobody"):
        contents(str(link), SETTINGS)


def test_reading_is_bounded_for_any_tree(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(str(release), SETTINGS)
    deep = os.open(release, os.O_RDONLY)
    for _ in range(100):  # longer than any path that the kernel accepts
        os.mkdir("a" * 200, dir_fd=deep)
        above, deep = deep, os.open("a" * 200, os.O_RDONLY, dir_fd=deep)
        os.close(above)
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=deep))
    os.close(deep)
    assert contents(str(release), SETTINGS) == before
    write(release / os.fsdecode(b"caf\xe9"))
    os.mkfifo(release / "pipe")
    assert contents(str(release), SETTINGS).files == before.files + 1
    monkeypatch.setattr(module, "MOST_SEEN", 5)
    with pytest.raises(Refused, match="it has more than 5 files; keep data outside of releases"):
        contents(str(release), SETTINGS)
