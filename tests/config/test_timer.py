"""[process.NAME] with a schedule: what a timer inherits, and what it refuses."""

from __future__ import annotations

import shutil
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd import config
from deployd.config.calendar import is_calendar
from deployd.config.user_mode import Limits
from deployd.errors import InvalidFile
from deployd.model.app import App
from deployd.model.timer import Timer
from tests.config.app_text import FILE, TOP, parse, refusal

NIGHTLY = '[process.nightly]\nschedule = "daily"\nexec = ["bin/nightly"]\n'
WHOLE = """\
user = "www-data"
group = "www-data"
environment = { A = "1", B = "2" }
[service]
MemoryMax = "1G"
PrivateTmp = true
ExecStartPre = "/bin/true"
WatchdogSec = 10
"""


def timer(more: str, before: str = "") -> Timer:
    (found,) = parse(f"{before}{NIGHTLY}{more}").timers
    return found


def test_what_is_left_out_is_that_of_the_app() -> None:
    found = timer("", WHOLE)
    assert (found.user, found.group) == ("www-data", "www-data")
    assert found.environment == (("A", "1"), ("B", "2"))
    assert found.service == (("MemoryMax", ("1G",)), ("PrivateTmp", ("yes",)))
    assert (found.persistent, found.randomized_delay, found.timeout) == (False, 0.0, None)
    assert (found.stop_signal, found.stop_timeout) == ("SIGTERM", 30.0)


def test_its_own_keys_win() -> None:
    more = """\
user = "reports"
persistent = true
randomized_delay = "5min"
timeout = "2h"
environment = { B = "3", C = "4" }
stop = { signal = "INT", timeout = "1s" }
[process.nightly.service]
MemoryMax = "128M"
ExecStartPre = "/bin/sleep 1"
"""
    found = timer(more, WHOLE)
    # The group of another user is that user's own.
    assert (found.user, found.group) == ("reports", None)
    assert dict(found.environment) == {"A": "1", "B": "3", "C": "4"}
    assert dict(found.service) == {
        "PrivateTmp": ("yes",),
        "MemoryMax": ("128M",),
        "ExecStartPre": ("/bin/sleep 1",),
    }
    assert (found.persistent, found.randomized_delay, found.timeout) == (True, 300.0, 7200.0)
    assert (found.stop_signal, found.stop_timeout) == ("SIGINT", 1.0)


def test_several_times() -> None:
    more = NIGHTLY.replace('"daily"', '["daily", " Mon..Fri 06:30 "]')
    assert parse(more).timers[0].schedule == ("daily", "Mon..Fri 06:30")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("[process.web]\nschedule = 'daily'", ":4: process.web: is what the keys outside [process] describe; choose"),
        ("[process.x]\nschedule = 'daily'", ': process.x.exec: missing; add exec = ["bin/nightly"]'),
        ("[process.X]\nschedule = 'daily'", ":4: process.X: cannot be the name of a timer; use up to 63 lowercase"),
        ("[process.health]\nschedule = 'daily'", ":4: process.health: is the name of another unit that deployd makes"),
        ("[process.run-it]\nschedule = 'daily'", ":4: process.run-it: is the name of another unit"),
        ("[process]\nnightly = 1", ":5: process.nightly: must be a table, not an integer; write it as [process.nigh"),
        (NIGHTLY + "schedule = 1", ":7: is not valid TOML"),
        (NIGHTLY + "instances = 2", ":7: process.nightly.instances: unknown key in [process.nightly]; it belongs in"),
        (NIGHTLY + "timeout = 0", ":7: process.nightly.timeout: must be from 1 to 604800 seconds, not 0"),
        (NIGHTLY + "persistent = 1", ":7: process.nightly.persistent: must be a boolean, not an integer; write"),
        (NIGHTLY + "stop = { calm = 1 }", ":7: process.nightly.stop.calm: unknown key in [process.nightly.stop]"),
        (
            NIGHTLY + "stop = { quiet = 'SIGTSTP' }",
            ":7: process.nightly.stop.quiet: is for workers, which take one job",
        ),
        (
            NIGHTLY + "environment = { IFS = 'x' }",
            ":7: process.nightly.environment.IFS: is overwritten by the shell that starts the program",
        ),
        (
            NIGHTLY + "[process.nightly.service]\nRestart = 'always'",
            ":8: [process.nightly.service] Restart: is not possible for a timer: a run that has failed is not repeated",
        ),
        (
            NIGHTLY + "[process.nightly.service]\nTimeoutStartSec = 5",
            ":8: [process.nightly.service] TimeoutStartSec: is not possible for a timer: use timeout of the timer",
        ),
        (
            NIGHTLY + "[process.nightly.service]\nUser = 'x'",
            ":8: [process.nightly.service] User: is set by deployd: use user",
        ),
    ],
)
def test_refusals(written: str, expected: str) -> None:
    assert refusal(written).startswith(expected)


