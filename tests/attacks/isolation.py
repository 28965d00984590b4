"""Attempts of another app, the neighbour, to delay a rollout or make it lose requests.

The attacker is www-data, the user of the neighbour's instances, which merely misbehave.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from tests.host.neighbour import Neighbour
from tests.host.stage import Stage
from tests.load.record import Record

SLOWEST = 1.5
"""How many times as long a rollout may take alongside a misbehaving neighbour; more is an achievement."""

PORT = 9000

Trouble = Callable[[Neighbour], contextlib.AbstractContextManager[object]]


@contextlib.contextmanager
def stubborn_while_removed(neighbour: Neighbour) -> Iterator[None]:
    """The neighbour ignores SIGTERM while it is removed."""
    neighbour.deploy("stubborn", stop={"timeout": "5min"})
    with neighbour.meanwhile("remove") as removing:
        neighbour.stage.machine.wait_unit(f"{neighbour.name}@1.service", "deactivating")
        yield
        assert removing.process.poll() is None, "the neighbour was removed before the rollout ended"
        neighbour.stage.machine.run(["systemctl", "kill", "--signal=KILL", f"{neighbour.name}@*.service"])


@contextlib.contextmanager
def hung_start(neighbour: Neighbour) -> Iterator[None]:
    """The new release of the neighbour never becomes ready."""
    neighbour.deploy()
    neighbour.configure("hang", version="v2", gate={"timeout": "50s"})
    with neighbour.meanwhile("rollout", "--json") as begun:
        begun.until("instance", state="starting")
        yield
        assert begun.process.poll() is None, "the neighbour's rollout ended before the other's"


@contextlib.contextmanager
def slow_to_stop(neighbour: Neighbour) -> Iterator[None]:
    """The neighbour is replaced by a new release, and ignores SIGTERM for 20 s."""
    neighbour.deploy("stubborn", stop={"timeout": "20s"})
    neighbour.configure(version="v2", stop={"timeout": "20s"})
    with neighbour.meanwhile("rollout", "--json") as begun:
        begun.until("instance", state="stopping")
        yield
        assert begun.process.poll() is None, "the neighbour was replaced before the rollout ended"


@contextlib.contextmanager
def crash_loop(neighbour: Neighbour) -> Iterator[None]:
    """All instances of the neighbour crash as soon as they are ready."""
    neighbour.configure("crash-idle", environment={"CRASH_AFTER": "0.01"})
    neighbour.stage.deployd("apply", neighbour.name, "--no-start")
    neighbour.stage.machine.run(["systemctl", "start", "--no-block", f"{neighbour.name}.service"])
    neighbour.stage.machine.wait_for(
        lambda: any(item["crashes"] for item in neighbour.status()["instances"]), what="its crashes"
    )
    yield


TROUBLES: Mapping[str, Trouble] = {
    "removed": stubborn_while_removed,
    "slow": slow_to_stop,
    "hung": hung_start,
    "broken": crash_loop,
}
"""Maps names of neighbours to their misbehaviour."""


@dataclass(frozen=True)
class Comparison:
    """Rollouts of `demo` under load: seconds of the slowest one alone and of the fastest one with neighbours.

    So other work of the machine does not count.
    """

    alone: float
    together: float
    record: Record


def compare(stage: Stage, *names: str) -> Comparison:
    """Roll out `demo` with changed units, alone and alongside misbehaving neighbours that must outlast it."""
    stage.deploy()
    load = stage.load()
    alone = max(_rollout(stage, version, version) for version in (1, 2))
    with contextlib.ExitStack() as troubles:
        for port, name in enumerate(names, PORT):
            troubles.enter_context(TROUBLES[name](Neighbour(stage, name, port)))
        together = min(_rollout(stage, version, version) for version in (3, 4))
    return Comparison(alone, together, load.stop())


def _delayed(stage: Stage, *names: str) -> str:
    found = compare(stage, *names)
    if found.record.failed:
        return f"{len(found.record.failed)} of {len(found.record)} requests failed"
    if found.together > SLOWEST * found.alone:
        return f"a rollout of {found.alone:.1f} s took {found.together:.1f} s"
    return ""


def _rollout(stage: Stage, version: int, tasks: int) -> float:
    """Roll out a release with changed units; return the seconds it took."""
    stage.configure(release=stage.release(f"r{version}", boot=0.3), service={"TasksMax": str(1000 + tasks)})
    began = time.monotonic()
    ended = stage.change("rollout")
    assert ended.result == "succeeded", ended
    return time.monotonic() - began


def ignore_sigterm_while_removed(stage: Stage) -> str:
    """An app whose processes ignore SIGTERM is removed while another is rolled out."""
    return _delayed(stage, "removed")


def hang_at_start(stage: Stage) -> str:
    """A release that never becomes ready is rolled out while another app is."""
    return _delayed(stage, "hung")


def crash_again_and_again(stage: Stage) -> str:
    """Processes that die at once are restarted while another app is rolled out."""
    return _delayed(stage, "broken")


def ignore_sigterm_while_replaced(stage: Stage) -> str:
    """An app whose processes ignore SIGTERM is rolled out while another is."""
    return _delayed(stage, "slow")


def all_at_once(stage: Stage) -> str:
    """One app is removed, one slow to stop, one hung and one broken while a fifth is rolled out."""
    return _delayed(stage, *TROUBLES)


ATTACKS: tuple[Callable[[Stage], str], ...] = (
    ignore_sigterm_while_removed,
    ignore_sigterm_while_replaced,
    hang_at_start,
    crash_again_and_again,
    all_at_once,
)
