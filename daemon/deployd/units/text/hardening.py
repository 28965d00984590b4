"""The default restrictions of instances: those that every web application tolerates, whatever it is written in.

They are settings in which a later value replaces an earlier one, so that a drop-in of the administrator takes effect as
written. Lists of system calls or address families are avoided: a drop-in would add to them, and an allow-list after a
deny-list allows nearly everything (systemd.exec(5)). An empty bounding set is no such list: nothing can be removed from
it.

Some applications need what is not restricted here: namespaces of their own (headless browsers), memory that is both
writable and executable (JIT compilers), a shared /tmp (sockets of databases), /home and /usr (releases), files that
their group can read.

A user manager gets only what needs no privilege: for the rest it would need a user namespace, in which files of other
users have the overflow user as their owner, or systemd would warn at each start.
"""

from __future__ import annotations

from collections.abc import Iterable

from deployd.model.app import App

_WITHOUT_NEW_PRIVILEGES = (
    # The others imply this one where the user is not root (systemd.exec(5)).
    ("NoNewPrivileges", "yes"),
    ("LockPersonality", "yes"),
    ("ProtectHostname", "yes"),
    ("ProtectKernelLogs", "yes"),
    ("ProtectKernelModules", "yes"),
    ("ProtectKernelTunables", "yes"),
    ("RestrictRealtime", "yes"),
    ("RestrictSUIDSGID", "yes"),
    ("SystemCallArchitectures", "native"),
)
_DEVICES = (("PrivateDevices", "yes"), ("ProtectClock", "yes"))
_UNPRIVILEGED = frozenset(
    {"LockPersonality", "NoNewPrivileges", "RestrictRealtime", "RestrictSUIDSGID", "SystemCallArchitectures"}
)
"""What every process may impose on itself: prctl(2) and seccomp(2)."""
_VIEWS = (("ProtectControlGroups", "yes"), ("ProtectProc", "invisible"))
_CAPABILITIES = (("CapabilityBoundingSet", ""),)

_YES = frozenset({"1", "yes", "y", "true", "t", "on"})
_ROOT = frozenset({"0", "root"})


def hardening(app: App, *, user: bool = False) -> Iterable[tuple[str, str]]:
    """Yield the directives of the defaults with their values. What the app file sets has precedence.

    `user`: for a user manager.
    """
    return (item for item in _all(app) if not user or item[0] in _UNPRIVILEGED)


def _all(app: App) -> Iterable[tuple[str, str]]:
    service = dict(app.service)
    yield from _VIEWS if not _is_set(service, "Delegate") else _VIEWS[1:]
    if "NoNewPrivileges" in service and not _is_set(service, "NoNewPrivileges"):
        return  # the app needs new privileges: nothing that implies NoNewPrivileges=yes
    yield from _WITHOUT_NEW_PRIVILEGES
    # ProtectClock= adds to DeviceAllow=, after which no other devices are allowed.
    if not {"DeviceAllow", "DevicePolicy"} & service.keys() and _is_set(service, "PrivateDevices", default=True):
        yield from _DEVICES
    # Root without capabilities is of no use. No capability is needed to listen on port 80: the sockets are passed.
    is_root = app.user in _ROOT or (app.user is None and not _is_set(service, "DynamicUser"))
    if not is_root and "AmbientCapabilities" not in service:
        yield from _CAPABILITIES


def _is_set(service: dict[str, tuple[str, ...]], key: str, *, default: bool = False) -> bool:
    """True if a boolean directive of [service] is set to yes; of several values systemd takes the last."""
    values = service.get(key)
    return default if values is None else values[-1].lower() in _YES
