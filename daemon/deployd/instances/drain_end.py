"""The end of instances that drain: nothing waits for it, and it may come after a restart of the daemon or a reboot."""

from __future__ import annotations

from collections.abc import Iterable

from deployd.instances.executor import Executor
from deployd.model.action import Stop
from deployd.model.app import App
from deployd.model.instance import Instance, State


def end_drains(instances: Iterable[Instance], executor: Executor, settings: App) -> None:
    """Stop each instance that drains, and remove its pin when it is down, unless that is under way. `settings` are
    those of the current generation. Raises StateError.

    After a restart of the daemon such an instance may have ended, or may not have been asked to stop yet.
    """
    for item in instances:
        if item.state is State.DRAINING and not executor.is_busy(item.number):
            executor.act(Stop(item.number, item.generation, drain=True), settings)
