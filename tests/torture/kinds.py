"""The kinds of faults: where each may happen, how it is injected while the daemon is blocked at a step, how it is
undone, and how a good rollout may end after it.

`inflict` returns what the daemon is to do at the step; None if there was no target for the fault.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from deployd.errors import Refused
from tests.host.stage import APP
from tests.torture.line import AWAY, Step
from tests.torture.site import STATE, Json, Site

DAY = 86400.0
DELAY = 0.7


RECOVERY = tuple(
    Step(label, nth)
    for label, nth in (
        ("reply AddMatch", 3), ("reply Subscribe", 1), ("reply Get demo.service", 1), ("call ListUnitsByPatterns", 1),
        ("reply Get demo@N.service", 2), ("call RequestName", 1), ("wake", 1), ("wake", 2),
        ("reply Get demo.socket", 1),
        ("sqlite BEGIN IMMEDIATE", 1), ("sqlite COMMIT", 1), ("disk rename in pins", 1), ("disk remove in pins", 2),
        ("call StartUnit demo@N.service", 1), ("reply StopUnit demo@N.service", 1), ("sqlite COMMIT", 3),
    )
)  # fmt: skip
"""Steps of a daemon that continues a rollout, counted from its start."""


class Kind(StrEnum):
    KILL_DAEMON = "kill-daemon"
    KILL_TWICE = "kill-daemon-twice"
    """Kill the next daemon as well, while it continues the rollout."""
    KILL_NEW = "kill-new"
    KILL_OLD = "kill-old"
    REPLY_ERROR = "reply-error"
    REPLY_DELAYED = "reply-delayed"
    REPLY_DROPPED = "reply-dropped"
    RESTART_BUS = "restart-bus"
    REEXEC = "daemon-reexec"
    RELOAD = "daemon-reload"
    DISK_FULL = "disk-full"
    READ_ONLY = "read-only"
    CLOCK_FORWARD = "clock-forward"
    CLOCK_BACK = "clock-back"
    NO_RELEASE = "release-removed"
    POWER_CUT = "power-cut"
    REBOOT = "reboot"
    STOP_NEW = "stop-new"
    STOP_OLD = "stop-old"
    MASK_FREE = "mask-free"
    """Mask a number that may be the next to start."""
    MASK_USED = "mask-used"
    """Mask a number that has an instance."""
    STOP_SOCKET = "stop-socket"
    """Stop the socket unit of a running instance; routing restarts it without losing a request."""
    RESTART_SOCKET = "restart-socket"
    FLIP_WEIGHT = "flip-weight"
    """Change weights by request at any time of the rollout, and again while it is paused."""
    WAKE_STANDBY = "wake-standby"
    """Send SIGCONT to an instance in standby, which then runs but gets no connections."""
    KILL_STANDBY = "kill-standby"
    KERNEL_ERROR = "kernel-error"
    """Let a system call of steering fail once."""


OF_STEERED = frozenset(
    {
        Kind.STOP_SOCKET, Kind.RESTART_SOCKET, Kind.FLIP_WEIGHT, Kind.WAKE_STANDBY, Kind.KILL_STANDBY,
        Kind.KERNEL_ERROR,
    }
)  # fmt: skip
"""Kinds that need a steered app."""

KERNEL = ("bpf ", "pidfd_getfd", "sock_diag ")
"""Prefixes of the labels of steering's system calls."""


@dataclass(slots=True)
class Scene:
    """What a fault needs to know about the rollout, and how to undo it."""

    site: Site
    rng: random.Random
    before: int
    """The newest generation before this rollout."""
    release: str
    inflicted: float = 0.0
    """Time of the fault, CLOCK_MONOTONIC."""
    stopped: int | None = None
    """The instance that was stopped by request."""
    stopped_at: float = 0.0
    """Time of that stop, in seconds since the epoch."""
    undo: list[Callable[[], Awaitable[object]]] = field(default_factory=list)
    requests: list[asyncio.Future[None]] = field(default_factory=list)
    """Requests that get a reply only when the daemon continues."""

    async def new(self) -> list[int]:
        return sorted(number for number, generation in (await self.site.alive()).items() if generation > self.before)

    async def old(self) -> list[int]:
        return sorted(number for number, generation in (await self.site.alive()).items() if generation <= self.before)

    async def standby(self) -> list[int]:
        """Return the instances in standby."""
        return sorted(self.site.records().keys() & (await self.site.processes()).keys())

    async def flip_weight(self) -> None:
        """Request a random weight for one of the two generations, if a rollout is in progress."""
        with contextlib.suppress(*AWAY):
            async with await self.site.client() as client:
                rollout = (await client.status(APP))["rollout"]
                generations = [] if rollout is None else [rollout["from"], rollout["to"]]
                if None not in generations and generations:
                    with contextlib.suppress(Refused):  # already finished, or being rolled back
                        await client.weigh(APP, self.rng.choice(generations), self.rng.choice((0.0, 0.5, 1.0)))

    async def undo_all(self) -> None:
        """Undo the lasting changes to the machine."""
        while self.undo:
            await self.undo.pop()()


def fits(kind: Kind, step: Step, begun: bool, stays: bool = False, steered: bool = False) -> bool:
    """True if this kind of fault is possible at this step.

    `begun`: new instances have been started before it; `stays`: the release that is rolled out is the running one.
    """
    if kind in OF_STEERED and not steered:
        return False
    match kind:
        case Kind.KERNEL_ERROR:
            return step.label.startswith(KERNEL)
        case Kind.REPLY_ERROR:
            return step.label.startswith("call ")
        case Kind.REPLY_DELAYED | Kind.REPLY_DROPPED:
            return step.label.startswith("reply ")
        case Kind.KILL_NEW | Kind.STOP_NEW:
            return begun
        case Kind.NO_RELEASE:
            return not stays
    return True


