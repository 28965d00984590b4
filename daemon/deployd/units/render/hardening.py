"""What instances may not do unless their app file says otherwise: what a web application bears, whatever it is made of.

Only settings that one value replaces, so that an administrator's drop-in wins as it is written: to a list of system
calls or address families a drop-in would add, and an allow-list that follows a deny-list allows nearly everything
(systemd.exec(5)). An empty bounding set is no such list, for nothing can be taken away from it.

Left out is what some applications need: namespaces of their own (headless browsers), memory that is written and
executed (JIT compilers), a /tmp that is shared (sockets of databases), /home and /usr (releases), files that others of
their group may read.
"""

from __future__ import annotations

from collections.abc import Iterable

from deployd.model.app import App

_ANYBODY = (
    # systemd cannot have these without NoNewPrivileges= where the user is not root (systemd.exec(5)).
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
_VIEWS = (("ProtectControlGroups", "yes"), ("ProtectProc", "invisible"))
_CAPABILITIES = (("CapabilityBoundingSet", ""),)

_YES = frozenset({"1", "yes", "y", "true", "t", "on"})
_ROOT = frozenset({"0", "root"})


def hardening(app: App) -> Iterable[tuple[str, str]]:
    """The directives and their values; one that the app file sets is as it says there."""
    if not app.hardened:
        return
    service = dict(app.service)
    yield from _VIEWS if not _is_set(service, "Delegate") else _VIEWS[1:]
    if "NoNewPrivileges" in service and not _is_set(service, "NoNewPrivileges"):
        return  # whatever implies it would take that back
    yield from _ANYBODY
    # ProtectClock= allows a device, and with that no others.
    if not {"DeviceAllow", "DevicePolicy"} & service.keys() and _is_set(service, "PrivateDevices", default=True):
        yield from _DEVICES
    # Root lives on its capabilities. The sockets are open already, whatever their port.
    is_root = app.user in _ROOT or (app.user is None and not _is_set(service, "DynamicUser"))
    if not is_root and "AmbientCapabilities" not in service:
        yield from _CAPABILITIES


def _is_set(service: dict[str, tuple[str, ...]], key: str, *, default: bool = False) -> bool:
    """Whether a boolean directive of [service] says yes; systemd takes the last of several."""
    values = service.get(key)
    return default if values is None else values[-1].lower() in _YES
