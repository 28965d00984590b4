"""The table of directives: complete, nothing invented, and what it says about single ones."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.model import directive, specifier
from deployd.model.directive import Kind, Section, Verdict

SYSTEMD = Path("/usr/lib/systemd/systemd")


def known() -> tuple[int, dict[str, set[str]]]:
    """Return the version of the systemd of this machine, and the directives that it knows by section."""
    if not SYSTEMD.exists():
        verdict = pytest.fail if os.environ.get("CI") else pytest.skip
        verdict("systemd is not installed")
    version = subprocess.run([SYSTEMD, "--version"], capture_output=True, text=True, check=True, timeout=30).stdout
    dump = "--dump-configuration-items"
    text = subprocess.run([SYSTEMD, dump], capture_output=True, text=True, check=True, timeout=30).stdout
    found: dict[str, set[str]] = {}
    section = ""
    for line in text.splitlines():
        if header := re.fullmatch(r"\[(\w+)\]", line):
            section = header[1]
        elif "=" in line:
            found.setdefault(section, set()).add(line.partition("=")[0])
    return int(version.split()[1]), found


def test_the_table_has_the_directives_that_systemd_knows_and_no_others() -> None:
    version, of_systemd = known()
    for section in Section:
        ours = directive.names(section)
        theirs = of_systemd[section.capitalize()]
        assert ours - directive.newer() <= theirs
        if version <= 257:
            assert theirs <= ours
        if version >= 257:
            assert ours <= theirs


def test_what_a_drop_in_must_not_set_exists() -> None:
    _, of_systemd = known()
    for kind in Kind:
        for pattern in directive._data()[kind]:
            section, _, name = pattern.partition(".")
            assert any(re.fullmatch(name.replace("*", ".*"), its) for its in of_systemd[section]), pattern


@pytest.mark.parametrize("section", Section)
def test_each_directive_is_decided_once(section: Section) -> None:
    data = directive._data()
    fits = f"{data['fits']} {data[section]['fits']}".split()
    others = [name for verdict in list(Verdict)[1:] for name in data[section][verdict]]
    assert len(fits) + len(others) == len({*fits, *others})
    assert {*data["expands"].split(), *directive.newer()} <= directive.names(Section.SERVICE) | directive.names(
        Section.SOCKET
    )
    assert data[section]["values"].keys() <= directive.names(section)
    for name, value in directive.defaults(section):
        found = directive.find(section, name)
        assert found is not None
        assert found.problem(value) == ""


@given(st.sampled_from(Section), st.data())
def test_a_refusal_says_what_to_do(section: Section, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(directive.names(section))))
    found = directive.find(section, name)
    assert found is not None
    problem = found.problem(data.draw(st.text()))
    if found.verdict in (Verdict.SET, Verdict.REFUSED):
        assert re.search(r"\b(use|leave|list|run|limit)\b", problem), problem
    elif not found.allowed:
        assert problem == ""


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("KillMode", "process", "processes that a stopped instance leaves would keep accepting connections"),
        ("KillMode", "control-group", ""),
        ("StandardOutput", "file:/var/log/x", "instances would overwrite each other's output"),
        ("StandardOutput", "file:/var/log/x-%i", ""),
        ("StandardOutput", "append:/var/log/x", ""),
        ("StandardError", "journal+console", ""),
        ("StandardInput", "socket", "instances cannot share it"),
        ("ExecStopPost", "", "would remove what deployd runs after a stop"),
        ("RuntimeDirectoryPreserve", "restart", "with the first instance that stops"),
        ("PIDFile", "/run/x.pid", "one file for all instances"),
        ("RuntimeMaxSec", "1d", "without replacing them"),
    ],
)
def test_values(name: str, value: str, expected: str) -> None:
    found = directive.find(Section.SERVICE, name)
    assert found is not None
    problem = found.problem(value)
    assert expected in problem
    assert bool(expected) == bool(problem)


@pytest.mark.parametrize(
    ("kind", "section", "name", "value", "is_broken"),
    [
        (Kind.INSTANCE, "Service", "MemoryMax", "1G", False),
        (Kind.INSTANCE, "Service", "Type", "simple", True),
        (Kind.INSTANCE, "Service", "ExecStart", "", True),
        (Kind.INSTANCE, "Service", "Restart", "no", False),
        (Kind.INSTANCE, "Unit", "StartLimitIntervalSec", "10s", True),
        (Kind.INSTANCE, "Unit", "StartLimitIntervalSec", "0", False),
        (Kind.INSTANCE, "Unit", "ConditionHost", "a", True),
        (Kind.APP, "Service", "Restart", "always", True),
        (Kind.APP, "Service", "ExecStart", "/bin/x", True),
        (Kind.APP, "Service", "MemoryMax", "1G", False),
        (Kind.LISTENER, "Socket", "ListenStream", "", True),
        (Kind.LISTENER, "Socket", "Backlog", "7", False),
    ],
)
def test_drop_ins(kind: Kind, section: str, name: str, value: str, is_broken: bool) -> None:
    assert bool(directive.broken(kind, section, name, value)) == is_broken


@pytest.mark.parametrize(
    ("section", "text", "expected"),
    [
        (Section.SERVICE, "a-%i %n %t/%S %% 50% %", ""),
        (Section.SERVICE, "%h", "%h stands for the user of systemd itself, which is root"),
        (Section.SERVICE, "%P", 'makes "/" of each "-"'),
        (Section.SERVICE, "%Z", "%Z is no specifier that deployd knows"),
        (Section.SERVICE, "%%h", ""),
        (Section.SERVICE, "%%%h", "%h stands for"),
        (Section.SOCKET, "%i", "%i differs from instance to instance"),
        (Section.SOCKET, "%t/x", ""),
    ],
)
def test_specifiers(section: Section, text: str, expected: str) -> None:
    problem = specifier.problem(section, text)
    assert problem.startswith(expected) or expected in problem
    assert bool(problem) == bool(expected)