async def inflict(kind: Kind, scene: Scene) -> Json | None:
    site, rng = scene.site, scene.rng
    if kind in OF_STEERED:
        return await _inflict_on_steered(kind, scene)
    match kind:
        case Kind.KILL_DAEMON | Kind.KILL_TWICE:
            return {"do": "die"}
        case Kind.REPLY_ERROR:
            return {"do": "error"}
        case Kind.REPLY_DELAYED:
            return {"do": "delay", "seconds": DELAY}
        case Kind.REPLY_DROPPED:
            return {"do": "drop"}
        case Kind.CLOCK_FORWARD | Kind.CLOCK_BACK:
            scene.undo.append(lambda: site.line.shift(0.0))
            return {"do": "go", "offset": DAY if kind is Kind.CLOCK_FORWARD else -DAY}
        case Kind.KILL_NEW | Kind.KILL_OLD | Kind.STOP_NEW | Kind.STOP_OLD:
            found = await (scene.new() if kind in (Kind.KILL_NEW, Kind.STOP_NEW) else scene.old())
            if not found:
                return None
            number = rng.choice(found)
            if kind in (Kind.KILL_NEW, Kind.KILL_OLD):
                await site.kill(number)
            else:
                await site.run("systemctl", "stop", f"{APP}@{number}.service")
                scene.stopped, scene.stopped_at = number, time.time()
        case Kind.RESTART_BUS:
            await site.run("systemctl", "kill", "--signal=KILL", "dbus.service")
        case Kind.REEXEC | Kind.RELOAD:
            await site.run("systemctl", str(kind))
        case Kind.DISK_FULL:
            # dd ends with an error when the disk is full, as intended.
            await site.run("dd", "if=/dev/zero", f"of={STATE}/ballast", "bs=64k", check=False)
            await site.run("dd", "if=/dev/zero", f"of={STATE}/ballast2", "bs=512", check=False)
            scene.undo.append(lambda: site.run("rm", "-f", f"{STATE}/ballast", f"{STATE}/ballast2"))
        case Kind.READ_ONLY:
            await site.in_daemon("mount", "--bind", STATE, STATE)
            scene.undo.append(lambda: site.in_daemon("umount", STATE, check=False))
            await site.in_daemon("mount", "--options=remount,bind,ro", STATE)
        case Kind.NO_RELEASE:
            release = site.host_path(scene.release)
            gone = release.rename(release.with_name(release.name + ".gone"))
            scene.undo.append(lambda: _restore(gone, release))
        case Kind.POWER_CUT | Kind.REBOOT:
            await site.reboot(clean=kind is Kind.REBOOT)
        case Kind.MASK_FREE | Kind.MASK_USED:
            pins = sorted(site.pins())
            free = next(number for number in range(1, len(pins) + 2) if number not in pins)
            unit = f"{APP}@{free if kind is Kind.MASK_FREE else rng.choice(pins)}.service"
            await site.run("systemctl", "mask", "--runtime", unit)
            scene.undo.append(lambda: site.run("systemctl", "unmask", "--runtime", unit))
    return {"do": "go"}


async def _inflict_on_steered(kind: Kind, scene: Scene) -> Json | None:
    site = scene.site
    match kind:
        case Kind.KERNEL_ERROR:
            return {"do": "error"}
        case Kind.FLIP_WEIGHT:
            scene.requests.append(asyncio.ensure_future(scene.flip_weight()))
        case Kind.STOP_SOCKET | Kind.RESTART_SOCKET:
            if not (found := sorted(await site.sockets())):
                return None
            verb = "stop" if kind is Kind.STOP_SOCKET else "restart"
            # systemd may refuse to open it again while its instance runs; then it stays stopped.
            await site.run("systemctl", verb, f"{APP}@{scene.rng.choice(found)}.socket", check=False)
        case Kind.WAKE_STANDBY | Kind.KILL_STANDBY:
            if not (found := await scene.standby()):
                return None
            number = scene.rng.choice(found)
            name = "CONT" if kind is Kind.WAKE_STANDBY else "KILL"
            await site.run("systemctl", "kill", f"--signal={name}", f"{APP}@{number}.service")
    return {"do": "go"}


async def _restore(gone: Path, release: Path) -> None:
    gone.rename(release)


NO_OBSTACLE = frozenset(
    {
        Kind.KILL_DAEMON, Kind.KILL_TWICE, Kind.KILL_OLD, Kind.REPLY_DELAYED,
        Kind.RESTART_BUS, Kind.REEXEC, Kind.RELOAD,
        Kind.CLOCK_FORWARD, Kind.CLOCK_BACK, Kind.STOP_OLD,
        Kind.STOP_SOCKET, Kind.RESTART_SOCKET, Kind.FLIP_WEIGHT, Kind.WAKE_STANDBY, Kind.KILL_STANDBY,
        Kind.KERNEL_ERROR,
    }
)  # fmt: skip
"""Faults after which a good release must succeed nevertheless."""

ENDS_THE_REQUEST = frozenset({Kind.KILL_DAEMON, Kind.KILL_TWICE, Kind.RESTART_BUS, Kind.POWER_CUT, Kind.REBOOT})
"""Faults after which the request may get no reply."""

NEEDS_SMALL_DISK = frozenset({Kind.DISK_FULL})
NEEDS_OWN_DISK = frozenset({Kind.POWER_CUT, Kind.REBOOT})
