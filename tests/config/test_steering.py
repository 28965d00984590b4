"""routing = "steered", and the keys that need it or do not work with it."""

from __future__ import annotations

import dataclasses
import json

import pytest

from deployd.config import steering
from deployd.model.app import App, Drain, Routing
from deployd.model.pace import Memory
from tests.config.app_text import parse, refusal

STEERED, SHARED = 'routing = "steered"\n', 'routing = "shared"\n'


def test_keys_of_steering() -> None:
    app = parse(
        STEERED + 'warm_up = "10s"\n[drain]\nclose_after = "1min"\n[gate]\nwatchdog = 5\n'
        '[rollout]\nstandby = "15min"\nstandby_memory = "512M"',
        listen='[80, "/run/web.sock"]',
        instances="500",
    )
    assert (app.routing, app.steered) == (Routing.STEERED, True)
    assert (app.warm_up, app.drain, app.gate.watchdog) == (10.0, Drain(60.0), 5.0)
    assert (app.pace.standby, app.pace.standby_memory) == (900.0, Memory(512 << 20))
    default = parse(STEERED)
    assert (default.warm_up, default.drain, default.pace.standby, default.gate.watchdog) == (0, Drain(0), 0, 30)
    assert parse(SHARED).routing is Routing.SHARED


def test_an_app_is_steered_by_default_unless_its_settings_forbid_that() -> None:
    assert (parse().routing, parse().routing_reason) == (Routing.STEERED, "")
    assert parse('[rollout]\nstandby = "15min"', instances="500").steered
    for top, more, reason in (
        ({"instances": "501"}, "", "501 instances are more than the 500 that can be steered"),
        ({}, "[socket]\nReusePort = true", "ReusePort of [socket] is set by deployd if an app is steered"),
    ):
        app = parse(more, **top)
        assert (app.routing, app.routing_reason) == (Routing.SHARED, reason)
        assert steering.doubts(app) == (f"routing is left out, and the instances share one socket: {reason}",)
        assert App.from_json(app.to_json()) == app
        explicit = parse(SHARED + more, **top)
        assert (explicit.routing_reason, steering.doubts(explicit)) == ("", ())


@pytest.mark.parametrize(
    ("words", "more", "expected"),
    [
        ('["/usr/bin/gunicorn", "web:app"]', "", True),
        ('["venv/bin/gunicorn", "-w", "2", "web:app"]', "", True),
        ('["/usr/bin/python3", "-m", "gunicorn", "web:app"]', "", True),
        ('["gunicorn", "-k", "gthread", "web:app"]', "", False),
        ('["gunicorn", "--worker-class=gevent", "web:app"]', "", False),
        ('["gunicorn", "--threads", "4", "web:app"]', "", False),
        ('["gunicorn", "-c", "conf.py", "web:app"]', "", False),
        ('["gunicorn", "web:app"]', '[environment]\nGUNICORN_CMD_ARGS = "-k gevent"', False),
        ('["gunicorn", "web:app"]', SHARED, False),
        ('["uvicorn", "--fd", "3", "web:app"]', "", False),
        ('["bin/serve", "a", "b", "gunicorn"]', "", False),
    ],
)
def test_servers_for_which_a_shared_socket_may_be_better(words: str, more: str, expected: bool) -> None:
    found = steering.doubts(parse(more, exec=words))
    assert [sentence.startswith("gunicorn with sync workers") for sentence in found] == [True] * expected


@pytest.mark.parametrize(
    ("top", "more", "expected"),
    [
        ({"instances": "501"}, "", ':4: instances: must be from 1 to 500 with routing = "steered", not 501'),
        ({}, "[socket]\nReusePort = true", ":6: [socket] ReusePort: is set by deployd: with routing ="),
        ({}, "[socket]\nReusePort = false", ":6: [socket] ReusePort: is set by deployd: with routing ="),
    ],
)
def test_settings_that_do_not_work_with_steering_are_refused(top: dict[str, str], more: str, expected: str) -> None:
    assert expected in refusal(STEERED + more, **top)
    parse(SHARED + more, **top)


def test_a_server_is_asked_to_have_its_clients_leave() -> None:
    assert parse(STEERED + '[drain]\nclose_after = 9\nsignal = "USR1"').drain == Drain(9.0, "SIGUSR1")
    command = parse(STEERED + '[drain]\nclose_after = 9\ncommand = ["bin/leave", "-q"]').drain
    assert command == Drain(9.0, command=("bin/leave", "-q"))
    assert (parse(STEERED).drain.settle, parse(STEERED + "[drain]\nsettle = 0").drain.settle) == (5.0, 0.0)
    assert Drain.from_dict(json.loads(json.dumps(dataclasses.asdict(command)))) == command


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ('signal = "USR1"', ":6: drain.signal: needs close_after, the time that clients get to leave"),
        ('command = ["bin/leave"]', ":6: drain.command: needs close_after, the time that clients get to leave"),
        ('close_after = 9\nsignal = "KILL"', ":7: drain.signal: SIGKILL cannot be handled by a program; choose"),
        ('close_after = 9\nsignal = "TERM"', ":7: drain.signal: SIGTERM is the signal that stops the instance"),
        ('close_after = 9\nsignal = "HUP"\ncommand = ["x"]', ":8: drain.command: has the same purpose as signal"),
        ('close_after = 9\nsignal = "X"', ':7: drain.signal: must be the name of a signal, not "X"'),
        ("close_after = 9\ncommand = []", ":7: drain.command: must"),
    ],
)
def test_a_notice_that_cannot_be_given_is_refused(more: str, expected: str) -> None:
    assert refusal(f"{STEERED}[drain]\n{more}").startswith(expected)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("[gate]\nwatchdog = 5", ':6: gate.watchdog: needs routing = "steered": with a shared socket'),
        ("warm_up = 0", ':5: warm_up: needs routing = "steered"'),
        ("[drain]\nclose_after = 0", ':5: drain: needs routing = "steered"'),
        ("[rollout]\nstandby = 60", ':6: rollout.standby: needs routing = "steered": with a shared socket connections'),
        ("[rollout]\nstandby_memory = 0", ':6: rollout.standby_memory: needs routing = "steered"'),
    ],
)
def test_keys_that_need_steering_are_refused_without_it(more: str, expected: str) -> None:
    assert refusal(SHARED + more).startswith(expected)
    parse(more)
