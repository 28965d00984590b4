"""Which listening addresses cannot be open at the same time, by the rules of Linux (ip(7), ipv6(7)). Pure."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from deployd.model.app import App, Directives, Listen, ListenKind

_SYSCTL = Path("/proc/sys/net/ipv6/bindv6only")
ANY = 0
"""The address 0.0.0.0 or [::], which stands for all addresses of its family."""
EVERY = -1


@dataclass(frozen=True, slots=True)
class Claim:
    """What a listening socket claims: a path, or a port at one address of a family, at all (ANY) or at none (None)."""

    where: str | int
    v4: int | None = None
    v6: int | None = None


def overlap(app: App, *, only6: bool) -> tuple[Listen, Listen] | None:
    """Return two addresses of `app` that cannot be open at the same time, or None.

    `only6` is the machine's default for sockets at [::] (`ipv6_only`).
    """
    if _shares_ports(app):
        return None
    claims = [(item, claim(item, app.socket, only6=only6)) for item in app.listen]
    return next(((one, other) for (one, a), (other, b) in combinations(claims, 2) if conflict(a, b)), None)


def overlaps(apps: Iterable[App], *, only6: bool) -> dict[str, tuple[str, str]]:
    """Return each app that has an address which cannot be open together with one of another app: that app, and a
    sentence."""
    rows = [(app, item, claim(item, app.socket, only6=only6)) for app in apps for item in app.listen]
    claimed: defaultdict[_Place, list[tuple[App, Listen]]] = defaultdict(list)
    for app, item, mine in rows:
        for place in _places(mine):
            first = claimed[place]
            if not first or (len(first) == 1 and first[0][0].name != app.name):  # two apps are enough to name another
                first.append((app, item))
    found: dict[str, tuple[str, str]] = {}
    for app, item, mine in rows:
        others = (row for place in _rivals(mine) for row in claimed.get(place, ()) if row[0].name != app.name)
        if app.name not in found and (rival := next(others, None)) is not None:
            found[app.name] = (rival[0].name, _sentence_of_two(item, *rival))
    return found


def between(app: App, others: Iterable[App], *, only6: bool) -> str:
    """Return why an address of a process type cannot be open together with those of `others` of its app, or ""."""
    for item in app.listen:
        mine = claim(item, app.socket, only6=only6)
        for other in others:
            its = next((its for its in other.listen if conflict(mine, claim(its, other.socket, only6=only6))), None)
            if its is not None:
                of = f"the process type {other.process}" if other.process else f"the app {other.name} itself"
                same = "" if its == item else f", which listens at {its.address}"
                return f'"{item.address}" cannot be open together with {of}{same}; change one of them'
    return ""


_Place = tuple[str | int, int, int]
"""A path or a port, a family (0 for a path), and an address of that family (EVERY stands for each of them)."""


def _places(mine: Claim) -> Iterator[_Place]:
    """Yield where a claim is found by others."""
    if isinstance(mine.where, str):
        yield mine.where, 0, EVERY
    for family, address in ((4, mine.v4), (6, mine.v6)):
        if address is not None:
            yield mine.where, family, address
            yield mine.where, family, EVERY


def _rivals(mine: Claim) -> Iterator[_Place]:
    """Yield where those are found that conflict with a claim."""
    if isinstance(mine.where, str):
        yield mine.where, 0, EVERY
    for family, address in ((4, mine.v4), (6, mine.v6)):
        if address == ANY:
            yield mine.where, family, EVERY
        elif address is not None:
            yield mine.where, family, address
            yield mine.where, family, ANY


def sentence(one: Listen, other: Listen) -> str:
    """Return why two addresses of an app overlap, and what to do."""
    both = f'"{one.address}" and "{other.address}" cannot be open at the same time'
    families = {_family(one), _family(other)}
    if families == {4, 6}:
        return (
            f"{both}, because an IPv6 socket takes IPv4 connections as well; remove one of them, or set BindIPv6Only ="
            ' "ipv6-only" in [socket]'
        )
    return f"{both}, because one includes the other; remove one of them"


def claim(item: Listen, settings: Directives, *, only6: bool) -> Claim:
    """Return what a socket with these [Socket] settings claims when it listens at the address of `item`."""
    if item.kind is ListenKind.UNIX:
        return Claim(item.address)
    chosen = dict(settings).get("BindIPv6Only", ("default",))[-1]
    only6 = chosen == "ipv6-only" or (chosen == "default" and only6)
    host, port = _host(item), int(item.address.rpartition(":")[2])
    if isinstance(host, ipaddress.IPv4Address):
        return Claim(port, v4=int(host))
    if host.ipv4_mapped is not None:
        return Claim(port, v4=int(host.ipv4_mapped))
    return Claim(port, v4=ANY if int(host) == ANY and not only6 else None, v6=int(host))


def conflict(one: Claim, other: Claim) -> bool:
    """True if the kernel refuses one of both while the other is open."""
    if one.where != other.where:
        return False
    return isinstance(one.where, str) or _meet(one.v4, other.v4) or _meet(one.v6, other.v6)


def ipv6_only(sysctl: Path = _SYSCTL) -> bool:
    """True if sockets at [::] take no IPv4 connections on this machine, unless BindIPv6Only= says otherwise."""
    try:
        return sysctl.read_text().strip() == "1"
    except OSError:  # without IPv6
        return False


def _sentence_of_two(item: Listen, other: App, its: Listen) -> str:
    same = "" if its == item else f", which listens at {its.address}"
    return f'listen: "{item.address}" cannot be open together with the app {other.name}{same}; change one of them'


def _host(item: Listen) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    host = item.address.rpartition(":")[0]
    return ipaddress.ip_address(host.strip("[]") or "::")


def _family(item: Listen) -> int:
    if item.kind is ListenKind.UNIX:
        return 0
    host = _host(item)
    return 4 if isinstance(host, ipaddress.IPv4Address) or host.ipv4_mapped is not None else 6


def _meet(one: int | None, other: int | None) -> bool:
    return one is not None and other is not None and (one == other or ANY in (one, other))


def _shares_ports(app: App) -> bool:
    """True if the sockets of the app have SO_REUSEPORT, with which they may overlap."""
    return app.steered or dict(app.socket).get("ReusePort", ("no",))[-1].lower() in ("1", "yes", "y", "true", "t", "on")
