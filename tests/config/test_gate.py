"""[gate]: when an instance counts as ready."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployd import config
from deployd.errors import Refused
from deployd.model.gate import Gate, GateType, Probe
from tests.config.app_text import parse, refusal


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ('[gate]\ntype = "x"', ':5: gate.type: must be one of "notify", "exec", not "x"'),
        ("[gate]\ntype = 1", ':5: gate.type: must be one of "notify", "exec", not 1'),
        ("[gate]\ntimeout = 0", ":5: gate.timeout: must be from 0.1 to 86400 seconds, not 0; write it as"),
        ('[gate]\ntimeout = "infinity"', ":5: gate.timeout: must not be infinite; write a time span such as"),
        ('[gate]\ntimeout = "1 fortnight"', ':5: gate.timeout: "1 fortnight" is not a time span; write it as "60s"'),
        ('[gate]\ntimeout = ""', ":5: gate.timeout: must not be empty; write a time span"),
        ('[gate]\ntimeout = "-5s"', ':5: gate.timeout: "-5s" is not a time span'),
        ("[gate]\ntimeout = nan", ":5: gate.timeout: must be from 0.1 to 86400 seconds, not nan"),
        ("[gate]\ntimeout = true", ":5: gate.timeout: must be a time span, not a boolean; write it as"),
        ('[gate]\nmin_ready = "2d"', ":5: gate.min_ready: must be from 0 to 86400 seconds, not 2d"),
    ],
)
def test_refusals(more: str, expected: str) -> None:
    assert expected in refusal(more)


@pytest.mark.parametrize(
    ("probe", "expected"),
    [
        ("{}", ":5: gate.probe: has no http or command; write probe = { http = "),
        ("5", ":5: gate.probe: must be a table, not an integer; write it as [gate.probe]"),
        ("{ timeout = 1 }", ":5: gate.probe: has no http or command; write probe = { http = "),
        ('{ http = "/", command = ["x"] }', ":5: gate.probe.command: has both http and command; remove one of them"),
        ('{ http = "" }', ':5: gate.probe.http: must be a path that starts with /, not ""; write it as "/_status"'),
        ('{ http = "http://x/" }', ":5: gate.probe.http: must be a path that starts with /, not"),
        ('{ http = "/a b" }', ":5: gate.probe.http: must not contain ' ': spaces, control characters, # and non"),
        ('{ http = "/a\\r\\nX: y" }', r":5: gate.probe.http: must not contain '\r': spaces"),
        ('{ http = "/\\u007f" }', r":5: gate.probe.http: must not contain '\x7f': spaces"),
        ('{ http = "/ä" }', ":5: gate.probe.http: must not contain 'ä': spaces"),
        ('{ http = "/#x" }', ":5: gate.probe.http: must not contain '#': spaces"),
        (f'{{ http = "/{"x" * 2048}" }}', ":5: gate.probe.http: must not be longer than 2048 characters; shorten it"),
        ("{ http = 80 }", ":5: gate.probe.http: must be a string, not an integer; write it in quotes"),
        ('{ http = "/", expect = "200" }', ":5: gate.probe.expect: must be an integer, not a string; write a number"),
        ('{ http = "/", expect = 101 }', ":5: gate.probe.expect: must be from 200 to 599, not 101"),
        ('{ command = ["x"], expect = 256 }', ":5: gate.probe.expect: must be from 0 to 255, not 256"),
        ('{ http = "/", host = "a b" }', ":5: gate.probe.host: must be a name or an address, optionally with a port,"),
        ('{ http = "/", host = "x\\r\\nY: z" }', ":5: gate.probe.host: must be a name or an address"),
        ('{ http = "/", host = "" }', ":5: gate.probe.host: must be a name or an address"),
        ('{ command = ["x"], host = "x" }', ":5: gate.probe.host: is the Host header of a probe with http, and a"),
        ('{ command = "x" }', ":5: gate.probe.command: must be an array, not a string; write it as"),
        ("{ command = [] }", ":5: gate.probe.command: must name a program; write it as"),
        ('{ http = "/", interval = 0 }', ":5: gate.probe.interval: must be from 0.01 to 3600 seconds, not 0"),
        ('{ http = "/", fail_after = -1 }', ":5: gate.probe.fail_after: must be from 0 to 1000000, not -1"),
        ('{ http = "/", timeout = "0s" }', ":5: gate.probe.timeout: must be from 0.01 to 3600 seconds, not 0s"),
    ],
)
def test_refusals_of_probes(probe: str, expected: str) -> None:
    assert refusal(f"[gate]\nprobe = {probe}").startswith(expected)


@pytest.mark.parametrize(
    ("written", "probe"),
    [
        ('{ http = "/" }', Probe(http="/")),
        ('{ http = "/a%20b?c=d&e" }', Probe(http="/a%20b?c=d&e")),
        ('{ http = "/", expect = 503, interval = "10ms", timeout = 1.5 }', Probe("/", (), 503, 0.01, 1.5)),
        ('{ http = "/", host = "www.example.com:8443" }', Probe(http="/", host="www.example.com:8443")),
        ('{ http = "/", host = "[::1]" }', Probe(http="/", host="[::1]")),
        ('{ command = ["bin/check", "a b"] }', Probe(command=("bin/check", "a b"), expect=0)),
        ('{ command = ["/bin/check"], expect = 3 }', Probe(command=("/bin/check",), expect=3)),
    ],
)
def test_probes(written: str, probe: Probe) -> None:
    assert parse(f"[gate]\nprobe = {written}").gate == Gate(probe=probe, learned=True)


def test_a_probe_does_not_keep_clients_away_from_a_shared_socket() -> None:
    (doubt,) = config.doubts(parse('routing = "shared"\n[gate]\nprobe = { http = "/" }'))
    assert doubt.startswith("gate.probe does not keep clients away")
    assert 'routing = "steered"' in doubt
    assert config.doubts(parse('[gate]\nprobe = { http = "/" }')) == ()
    assert config.doubts(parse("")) == ()


def test_a_program_that_cannot_notify_needs_a_probe() -> None:
    sentence = refusal('[gate]\ntype = "exec"')
    assert sentence.startswith(':5: gate.type: "exec" does not report readiness, so it needs a probe; write probe =')
    gate = parse('[gate]\ntype = "exec"\nprobe = { http = "/" }').gate
    assert gate == Gate(type=GateType.EXEC, probe=Probe(http="/"), learned=True)


@pytest.mark.parametrize(
    ("listen", "word"),
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080/up"),
        ("127.0.0.1:8080", "localhost:8080"),
        ("8080", "http://localhost:8080"),
        ("8080", "--url=http://[::1]:8080/"),
        ("0.0.0.0:8080", "127.0.0.1:8080"),
        ("[::1]:8080", "[::1]:8080"),
        ("192.0.2.1:8080", "192.0.2.1:8080"),
        ("80", "http://localhost/up"),
        ("0.0.0.0:80", "http://127.0.0.1"),
        ("/run/web.sock", "/run/web.sock"),
    ],
)
def test_a_probe_must_not_ask_an_address_of_the_app(listen: str, word: str) -> None:
    more = f'[gate]\ntype = "exec"\nprobe = {{ command = ["/usr/bin/curl", "-f", "{word}"] }}'
    sentence = refusal(more, listen=f'["{listen}"]')
    assert sentence.startswith(f":6: gate.probe.command: asks {listen}, an address of the app, where any instance may")
    assert 'write probe = { http = "/' in sentence


@pytest.mark.parametrize(
    ("listen", "word"),
    [
        ("127.0.0.1:80", "127.0.0.1:8080"),
        ("127.0.0.1:8080", "127.0.0.1:80"),
        ("127.0.0.1:8080", "http://localhost/"),
        ("127.0.0.1:80", "https://127.0.0.1/"),
        ("192.0.2.1:80", "localhost:80"),
        ("127.0.0.1:80", "10.127.0.0.1:80"),
        ("127.0.0.1:80", "http://localhost.example.com/"),
        ("8080", "8080"),
    ],
)
def test_a_probe_may_ask_other_addresses(listen: str, word: str) -> None:
    more = f'[gate]\nprobe = {{ command = ["/usr/bin/curl", "{word}"] }}'
    assert parse(more, listen=f'["{listen}"]').gate.probe is not None


def test_the_probe_to_write_instead_has_the_path() -> None:
    def instead(word: str, listen: str) -> str:
        return refusal(f'[gate]\nprobe = {{ command = ["curl", "{word}"] }}', listen=f'["{listen}"]').rpartition("; ")[
            2
        ]

    assert instead("http://127.0.0.1:80/a?b=c", "127.0.0.1:80").startswith('write probe = { http = "/a?b=c" }, which')
    assert instead("https://localhost/up", "443").startswith("have it ask this instance alone, such as at a port or")


def test_a_missing_gate_timeout_is_learned() -> None:
    assert parse("[gate]\nmin_ready = 1").gate.learned
    assert parse("[gate]\ntimeout = 60").gate == Gate(timeout=60.0)


def test_the_program_of_a_probe_must_exist(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/web").write_text("")
    (tmp_path / "bin/web").chmod(0o755)
    directory = str(tmp_path)
    config.resolve_release(parse('[gate]\nprobe = { command = ["bin/web"] }'), directory)
    with pytest.raises(Refused, match=r"gate\.probe\.command of web names .*/bin/check, which does not exist"):
        config.resolve_release(parse('[gate]\nprobe = { command = ["bin/check"] }'), directory)
