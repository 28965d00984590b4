"""Reads what the machine has for further instances of an app: the shell around plan/surge.py."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence

from deployd.model import unit_name
from deployd.model.instance import Instance, State
from deployd.plan import judge
from deployd.plan.goal import Goal
from deployd.plan.surge import Resources
from deployd.state.history import History
from deployd.systemd import memory
from deployd.systemd.manager import Systemd
from deployd.systemd.usage import cpu_seconds

SAMPLE = 8
"""Instances whose memory is read: a rollback waits for it."""


class ResourceReader:
    """Reads the resources for one app."""

    def __init__(self, app: str, systemd: Systemd, history: History) -> None:
        self._app = app
        self._systemd = systemd
        self._history = history

    async def read(self, goal: Goal, instances: Sequence[Instance]) -> Resources:
        """Return the resources for instances of `goal`. What cannot be read is left out. Raises StateError."""
        running = [item for item in instances if item.state not in (State.INACTIVE, State.DRAINING)]
        good = [item for item in running if _is_like(item, goal) and item.state is not State.STOPPING]
        alive = sum(item.state is not State.STANDBY or item in good for item in running)
        up = [item for item in instances if item.state in (State.READY, State.STANDBY)]
        mine = [item for item in up if _is_like(item, goal)]
        groups = await self._cgroups(mine or [item for item in up if item.state is State.READY])
        found = tuple(size for group in groups if (size := memory.demand(group)) is not None)
        return Resources(
            useful=alive + max(0, goal.instances - len(good)) - goal.instances,
            pools=memory.pools(groups[0]) if groups else (),
            settled=sum(item.state in (State.READY, State.STOPPING) or item in mine for item in running),
            own=found if mine else (),
            others=() if mine else found,
            processors=os.cpu_count() or 1,
            boots=tuple(self._history.boots(self._app)),
            busy=tuple(seconds for group in groups if (seconds := cpu_seconds(group)) is not None),
        )

    async def _cgroups(self, instances: Sequence[Instance]) -> list[str]:
        units = [unit_name.instance(self._app, item.number) for item in instances[:SAMPLE]]
        return await asyncio.gather(*(memory.cgroup(self._systemd, unit) for unit in units))


def _is_like(item: Instance, goal: Goal) -> bool:
    """True if a running instance has the process of the goal's."""
    return item.generation == goal.generation or judge.rests_for(item, goal)
