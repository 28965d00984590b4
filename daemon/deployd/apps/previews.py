"""Connections to a preview: the daemon connects a socket of the caller's process, and no data passes through it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping
from pathlib import Path

from deployd.apps.caller import Caller
from deployd.apps.caller_files import CallerFiles
from deployd.apps.registry import Registry
from deployd.documents import Json
from deployd.errors import AccessDenied, InvalidRequest, Refused
from deployd.files.permission import WRITE, Inode, permitted
from deployd.model import advice
from deployd.model.instance import State
from deployd.model.scope import SYSTEM
from deployd.rollout.controller import Controller
from deployd.units.text import socket_paths

TIMEOUT = 5.0
"""Seconds that a connection may take; the instance may not accept, or have a full queue."""

FAMILIES = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6, "unix": socket.AF_UNIX}
_NAMES: Mapping[int, str] = {family: name for name, family in FAMILIES.items()}

_SO_NETNS_COOKIE = 71
"""Which network namespace a socket belongs to (Linux 5.14)."""


class Previews:
    """Of all apps. The users that may connect to the private address of a preview may call this, and no others."""

    def __init__(self, files: CallerFiles, registry: Registry, runtime: Path = SYSTEM.runtime) -> None:
        self._files = files
        self._registry = registry
        self._runtime = runtime

    async def connect(self, caller: Caller, app: str, sockets: Mapping[str, int]) -> Json:
        """Connect one of these sockets of the caller's process, by family, to the preview of `app`.

        Returns which one, and the instance. Raises AccessDenied, InvalidRequest, Refused and SteeringError.
        """
        controller = self._registry.known(app)
        number = None if controller is None else previewed(controller)
        if controller is None or number is None or not self._may_connect(caller, app):
            raise Refused(f"{app} has no preview; begin one with: {advice.deployd()} rollout {app} --preview")
        async with self._files.opened(caller, list(sockets.values())) as copies:
            given: dict[int, int] = {FAMILIES[family]: copy for family, copy in zip(sockets, copies, strict=True)}
            try:
                async with asyncio.timeout(TIMEOUT):
                    family = await self._connect(controller, number, given)
            except (OSError, TimeoutError) as error:
                why = str(error) or f"no connection within {TIMEOUT:g} s"
                raise Refused(f"instance {number} of {app} does not accept connections: {why}") from None
        return {"app": app, "instance": number, "family": family}

    async def _connect(self, controller: Controller, number: int, given: Mapping[int, int]) -> str:
        """Connect one of these copies: to a listener that the kernel chooses, or to the socket for probes.

        Returns its family. Raises OSError.
        """
        connect = asyncio.get_running_loop().sock_connect
        aimed = controller.router.aim(number, TIMEOUT, lambda family: _taken(given, family))
        if aimed is not None:
            with aimed as found:
                await connect(found.socket, found.target)
                return _NAMES[found.socket.family]
        with _taken(given, socket.AF_UNIX) as made:
            await connect(made, socket_paths.probe(controller.name, number, self._runtime))
            return _NAMES[socket.AF_UNIX]

    def _may_connect(self, caller: Caller, app: str) -> bool:
        """True if the private address is open, and its mode lets the caller connect. Raises AccessDenied if it does
        not."""
        path = socket_paths.preview(app, self._runtime)
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            return False
        if not permitted(Inode(found.st_uid, found.st_gid, found.st_mode), caller.uid, caller.groups, WRITE):
            raise AccessDenied(f"the preview of {app} is open to those who may connect to {path}")
        return True


def previewed(controller: Controller) -> int | None:
    """Return the instance of the preview; None if there is none that has passed its gate and is ready."""
    rollout = controller.rollout
    if rollout is None or not rollout.shows_preview:
        return None
    ready = (item.number for item in controller.observe() if item.state is State.READY)
    return min((number for number in ready if number in rollout.passed), default=None)


def _taken(given: Mapping[int, int], family: int) -> socket.socket:
    """Return a copy of the caller's socket of a family. Raises InvalidRequest."""
    if family not in given:
        raise InvalidRequest(f"the preview needs a socket of the family {_NAMES[family]}")
    try:
        made = socket.socket(fileno=os.dup(given[family]))
    except OSError as error:
        raise InvalidRequest(f"the descriptor of the caller is no socket: {error.strerror}") from None
    if made.family != family or made.type != socket.SOCK_STREAM or _is_used(made):
        made.close()
        raise InvalidRequest(f"the descriptor of the caller must be a new stream socket of the family {_NAMES[family]}")
    made.setblocking(False)
    return made


def _is_used(made: socket.socket) -> bool:
    """True if a socket is bound already, or if others may have its port: one of another network, or one that shares
    ports, could have the kernel choose the instance for the connection of a client."""
    if made.family == socket.AF_UNIX:
        return bool(made.getsockname())
    shares = any(made.getsockopt(socket.SOL_SOCKET, option) for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT))
    with socket.socket(made.family) as ours:
        elsewhere = _network(made) != _network(ours)
    return shares or elsewhere or made.proto != socket.IPPROTO_TCP or bool(made.getsockname()[1])


def _network(made: socket.socket) -> bytes:
    try:
        return made.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
    except OSError:
        return b""  # an older kernel
