"""What is read of a release: little, and nothing outside of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deployd.errors import ExitStatus, Refused
from deployd_cli.presets import release_files
from deployd_cli.presets.release_files import read


@pytest.fixture
def release(tmp_path: Path) -> Path:
    directory = tmp_path / "release"
    directory.mkdir()
    return directory


def put(release: Path, name: str, text: str | bytes = "", mode: int = 0o644) -> Path:
    path = release / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


def test_names_texts_and_programs(release: Path) -> None:
    put(release, "Procfile", "web: x")
    put(release, "mysite/wsgi.py", "application = 1")
    put(release, "bin/serve", b"\x7fELF\x02", 0o755)
    put(release, "bin/check", "#!/bin/sh\n", 0o755)
    put(release, "libx.so", b"\x7fELF\x02", 0o755)
    put(release, "target/release/shop", b"\x7fELF\x02", 0o755)
    put(release, ".venv/bin/python")
    put(release, "data.csv", "1")
    found = read(release)
    assert {"Procfile", "mysite/wsgi.py", "bin/check", ".venv/bin/python", "data.csv"} <= found.names
    assert dict(found.texts) == {"Procfile": "web: x", "mysite/wsgi.py": "application = 1"}
    assert found.programs == {"bin/serve", "target/release/shop"}


def test_the_release_may_be_a_symlink(release: Path) -> None:
    put(release, "Procfile", "web: x")
    current = release.parent / "current"
    current.symlink_to(release)
    assert read(current).texts == {"Procfile": "web: x"}


def test_no_symlink_below_the_release_is_followed(release: Path) -> None:
    outside = put(release.parent, "outside/wsgi.py", "secret")
    (release / "Procfile").symlink_to(outside)
    (release / "mysite").symlink_to(outside.parent)
    (release / "bin").mkdir()
    (release / "bin/serve").symlink_to("/bin/true")
    found = read(release)
    assert (dict(found.texts), found.programs) == ({}, frozenset())
    assert "mysite/wsgi.py" not in found.names


def test_nothing_but_regular_files_is_opened(release: Path) -> None:
    os.mkfifo(release / "Procfile")
    (release / "Gemfile").mkdir()
    assert dict(read(release).texts) == {}


def test_reading_is_bounded(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(release, "app.py", "x" * 100_000)
    for number in range(30):
        put(release, f"m{number}.py", "x")
    assert len(read(release).texts["app.py"]) == release_files.LARGEST_TEXT
    monkeypatch.setattr(release_files, "MOST_TEXTS", 5)
    assert len(read(release).texts) == 5
    monkeypatch.setattr(release_files, "MOST_ENTRIES", 10)
    assert len(read(release).names) == 10


def test_dependencies_are_not_searched(release: Path) -> None:
    put(release, "node_modules/x/app.js", "x")
    put(release, "node_modules/.bin/next", "x")
    put(release, "vendor/server.py", "x")
    put(release, ".git/app.py", "x")
    assert read(release).names == {"node_modules/.bin/next"}


def test_text_need_not_be_utf_8(release: Path) -> None:
    put(release, "Procfile", b"web: caf\xe9")
    assert read(release).texts == {"Procfile": "web: caf�"}


def test_a_release_that_is_missing_is_refused(release: Path) -> None:
    file = put(release, "file")
    for path, reason in ((release / "no", "No such file or directory"), (file, "Not a directory")):
        with pytest.raises(
            Refused, match=f"{path} cannot be read: {reason}; name another one with --release"
        ) as caught:
            read(path)
        assert caught.value.exit_status == ExitStatus.REFUSED
