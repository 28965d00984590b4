"""The unit files of an app, rendered from the templates. See `model.unit_name` for their names.

Every app has an app unit, a template of its instances and, if these are probed over HTTP, a template of their private
sockets. An app with shared sockets has one socket unit, and another one for each change of `listen`. A steered app has
a template of the TCP sockets of single instances, and a UNIX socket for each generation.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from deployd.model import specifier, unit_name
from deployd.model.app import App, Directives, ListenKind
from deployd.model.credential import KEYS
from deployd.model.directive import FIXED, Section, defaults
from deployd.model.scope import SYSTEM, Scope
from deployd.units.text import escape, socket_paths, sockets
from deployd.units.text.generation import ENVIRONMENT, credential, environment_files, marker
from deployd.units.text.hardening import hardening
from deployd.units.text.sockets import Socket
from deployd.units.text.templates import Unit, header, signal_number, span, templates

_OTHER_ROOTS = frozenset({"RootDirectory", "RootImage"})
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/._@+-]+")
"""Paths without anything that is special in BindPaths=."""


def unit_names(app_name: str) -> tuple[str, ...]:
    """Return the names of the unit files of an app with shared sockets, without those of later sockets."""
    return (
        unit_name.shared_socket(app_name),
        unit_name.app_unit(app_name),
        unit_name.template(app_name),
        unit_name.probe_socket(app_name, ""),
    )


def is_unit(app_name: str, name: str) -> bool:
    """True if a unit file of this name belongs to the app as a whole, and not to a single instance."""
    socket = unit_name.socket_of(name) if unit_name.is_service(name) else name
    steered_ones = (unit_name.instance_socket(app_name, ""), unit_name.instance_socket_starter(app_name, ""))
    counts = (unit_name.shared_socket_count(app_name, socket), unit_name.generation_socket_number(app_name, name))
    return name in (*unit_names(app_name), *steered_ones) or any(count is not None for count in counts)


def unit_files(
    app: App,
    instances: int,
    state_dir: str,
    command: str = "/usr/bin/deployd",
    *,
    listening: Sequence[Socket] | None = None,
    held: Collection[str] | None = None,
    probe_sockets: bool = False,
    steer: bool = False,
    alongside: bool = False,
    generation_socket: int | None = None,
    scope: Scope = SYSTEM,
) -> tuple[Unit, ...]:
    """Return the unit files of `app`, whose app unit wants `NAME@1` to `NAME@<instances>` (surge included).

    `listening`: the shared sockets, in order; by default the first one, with all addresses, or none with `steer`.
    `held`: the shared sockets that the instances are passed; by default all.
    `probe_sockets`: with the template of private sockets even if `app` needs none, for instances of older generations.
    `steer`: each instance has TCP sockets of its own, and all accept from the UNIX socket `generation_socket`.
    `alongside`: instances with such sockets run alongside those with shared ones.
    """
    first, *names = unit_names(app.name)
    if listening is None:
        addresses = tuple(item.address for item in app.listen)
        listening = () if steer or not addresses else (Socket(first, addresses),)
    if steer:
        held = _steered_sockets(app, generation_socket)
    there = [item.name for item in listening]
    generation = f"{escape.specifier(f'{state_dir}/apps/{app.name}/pins')}/%i"
    files = ["service.j2", "instance.j2"]
    private = app.has_probe_socket(steered=steer)
    if probe_sockets or private:
        files.append("probe.j2")
    values: dict[str, Any] = {
        "header": header(app, scope),
        "app": app,
        "app_unit": unit_name.app_unit(app.name),
        "instance": unit_name.instance(app.name, "%i"),
        "probed_over_http": private,
        "probe_unit": unit_name.probe_socket(app.name, "%i"),
        "probe_path": socket_paths.probe(app.name, "%i", Path(escape.specifier(str(scope.runtime)))),
        "instances": [unit_name.instance(app.name, number) for number in range(1, instances + 1)],
        **{name: f"{state_dir}/apps/{app.name}/{name}" for name in ("pins", "draining")},
        "environment_files": environment_files(app, generation),
        "command": command,
        "scope": scope,
        "start_timeout": span(app.gate.timeout),
        "stop_timeout": span(app.stop.timeout),
        "stop_signal": signal_number(app.stop.signal),
        "service": _service(app, generation, scope),
        "sockets": there,
        "held": held if steer else there if held is None else sockets.names_in_order(app.name, held),
    }
    values["protected"] = _protected(app, listening, values["held"], generation_socket if steer else None, scope)
    texts = (templates().get_template(file).render(values) for file in files)
    opened = [*_listening(app, listening, values), *(_steered(app, generation_socket, values) if steer else ())]
    if steer or alongside:
        opened.append(_starter(app, values))
    return (*opened, *(Unit(*item) for item in zip(names, texts, strict=False)))


def is_steered(installed: Collection[str], app_name: str) -> bool | None:
    """True if some of the installed units are those of a steered app, None if none are installed."""
    if unit_name.instance_socket_starter(app_name, "") in installed:
        return True
    shared = {unit_name.shared_socket(app_name), unit_name.template(app_name)}
    return None if shared.isdisjoint(installed) else False


def command_unit(app: App, generation: str, scope: Scope = SYSTEM, environment: str = ENVIRONMENT) -> str:
    """Return a unit with the settings of the instances of `app`, except for those of their start and stop.

    `generation` is the directory of the files of their generation, `environment` the file there that is read last.
    """
    directory = escape.specifier(generation)
    values = {
        "header": header(app, scope),
        "app": app,
        "environment_files": environment_files(app, directory, environment),
        "service": [
            (key, specifier.without_instance(value, app.name)) for key, value in _service(app, directory, scope)
        ],
    }
    return templates().get_template("command.j2").render(values)


def _service(app: App, generation: str, scope: Scope) -> list[tuple[str, str]]:
    """Return the lines of [service] with its defaults, for instances whose generation is in the directory."""
    own = tuple(item for item in app.service if item[0] not in FIXED)
    lines = _lines(Section.SERVICE, own, ("SyslogIdentifier", f"{app.name}@%i"), *hardening(app, user=scope.is_user))
    return [(key, credential(app, value, generation) if key in KEYS else value) for key, value in lines]


def _socket(app: App, *more: tuple[str, str], tcp: bool) -> list[tuple[str, str]]:
    """Return the lines of [socket] with its defaults and `more` of them; `tcp`: it has a TCP address."""
    lines = _lines(Section.SOCKET, app.socket, *more)
    return lines if tcp or "FreeBind" in dict(app.socket) else [item for item in lines if item != ("FreeBind", "yes")]


def _steered_sockets(app: App, generation_socket: int | None) -> tuple[str, ...]:
    """Return the sockets that an instance of a steered app is passed."""
    own = (unit_name.instance_socket(app.name, "%i"),) if app.has_tcp else ()
    return own if generation_socket is None else (*own, unit_name.generation_socket(app.name, generation_socket))


def _steered(app: App, generation_socket: int | None, values: dict[str, object]) -> Iterable[Unit]:
    """Yield the units of a steered app's sockets."""
    more = values | {"fd_name": unit_names(app.name)[0], "socket": _socket(app, tcp=False)}
    if app.has_tcp:
        own = {
            "own_addresses": [escape.specifier(item.address) for item in app.listen if item.kind is ListenKind.TCP],
            "instance_starter": unit_name.instance_socket_starter(app.name, "%i"),
            "socket": _socket(app, tcp=True),
        }
        text = templates().get_template("steered.j2").render(more | own)
        yield Unit(unit_name.instance_socket(app.name, ""), text)
    if generation_socket is not None:
        links = [
            (address, socket_paths.listener(app.name, generation_socket, address), socket_paths.link(app.name, address))
            for address in app.unix
        ]
        shared = {
            "generation_socket": generation_socket,
            "marker": marker(generation_socket),
            "starter": unit_name.generation_socket_starter(app.name, generation_socket),
            "links": links,
        }
        text = templates().get_template("generation.j2").render(more | shared)
        yield Unit(unit_name.generation_socket(app.name, generation_socket), text)


