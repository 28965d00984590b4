"""[service] and [socket]: what is taken from hand-written units, and what is refused with the reason."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.config import directives
from deployd.model import directive, specifier
from deployd.model.directive import Section
from tests.config.app_text import parse, refusal

PASTED = """
[service]
ExecStop = "/bin/kill -s TERM $MAINPID"
ExecReload = "/bin/kill -s HUP $MAINPID"
RuntimeDirectory = "shop-%i"
ExecStartPost = ["-/bin/sh -c 'echo $MAINPID $USER %n'", "/bin/echo ${KEY} $$HOME"]
"""


def test_lines_of_a_hand_written_unit_are_understood() -> None:
    service = dict(parse(PASTED, environment='{ KEY = "x" }').service)
    assert service["ExecStop"] == ("/bin/kill -s TERM $MAINPID",)
    assert service["RuntimeDirectory"] == ("shop-%i",)


def test_restart_has_no_effect_and_check_says_so() -> None:
    said = directives.without_effect(parse('[service]\nRestart = "on-failure"').service)
    expected = '[service] Restart = "on-failure" has no effect: an instance runs until it is stopped, whatever ended it'
    assert said == (f"{expected} (Restart=always)",)
    assert directives.without_effect(parse('[service]\nRestart = "always"\nNice = 5').service) == ()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('Restart = "sometimes"', '"sometimes" is not possible: it is not a value of systemd'),
        ("RestartPreventExitStatus = 78", "is not possible: an instance runs again whatever ended it"),
        ('ExecStop = "/bin/kill $MIANPID"', "$MIANPID would be empty: it is neither in environment nor"),
        ('ExecStartPre = "/bin/kill $MAINPID"', "there is no main process before the start; use ExecStartPost"),
        ('ExecReload = "/bin/echo $EXIT_STATUS"', "it is set in ExecStop and ExecStopPost only"),
        ("ExecStartPre = '/bin/sh -c \"echo ${x:-1}\"'", "write $${x:-1} to leave it to a shell"),
        ('CPUQuota = "%i"', "%i is not possible: systemd expands no specifiers in CPUQuota="),
        ('RuntimeDirectory = "%u"', "%u stands for the user of systemd itself"),
        ('Unknown = "%i"', "%i is not possible: whether Unknown= expands specifiers is not known"),
        ('Type = "forking"', "is set by deployd: the gate depends on it; use [gate] type"),
        ('PIDFile = "/run/shop.pid"', "have the program stay in the foreground"),
    ],
)
def test_what_is_refused(line: str, expected: str) -> None:
    assert expected in refusal(f"[service]\n{line}")


@pytest.mark.parametrize(
    "line",
    [
        'ExecStartPre = ":/bin/echo $NOT_SET"',
        "ExecStartPre = \"/bin/sh -c 'for f in *; do echo $f; done'\"",
        'ExecStopPost = "/bin/echo $EXIT_STATUS"',
        'SyslogIdentifier = "$x"',
    ],
)
def test_what_is_not_a_variable_of_systemd_is_left_alone(line: str) -> None:
    parse(f"[service]\n{line}")


def test_any_variable_may_come_from_an_environment_file() -> None:
    parse('[service]\nExecStartPre = "/bin/echo $ANY"', environment_files='["/etc/default/x"]')


def test_the_socket_of_an_app_is_not_in_a_directory_of_root() -> None:
    more = '[service]\nDynamicUser = true\nRuntimeDirectory = "shop/a"\n'
    assert "which only root can enter with DynamicUser=" in refusal(more, listen='["/run/shop/a/shop.sock"]')
    parse(more, listen='["/run/shop/shop.sock"]')
    parse('[service]\nRuntimeDirectory = "shop"\n', listen='["/run/shop/shop.sock"]')


names = st.sampled_from(sorted(directive.names(Section.SERVICE) | directive.names(Section.SOCKET))) | st.text()


@given(st.sampled_from(Section), names, st.text())
def test_each_value_is_accepted_or_refused_in_one_sentence(section: Section, name: str, text: str) -> None:
    problem = directives.problem(section, name, text, ())
    assert problem == directives.problem(section, name, text, ())
    found = directive.find(section, name)
    if not problem and found is not None and found.expands:
        # Nothing is silently literal: each percent sign is a specifier, doubled, or no specifier for systemd either.
        assert all(
            letter in specifier.UNDERSTOOD[section] or not letter.isascii() or not letter.isalnum()
            for letter in re.findall(r"%(.?)", text, re.DOTALL)
        )
