"""The addresses of a steered app, whose instances or generations have a socket unit each. Pure but for interfaces."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from deployd.model import unit_name
from deployd.model.address import NO_GENERATION, NO_INSTANCE, STOPPED, Address
from deployd.model.app import Listen, ListenKind
from deployd.routing.passed_sockets import SHARED_UNIX
from deployd.units.occupants import is_on_interface


def addresses(
    app: str,
    listen: Iterable[Listen],
    *,
    up: bool,
    opened: Collection[int],
    lost: Mapping[int, str],
    generation: int | None,
    shared: str,
) -> tuple[Address, ...]:
    """Return the addresses of an app.

    `opened`: the instances with an open TCP socket; `lost`: those that run without theirs, and why; `generation`: the
    open UNIX socket to which addresses lead; `shared`: an open socket of instances without sockets of their own, or "".
    """
    stopped = "" if up else STOPPED
    return tuple(
        _tcp(app, item.address, stopped, opened, lost, shared)
        if item.kind is ListenKind.TCP
        else _unix(app, item.address, stopped, generation, shared)
        for item in listen
    )


def _tcp(
    app: str, address: str, stopped: str, opened: Collection[int], lost: Mapping[int, str], shared: str
) -> Address:
    away = "" if is_on_interface(address) else "no interface of this machine has the address"
    first = min(lost or opened, default=0)
    unit = unit_name.instance_socket(app, first or "*")
    if opened:
        return Address(address, unit, True, lost[first] if lost else away)
    if shared:
        return Address(address, shared, True, away)
    return Address(address, unit, False, stopped or (lost[first] if lost else NO_INSTANCE))


def _unix(app: str, address: str, stopped: str, generation: int | None, shared: str) -> Address:
    unit = unit_name.generation_socket(app, "*" if generation is None else generation)
    unit = shared if generation == SHARED_UNIX else unit
    opened = generation is not None
    return Address(address, unit, opened, "" if opened else stopped or NO_GENERATION)
