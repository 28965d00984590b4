"""What stands by, and its end: the time is over, memory runs short, or the app was stopped.

The thin shell around plan.standby. Asked at every turn of the control loop; it wakes the loop when the time of the
first is over and when the kernel says that memory is short. It stops what has to go, and never touches what serves.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from deployd.alarm import Alarm
from deployd.instances.freezer import Freezer
from deployd.model.action import Action, Freeze, Stop, Thaw, Unpin
from deployd.model.app import App
from deployd.model.clock import Timestamp, iso
from deployd.model.instance import Instance, State
from deployd.model.rollout import Rollout
from deployd.plan.goal import Goal
from deployd.plan.standby import Leaving, Resting, leaving, until
from deployd.state.pins import Pins
from deployd.systemd import memory
from deployd.systemd.memory import Pressure

log = logging.getLogger(__name__)

ANSWERING = 0.2
"""Seconds that one in standby gets to answer a connection that strayed there, before it is looked at again."""

EVERY = 10.0
"""Seconds between two looks at the memory while something stands by, where the kernel does not tell by itself."""

RECALL = 30.0
"""Seconds for which what was recalled waits for the rollout that goes back to it."""


class Hands(Protocol):
    """What is needed of Instances."""

    def act(self, action: Action, settings: App) -> None: ...

    def working(self, number: int) -> bool: ...


class Standby:
    """Of one app. `up` says whether its umbrella is, `wake` has :meth:`look` called."""

    def __init__(
        self,
        app: str,
        pins: Pins,
        freezer: Freezer,
        hands: Hands,
        *,
        up: Callable[[], bool],
        wake: Callable[[], None],
        pressure: Callable[[Callable[[], None]], Pressure] = Pressure,
        available: Callable[[], int | None] = memory.available,
    ) -> None:
        self._app = app
        self._pins = pins
        self._freezer = freezer
        self._hands = hands
        self._up = up
        self._wake = wake
        self._pressure = pressure(self._fired)
        self._available = available
        self._short = False
        self._deaf = False
        """The kernel does not tell us of pressure."""
        self._alarm = Alarm(wake)
        self._resting: tuple[Resting, ...] = ()
        self._lasts = 0.0
        self.recalled: int | None = None
        """The generation that a rollout is about to go back to. It has been woken, and comes first until then."""
        self._recalled_at = 0.0

    def recall(self, generation: int, settings: App) -> None:
        """Wake what stands by of a generation. What comes before a rollout takes its time: this does not wait for it.

        Raises StateError."""
        numbers = [number for number, one in self._pins.standby(self._app).items() if one.generation == generation]
        if self.recalled != generation and not (numbers and self._up()):
            return
        if self.recalled != generation:
            log.info("%s: generation %d is called back from standby", self._app, generation)
        self.recalled = generation
        self._recalled_at = Timestamp.now().monotonic
        self._wake()
        for number in numbers:
            self._hands.act(Thaw(number, generation), settings)

    def dismiss(self, seen: Iterable[Instance], settings: App) -> None:
        """There is no way back to what was recalled: it stands by again. Raises StateError."""
        if self.recalled is not None:
            for item in seen:
                if item.generation == self.recalled and item.state in (State.READY, State.STARTING):
                    self._hands.act(Freeze(item.number, self.recalled), settings)
            self.recalled = None

    async def look(
        self,
        seen: Iterable[Instance],
        now: Timestamp,
        settings: App,
        *,
        busy: bool,
        wanted: frozenset[int] = frozenset(),
    ) -> None:
        """Have those go that must. `settings` are those of the generation that serves; while a rollout is under way
        (`busy`) it is asked for nothing but memory, of generations other than `wanted`: the planner sees to the rest.
        Raises StateError, SystemdError."""
        self._alarm.clear()
        short, self._short = self._short, False
        records = self._pins.standby(self._app)
        if not records and not self._resting:
            return
        states = {item.number: item.state for item in seen}
        numbers = frozenset(n for n in records if states.get(n) is State.STANDBY and not self._hands.working(n))
        await self._sweep(records.keys() - numbers, states, settings)
        self._resting = await self._freezer.resting(numbers, now)
        self._lasts = settings.pace.standby
        strayed = await self._freezer.ensure(numbers)
        if not self._resting:
            self._pressure.close()
            return
        for item in self._going(now, settings, busy=busy, wanted=wanted, short=short):
            log.info("%s: instance %d leaves standby: %s", self._app, item.number, item.reason)
            self._hands.act(Stop(item.number, item.generation, item.reason), settings)
        self._listen()
        self._wake_at(now, busy, strayed)

    async def attend(
        self, seen: Iterable[Instance], settings: App | None, rollout: Rollout | None, goal: Goal | None
    ) -> None:
        """:meth:`look` for the control loop: `settings` of the generation that serves, the rollout under way and what
        it is to reach, each if there is one."""
        if goal is not None:
            self.recalled = None
        if settings is not None:
            if rollout is None and Timestamp.now().monotonic >= self._recalled_at + RECALL:
                self.dismiss(seen, settings)
            busy = rollout is not None and not rollout.suspended
            wanted = frozenset[int]() if goal is None else goal.same | {goal.generation}
            await self.look(seen, Timestamp.now(), settings, busy=busy, wanted=wanted)
            if self.recalled is not None and rollout is None:
                self._alarm.set(self._recalled_at + RECALL - Timestamp.now().monotonic)

    def status(self, now: Timestamp) -> dict[str, Any] | None:
        """`standby` of `deployd status --json`."""
        if not self._resting:
            return None
        end = until(self._resting, self._lasts)
        return {
            "generation": self._resting[0].generation,
            "instances": [item.number for item in self._resting],
            "until": iso(now.wall - now.monotonic + end) if end is not None else None,
        }

    def stop(self) -> None:
        """Wake nobody any more."""
        self._alarm.close()
        self._pressure.close()

    async def _sweep(self, numbers: Iterable[int], states: dict[int, State], settings: App) -> None:
        """Those that have ended by themselves, as in a reboot: nothing is left of them to keep. systemd 257 may be
        restarting one, in vain, for it has no pin."""
        for number in numbers:
            if self._hands.working(number):
                continue
            state = states.get(number, State.INACTIVE)
            if state is State.INACTIVE:
                self._hands.act(Unpin(number), settings)
            elif state in (State.FAILED, State.STARTING):
                self._hands.act(Stop(number, None, "it ended in standby"), settings)
            elif state is State.STOPPING:
                await self._freezer.wake(number)  # by whomever: its children sleep

    def _going(
        self, now: Timestamp, settings: App, *, busy: bool, wanted: frozenset[int], short: bool
    ) -> tuple[Leaving, ...]:
        if not self._up():
            return tuple(Leaving(item.number, item.generation, "the app was stopped") for item in self._resting)
        if busy and not short:
            return ()
        resting = [item for item in self._resting if not busy or item.generation not in wanted]
        limit = settings.pace.standby_memory
        available = self._available()
        return leaving(resting, self._lasts, now.monotonic, available=available, limit=limit, short=short)

    def _listen(self) -> None:
        if self._deaf:
            return
        try:
            self._pressure.open()
        except OSError as error:
            self._deaf = True
            reason = error.strerror or error
            log.info(
                "%s: the kernel does not tell when memory runs short (%s); looking now and then", self._app, reason
            )

    def _fired(self) -> None:
        self._short = True
        self._wake()

    def _wake_at(self, now: Timestamp, busy: bool, strayed: bool) -> None:
        if self._deaf:
            self._alarm.set(EVERY)
        if strayed:
            self._alarm.set(ANSWERING)
        end = until(self._resting, self._lasts)
        if end is not None and not busy:
            self._alarm.set(end - now.monotonic)
