"""Disturbances of the app under torture: forged signals on the bus, and a second app that fails in every way.

The rollouts of the neighbour are not checked. They must not affect the app under torture.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import subprocess
from dataclasses import dataclass, field

from deployd.api import Client
from tests.host.machine import Machine
from tests.host.root import IN_HOST
from tests.host.stage import APP
from tests.sample_apps.release import app_file, make_release
from tests.torture.line import AWAY
from tests.torture.neighbour import NEIGHBOUR

PORT = 8090
TROUBLE = ("crash-idle", "hang", "crash", "stubborn", "exit0")
"""Modes of the demo application (tests/sample_apps/demo), one rollout after another; then the app is removed."""
GENERATION, PACE = 1, 0.1
"""Arguments of the liar: the rollout that it claims to be finished, and seconds between two rounds."""
WITHIN = 15.0
"""Seconds for each rollout of the neighbour, which is superseded afterwards."""

POLICY = "/etc/dbus-1/system.d/torture.conf"
BELIEVING = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <policy context="default"><allow send_destination="org.deployd1" send_type="signal"/></policy>
</busconfig>
"""
"""A policy of the bus that passes forged signals on, so that deployd itself must reject them."""


@dataclass(slots=True)
class Company:
    """Runs from `start`, which is repeated after each boot, until `stop`."""

    machine: Machine
    _liar: subprocess.Popen[str] | None = None
    _neighbour: asyncio.Task[None] | None = None
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    async def start(self) -> None:
        await self.stop()
        self.machine.write(POLICY, BELIEVING)
        await asyncio.to_thread(self.machine.run, ["systemctl", "reload", "dbus.service"])
        command = f"cd {IN_HOST} && exec python3 -m tests.attacks.liar 86400 {APP} {GENERATION} {PACE}"
        self._liar = self.machine.popen(["sh", "-c", command], user="nobody")
        self._neighbour = asyncio.ensure_future(self._misbehave())

    async def stop(self) -> None:
        if self._liar is not None:
            self._liar.kill()
            await asyncio.to_thread(self._liar.wait)
            self._liar = None
        if self._neighbour is not None:
            self._neighbour.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._neighbour
            self._neighbour = None

    def check(self) -> None:
        """Check that the liar still runs, because otherwise the test proves nothing."""
        assert self._liar is None or self._liar.poll() is None, "the liar has ended"

    async def _misbehave(self) -> None:
        """Deploy the neighbour, break it in every way and remove it, repeatedly."""
        while True:
            for mode in ("good", *TROUBLE, ""):
                try:
                    async with asyncio.timeout(WITHIN):
                        async with await Client.connect(self.machine.bus_address) as client:
                            await (self._roll(client, mode) if mode else client.remove(NEIGHBOUR))
                except (*AWAY, TimeoutError):
                    await asyncio.sleep(0.5)  # the daemon, its bus or its host is down

    async def _roll(self, client: Client, mode: str) -> None:
        release = f"/srv/{NEIGHBOUR}/{next(self._numbers)}"
        make_release(self.machine.path(release), mode, mode)
        gate = {"timeout": "1s"}
        self.machine.write(
            f"/etc/deployd/apps/{NEIGHBOUR}.toml",
            app_file(NEIGHBOUR, release, PORT, 2, gate=gate, stop={"timeout": "1s"}),
        )
        async with client.watch(NEIGHBOUR) as watch:
            generation = await client.apply(NEIGHBOUR, supersede=True)
            if generation:
                async for _ in watch.until_finished(generation, deadline=WITHIN):
                    pass
