"""Reads and parses a whole app file."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from pathlib import Path

from deployd.config import overlap, port_mode, trust, user_mode, values, without_listen, without_overlap
from deployd.config.address import addresses
from deployd.config.calendar import is_calendar
from deployd.config.delivery import delivery
from deployd.config.directives import directives
from deployd.config.drain import drain
from deployd.config.gate import gate, refuse_no_proof, refuse_own_address
from deployd.config.pace import pace
from deployd.config.process import (
    LARGEST_FILE,
    elsewhere,
    merged,
    order,
    pace_of_process,
    processes,
    refuse_shared_names,
)
from deployd.config.source import Problem, Source, Table, one_line, printable
from deployd.config.steering import refuse_what_cannot_be_steered, refuse_what_needs_steering, unsteerable
from deployd.config.stop import stop_settings
from deployd.config.timer import Readers, timers
from deployd.config.user_mode import Limits
from deployd.errors import InvalidFile, NoSuchApp
from deployd.model.app import ROUTES, App, Directives, Mode, Routing
from deployd.model.app_name import name_problem
from deployd.model.directive import Section

LARGEST_ENVIRONMENT = 1024 * 1024
# Tables of keys that are often written at the top level.
_TABLE_OF = {
    "timeout": "[gate] or [stop]",
    **dict.fromkeys(("type", "min_ready", "probe", "watchdog", "smoke", "smoke_timeout"), "[gate]"),
    **dict.fromkeys(
        ("max_surge", "max_unavailable", "order", "pause_after", "on_failure", "deadline", "irreversible", "hooks"),
        "[rollout]",
    ),
    **dict.fromkeys(("rollback_surge", "standby", "standby_memory", "analysis", "preview_group"), "[rollout]"),
    "signal": "[stop] or [drain]",
    **dict.fromkeys(("quiet", "quiet_for"), "[stop]"),
    **dict.fromkeys(("close_after", "settle"), "[drain]"),
    **dict.fromkeys(("build", "shared", "assets", "keep", "current"), "[deploy]"),
}


def load(path: Path) -> App:
    """Read and check the app file `path`; the app is named after the file. Raises InvalidFile and NoSuchApp."""
    file = printable(str(path))
    if path.suffix != ".toml":
        raise InvalidFile(f"{file}: the name of an app file must end in .toml; rename it")
    _require_name(path.stem, file)
    try:
        data = trust.read(path, LARGEST_FILE + 1)
    except FileNotFoundError:
        raise NoSuchApp(one_line(f"no app {path.stem}: {file} does not exist; create it")) from None
    except Problem as problem:
        raise InvalidFile(one_line(f"{file}: {problem}")) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InvalidFile(one_line(f"{file}: cannot be read: {reason}")) from None
    if len(data) > LARGEST_FILE:
        raise InvalidFile(f"{file}: is larger than 1 MiB; an app file must be smaller")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidFile(f"{file}:{line}: is not UTF-8 text; save it as UTF-8") from None
    app = parse(path.stem, text, file, only6=overlap.ipv6_only(), of_user=user_mode.limits(), is_calendar=is_calendar)
    refuse_shared_names(app, path)
    return app


def check_name(name: str) -> None:
    """Raise `Problem` if `name` is not valid for an app."""
    if problem := name_problem(name):
        raise Problem(problem)


def is_name(name: str) -> bool:
    """True if `name` is valid for an app. Invalid names must not be quoted in messages unescaped."""
    try:
        check_name(name)
    except Problem:
        return False
    return True


def _require_name(name: str, file: str) -> None:
    try:
        check_name(name)
    except Problem as problem:
        raise InvalidFile(one_line(f"{file}: {problem}")) from None


def parse(
    name: str,
    text: str,
    file: str,
    *,
    only6: bool = False,
    of_user: Limits | None = None,
    is_calendar: Callable[[str], bool] = lambda _: True,
) -> App:
    """Return the app that `text` describes. Raises `InvalidFile` with one sentence.

    `only6` is the machine's default for sockets at [::] (`overlap.ipv6_only`), `of_user` what an app of a user cannot
    have, None for one of the system.
    """
    _require_name(name, file)
    source = Source(file, text)
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidFile(_syntax(file, text, str(error))) from None
    except RecursionError:
        raise InvalidFile(f"{file}: is nested too deeply; an app file has at most tables within tables") from None
    top = Table(source, (), raw)
    app = _app(name, top, only6=only6, of_user=of_user)

    def read(process: str, table: Table) -> App:
        return _app(process, table, within=app, only6=only6, of_user=of_user)

    readers = Readers(is_calendar, _environment, stop_settings, is_user=of_user is not None)
    app = replace(app, processes=processes(app, top, read, only6=only6))
    return replace(app, timers=timers(app, top.table("process"), readers))


def _app(name: str, top: Table, *, within: App | None = None, only6: bool, of_user: Limits | None) -> App:
    """Return the app, or the process type of the app `within`, that a table describes."""
    app = _read(name, top, within)
    if within is None:
        top.table("process")  # it is read later, because its tables inherit from the app
        app = replace(app, delivery=delivery(top, app.release))
    top.finish(_TABLE_OF if within is None else elsewhere(app.process))
    _refuse_private_sockets(app, top)
    if of_user is not None:
        user_mode.refuse_what_needs_root(app, top, of_user)
    app = _routed(app, top)
    if not app.overlap:
        without_overlap.refuse_what_overlaps(top)
        app = app.without_overlap()
    port_mode.refuse_what_needs_a_socket(app, top)
    refuse_no_proof(app, top)
    refuse_own_address(app, top)
    if (both := overlap.overlap(app, only6=only6)) is not None:
        raise top.fail("listen", overlap.sentence(*both))
    return app


def _routed(app: App, top: Table) -> App:
    """Return the app with the routing that follows from the rest of its file. Raises InvalidFile."""
    if not app.listen:
        without_listen.refuse_what_needs_an_address(top)
        return replace(app, routing=Routing.NONE)
    if "routing" not in top and (reason := unsteerable(app)):
        app = replace(app, routing=Routing.SHARED, routing_reason=reason)
    if app.steered:
        refuse_what_cannot_be_steered(app, top)
    else:
        refuse_what_needs_steering(top)
    return app


def _read(name: str, top: Table, within: App | None) -> App:
    process = "" if within is None else name.removeprefix(f"{within.name}.")
    environment = _environment(top.table("environment"), () if within is None else within.environment)
    files = top.get(
        "environment_files",
        values.array(values.environment_file, '["/etc/default/myapp"]'),
        () if within is None else within.environment_files,
    )
    stop = stop_settings(top.table("stop"))
    service = _service(top.table("service"), None if files else dict(environment).keys())
    return App(
        name=name,
        release=top.require("release", values.path, 'release = "/srv/myapp/current"')
        if within is None
        else within.release,
        exec=top.require("exec", values.argv, 'exec = ["/usr/bin/python3", "app.py"]'),
        listen=top.get("listen", addresses, ()),
        instances=top.get("instances", values.integer(1, 1000), 1),
        overlap=top.get("overlap", values.boolean, True),
        user=top.get("user", values.account, within.user if within is not None else None),
        group=top.get("group", values.account, within.group if within is not None else None),
        environment=environment,
        environment_files=files,
        gate=gate(top.table("gate")),
        pace=pace(top.table("rollout")) if within is None else pace_of_process(within.pace),
        stop=stop,
        service=service if within is None else merged(within.service, service),
        socket=_socket(top.table("socket")),
        mode=top.get("mode", values.choice(Mode), Mode.SOCKET),
        routing=top.get("routing", values.choice(ROUTES), Routing.STEERED),
        warm_up=top.get("warm_up", values.duration(0, values.DAY), 0.0),
        drain=drain(top.table("drain"), stop.signal),
        process=process,
        after=order(top, process, within),
    )


def _syntax(file: str, text: str, message: str) -> str:
    """Return the message of tomllib with the line where editors expect it."""
    position = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", message)
    where = f"{position[1]}:{position[2]}" if position and position[1] else str(len(text.splitlines()) or 1)
    what = message[: position.start()] if position else message
    return one_line(f"{file}:{where}: is not valid TOML: {what}; correct the syntax there")


def _environment(table: Table, inherited: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    pairs = [(key, value) for key, value in inherited if key not in table]
    for key, raw in table.items():
        try:
            value = values.string(raw)
            pairs.append((values.environment_key(key), value))
            if len(f"{key}={value}".encode()) > values.LONGEST_STRING:
                raise Problem("must not be longer than 128 KiB with its name, the kernel's limit; move it to a file")
        except Problem as problem:
            raise table.fail(key, str(problem)) from None
        if sum(len(f"{key}={value}".encode()) + 1 for key, value in pairs) > LARGEST_ENVIRONMENT:
            raise table.fail(key, "the environment must not be larger than 1 MiB in total; move values to files")
    return tuple(pairs)


def _service(table: Table, variables: Collection[str] | None) -> Directives:
    passed = {"PassEnvironment", "SetLoginEnvironment", "PAMName"}
    return directives(table, Section.SERVICE, None if any(key in table for key in passed) else variables)


def _refuse_private_sockets(app: App, top: Table) -> None:
    """Raise InvalidFile for a UNIX socket in a directory that only root can enter.

    systemd puts RuntimeDirectory= of a dynamic user into /run/private if it is to stay when an instance stops.
    """
    service = dict(app.service)
    if service.get("DynamicUser", ("no",))[-1].lower() not in ("yes", "true", "y", "t", "on", "1"):
        return
    directories = [word for value in service.get("RuntimeDirectory", ()) for word in value.split()]
    for item in app.listen:
        if any(f"{item.address}/".startswith(f"/run/{name.strip('/')}/") for name in directories):
            raise top.fail(
                "listen",
                f"{item.address} is in RuntimeDirectory=, which only root can enter with DynamicUser=; choose another"
                " directory, or set user instead",
            )


def _socket(table: Table) -> Directives:
    found = directives(table, Section.SOCKET)
    if "probe" in dict(found).get("FileDescriptorName", ()):
        raise table.fail("FileDescriptorName", '"probe" is the name of a socket of deployd; choose another name')
    return found
