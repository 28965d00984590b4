"""The end of a rollout whose instances are all as its aim wants: old addresses are closed, after hooks are run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from deployd.instances.timers import Timers
from deployd.model.event import Emit
from deployd.model.instance import Instance
from deployd.model.rollout import Phase
from deployd.plan.closing import last_holders
from deployd.plan.planner import Plan
from deployd.plan.transitions import Event
from deployd.rollout.active import ActiveRollout
from deployd.rollout.cleanup import Cleanup
from deployd.rollout.hooks import Hooks
from deployd.rollout.host_drain import HostDrainer
from deployd.rollout.lifecycle import Lifecycle
from deployd.rollout.members import Members
from deployd.rollout.recorder import Recorder
from deployd.units.deployment import Deployment


class Completion:
    """Completes rollouts of `name`, which is one of `members`. `wake` is called when after hooks have ended."""

    def __init__(
        self,
        name: str,
        members: Members,
        recorder: Recorder,
        lifecycle: Lifecycle,
        deployment: Deployment,
        hooks: Hooks,
        cleanup: Cleanup,
        timers: Timers,
        host_drainer: HostDrainer,
        *,
        emit: Emit,
        wake: Callable[[], None],
    ) -> None:
        self._name = name
        self._members = members
        self._recorder = recorder
        self._lifecycle = lifecycle
        self._deployment = deployment
        self._hooks = hooks
        self._cleanup = cleanup
        self._timers = timers
        self._host_drainer = host_drainer
        self._emit = emit
        self._wake = wake

    async def complete(self, active: ActiveRollout) -> None:
        """End the rollout, together with those of the other process types, unless something is left to be done first.

        Raises StateError and SystemdError.
        """
        if active.settled is None:
            await self._settle(active)
        if active.settled is not None and not active.over:
            self._members.finish(self._name)

    async def _settle(self, active: ActiveRollout) -> None:
        """Do what is left to be done, or begin it."""
        rollout = active.rollout
        if active.aim is None or not await self._addresses_closed(active):
            return
        if rollout.phase is Phase.ROLLING_BACK:
            if rollout.origin is None:
                await self._cleanup.undeploy(active)
            else:
                await self._timers.follow(active.aim.generation)
            if not active.over and active.rollout is rollout:
                self._may_end(active, rollout.reason)
        elif self._may_run_hooks(active) and self._after_hooks_ended(active):
            # Before the result is known, so that what follows a rollout finds its timers.
            await self._timers.follow(active.target)
            if active.over or active.rollout is not rollout:
                return  # superseded, paused or aborted meanwhile
            # A success has a reason if a hook failed, or if it took back another generation.
            self._may_end(active, active.failure.reason if active.failure is not None else active.target.reason)

    def _may_end(self, active: ActiveRollout, reason: str) -> None:
        """Note that nothing is left to be done, once load balancers send clients to this host again."""
        if self._host_drainer.may_end(active):
            active.settled = reason

    def _may_run_hooks(self, active: ActiveRollout) -> bool:
        """True unless another process type may still fail: after hooks, which only the app has, follow a success."""
        return bool(active.target.settings.process) or self._members.others_are_ready(self._name)

    async def _addresses_closed(self, active: ActiveRollout) -> bool:
        """Close addresses that the aim does not have; first replace the instances that still use them.

        False if the rollout continues with that, or if a request changed its phase meanwhile.
        """
        if active.aim is None or not active.aim.goal.generation:
            return True
        settings = active.aim.generation.settings
        addresses = self._deployment.closing(settings)
        if addresses and active.rollout.phase is Phase.ROLLING and not active.rollout.closing:
            self._lifecycle.advance(active, Event.CLOSING, f"to close {' '.join(addresses)}")
            return False
        await self._deployment.close_sockets(settings)
        await self._deployment.load(settings.name)
        return active.aim is not None

    async def close_addresses(self, active: ActiveRollout, plan: Plan, seen: tuple[Instance, ...]) -> bool:
        """Close the addresses whose last instances the plan stops, before it does; False if there are none."""
        if active.aim is None or not active.rollout.closing:
            return False
        leaving = last_holders(active.aim.goal, plan, seen)
        return bool(leaving) and await self._deployment.close_sockets(active.aim.generation.settings, leaving)

    def _after_hooks_ended(self, active: ActiveRollout) -> bool:
        """True if the after hooks have ended. Begin them if they have not begun; the loop does not wait for them."""
        if active.after_hooks is None:
            active.after_hooks = asyncio.ensure_future(self._hooks.after(self._recorder.change(active), self._emit))
            active.after_hooks.add_done_callback(lambda _: self._wake())
        if not active.after_hooks.done():
            return False
        failure = None if active.after_hooks.cancelled() else active.after_hooks.result()
        if failure is not None:
            self._recorder.set_failure(active, failure)
        return True
