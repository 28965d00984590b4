"""A value of an app file remains a value: an independent reader finds everything in its place."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from deployd import config
from deployd.config import directives, values
from deployd.config.source import Problem
from deployd.model.app import App, Directives, Listen, ListenKind, StopSettings
from deployd.model.directive import Section, find, names
from deployd.model.gate import Gate
from deployd.units.text import command_unit, escape, generation_files, unit_files
from tests.units import systemd_syntax as syntax

STATE = "/var/lib/deployd"
WEB = (Listen(ListenKind.TCP, "80"),)

SPECIAL = "\"'\\`$%;#=[]{}*?~!&|<>()@:+-, \t\n\r\x00\x01\x1b\x7f\x85\u2028\ufeffé漢\U0001f680"
anything = st.text(st.one_of(st.sampled_from(SPECIAL), st.characters()), max_size=60)
long = st.builds(lambda text, times: (text * times)[:10_000], anything, st.integers(1, 2000))


def accepted(convert: Any) -> st.SearchStrategy[Any]:
    """Return what a converter of config returns for text, without control characters if it refuses them."""

    def attempt(text: str) -> Any:
        for candidate in (text, "".join(filter(str.isprintable, text)).strip("\\ /"), "x"):
            try:
                return convert(candidate)
            except Problem:
                continue
        raise AssertionError

    return st.one_of(anything, long).map(attempt)


string = accepted(values.string)
path = accepted(lambda text: values.path("/" + text))
key = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True).filter(
    lambda name: not name.startswith("DEPLOYD_") and name not in ("PWD", "OLDPWD", "IFS", "OPTIND", "PPID", "_")
)


def directives_of(section: Section) -> st.SearchStrategy[Directives]:
    """Directives with values that are accepted: any text with specifiers and variables in it, or a harmless one."""
    known = st.sampled_from(sorted(names(section) - {"DynamicUser"}))
    any_name = known | st.from_regex(r"[A-Za-z][A-Za-z0-9]{0,20}", fullmatch=True)
    pieces = st.lists(st.sampled_from(["%i", "%n", "%t", "%%", "%", "$", "$$", "$MAINPID", "${HOME}", " "]) | anything)
    texts = (pieces.map("".join) | long).map(lambda text: "".join(filter(str.isprintable, text)).strip("\\ "))

    def of(name: str) -> st.SearchStrategy[tuple[str, tuple[str, ...]]]:
        accepted_texts = texts.map(lambda text: text if not directives.problem(section, name, text) else "x")
        return st.tuples(st.just(name), st.lists(accepted_texts, min_size=1, max_size=3).map(tuple))

    wanted = any_name.filter(lambda name: not directives.problem(section, name, "x")).flatmap(of)
    return st.lists(wanted, max_size=4, unique_by=lambda item: item[0]).map(tuple)


account = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.@-]{0,20}", fullmatch=True)
apps = st.builds(
    App,
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True),
    release=path,
    exec=st.lists(string, max_size=5).map(lambda words: ("/usr/bin/program", *words)),
    listen=st.lists(path.map(lambda text: Listen(ListenKind.UNIX, text)), min_size=1, max_size=3).map(tuple),
    user=st.none() | account,
    group=st.none() | account,
    environment=st.dictionaries(key, string, max_size=5).map(lambda pairs: tuple(pairs.items())),
    environment_files=st.lists(path, max_size=3).map(tuple),
    service=directives_of(Section.SERVICE),
    socket=directives_of(Section.SOCKET),
)


def tail(lines: list[tuple[str, str]], table: Directives, section: Section) -> list[tuple[str, list[str]]]:
    """Return the last lines of a section as systemd reads them, as many as the table has."""
    return meant(lines[len(lines) - len(lines_of(table)) :], section)


def meant(lines: list[tuple[str, str]], section: Section) -> list[tuple[str, list[str]]]:
    known = {name: find(section, name) for name, _ in lines}
    return [
        (
            name,
            syntax.meaning(value, expands=bool(its and its.expands), command=bool(its and its.is_command)),
        )
        for name, value in lines
        for its in [known[name]]
    ]


def lines_of(table: Directives) -> list[tuple[str, str]]:
    return [(name, value) for name, its_values in table for value in its_values]


@given(apps, path)
def test_units_have_exactly_the_expected_directives(app: App, state: str) -> None:
    socket, app_unit, instance = (syntax.sections(unit.text) for unit in unit_files(app, 3, state, "/opt/d $x/d"))
    assert [name for name, _ in socket] == ["Unit", "Socket", "Install"]
    assert [name for name, _ in app_unit] == ["Unit", "Service", "Install"]
    assert [name for name, _ in instance] == ["Unit", "Service"]

    lines = dict(socket)["Socket"]
    addresses = [syntax.expand(value, "1") for name, value in lines if name == "ListenStream"]
    assert addresses[: len(app.listen)] == [listen.address for listen in app.listen]
    assert tail(lines, app.socket, Section.SOCKET) == meant(lines_of(app.socket), Section.SOCKET)
    added = {"Backlog", *(["RuntimeDirectoryPreserve"] if "RuntimeDirectory" in dict(app.socket) else [])}
    added |= {"RemoveOnStop"} if app.has_unix else set()
    assert len(lines) == len(app.listen) + 2 + len(lines_of(app.socket)) + len(added - dict(app.socket).keys())

    lines = dict(app_unit)["Service"]
    assert syntax.words(dict(lines)["ExecReload"], "1") == ["/opt/d $x/d", "rollout", app.name, "--reload"]
    assert len(lines) == 5

    lines = dict(instance)["Service"]
    assert tail(lines, app.service, Section.SERVICE) == meant(lines_of(app.service), Section.SERVICE)
    ours = lines[: len(lines) - len(lines_of(app.service))]
    pin = f"{state.rstrip('/')}/apps/{app.name}/pins/12" if state != "/" else f"//apps/{app.name}/pins/12"
    assert syntax.words(dict(ours)["ExecStart"], "12") == ["/bin/sh", f"{pin}/run", "12"]
    assert syntax.expand(dict(ours)["WorkingDirectory"], "12") == f"{pin}/release"
    files = [syntax.expand(value, "12") for name, value in ours if name == "EnvironmentFile"]
    captured = [f"-{pin}/environment-*"] if app.environment_files else []
    assert files == [*captured, f"{pin}/environment"]
    accounts = [(name, syntax.expand(value, "1")) for name, value in ours if name in ("User", "Group")]
    assert accounts == [(name, text) for name, text in (("User", app.user), ("Group", app.group)) if text is not None]


@pytest.mark.parametrize(
    ("key", "value", "written"),
    [
        ("CPUQuota", "50%", "50%"),
        ("RuntimeDirectory", "app/%i", "app/%i"),
        ("SyslogIdentifier", "100%% %n % $HOME", "100%% %n %% $HOME"),
        ("ExecStartPre", "/bin/echo $HOME ${HOME} $$ $( ^x$ %t %", "/bin/echo $HOME ${HOME} $$ $$( ^x$$ %t %%"),
        ("ExecPaths", "/$x", "/$x"),
        ("Unknown", "$x %", "$x %"),
    ],
)
def test_only_what_begins_no_specifier_and_no_variable_is_escaped(key: str, value: str, written: str) -> None:
    assert escape.directive(value, Section.SERVICE, key) == written


def test_a_hook_has_no_number() -> None:
    app = App("a", "/r", ("/p",), (), service=(("RuntimeDirectory", ("a-%i %N", "%%i %t")), ("Slice", ("%n",))))
    lines = command_unit(app, "/e").splitlines()
    assert [line for line in lines if line.startswith(("RuntimeDirectory=", "Slice="))] == [
        "RuntimeDirectory=a-hook a@hook",
        "RuntimeDirectory=%%i %t",
        "Slice=a@hook.service",
    ]


@given(string, string)
def test_any_word_is_one_word(first: str, second: str) -> None:
    # Without control characters, which the templates refuse.
    line = f"{escape.word(first)} {escape.word(second)}"
    if not first or not second or set(line) & set("\r\n"):
        return
    assert syntax.words(line, "1") == [first, second]


@given(apps, st.integers(1, 10**9), path)
@example(
    App(
        "a",
        "/r",
        ("/p",),
        (),
        environment=(("A", "x\\\n"), ("B", "\\"), ("C", "#"), ("D", " \n")),
        environment_files=(),
    ),
    1,
    "/r",
)
def test_the_environment_file_reads_back(app: App, number: int, release: str) -> None:
    text, mode = generation_files(app, number, release)["environment"]
    ours = {"DEPLOYD_APP": app.name, "DEPLOYD_PROCESS": "web"}
    ours |= {"DEPLOYD_GENERATION": str(number), "DEPLOYD_RELEASE": release}
    assert syntax.environment_file(text) == dict(app.environment) | ours
    assert mode == 0o600


@pytest.fixture(scope="module")
def program() -> Iterator[Path]:
    """Return a program that writes its arguments and environment, each followed by NUL."""
    with TemporaryDirectory() as directory:
        path = Path(directory, "program")
        path.write_text('#!/bin/sh\nprintf "%s\\0" "$DEPLOYD_INSTANCE" "$@"\n')
        path.chmod(0o755)
        yield path


@given(st.lists(string, max_size=6))
@example(["".join(map(chr, range(1, 256))), "", "-n", "'", "\\", "a\\'b\n'"])
@settings(max_examples=60, deadline=None)
def test_the_script_passes_the_arguments(program: Path, arguments: list[str]) -> None:
    app = App("a", "/r", (str(program), *arguments), ())
    seen = run_script(app, 5, "5").split(b"\0")
    assert seen == [b"17", *(argument.encode() for argument in arguments), b""]


def run_script(app: App, number: int, generation: str, status: int = 0) -> bytes:
    with TemporaryDirectory() as directory:
        script = Path(directory, "run")
        script.write_bytes(generation_files(app, number, "/srv/release")["run"][0].encode())
        done = subprocess.run(
            ["/bin/sh", script, "17"],
            env={"DEPLOYD_GENERATION": generation, "DEPLOYD_INSTANCE": "the file's", "PATH": os.environ["PATH"]},
            capture_output=True,
            check=False,
            timeout=30,
        )
    assert (done.returncode, done.stderr) == (status, b"")
    return done.stdout


def test_the_script_does_not_start_with_another_generation_s_environment(program: Path) -> None:
    assert run_script(App("a", "/r", (str(program),), ()), 5, "4", status=75) == b""


@pytest.mark.parametrize(
    ("written", "expected"), [("bin/app", "/srv/r/bin/app"), ("./app", "/srv/r/app"), ("/bin/x", "/bin/x")]
)
def test_relative_programs_are_relative_to_the_release(written: str, expected: str) -> None:
    text, _ = generation_files(App("a", "/r", (written, "b/c"), ()), 1, "/srv/r")["run"]
    assert text.splitlines()[-1] == f"exec '{expected}' 'b/c'"


def test_a_control_character_never_reaches_a_unit() -> None:
    app = App("a", "/r", ("/p",), (), service=(("Description", ("x\nExecStart=/bin/false",)),))
    with pytest.raises(ValueError, match="control character"):
        unit_files(app, 1, STATE)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(60, "60s"), (0.25, "250ms"), (1.5, "1500ms"), (0.1, "100ms"), (0.0000001, "1us"), (0.1234567, "123457us")],
)
def test_time_spans(seconds: float, text: str) -> None:
    app = App("a", "/r", ("/p",), WEB, gate=Gate(timeout=seconds), stop=StopSettings(timeout=seconds))
    lines = unit_files(app, 1, STATE)[2].text.splitlines()
    assert f"TimeoutStartSec={text}" in lines
    assert f"TimeoutStopSec={text}" in lines


def test_the_app_file_overrides_defaults() -> None:
    app = App("a", "/r", ("/p",), WEB, service=(("Restart", ("no",)),), socket=(("Backlog", ("7",)),))
    socket, _, instance = unit_files(app, 1, STATE)
    assert [line for line in instance.text.splitlines() if line.startswith("Restart=")] == ["Restart=always"]
    assert [line for line in socket.text.splitlines() if line.startswith("Backlog=")] == ["Backlog=7"]


def test_settings_read_back_from_json() -> None:
    app = config.parse("web", 'release = "/r"\nexec = ["x"]\nlisten = ["80"]\n[service]\nA = ["b", "c"]\n', "web.toml")
    assert App.from_json(app.to_json()) == app
    assert dataclasses.replace(app, instances=9).fingerprint("/r") == app.fingerprint("/r")
