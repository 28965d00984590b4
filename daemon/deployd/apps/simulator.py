"""Simulates rollouts for the dry run.

With many instances that takes seconds, so it runs in a process of its own: a thread would compete with the event loop,
and rollouts under way would take twice as long.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import sys
from collections.abc import Iterable

from deployd.errors import DeploydError, Refused
from deployd.model.instance import Instance
from deployd.model.rollout import Hold
from deployd.plan.goal import Goal
from deployd.plan.simulation import Outcome, simulate

SMALL = 64
"""Number of instances up to which starting a process takes longer than the simulation."""
DEADLINE = 60.0
"""Seconds that a simulation may take."""


async def simulated(goal: Goal, instances: tuple[Instance, ...], holds: Iterable[Hold], now: float) -> Outcome:
    """Return the outcome of a rollout to `goal`, one action at a time.

    Raises Refused if that takes too long, and DeploydError if no process can be started.
    """
    question = goal, instances, tuple(holds), now
    if max(goal.instances, len(instances)) <= SMALL:
        return await asyncio.to_thread(_answer, *question)
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(sys.executable, "-P", "-m", __name__, stdin=pipe, stdout=pipe)
    except OSError as error:
        raise DeploydError(f"the rollout cannot be simulated: no process can be started: {error.strerror}") from error
    try:
        answer, _ = await asyncio.wait_for(process.communicate(pickle.dumps(question)), DEADLINE)
    except TimeoutError:
        raise Refused(f"the simulation of the rollout was stopped after {DEADLINE:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        failed = f"the simulation of the rollout failed with exit status {process.returncode}"
        raise DeploydError(f"{failed}; see the journal of deployd.service")
    outcome: Outcome = pickle.loads(answer)  # noqa: S301 - our own process made it
    return outcome


def _answer(goal: Goal, instances: tuple[Instance, ...], holds: tuple[Hold, ...], now: float) -> Outcome:
    return simulate(goal, instances, one_by_one=True, holds=holds, now=now)


def main() -> None:
    """Read a question from standard input and write the outcome to standard output."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, 19)  # the daemon and the apps have priority
    question = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the daemon
    sys.stdout.buffer.write(pickle.dumps(_answer(*question)))


if __name__ == "__main__":
    main()
