"""What runs once a rollout has succeeded, before it counts as done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from deployd.model.event import Emit
from deployd.rollout.active import ActiveRollout
from deployd.rollout.hooks import Change
from deployd.rollout.host import Host


def hooks_ran(course: ActiveRollout, host: Host, tell: Emit, wake: Callable[[], None]) -> bool:
    """Whether the after hooks have ended; begins them if not. They take their time: the loop does not wait."""
    if course.hooks is None:
        change = Change.of(course.target, host.history.releases(course.rollout.app, [course.target.origin]))
        course.hooks = asyncio.ensure_future(host.hooks.after(change, tell))
        course.hooks.add_done_callback(lambda _: wake())
    if not course.hooks.done():
        return False
    failure = None if course.hooks.cancelled() else course.hooks.result()
    if failure is not None:
        course.failure = failure
        host.history.failed(course.rollout, failure)
    return True
