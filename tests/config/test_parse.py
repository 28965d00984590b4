"""Every key of an app file: what it accepts, and the sentence that refuses anything else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd import config
from deployd.config.source import Problem
from deployd.errors import InvalidFile, NoSuchApp
from deployd.model.app import App, Listen, ListenKind, Routing, StopSettings
from deployd.model.gate import Gate, GateType, Probe
from deployd.model.pace import Amount, HookSettings, OnFailure, Order, Pace
from tests.config.app_text import FILE, TOP, parse, refusal


def test_defaults() -> None:
    listen = (Listen(ListenKind.TCP, "127.0.0.1:80"),)
    assert parse() == App("web", "/srv/web", ("bin/web",), listen, gate=Gate(learned=True), routing=Routing.STEERED)
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
        gate=Gate(
            90.0,
            5.0,
            GateType.NOTIFY,
            Probe("/_status?full=1", (), 204, 0.5, 1.0),
            smoke=(("bin/smoke", "--all"),),
            smoke_timeout=120.0,
        ),
        pace=Pace(
            Amount(2),
            Amount(25, percent=True),
            Amount(75, percent=True),
            Order.OLDEST_FIRST,
            OnFailure.PAUSE,
            3600.0,
            (Amount(1), Amount(50, percent=True)),
            True,
            HookSettings((("./bin/migrate", "--all"), ("/bin/true",)), (("bin/announce",),), timeout=300.0),
            watch=600.0,
            preview_group="staff",
        ),
        stop=StopSettings("SIGQUIT", 30.0),
        service=(
            ("MemoryMax", ("512M",)),
            ("PrivateTmp", ("yes",)),
            ("LimitNOFILE", ("65536",)),
            ("ExecStartPre", ("/bin/true one", "-/bin/true two")),
        ),
        socket=(("Backlog", ("128",)), ("SocketUser", ("www-data",)), ("NoDelay", ("yes",))),
    )


@pytest.mark.parametrize("key", ["release", "exec"])
def test_mandatory_keys(key: str) -> None:
    assert refusal(**{key: ""}).startswith(f": {key}: missing; add {key} = ")


@pytest.mark.parametrize(
    ("top", "expected"),
    [
        ({"release": "5"}, ':1: release: must be a string, not an integer; write it in quotes, as in "text"'),
        ({"release": '"web"'}, ':1: release: must be an absolute path, not "web"; start it with /'),
        ({"release": '"/srv/../etc"'}, ':1: release: must not contain ".."; write the path without it'),
        (
            {"release": '"/srv/a "'},
            ":1: release: must not begin or end with a space or contain",
        ),
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
        ({"listen": '["/run/.x.deployd"]'}, "has a name that deployd gives to sockets itself; choose another one"),
        ({"listen": f'["/{"x" * 107}"]'}, "is longer than 107 bytes, the limit for UNIX sockets; shorten it"),
        ({"listen": '["80", "[::]:80"]'}, ':3: listen: "[::]:80" is listed twice; remove one of them'),
        ({"listen": '["/run/a", "/run//a"]'}, ':3: listen: "/run/a" is listed twice; remove one of them'),
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
        ("[environment]\nA-B = ''", ":5: environment.A-B: is not a valid name of an environment variable; use"),
        ("[environment]\nDEPLOYD_X = ''", ":5: environment.DEPLOYD_X: is reserved; names that start with"),
        ("[environment]\nDEPLOYD_CHECK = 1", ":5: environment.DEPLOYD_CHECK: must be a string, not an integer"),
        ("[environment]\nNOTIFY_SOCKET = ''", ":5: environment.NOTIFY_SOCKET: is set by systemd for each process"),
        ("[environment]\nLISTEN_FDS = ''", ":5: environment.LISTEN_FDS: is set by systemd for each process"),
        ("[environment]\nOPTIND = ''", ":5: environment.OPTIND: is overwritten by the shell that starts the program"),
        ("[environment]\nA = 1", ":5: environment.A: must be a string, not an integer; write it in quotes"),
        ('[environment]\nA = "\\u0000"', ":5: environment.A: must not contain a NUL character; remove it"),
        ('[environment]\nA = "\\uFFFE"', ":5: environment.A: must not contain U+FFFE, which systemd regards as"),
        ('[environment]\nA = "\\U0001FFFF"', ":5: environment.A: must not contain U+1FFFF, which systemd regards"),
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
            ':5: [socket] FileDescriptorName: "probe" is the name of a',
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
        (
            "zzz = 1",
            ":4: zzz: unknown key at the top level; allowed are after, deploy, drain, environment, environment_fi",
        ),
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
        ("[drain]\nx = 1", ":5: drain.x: unknown key in [drain]; allowed are close_after, command, settle, signal"),
        ("[rollout]\nwarm_up = 1", ":5: rollout.warm_up: unknown key in [rollout]; it belongs in the top level"),
        ("[rollout]\ncommand = []", ":5: rollout.command: unknown key in [rollout]; it belongs in [rollout.analysis]"),
        ("[stop]\nx = 1", ":5: stop.x: unknown key in [stop]; allowed are quiet, quiet_for, signal, timeout"),
        ("[servce]\nNice = 1", ":4: servce: unknown key at the top level; did you mean service?"),
    ],
)
def test_unknown_keys(more: str, expected: str) -> None:
    assert refusal(more).startswith(expected)


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


def test_directives_keep_their_order_and_values() -> None:
    app = parse('[service]\nB = "50% $x"\nA = ["", true, 5]\nC = false')
    assert app.service == (("B", ("50% $x",)), ("A", ("", "yes", "5")), ("C", ("no",)))


@pytest.mark.parametrize("name", ["web", "Web-2", "a", "0", "my.app_1", "x" * 63])
def test_names(name: str) -> None:
    config.check_name(name)


@pytest.mark.parametrize(
    "name", ["", ".web", "-web", "we b", "web@", "a/b", "ä", "x" * 64, "deployd", "web.service", "a.socket", "web\n"]
)
def test_invalid_names(name: str) -> None:
    with pytest.raises(Problem):
        config.check_name(name)
    with pytest.raises(InvalidFile):
        config.parse(name, "", FILE)


def test_load_names_the_app_after_its_file(tmp_path: Path) -> None:
    path = tmp_path / "shop.toml"
    path.write_text("\n".join(f"{key} = {value}" for key, value in TOP.items()))
    assert config.load(path).name == "shop"


def test_load_refuses_other_files(tmp_path: Path) -> None:
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


@given(st.text(max_size=200))
def test_arbitrary_text_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(InvalidFile, match=f"^{FILE}[^\n]*$"):
        config.parse("web", text, FILE)


def test_quoted_text_in_a_refusal_is_escaped_and_shortened() -> None:
    assert refusal('"a\\nb\\u001b" = 1').startswith(r": a\nb\x1b: unknown key at the top level; allowed are")
    assert refusal(user=f'"{"x y" * 10_000}"').endswith('write a name such as "www-data", or a number')
