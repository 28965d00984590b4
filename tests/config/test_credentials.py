"""Which credentials belong to a generation, what is read of them, and how instances get them."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployd.config.credentials import LARGEST, capture_credentials, located
from deployd.errors import Refused
from deployd.model.app import App
from deployd.units.text import command_unit, credentials, unit_files
from tests.config.app_text import parse

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs a directory that only root can write")


@pytest.fixture
def directory() -> Iterator[Path]:
    """Make a directory that only root can write, unlike those below /tmp."""
    with TemporaryDirectory(prefix="deployd-test-", dir="/etc") as made:
        yield Path(made)


def app(*values: str, **more: str) -> App:
    service = (("LoadCredential", values), *((key, (value,)) for key, value in more.items()))
    return replace(parse(), service=tuple(item for item in service if item[1]))


def captured(*values: str, **more: str) -> App:
    return capture_credentials(app(*values, **more), bytes.hex)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=20))
def test_every_change_of_the_contents_is_one(directory: Path, data: bytes) -> None:
    file = directory / "token"
    file.write_bytes(data)
    first = captured(f"token:{file}")
    assert first.credentials == ((str(file), data.hex()),)
    assert App.from_json(first.to_json()) == first
    file.write_bytes(data + b"\n")
    assert captured(f"token:{file}").fingerprint("/r") != first.fingerprint("/r")


def test_what_is_no_plain_file_is_left_to_systemd(directory: Path) -> None:
    (directory / "dir").mkdir()
    os.mkfifo(directory / "fifo")
    values = [f"d:{directory}/dir", f"f:{directory}/fifo", f"i:{directory}/%i", "stored", "stored:other"]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{directory}/agent")
        assert captured(*values, f"s:{directory}/agent").credentials == ()
    text = instance(captured(*values))
    assert [f"LoadCredential={value}" in text for value in values] == [True] * len(values)


def test_instances_and_commands_get_the_contents_of_their_generation(directory: Path) -> None:
    (directory / "100%").write_text("secret")
    key, token = f"key:{directory}/missing", f"token:{directory}/100%%"
    found = captured(key, token, SetCredential="key:x", LoadCredentialEncrypted=f"c:{directory}/100%%")
    assert credentials(found) == {"credential-002": f"../../credentials/{b'secret'.hex()}"}
    pin = "/state/apps/web/pins/%i"
    lines = ["LoadCredential=key:{}/credential-001", "LoadCredential=token:{}/credential-002"]
    lines.append("LoadCredentialEncrypted=c:{}/credential-002")
    for text, where in ((instance(found), pin), (command_unit(found, "/state/7%"), "/state/7%%")):
        assert [line for line in text.splitlines() if line.startswith("Load")] == [line.format(where) for line in lines]
        assert "secret" not in text
        assert b"secret".hex() not in text
    # The preview shows the same units without reading the contents.
    assert instance(located(found)) == instance(found)


def test_a_file_that_systemd_could_not_read_is_refused(directory: Path) -> None:
    file = directory / "token"
    with pytest.raises(Refused, match=f"LoadCredential of web: {file} does not exist; create it, or give the cred"):
        captured(f"token:{file}", SetCredential="other:x")
    file.touch()
    with pytest.raises(Refused, match=f"LoadCredentialEncrypted of web: {file}/x cannot be read: Not a directory"):
        captured(LoadCredentialEncrypted=f"token:{file}/x")
    file.write_bytes(b"x" * (LARGEST["LoadCredential"] + 1))
    assert captured(LoadCredentialEncrypted=f"token:{file}").credentials
    with pytest.raises(Refused, match="token is larger than 1024 KiB, the most that systemd reads"):
        captured(f"token:{file}")


def test_a_file_that_others_could_replace_is_refused(directory: Path, tmp_path: Path) -> None:
    file, elsewhere = directory / "token", tmp_path / "token"
    for path in (file, elsewhere):
        path.touch()
    with pytest.raises(Refused, match="because everybody can write /tmp"):
        captured(f"token:{elsewhere}")
    file.chmod(0o666)
    with pytest.raises(Refused, match=f"everybody can write {file}; chmod o-w it"):
        captured(f"token:{file}")


def instance(found: App) -> str:
    return next(unit.text for unit in unit_files(found, 1, "/state") if unit.name == "web@.service")
