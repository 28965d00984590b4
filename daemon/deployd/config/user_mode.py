"""What an app of a user cannot have, because its service manager does not run as root."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deployd.config.source import Table
from deployd.files.walk import OWN, ROOT
from deployd.model.app import App, ListenKind, Mode

_SYSCTL = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
_DEFAULT_PORT = 1024

_OF_ROOT = {
    "service": frozenset(
        {
            *("AmbientCapabilities", "CapabilityBoundingSet", "DynamicUser", "PAMName", "SecureBits"),
            "SupplementaryGroups",
        }
    ),
    "socket": frozenset({"Mark", "SocketUser", "Transparent"}),
}
"""Directives with which systemd would fail."""
_OF_BPF = frozenset(
    {
        *("BPFProgram", "DeviceAllow", "DevicePolicy", "IPAddressAllow", "IPAddressDeny", "IPEgressFilterPath"),
        *("IPIngressFilterPath", "RestrictFileSystems", "RestrictNetworkInterfaces", "SocketBindAllow"),
        "SocketBindDeny",
    }
)
"""Directives that systemd would ignore."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a user may not do."""

    first_port: int = _DEFAULT_PORT
    """The first TCP port at which a user may listen (ip(7), ip_unprivileged_port_start)."""


def limits() -> Limits | None:
    """Return the limits of the user as which deployd runs, None for root."""
    if OWN == ROOT:
        return None
    try:
        return Limits(int(_SYSCTL.read_text()))
    except (OSError, ValueError):
        return Limits()


def refuse_what_needs_root(app: App, top: Table, of_user: Limits) -> None:
    """Raise InvalidFile if an app of a user has settings that only root can have."""
    refuse_of_root(top)
    for item in app.listen:
        port = 0 if item.kind is ListenKind.UNIX else int(item.address.rpartition(":")[2])
        if 0 < port < of_user.first_port:
            raise top.fail(
                "listen",
                f'"{item.address}" needs root: a user may listen at ports from {of_user.first_port} on; choose one of'
                " these, or lower net.ipv4.ip_unprivileged_port_start (ip(7))",
            )


def refuse_of_root(own: Table) -> None:
    """Raise InvalidFile if the table of an app or a timer has settings that only root can have."""
    for key in ("user", "group"):
        if key in own:
            raise own.fail(key, "must be left out in user mode: instances run as the user of deployd")
    for name, keys in _OF_ROOT.items():
        table = own.table(name)
        for key, _ in table.items():
            if key in keys:
                raise table.fail(
                    key, "needs a service manager that runs as root, and this app is in user mode; remove it"
                )
            if key in _OF_BPF:
                raise table.fail(
                    key,
                    "would have no effect in user mode, because only root can load its BPF program; remove it",
                )


def doubts(app: App) -> tuple[str, ...]:
    """Return what a user may not expect of an app in user mode, as sentences."""
    if OWN == ROOT or app.mode is not Mode.PORT:
        return ()
    return (
        'with mode = "port" in user mode, an instance that stops may lose a connection that it has just accepted: the'
        " sockets are shared, because only root can steer connections",
    )
