"""Watches the generation that went live last, and has it taken back if it fails (plan/probation.py).

The history keeps the probation, so it continues after a restart of the daemon. It rests while a rollout is under way
and ends when that succeeds: another generation is live then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from deployd.alarm import Alarm
from deployd.errors import Busy, DeploydError, StateError, SystemdError
from deployd.instances.observer import Observer
from deployd.model.clock import Timestamp, iso
from deployd.model.crashes import Crash
from deployd.model.event import Emit, EventName
from deployd.model.failure import Failure
from deployd.model.generation import Generation
from deployd.model.instance import Instance
from deployd.model.probation import Probation
from deployd.plan import probation
from deployd.plan.goal import Goal
from deployd.rollout.probation_analysis import ProbationAnalysis
from deployd.state.history import History
from deployd.systemd.tail import ReadLines

log = logging.getLogger(__name__)

RETRY = 10.0
"""Seconds until taking back is tried again after an error that may pass, such as a full disk."""

TakeBack = Callable[[Probation, str], Awaitable[None]]
"""Begins the rollout to the origin of a failed generation, for a reason. Raises DeploydError."""


class ProbationMonitor:
    """Monitors one app.

    `up` is true while the app unit is up; `wake` has the control loop call :meth:`update`; `changed` is called when
    the status differs.
    """

    def __init__(
        self,
        app: str,
        history: History,
        observer: Observer,
        analysis: ProbationAnalysis,
        tail: ReadLines,
        take_back: TakeBack,
        *,
        up: Callable[[], bool],
        wake: Callable[[], None],
        changed: Callable[[], None],
        emit: Emit,
    ) -> None:
        self._app = app
        self._history = history
        self._observer = observer
        self._analysis = analysis
        self._tail = tail
        self._take_back = take_back
        self._up = up
        self._wake = wake
        self._changed = changed
        self._emit = emit
        self._alarm = Alarm(wake)
        self._ending: asyncio.Task[None] | None = None
        self._retry_at = 0.0
        self._probing = False

    def update(self, seen: tuple[Instance, ...], now: Timestamp, *, rolling: bool) -> None:
        """Judge the generation on probation, if there is one. `rolling`: a rollout is under way. Raises StateError."""
        self._alarm.clear()
        found = None if rolling else self._history.probation(self._app)
        generation = None if found is None else self._history.generation(self._app, found.generation)
        if found is None or found.failed or generation is None:
            self._rest(rolling)
            return
        known = probation.resumed(found, now)
        if known != found:
            self._history.put_on_probation(known)
        if self._ending is not None:
            return
        if now.monotonic >= known.until:
            self._end(known, "ended")
            return
        self._alarm.set(known.until - now.monotonic)
        if not self._up():
            self._rest(rolling=False)  # taking it back would start an app that was stopped
            return
        self._probe(known, generation, seen)
        self._judge(known, generation, seen, now)

    def known(self) -> Probation | None:
        """Return the probation that lasts, if there is one. Raises StateError."""
        found = self._history.probation(self._app)
        return None if found is None or found.failed else found

    def accept(self) -> bool:
        """End the probation now; False if there is none. Raises StateError."""
        known = self.known()
        if known is None:
            return False
        if self._ending is not None:
            self._ending.cancel()
        self._end(known, "accepted")
        return True

    def stop(self) -> None:
        """Never wake the control loop again; the probation stays in the history."""
        self._alarm.close()
        self._analysis.end()
        if self._ending is not None:
            self._ending.cancel()

    def _rest(self, rolling: bool) -> None:
        """Stop the analysis, and the probes and the watchdog unless they are those of a rollout."""
        if not rolling:
            self._observer.watch(0.0, None)
        if self._probing and not rolling:
            self._observer.stop_probes()
        self._probing = False
        self._analysis.end()

    def _end(self, known: Probation, state: str) -> None:
        self._history.end_probation(self._app)
        self._rest(rolling=False)
        self._report(known, state, "")
        self._changed()

    def _report(self, known: Probation, state: str, reason: str) -> None:
        fields = {"generation": known.generation, "state": state, "until": iso(known.ends), "reason": reason}
        self._emit(EventName.WATCH, fields)

    def _probe(self, known: Probation, generation: Generation, seen: tuple[Instance, ...]) -> None:
        settings = generation.settings
        self._observer.watch(settings.gate.watchdog, known.generation, seen)
        if settings.gate.probe is not None:
            self._probing = True
            calm = probation.calm(settings.pace.watch)
            self._observer.probe(settings, generation.release, probation.probed(known, seen), calm)

    def _judge(self, known: Probation, generation: Generation, seen: tuple[Instance, ...], now: Timestamp) -> None:
        settings = generation.settings
        crashes = self._history.logged_crashes(self._app, now.boot)
        others = self._history.crashes_elsewhere(self._app, now.boot) if crashes else {}
        ours = probation.counted(known, crashes, others)
        failure = probation.crashed(known, settings.instances, ours, crashes)
        last = ours[-1] if failure is not None else None
        if failure is None:
            words = Goal.of(settings, generation.number).probe_words
            failure = probation.unanswered(known, settings.instances, seen, words)
        if failure is None:
            failure = probation.hung(known, settings.instances, seen, settings.gate.watchdog, now.monotonic)
        failure = failure or self._analysis.update(generation, now.monotonic)
        if failure is None:
            return
        due = max(self._retry_at, last.at + probation.SETTLING if last is not None else 0.0)
        if now.monotonic < due:
            self._alarm.set(due - now.monotonic)
            return
        self._ending = asyncio.ensure_future(self._fail(known, failure, last))

    async def _fail(self, known: Probation, failure: Failure, last: Crash | None) -> None:
        """Take the generation back, or report why it stays. `last` is its last crash, if it failed by crashes."""
        try:
            await self._conclude(known, failure, last)
        except Busy:
            self._retry_at = Timestamp.now().monotonic + RETRY  # a request for another rollout is being prepared
        except (StateError, SystemdError) as error:
            log.warning("%s: taking back generation %d failed: %s; trying again", self._app, known.generation, error)
            self._retry_at = Timestamp.now().monotonic + RETRY
        except Exception:
            log.exception("%s: taking back generation %d failed; trying again", self._app, known.generation)
            self._retry_at = Timestamp.now().monotonic + RETRY
        finally:
            self._ending = None
            self._wake()

    async def _conclude(self, known: Probation, failure: Failure, last: Crash | None) -> None:
        if last is not None and last.invocation:
            failure = replace(failure, journal=await self._tail(last.invocation))
        stays = known.stays
        if not stays:
            self._history.put_on_probation(known, failure)
            try:
                await self._take_back(known, failure.reason)
                return
            except (Busy, StateError, SystemdError):
                raise
            except DeploydError as error:  # its release is missing, or was changed
                stays = str(error)
        reason = f"{failure.reason}; generation {known.generation} stays live: {stays}"
        self._history.put_on_probation(replace(known, failed=reason), failure)
        self._rest(rolling=False)
        self._report(known, "failed", reason)
        self._changed()
