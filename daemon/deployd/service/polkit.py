"""Who may change something: root, or whom polkit lets (polkit's D-Bus API, org.freedesktop.PolicyKit1.Authority)."""

from __future__ import annotations

from deployd.bus import DBUS, Bus, BusError
from deployd.errors import AccessDenied

ACTION = "org.deployd1.manage"
ALLOW_USER_INTERACTION = 1
TIMEOUT = 120.0
"""Seconds: somebody may have to type a password."""


class Polkit:
    """Asks for each call; keeps nothing, so a withdrawn consent counts at once."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def authorise(self, sender: str, what: str) -> None:
        """Raises AccessDenied unless `sender`, a unique bus name, may do `what`."""
        try:
            (uid,) = await self._bus.call(*DBUS, "GetConnectionUnixUser", "s", [sender])
        except BusError as error:
            raise AccessDenied(f"{what}: the caller is unknown: {error.message}") from error
        if uid == 0:
            return
        try:
            (result,) = await self._bus.call(
                "org.freedesktop.PolicyKit1",
                "/org/freedesktop/PolicyKit1/Authority",
                "org.freedesktop.PolicyKit1.Authority",
                "CheckAuthorization",
                "(sa{sv})sa{ss}us",
                [
                    ["system-bus-name", {"name": ("s", sender)}],
                    ACTION,
                    {},
                    ALLOW_USER_INTERACTION,
                    "",
                ],
                timeout=TIMEOUT,
            )
        except BusError as error:
            raise AccessDenied(f"{what} needs root: polkit cannot be asked ({error.message})") from error
        if not result[0]:
            raise AccessDenied(f"{what} needs root or polkit's consent to {ACTION}; try it with sudo")
