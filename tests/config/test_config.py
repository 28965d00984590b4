"""Every key of an app file: what it takes, and the one sentence that refuses the rest."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd import config
from deployd.config import values
from deployd.config.gate import http_path
from deployd.config.pace import commands, pauses
from deployd.config.source import Problem, Source
from deployd.errors import InvalidFile, InvalidRequest, NoSuchApp, Refused
from deployd.model.app import App, Drain, Listen, ListenKind, Routing, StopSettings
from deployd.model.gate import Gate, GateType, Probe
from deployd.model.pace import Amount, AnalysisSettings, HookSettings, Memory, OnFailure, Order, Pace
from tests.config.app_text import FILE, TOP, parse, refusal


def test_defaults() -> None:
    listen = (Listen(ListenKind.TCP, "127.0.0.1:80"),)
    assert parse() == App("web", "/srv/web", ("bin/web",), listen, gate=Gate(learned=True), hardened=True)
    assert parse().instances == 1


def test_every_key_is_read() -> None:
    app = config.load(Path(__file__).parents[1] / "units" / "golden" / "everything.toml")
    assert app == App(
        name="everything",
        release="/srv/myapp/current",
        exec=("/usr/bin/python3", "app.py", "--workers", "2"),
        listen=(
            Listen(ListenKind.TCP, "127.0.0.1:8080"),
            Listen(ListenKind.TCP, "[::1]:8080"),
            Listen(ListenKind.UNIX, "/run/myapp/http.sock"),
        ),
        instances=4,
        user="www-data",
        group="www-data",
        environment=(("KEY", "value"), ("OTHER", "two words")),
        environment_files=("/etc/default/myapp", "-/etc/default/myapp.local"),
        gate=Gate(90.0, 5.0, GateType.NOTIFY, Probe("/_status?full=1", (), 204, 0.5, 1.0)),
        pace=Pace(
            Amount(2),
            Amount(25, percent=True),
            Order.OLDEST_FIRST,
            OnFailure.PAUSE,
            3600.0,
            (Amount(1), Amount(50, percent=True)),
            True,
            HookSettings((("./bin/migrate", "--all"), ("/bin/true",)), (("bin/announce",),), 300.0),
        ),
        stop=StopSettings("SIGQUIT", 30.0),
        service=(
            ("MemoryMax", ("512M",)),
            ("PrivateTmp", ("yes",)),
            ("LimitNOFILE", ("65536",)),
            ("ExecStartPre", ("/bin/true one", "-/bin/true two")),
        ),
        socket=(("Backlog", ("128",)), ("SocketUser", ("www-data",)), ("NoDelay", ("yes",))),
        hardened=True,
    )


@pytest.mark.parametrize("key", ["release", "exec", "listen"])
def test_what_must_be_there(key: str) -> None:
    assert refusal(**{key: ""}).startswith(f": {key}: missing; add {key} = ")


@pytest.mark.parametrize(
    ("top", "expected"),
    [
        ({"release": "5"}, ':1: release: must be a string, not an integer; write it in quotes, as in "text"'),
        ({"release": '"web"'}, ':1: release: must be an absolute path, not "web"; start it with /'),
        ({"release": '"/srv/../etc"'}, ':1: release: must not contain ".."; write the path it leads to'),
        ({"release": '"/srv/a "'}, ":1: release: must not end in a blank or contain a backslash; rename the file"),
        ({"release": '"/srv/\\n"'}, ":1: release: must not contain the control character U+000A; remove it"),
        ({"exec": '"bin/web"'}, ":2: exec: must be an array, not a string; write it as "),
        ({"exec": "[]"}, ":2: exec: must name a program; write it as "),
        ({"exec": '[""]'}, ":2: exec: must name a program; write it as "),
        ({"exec": '["x", 5]'}, ":2: exec: must be a string, not an integer; write it in quotes"),
        ({"exec": '["x", "a\\u0000"]'}, ":2: exec: must not contain a NUL character; remove it"),
        ({"exec": '["../x"]'}, ':2: exec: must not leave the release with ".."; write an absolute path'),
        ({"exec": '["bin/"]'}, ':2: exec: "bin/" is a directory; name the program in it'),
        ({"exec": f'["x", "{"y" * 131072}"]'}, ":2: exec: must not be longer than 128 KiB, the kernel's limit"),
        ({"listen": "8080"}, ':3: listen: must be an array, not an integer; write it as ["127.0.0.1:8080"]'),
        ({"listen": "[]"}, ":3: listen: must have at least one address; write it as"),
        ({"listen": "[true]"}, ":3: listen: an address must be a string, not a boolean; write "),
        ({"listen": '["0"]'}, ':3: listen: "0" has no usable port; ports are 1 to 65535'),
        ({"listen": '["127.0.0.1:65536"]'}, ':3: listen: "127.0.0.1:65536" has no usable port; ports are 1 to 65535'),
        ({"listen": '["localhost:80"]'}, ':3: listen: "localhost:80": the host must be a literal IPv4 address or an'),
        ({"listen": '["::1:80"]'}, ':3: listen: "::1:80": the host must be a literal IPv4 address or an IPv6 address'),
        ({"listen": '["[fe80::1%eth0]:80"]'}, ':3: listen: "[fe80::1%eth0]:80": the host must be a literal'),
        ({"listen": '["127.0.0.1"]'}, ':3: listen: "127.0.0.1" is not an address with a port; write "8080", '),
        ({"listen": '["run/x"]'}, ':3: listen: "run/x" is not an address with a port; write "8080", '),
        ({"listen": '["/run/"]'}, ':3: listen: "/run/" is a directory; write '),
        ({"listen": f'["/{"x" * 107}"]'}, "is longer than 107 bytes, the limit for UNIX sockets; shorten it"),
        ({"listen": '["80", "[::]:80"]'}, ':3: listen: "[::]:80" is there twice; remove one of them'),
        ({"listen": '["/run/a", "/run//a"]'}, ':3: listen: "/run/a" is there twice; remove one of them'),
        ({"instances": "0"}, ":4: instances: must be from 1 to 1000, not 0"),
        ({"instances": "1001"}, ":4: instances: must be from 1 to 1000, not 1001"),
        ({"instances": "true"}, ":4: instances: must be an integer, not a boolean; write a number from 1 to 1000"),
        ({"instances": "1.0"}, ":4: instances: must be an integer, not a float"),
        ({"user": '"a b"'}, ':4: user: "a b" is not a user or group; write a name such as "www-data", or a number'),
        ({"user": '"%i"'}, ':4: user: "%i" is not a user or group'),
        ({"group": "65535"}, ":4: group: 65535 is not a usable number; write one from 0 to 4294967294, but not 65535"),
        ({"environment_files": '["x"]'}, ':4: environment_files: must be an absolute path, not "x"; start it with /'),
        ({"environment_files": '["-x"]'}, ':4: environment_files: must be an absolute path, not "x"'),
        ({"routing": '"other"'}, ':4: routing: must be one of "shared", "steered", not "other"'),
        ({"spill_over": "-1"}, ":4: spill_over: must be from 0 to 65535, not -1"),
        ({"warm_up": '"2d"'}, ":4: warm_up: must be from 0 to 86400 seconds, not 2d"),
        ({"gate": "5"}, ":4: gate: must be a table, not an integer; write it as [gate]"),
    ],
)
def test_refusals_at_the_top(top: dict[str, str], expected: str) -> None:
    assert expected in refusal(**top)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ('[stop]\nsignal = "SIGNOTHING"', ':5: stop.signal: must be the name of a signal, not "SIGNOTHING"; write it'),
        ("[stop]\nsignal = 15", ':5: stop.signal: must be the name of a signal, not "15"; write it as "SIGTERM"'),
        ("[stop]\ntimeout = 0", ":5: stop.timeout: must be from 0.1 to 86400 seconds, not 0"),
        ("[environment]\nA-B = ''", ":5: environment.A-B: is not a name for an environment variable; use letters,"),
        ("[environment]\nDEPLOYD_X = ''", ":5: environment.DEPLOYD_X: is deployd's own; names that start with"),
        ("[environment]\nNOTIFY_SOCKET = ''", ":5: environment.NOTIFY_SOCKET: is set by systemd for each process"),
        ("[environment]\nLISTEN_FDS = ''", ":5: environment.LISTEN_FDS: is set by systemd for each process"),
        ("[environment]\nOPTIND = ''", ":5: environment.OPTIND: is overwritten by the shell that starts the program"),
        ("[environment]\nA = 1", ":5: environment.A: must be a string, not an integer; write it in quotes"),
        ('[environment]\nA = "\\u0000"', ":5: environment.A: must not contain a NUL character; remove it"),
        ('[environment]\nA = "\\uFFFE"', ":5: environment.A: must not contain U+FFFE, which systemd takes for invalid"),
        ('[environment]\nA = "\\U0001FFFF"', ":5: environment.A: must not contain U+1FFFF, which systemd takes"),
        (f'[environment]\nA = "{"x" * 131070}"', ":5: environment.A: must not be longer than 128 KiB with its name"),
        ('[service]\nUser = "x"', ":5: [service] User: is set by deployd: use user"),
        ('[service]\nExecStart = "x"', ":5: [service] ExecStart: is set by deployd: use exec"),
        ('[service]\nTimeoutStopSec = "x"', ":5: [service] TimeoutStopSec: is set by deployd: use [stop] timeout"),
        ("[service]\nStartLimitBurst = 5", "a start limit that is hit makes systemd close the listening socket"),
        ('[service]\n"Exec Start" = "x"', ":5: [service] Exec Start: is not a directive; write its name as in the man"),
        ('[service]\nNice = "1\\n2"', ":5: [service] Nice: must not contain the control character U+000A; remove it"),
        ('[service]\nNice = ["1", "2\\r"]', ":5: [service] Nice: must not contain the control character U+000D"),
        ("[service]\nNice = '1\\'", ":5: [service] Nice: must not end in a backslash, which would join the next line"),
        ("[service]\nNice = 1.5", ":5: [service] Nice: must be a string, integer, boolean or an array of these, not a"),
        ("[service]\nNice = []", ':5: [service] Nice: must not be an empty array; write "" to reset a list'),
        ("[service.Nice]\nx = 1", "[service] Nice: must be a string, integer, boolean or an array of these, not a"),
        ('[socket]\nListenStream = "1"', ":5: [socket] ListenStream: is set by deployd: list addresses in listen"),
        (
            '[socket]\nFileDescriptorName = "probe"',
            ':5: [socket] FileDescriptorName: "probe" is what deployd calls its',
        ),
        ("[socket]\nAccept = true", ":5: [socket] Accept: is set by deployd: instances accept connections themselves"),
    ],
)
def test_refusals_in_tables(more: str, expected: str) -> None:
    assert expected in refusal(more)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("relase = 1", ":4: relase: unknown key at the top level; did you mean release?"),
        ("zzz = 1", ":4: zzz: unknown key at the top level; allowed are drain, environment, environment_files, exec, "),
        ("max_surge = 1", ":4: max_surge: unknown key at the top level; it belongs in [rollout]"),
        ("[gate]\ntimeuot = 1", ":5: gate.timeuot: unknown key in [gate]; did you mean timeout?"),
        (
            "[rollout.hooks]\nbefor = []",
            ":5: rollout.hooks.befor: unknown key in [rollout.hooks]; did you mean before?",
        ),
        ("[gate]\nhttp = '/'", ":5: gate.http: unknown key in [gate]; it belongs in probe = { … }"),
        ("[gate.probe]\nhttp = '/'\nport = 1", ":6: gate.probe.port: unknown key in [gate.probe]; allowed are command"),
        ("[rollout]\nbefore = []", ":5: rollout.before: unknown key in [rollout]; it belongs in [rollout.hooks]"),
        ("irreversible = true", ":4: irreversible: unknown key at the top level; it belongs in [rollout]"),
        ("standby = 1", ":4: standby: unknown key at the top level; it belongs in [rollout]"),
        ("close_after = 1", ":4: close_after: unknown key at the top level; it belongs in [drain]"),
        ("[drain]\nx = 1", ":5: drain.x: unknown key in [drain]; allowed are close_after"),
        ("[rollout]\nspill_over = 1", ":5: rollout.spill_over: unknown key in [rollout]; it belongs in the top level"),
        ("[rollout]\ncommand = []", ":5: rollout.command: unknown key in [rollout]; it belongs in [rollout.analysis]"),
        ("[stop]\nx = 1", ":5: stop.x: unknown key in [stop]; allowed are signal, timeout"),
        ("[servce]\nNice = 1", ":4: servce: unknown key at the top level; did you mean service?"),
    ],
)
def test_unknown_keys(more: str, expected: str) -> None:
    assert refusal(more).startswith(expected)


STEERED = 'routing = "steered"\n'


def test_steering() -> None:
    app = parse(
        STEERED + 'spill_over = 0\nwarm_up = "10s"\n[drain]\nclose_after = "1min"\n'
        '[rollout]\nstandby = "15min"\nstandby_memory = "512M"',
        listen='[80, "/run/web.sock"]',
        instances="500",
    )
    assert (app.routing, app.steered) == (Routing.STEERED, True)
    assert (app.spill_over, app.warm_up, app.drain) == (0, 10.0, Drain(60.0))
    assert (app.pace.standby, app.pace.standby_memory) == (900.0, Memory(512 << 20))
    default = parse(STEERED)
    assert (default.spill_over, default.warm_up, default.drain, default.pace.standby) == (16, 0, Drain(0), 0)
    assert (parse().routing, parse().steered) == (Routing.SHARED, False)


def test_an_analysis_is_a_command() -> None:
    assert parse('[rollout.analysis]\ncommand = ["bin/is-well"]').pace.analysis == AnalysisSettings(
        ("bin/is-well",), 10, 30
    )
    more = 'command = ["x", "y"]\ninterval = "1s"\ntimeout = 2'
    assert parse(STEERED + f"[rollout.analysis]\n{more}").pace.analysis == AnalysisSettings(("x", "y"), 1, 2)
    assert refusal("[rollout.analysis]\ninterval = 1").startswith(
        ': rollout.analysis.command: missing; add command = ["'
    )


@pytest.mark.parametrize(
    ("written", "memory"),
    [
        ("0", Memory(0)), ("1073741824", Memory(1 << 30)), ('"4096"', Memory(4096)), ('"1K"', Memory(1024)),
        ('"2G"', Memory(2 << 30)), ('"1T"', Memory(1 << 40)), ('"0%"', Memory(0, percent=True)),
        ('"100%"', Memory(100, percent=True)),
    ],
)  # fmt: skip
def test_memory(written: str, memory: Memory) -> None:
    assert parse(f"{STEERED}[rollout]\nstandby_memory = {written}").pace.standby_memory == memory


@pytest.mark.parametrize("written", ['"101%"', '"-1"', "-1", '"1.5G"', '"1k"', '"M"', '"1024T"', "true", "1.5", "[]"])
def test_what_is_no_memory(written: str) -> None:
    assert 'such as "50%", or bytes such as "512M"' in refusal(f"{STEERED}[rollout]\nstandby_memory = {written}")


@pytest.mark.parametrize(
    ("top", "more", "expected"),
    [
        ({"instances": "501"}, "", ':4: instances: must be from 1 to 500 with routing = "steered", not 501'),
        ({}, "[socket]\nReusePort = true", ":6: [socket] ReusePort: is set by deployd: with routing ="),
        ({}, "[socket]\nReusePort = false", ":6: [socket] ReusePort: is set by deployd: with routing ="),
    ],
)
def test_what_cannot_be_steered(top: dict[str, str], more: str, expected: str) -> None:
    assert expected in refusal(STEERED + more, **top)
    parse(more, **top)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("spill_over = 16", ':4: spill_over: needs routing = "steered"'),
        ("warm_up = 0", ':4: warm_up: needs routing = "steered"'),
        ("[drain]\nclose_after = 0", ':4: drain: needs routing = "steered"'),
        ("[rollout]\nstandby = 60", ':5: rollout.standby: needs routing = "steered": on a shared socket connections'),
        ("[rollout]\nstandby_memory = 0", ':5: rollout.standby_memory: needs routing = "steered"'),
    ],
)
def test_what_needs_steering(more: str, expected: str) -> None:
    assert refusal(more).startswith(expected)
    parse(STEERED + more)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("a = ", ":1: is not valid TOML: Invalid value; correct the syntax there"),
        ("a = 1\na = 2\n", ":2:6: is not valid TOML: Cannot overwrite a value; correct the syntax there"),
        ('a = "', ":1: is not valid TOML: "),
        ("a = " + "[" * 5000, ": is nested too deeply"),
    ],
)
def test_syntax_errors_have_line_and_column(text: str, where: str) -> None:
    with pytest.raises(InvalidFile, match=re.escape(FILE + where)):
        config.parse("web", text, FILE)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ('"60s"', 60), ('"250ms"', 0.25), ('"30min"', 1800), ('"1h"', 3600), ('"1min 30s"', 90), ('"1min30s"', 90),
        ('" 2 hours 5 minutes "', 7500), ('"1.5s"', 1.5), ("45", 45), ("0.5", 0.5), ('"45"', 45), ('"500000us"', 0.5),
        ('"1d"', 86400),
    ],
)  # fmt: skip
def test_time_spans(written: str, seconds: float) -> None:
    assert parse(f"[gate]\ntimeout = {written}").gate.timeout == seconds


def test_no_waiting_is_a_time_span_where_it_makes_sense() -> None:
    assert parse("[gate]\nmin_ready = 0").gate.min_ready == 0


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("8080", "8080"), ('"8080"', "8080"), ('"080"', "80"), ('"0.0.0.0:1"', "0.0.0.0:1"),
        ('"[0:0:0:0:0:0:0:1]:65535"', "[::1]:65535"), ('"/run//a/./b"', "/run/a/b"),
    ],
)  # fmt: skip
def test_addresses_are_normalised(written: str, address: str) -> None:
    assert [listen.address for listen in parse(listen=f"[{written}]").listen] == [address]


@pytest.mark.parametrize("written", ["SIGTERM", "TERM", "SIGRTMIN", "SIGRTMIN+3", "RTMAX-1", "SIGUSR2"])
def test_signals(written: str) -> None:
    assert parse(f'[stop]\nsignal = "{written}"').stop.signal == f"SIG{written.removeprefix('SIG')}"


def test_directives_keep_their_order_and_mean_what_systemd_says() -> None:
    app = parse('[service]\nB = "50% $x"\nA = ["", true, 5]\nC = false')
    assert app.service == (("B", ("50% $x",)), ("A", ("", "yes", "5")), ("C", ("no",)))


@pytest.mark.parametrize("name", ["web", "Web-2", "a", "0", "my.app_1", "x" * 63])
def test_names(name: str) -> None:
    config.check_name(name)


@pytest.mark.parametrize(
    "name", ["", ".web", "-web", "we b", "web@", "a/b", "ä", "x" * 64, "deployd", "web.service", "a.socket", "web\n"]
)
def test_impossible_names(name: str) -> None:
    with pytest.raises(Problem):
        config.check_name(name)
    with pytest.raises(InvalidFile):
        config.parse(name, "", FILE)


def test_lines_of_keys() -> None:
    text = '''\
a = """
b = 1
[c]
"""
"b" = 2 # [d]
[c] # table
"d e".f = { g = 1 }
h = [
  1,
]
'''
    source = Source("x", text)
    lines = {("a",): 1, ("b",): 5, ("c",): 6, ("c", "d e", "f"): 7, ("c", "d e", "f", "g"): 7, ("c", "h"): 8}
    assert {path: source.line(path) for path in lines} == lines
    assert source.line(("c", "unknown")) == 6
    assert source.line(("unknown",)) is None


def test_load_names_the_app_after_its_file(tmp_path: Path) -> None:
    path = tmp_path / "shop.toml"
    path.write_text("\n".join(f"{key} = {value}" for key, value in TOP.items()))
    assert config.load(path).name == "shop"


def test_load_refuses_what_is_no_app_file(tmp_path: Path) -> None:
    with pytest.raises(NoSuchApp, match=r"no app shop: .*shop\.toml does not exist; create it"):
        config.load(tmp_path / "shop.toml")
    (tmp_path / "dir.toml").mkdir()
    with pytest.raises(InvalidFile, match=r"dir\.toml: is a directory, not a regular file; remove it"):
        config.load(tmp_path / "dir.toml")
    (tmp_path / "latin.toml").write_bytes(b"a = 1\nb = '\xe9'\n")
    with pytest.raises(InvalidFile, match=r"latin\.toml:2: is not UTF-8 text; save it as UTF-8"):
        config.load(tmp_path / "latin.toml")
    (tmp_path / "large.toml").write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(InvalidFile, match="is larger than 1 MiB"):
        config.load(tmp_path / "large.toml")
    (tmp_path / "web.conf").write_text("")
    with pytest.raises(InvalidFile, match=r"must end in \.toml; rename it"):
        config.load(tmp_path / "web.conf")


def release(tmp_path: Path, name: str = "v1") -> Path:
    directory = tmp_path / name
    (directory / "bin").mkdir(parents=True)
    (directory / "bin/web").write_text("")
    (directory / "bin/web").chmod(0o755)
    return directory


def test_a_release_is_the_directory_that_a_symlink_leads_to(tmp_path: Path) -> None:
    directory = release(tmp_path)
    (tmp_path / "current").symlink_to("v1")
    app = parse(release=f'"{tmp_path}/current"')
    assert config.resolve_release(app) == os.path.realpath(directory)
    other = release(tmp_path, "v2")
    assert config.resolve_release(app, str(other)) == os.path.realpath(other)


def test_releases_that_cannot_be_used(tmp_path: Path) -> None:
    app = parse(release=f'"{tmp_path}/missing"')
    with pytest.raises(Refused, match="missing cannot be used: No such file or directory; put the directory there"):
        config.resolve_release(app)
    with pytest.raises(InvalidRequest, match='the release "v1" is not an absolute path; start it with /'):
        config.resolve_release(app, "v1")
    with pytest.raises(Refused, match="cannot be used: embedded null byte"):
        config.resolve_release(app, "/\0")
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match="file is not a directory"):
        config.resolve_release(app, str(tmp_path / "file"))
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(Refused, match="Too many levels of symbolic links"):
        config.resolve_release(app, str(tmp_path / "loop"))
    with pytest.raises(Refused, match="its path must not contain the control character"):
        config.resolve_release(app, str(release(tmp_path, "a\nb")))
    undecodable = tmp_path / os.fsdecode(b"\xff")
    release(undecodable)
    with pytest.raises(Refused, match="its path is not UTF-8; rename it"):
        config.resolve_release(app, str(undecodable / "v1"))


def test_the_program_must_be_there_and_executable(tmp_path: Path) -> None:
    directory = release(tmp_path)
    (directory / "bin/web").chmod(0o644)
    with pytest.raises(Refused, match=r"exec of web names .*/v1/bin/web, which is not an executable file"):
        config.resolve_release(parse(), str(directory))
    (directory / "bin/web").unlink()
    with pytest.raises(Refused, match=r"exec of web names .*/v1/bin/web, which does not exist"):
        config.resolve_release(parse(), str(directory))
    with pytest.raises(Refused, match="names /nonexistent/python, which does not exist"):
        config.resolve_release(parse(exec='["/nonexistent/python"]'), str(directory))


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.parametrize(
    "convert",
    [
        values.string, values.plain, values.path, values.environment_file, values.argv, values.amount, values.signal,
        values.account, values.integer(0, 5), values.duration(0, 5), values.choice(Order), values.boolean,
        config.address.addresses, http_path, pauses, commands,
    ],
    ids=lambda convert: convert.__qualname__,
)  # fmt: skip
@given(raw=json)
def test_converters_take_anything_and_only_ever_complain(convert: Any, raw: Any) -> None:
    with contextlib.suppress(Problem):
        convert(raw)


@given(st.text(max_size=200))
def test_any_text_that_is_no_app_is_one_sentence(text: str) -> None:
    with pytest.raises(InvalidFile, match=f"^{FILE}[^\n]*$"):
        config.parse("web", text, FILE)


def test_what_a_sentence_quotes_cannot_break_it() -> None:
    assert refusal('"a\\nb\\u001b" = 1').startswith(r": a\nb\x1b: unknown key at the top level; allowed are")
    assert refusal(user=f'"{"x y" * 10_000}"').endswith('write a name such as "www-data", or a number')