@pytest.mark.parametrize("schedule", ["", "5", "[]", '[""]', '"daily\\nX=1"', '"%h"', '"a\\u0000"', '["daily", 5]'])
def test_refused_schedules(schedule: str) -> None:
    with pytest.raises(InvalidFile, match=r"process\.nightly|not valid TOML"):
        parse(NIGHTLY.replace('"daily"', schedule))


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="asks systemd")
@pytest.mark.parametrize(
    ("expression", "right"),
    [
        ("daily", True),
        ("*:*:0/10", True),
        ("Mon..Fri 06:30 Europe/Berlin", True),
        ("*-*~1 04:00", True),
        ("2020-01-01", True),
        ("nightly", False),
        ("25:00", False),
        ("daily Mars/Base", False),
        ("--help", False),
    ],
)
def test_systemd_decides_what_a_calendar_expression_is(expression: str, right: bool) -> None:
    assert is_calendar(expression) is right
    text = "\n".join([*(f"{key} = {value}" for key, value in TOP.items()), NIGHTLY.replace("daily", expression)])
    if right:
        assert config.parse("web", text, FILE, is_calendar=is_calendar).timers[0].schedule == (expression,)
    else:
        with pytest.raises(InvalidFile, match=r'schedule: ".*" is no calendar expression \(systemd.time\(7\)\); write'):
            config.parse("web", text, FILE, is_calendar=is_calendar)


@given(st.text(max_size=30))
def test_a_schedule_is_one_line_of_harmless_characters(text: str) -> None:
    written = NIGHTLY.replace('"daily"', _toml(text))
    try:
        (found,) = parse(written).timers
    except InvalidFile:
        return
    assert found.schedule == (text.strip(),)
    assert found.schedule[0]
    assert "%" not in found.schedule[0]
    assert found.schedule[0].isascii()
    assert found.schedule[0].isprintable()


def _toml(text: str) -> str:
    escaped = "".join(letter if letter.isalnum() and letter.isascii() else f"\\U{ord(letter):08x}" for letter in text)
    written = f'"{escaped}"'
    tomllib.loads(f"x = {written}")
    return written


def test_settings_read_back() -> None:
    app = parse(WHOLE + NIGHTLY + "timeout = 60\nstop = { timeout = 5 }\n")
    assert App.from_json(app.to_json()) == app
    # A generation that an older deployd has made has no timers.
    assert App.from_json(parse().to_json().replace('"timers": [], ', "")) == parse()


def test_a_user_has_no_timers_of_others() -> None:
    text = "\n".join([*(f"{key} = {value}" for key, value in {**TOP, "listen": "[8080]"}.items()), NIGHTLY])
    of_user = Limits()
    assert config.parse("web", text, FILE, of_user=of_user).timers
    for more in ('user = "root"', "[process.nightly.service]\nDynamicUser = true"):
        with pytest.raises(InvalidFile, match="user mode"):
            config.parse("web", f"{text}\n{more}", FILE, of_user=of_user)
