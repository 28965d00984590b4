"""What is read of environment files, and which are refused."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployd.config.environment_files import LARGEST, MOST, capture
from deployd.errors import Refused
from deployd.model.app import App
from deployd.units.text import generation_files
from tests.config.app_text import parse

NOBODY = 65534
pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="gives files to another user")


@pytest.fixture
def directory() -> Iterator[Path]:
    """Make a directory that only root can write, unlike those below /tmp."""
    with TemporaryDirectory(prefix="deployd-test-", dir="/etc") as made:
        Path(made).chmod(0o755)
        yield Path(made)


def captured(*files: str | Path) -> App:
    return capture(replace(parse(), environment_files=tuple(map(str, files))))


def test_the_contents_are_read_in_order_and_optional_files_may_be_missing(directory: Path) -> None:
    for name in ("b", "a"):
        (directory / name).write_text(f"WHO={name}\n")
    app = captured(directory / "b", f"-{directory}/missing", f"{directory}/*", "-/nonexistent/x*")
    assert app.environment_contents == ("WHO=b\n", "WHO=a\n", "WHO=b\n")
    assert captured().environment_contents == ()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=20).filter(lambda data: b"\0" not in data))
def test_a_generation_gets_the_very_bytes_and_every_change_is_one(directory: Path, data: bytes) -> None:
    file = directory / "env"
    file.write_bytes(data)
    app = App.from_json(captured(file).to_json())
    text, mode = generation_files(app, 1, "/r")["environment-001"]
    assert (text.encode(errors="surrogateescape"), mode) == (data, 0o600)
    file.write_bytes(data + b"\n")
    assert captured(file).fingerprint("/r") != app.fingerprint("/r")


def test_a_file_that_systemd_could_not_read_is_refused(directory: Path) -> None:
    with pytest.raises(
        Refused,
        match=f'cannot be read: No such file or directory; create it, or write "-{directory}/env" if',
    ):
        captured(directory / "env")
    with pytest.raises(Refused, match=rf'{directory}/e\* matches no file; create one, or write "-{directory}/e\*"'):
        captured(f"{directory}/e*")
    (directory / "env").write_bytes(b"A=\0")
    with pytest.raises(Refused, match="has a NUL byte"):
        captured(f"-{directory}/env")
    (directory / "env").write_bytes(b"A" * (LARGEST // 2 + 1))
    with pytest.raises(Refused, match=f"is one too many: there may be {MOST} files, with 1 MiB in total; merge them"):
        captured(directory / "env", directory / "env")


def test_the_directories_must_be_writable_by_root_only(directory: Path, tmp_path: Path) -> None:
    file, elsewhere = directory / "env", tmp_path / "env"
    for path in (file, elsewhere):
        path.write_text("A=1\n")
    os.chown(file, NOBODY, NOBODY)  # the app's user may write the contents
    captured(file, f"-{directory}/missing", f"{directory}/e*")
    with pytest.raises(
        Refused, match=r"environment_files of web: .*/env is not trusted, because everybody can write /tmp"
    ):
        captured(elsewhere)
    with pytest.raises(Refused, match="because everybody can write /tmp"):
        captured(f"-{tmp_path}/e*")
    file.chmod(0o666)
    with pytest.raises(Refused, match=rf"everybody can write {file}; chmod o-w it"):
        captured(file)
    os.mkfifo(directory / "fifo")
    with pytest.raises(Refused, match="fifo is a FIFO, not a regular file; remove it"):
        captured(directory / "fifo")
    (directory / "extra").symlink_to(elsewhere)
    with pytest.raises(Refused, match="because everybody can write /tmp"):
        captured(f"{directory}/ex*")