def _starter(app: App, values: dict[str, object]) -> Unit:
    """Return the template of the service that a connection to a socket of a steered app starts."""
    return Unit(unit_name.instance_socket_starter(app.name, ""), templates().get_template("start.j2").render(values))


def _listening(app: App, listening: Iterable[Socket], values: dict[str, object]) -> Iterable[Unit]:
    """Yield the shared sockets, and for those after the first the services that they start."""
    first = unit_names(app.name)[0]
    for item in listening:
        # The default is the name of the unit, but ":" separates the names in $LISTEN_FDNAMES.
        named = () if item.name == first else (("FileDescriptorName", first),)
        paths = [_is_path(address) for address in item.addresses]
        removed = (("RemoveOnStop", "yes"),) if any(paths) else ()
        more = values | {
            "unit": item,
            "starter": unit_name.service_of(item.name),
            "socket": _socket(app, *named, *removed, tcp=not all(paths)),
        }
        yield Unit(item.name, templates().get_template("socket.j2").render(more))
        if item.name != first:
            yield Unit(unit_name.service_of(item.name), templates().get_template("starter.j2").render(more))


def _protected(app: App, listening: Iterable[Socket], held: Iterable[str], own: int | None, scope: Scope) -> list[str]:
    """Return the paths of the UNIX sockets that an instance is passed, those that BindPaths= takes as they are.

    With another root directory the instance sees none of them, and a user manager fails at a mount where user
    namespaces are not allowed.
    """
    if scope.is_user or _OTHER_ROOTS & dict(app.service).keys():
        return []
    shared = (address for item in listening if item.name in held for address in item.addresses)
    paths = shared if own is None else (socket_paths.listener(app.name, own, address) for address in app.unix)
    return [path for path in paths if _is_path(path) and _PLAIN_PATH.fullmatch(path)]


def _is_path(address: str) -> bool:
    return address.startswith("/")


def _lines(section: Section, own: Directives, *more: tuple[str, str]) -> list[tuple[str, str]]:
    """Return the lines as (directive, value): the defaults that the app file does not set, then its own."""
    set_there = {key for key, _ in own}
    if "RuntimeDirectory" not in set_there:
        set_there.add("RuntimeDirectoryPreserve")
    lines = [(key, value) for key, value in (*defaults(section), *more) if key not in set_there]
    return lines + [(key, escape.directive(value, section, key)) for key, all_values in own for value in all_values]
