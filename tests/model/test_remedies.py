"""What to do about a failure, by the words of systemd and of servers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.model.remedies import probe_remedy, remedy

LISTEN = ("127.0.0.1:8080",)
HOLDS = "systemd holds 127.0.0.1:8080 for the app: "


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("[ERROR] Connection in use: ('127.0.0.1', 8080): [Errno 98] Address already in use", HOLDS),
        ("OSError: [Errno 98] Address already in use", HOLDS),
        ("Error: listen EADDRINUSE: address already in use 127.0.0.1:8080", HOLDS),
        ("listen tcp 127.0.0.1:8080: bind: address already in use", HOLDS),
        ("nginx: [emerg] bind() to 0.0.0.0:8080 failed (98: Address already in use)", HOLDS),
        ("AH00072: make_sock: could not bind to address 0.0.0.0:8080 (98)Address already in use", HOLDS),
        ("probably another instance of uWSGI is running on the same address (127.0.0.1:8080).", HOLDS),
        ('`initialize\': Address already in use - bind(2) for "127.0.0.1" port 8080 (Errno::EADDRINUSE)', HOLDS),
        ("java.net.BindException: Address already in use", HOLDS),
        ("Failed to bind to address http://127.0.0.1:8080: address already in use.", HOLDS),
        ("Error: listen EADDRINUSE: address already in use :::9229", "another program or instance has that address"),
        ("Connection in use: ('0.0.0.0', 9100)", ""),
        ("[ERROR] Connection in use: ('0.0.0.0', 9100): [Errno 98] Address already in use", "another program or"),
        ("Error: Cannot find module 'express'", ""),
        (
            "LISTEN_PID is another process: no sockets for us",
            "let the program that exec starts run the server with exec",
        ),
        ("error 1(98", ""),
    ],
)
def test_an_address_in_use(line: str, words: str) -> None:
    found = remedy((), ["starting", line], LISTEN)
    assert found.startswith(words)
    assert bool(found) == bool(words)


def test_an_address_that_is_not_named_may_be_another_one() -> None:
    other = "any other address must not be the same one in each instance"
    assert other in remedy((), ["OSError: [Errno 98] Address already in use"], LISTEN)
    assert other not in remedy((), ["listen tcp 127.0.0.1:8080: bind: address already in use"], LISTEN)


def test_what_systemd_said_has_a_remedy() -> None:
    permitted = "Got notification message from PID 41, but reception only permitted for main PID 39"
    assert 'NotifyAccess = "all"' in remedy([permitted], ["[Errno 98]"], LISTEN)
    assert "NAME=value" in remedy(["Ignoring invalid environment assignment: /etc/default/shop"], [], LISTEN)
    no_directory = "Failed to set up standard output: No such file or directory"
    assert "create the directory of the file that StandardOutput= names" in remedy([no_directory], [], LISTEN)
    assert remedy(["Failed to determine user credentials: No such process"], [], LISTEN) == ""


@given(st.lists(st.text()), st.lists(st.text()), st.lists(st.text()))
def test_any_words(said: list[str], lines: list[str], listen: list[str]) -> None:
    assert "\n" not in remedy(said, lines, [item.replace("\n", "") for item in listen])


def test_a_refused_host_is_named() -> None:
    said = probe_remedy("GET /up answered 400 instead of 200", "shop")
    assert said.endswith('; if the app serves known hosts only, set host in probe: it was asked for "shop"')
    for other in ("", "GET /400 answered 500 instead of 200", "did not answer within 2 s"):
        assert probe_remedy(other, "shop") == other
