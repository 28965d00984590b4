"""The private address of a preview: `NAME:preview.socket`, and the service that it starts to pass connections on.

Both units are transient: they need no daemon-reload, outlive the daemon and are gone after a reboot, when the daemon
opens the address again. Who may connect is decided by the kernel, by owner, group and mode of the socket. The service
runs `deployd preview --relay` as the user of the app, which may reach its own processes anyway.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Any

from deployd.errors import SystemdError
from deployd.model import unit_name
from deployd.model.app import App
from deployd.model.scope import SYSTEM
from deployd.systemd.manager import Systemd
from deployd.units.text import socket_paths

TIMEOUT = 30.0
"""Seconds that the socket may take to open or close."""

Properties = dict[str, tuple[str, Any]]


class PreviewAddress:
    """The address of one app. `command`: the path of deployd(1). Methods raise SystemdError."""

    def __init__(self, app: str, systemd: Systemd, command: str, runtime: Path = SYSTEM.runtime) -> None:
        self._app = app
        self._systemd = systemd
        self._command = command
        self._socket = unit_name.preview_socket(app)
        self._path = socket_paths.preview(app, runtime)
        self._may_be_open = True
        """An earlier daemon may have opened it."""

    async def update(self, settings: App | None) -> None:
        """Have the address open by these settings, or closed for None. Cheap if it is."""
        if settings is not None:
            await self._open(settings)
        elif self._may_be_open:
            if self._exists():
                await self._close()
            self._may_be_open = False

    def _exists(self) -> bool:
        return os.path.lexists(self._path)

    async def _open(self, settings: App) -> None:
        self._may_be_open = True
        if (await self._systemd.watch(self._socket)).get("ActiveState") == "active":
            return
        await self._systemd.reset_failed(self._socket)
        service = unit_name.service_of(self._socket)
        others = {service: service_properties(settings, self._command)}
        job = await self._systemd.start_transient(self._socket, socket_properties(settings, self._path), others=others)
        if await self._end(job) != "done":
            raise SystemdError(f"{self._socket}: systemd cannot listen at {self._path}; its journal has the reason")
        await self._systemd.refresh(self._socket)

    async def _close(self) -> None:
        jobs = []
        for unit in (self._socket, unit_name.service_of(self._socket)):
            with contextlib.suppress(SystemdError):  # it has ended
                jobs.append(await self._systemd.stop(unit))
        for job in jobs:
            await self._end(job)
        self._systemd.unwatch(self._socket)

    async def _end(self, job: asyncio.Future[str]) -> str:
        try:
            return await asyncio.wait_for(job, TIMEOUT)
        except TimeoutError:
            raise SystemdError(f"{self._socket}: systemd did not answer within {TIMEOUT:g} s") from None


def socket_properties(settings: App, path: str) -> Properties:
    """Return the properties of the socket: the user of the app may connect, and the group that its file names."""
    group = settings.pace.preview_group
    return {
        "Description": ("s", f"{settings.name}: private address of the preview"),
        "Listen": ("a(ss)", [["Stream", path]]),
        "SocketUser": ("s", settings.user or "root"),
        "SocketGroup": ("s", group or "root"),
        "SocketMode": ("u", 0o660 if group else 0o600),
        "DirectoryMode": ("u", 0o755),
        "RemoveOnStop": ("b", True),
        "IgnoreOnIsolate": ("b", True),
        "CollectMode": ("s", "inactive-or-failed"),
    }


def service_properties(settings: App, command: str) -> Properties:
    """Return the properties of the service. It needs the bus and the loopback device, and no right at all."""
    argv = [command, "preview", settings.name, "--relay"]
    return {
        "Description": ("s", f"{settings.name}: passes on connections to the preview"),
        "Type": ("s", "exec"),
        "ExecStart": ("a(sasb)", [[command, argv, False]]),
        "User": ("s", settings.user or "root"),
        "CapabilityBoundingSet": ("t", 0),
        "NoNewPrivileges": ("b", True),
        "ProtectSystem": ("s", "strict"),
        "ProtectHome": ("s", "read-only"),
        "PrivateDevices": ("b", True),
        "PrivateTmp": ("b", True),
        "RestrictAddressFamilies": ("(bas)", [True, ["AF_UNIX", "AF_INET", "AF_INET6"]]),
        "MemoryDenyWriteExecute": ("b", True),
        "LockPersonality": ("b", True),
        "SyslogIdentifier": ("s", settings.name),
        "IgnoreOnIsolate": ("b", True),
        "CollectMode": ("s", "inactive-or-failed"),
    }
