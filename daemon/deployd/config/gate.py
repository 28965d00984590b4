"""The [gate] table: when an instance counts as ready, and the probe that checks it."""

from __future__ import annotations

import re
from typing import Any

from deployd.config import values
from deployd.config.pace import commands
from deployd.config.source import Problem, Table
from deployd.model.address import is_near
from deployd.model.app import App, Listen, ListenKind
from deployd.model.gate import Gate, GateType, Probe

LONGEST_PATH = 2048
LONGEST_HOST = 255
SHORTEST = 0.01
"""Shortest interval and timeout of a probe, in seconds."""
HOUR = 3600.0

_SCHEMES = {"80": "http", "443": "https"}
_WILDCARDS = frozenset({"", "0.0.0.0", "[::]"})  # noqa: S104

_EXAMPLE = 'write probe = { http = "/_status" } or probe = { command = ["bin/check"] }'


def gate(table: Table) -> Gate:
    """Read the gate. A missing timeout is `learned`: it is derived from past boots when a generation is made."""
    default = Gate()
    found = Gate(
        timeout=table.get("timeout", values.duration(0.1, values.DAY), default.timeout),
        min_ready=table.get("min_ready", values.duration(0, values.DAY), default.min_ready),
        type=table.get("type", values.choice(GateType), default.type),
        probe=_probe(table.table("probe")) if "probe" in table else None,
        watchdog=table.get("watchdog", values.duration(0, values.DAY), default.watchdog),
        smoke=table.get("smoke", commands, default.smoke),
        smoke_timeout=table.get("smoke_timeout", values.duration(0.1, values.DAY), default.smoke_timeout),
        learned="timeout" not in table,
    )
    table.finish(dict.fromkeys(("http", "host", "command", "expect", "interval", "fail_after"), "probe = { … }"))
    return found


def refuse_no_proof(app: App, top: Table) -> None:
    """Raise InvalidFile for a gate that every program passes that can be executed."""
    if app.gate.type is not GateType.EXEC or app.gate.probe is not None:
        return
    if app.listen:
        raise top.table("gate").fail("type", f'"exec" does not report readiness, so it needs a probe; {_EXAMPLE}')
    if not app.gate.min_ready:
        raise top.table("gate").fail(
            "type",
            '"exec" does not report readiness, so it needs min_ready, the time for which an instance must stay up;'
            ' write min_ready = "5s", or probe = { command = ["bin/check"] }',
        )


def doubts(app: App) -> tuple[str, ...]:
    """Return what may be wrong with the gate of an app, as sentences."""
    if app.gate.probe is None or app.steered:
        return ()
    return (
        'gate.probe does not keep clients away: with routing = "shared" an instance accepts their connections from its'
        ' start, also while its probe fails; with routing = "steered" only instances that have passed get any',
    )


def refuse_own_address(app: App, top: Table) -> None:
    """Raise InvalidFile for a probe command that asks an address of the app instead of the instance that it checks."""
    command = app.gate.probe.command if app.gate.probe is not None else ()
    for word in command:
        if asked := next((item.address for item in app.listen if _is_asked(item, word)), ""):
            probe = top.table("gate").table("probe")
            raise probe.fail(
                "command",
                f"asks {asked}, an address of the app, where any instance may answer: a release that never serves would"
                f" pass because an old instance answers; {_instead(word)}",
            )


def _is_asked(item: Listen, word: str) -> bool:
    """True if an argument contains the address, as a path, as HOST:PORT, or in a URL that leaves out the port."""
    if item.kind is ListenKind.UNIX:
        return re.search(rf"{re.escape(item.address)}(?![\w.-])", word) is not None
    host, _, port = item.address.rpartition(":")
    near = is_near(host.strip("[]"))
    names = {host, "localhost"} if near else {host}
    if host in _WILDCARDS:
        names = {*_WILDCARDS, "localhost", "127.0.0.1", "[::1]"} - {""}
    hosts = "|".join(map(re.escape, names))
    scheme = _SCHEMES.get(port)
    left_out = rf"|\b{scheme}://(?:{hosts})(?![\w.:-])" if scheme else ""
    return re.search(rf"(?<![\w.-])(?:{hosts}):{port}(?!\d){left_out}", word, re.IGNORECASE) is not None


def _instead(word: str) -> str:
    """Return what to write instead of a command with this argument."""
    if "https://" in word.lower():
        return "have it ask this instance alone, such as at a port or socket that follows from DEPLOYD_INSTANCE"
    path = re.search(r"//[^/\s]+(/[!-~]*)", word)
    target = path[1].partition("#")[0] if path else "/up"
    return f'write probe = {{ http = "{target}" }}, which asks this very instance'


def _probe(table: Table) -> Probe:
    default = Probe()
    http = table.get("http", http_path, "")
    command: tuple[str, ...] = table.get("command", values.argv, Probe().command)
    if bool(http) == bool(command):
        both = "has both http and command; remove one of them" if http else f"has no http or command; {_EXAMPLE}"
        raise table.fail("command" if http else "", both)
    if command and "host" in table:
        raise table.fail("host", "is the Host header of a probe with http, and a command has none; remove it")
    probe = Probe(
        http=http,
        command=command,
        host=table.get("host", host_header, ""),
        expect=table.get("expect", values.integer(200, 599), 200) if http else table.get("expect", _status, 0),
        interval=table.get("interval", values.duration(SHORTEST, HOUR), default.interval),
        timeout=table.get("timeout", values.duration(SHORTEST, HOUR), default.timeout),
        fail_after=table.get("fail_after", values.integer(0, 1_000_000), default.fail_after),
    )
    table.finish()
    return probe


_status = values.integer(0, 255)
_HOST = re.compile(r"[A-Za-z0-9._-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")


def host_header(raw: Any) -> str:
    """Convert a Host header: a name or an address, optionally with a port (RFC 9110, 7.2)."""
    text = values.string(raw)
    if len(text) > LONGEST_HOST or not _HOST.fullmatch(text):
        raise Problem(f'must be a name or an address, optionally with a port, not "{text}"; write "www.example.com"')
    return text


def http_path(raw: Any) -> str:
    """Convert the request target of a GET: a path, optionally with a query, in the characters a request line allows."""
    text = values.string(raw)
    if not text.startswith("/"):
        raise Problem(f'must be a path that starts with /, not "{text}"; write it as "/_status"')
    for letter in text:
        if not "!" <= letter <= "~" or letter == "#":
            raise Problem(
                f"must not contain {letter!r}: spaces, control characters, # and non-ASCII characters are"
                " percent-encoded in a path; write %20 for a space"
            )
    if len(text) > LONGEST_PATH:
        raise Problem(f"must not be longer than {LONGEST_PATH} characters; shorten it")
    return text
