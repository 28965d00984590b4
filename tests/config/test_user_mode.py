"""What an app of a user cannot have."""

from __future__ import annotations

import re
from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd import config
from deployd.config import contents, trust, user_mode
from deployd.config.user_mode import Limits
from deployd.errors import InvalidFile
from deployd.files import walk
from deployd.model import directive
from deployd.model.app import App
from deployd.model.directive import Section

TOP = 'release = "/r"\nexec = ["x"]\n'


def parse(more: str = "", listen: str = '["8080"]', limits: Limits | None = None) -> App:
    return config.parse("web", f"{TOP}listen = {listen}\n{more}", "web.toml", of_user=limits or Limits())


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('user = "dora"', "user: must be left out in user mode: instances run as the user of deployd"),
        ('group = "dora"', "group: must be left out in user mode"),
        ("[service]\nDynamicUser = true", r"\[service\] DynamicUser: needs a service manager that runs as root"),
        ("[socket]\nMark = 1", r"\[socket\] Mark: needs a service manager that runs as root"),
        ('[service]\nIPAddressDeny = "any"', r"\[service\] IPAddressDeny: would have no effect in user mode"),
    ],
)
def test_what_only_root_can_have_is_refused(more: str, said: str) -> None:
    with pytest.raises(InvalidFile, match=rf"^web\.toml:\d: {said}"):
        parse(more)
    assert config.parse("web", f'{TOP}listen = ["80"]\n{more}', "web.toml").name == "web"


def test_the_rest_is_as_for_the_system() -> None:
    assert parse("[service]\nMemoryMax = 1\n[socket]\nBacklog = 5") == config.parse(
        "web", f'{TOP}listen = ["8080"]\n[service]\nMemoryMax = 1\n[socket]\nBacklog = 5', "web.toml"
    )


@given(st.integers(1, 65535), st.integers(0, 65535))
def test_ports_of_root_are_refused(port: int, first: int) -> None:
    for address in (str(port), f"127.0.0.1:{port}", f"[::1]:{port}"):
        said = f'"{re.escape(address)}" needs root: a user may listen at ports from {first} on'
        with pytest.raises(InvalidFile, match=said) if port < first else nullcontext():
            parse(listen=f'["{address}"]', limits=Limits(first))


def test_unix_sockets_have_no_port() -> None:
    assert parse(listen='["/run/user/1000/web.sock"]').has_unix


def test_the_directives_exist() -> None:
    known = {section: directive.names(section) for section in Section}
    assert user_mode._OF_ROOT["service"] <= known[Section.SERVICE]
    assert user_mode._OF_ROOT["socket"] <= known[Section.SOCKET]
    assert known[Section.SERVICE] | known[Section.SOCKET] >= user_mode._OF_BPF


def test_root_has_no_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_mode, "OWN", 0)
    assert user_mode.limits() is None
    monkeypatch.setattr(user_mode, "OWN", 1000)
    found = user_mode.limits()
    assert found is not None
    assert found.first_port >= 0


def test_a_port_of_the_program_may_lose_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    app = parse('mode = "port"\n[gate]\ntype = "exec"\nprobe = { http = "/" }')
    monkeypatch.setattr(user_mode, "OWN", 0)
    assert user_mode.doubts(app) == ()
    monkeypatch.setattr(user_mode, "OWN", 1000)
    assert "may lose a connection" in user_mode.doubts(app)[0]
    assert user_mode.doubts(parse()) == ()


def test_files_of_the_user_are_trusted_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.config.test_trust import state

    monkeypatch.setattr(trust, "TRUSTED", frozenset({walk.ROOT, 4242}))
    monkeypatch.setattr(trust, "OWN", 4242)
    assert trust.writable("/x", state(0o644, 4242), lambda: False) == ""
    assert trust.writable("/x", state(0o644), lambda: False) == ""
    wrong = trust.writable("/x", state(0o644, 4243), lambda: False)
    assert wrong == "/x belongs to user 4243 (mode 0644); chown 4242 and chmod go-w it"
    assert trust.writable("/x", state(0o664, 4242, 4242), lambda: False).startswith("group 4242 can write /x (4242's")


def test_the_data_of_an_app_in_user_mode_belongs_to_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "OWN", 4242)
    assert contents.user_id(None) == 4242
    monkeypatch.setattr(contents, "OWN", 0)
    assert contents.user_id(None) is None
