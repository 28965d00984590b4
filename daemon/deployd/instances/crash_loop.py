"""Instances that crash while no rollout is under way: counted, kept down for a while, started again.

The shell around plan/backoff.py. After a restart the daemon must distinguish an instance that it kept down from one
that was stopped by hand, so the crash loop is recorded before the stop. Other instances and the socket are never
touched.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from deployd.alarm import Alarm
from deployd.errors import StateError
from deployd.instances.executor import Executor
from deployd.instances.explanation import addition
from deployd.model import unit_name
from deployd.model.action import Start, Stop
from deployd.model.clock import Timestamp, iso
from deployd.model.crashes import Crash, Crashes, Trouble
from deployd.model.event import Emit, EventName
from deployd.model.instance import Instance
from deployd.model.instances import Instances
from deployd.plan.backoff import Judgement, Patience, Step, forgiven, judge, restarts
from deployd.plan.closed_address import ClosedAddress
from deployd.state.history import History
from deployd.systemd.notices import Account
from deployd.systemd.tail import ReadAccount

log = logging.getLogger(__name__)

READERS = 2
"""Journals of crashed instances that are read at a time: other apps read journals, too."""

MOST_AT_ONCE = 10
"""Crashes of one instance that are logged at a time; there may have been more while the daemon did not run."""

RETRY = 1.0
"""Seconds until a start is retried whose pin could not be written."""


class CrashLoop:
    """Counts the crashes of one app's instances, and acts on them.

    `up` is true while the app unit is up, `closed` while an address of the app is closed; `wake` has the control loop
    call :meth:`update`; `changed` is called when the result of :meth:`troubles` has changed.
    """

    def __init__(
        self,
        app: str,
        history: History,
        account: ReadAccount,
        executor: Executor,
        patience: Patience,
        *,
        up: Callable[[], bool],
        closed: Callable[[], bool],
        wake: Callable[[], None],
        changed: Callable[[], None],
        emit: Emit,
    ) -> None:
        self._app = app
        self._history = history
        self._account = account
        self._patience = patience
        self._executor = executor
        self._up = up
        self._closed = closed
        self._address = ClosedAddress()
        self._changed = changed
        self._emit = emit
        self._known: dict[int, Crashes] | None = None
        self._forgiving = False
        self._tried: set[int] = set()
        self._stopped: dict[int, int] = {}
        """Instance to its number of crashes when it was last stopped: a stop that systemd refused is not repeated."""
        self._accounts: dict[str, Account] = {}
        """Invocation ID to what the journal says of its end."""
        self._reading: dict[str, asyncio.Task[None]] = {}
        self._readers = asyncio.Semaphore(READERS)
        self._down: set[str] = set()
        """The invocations that have ended, perhaps by request."""
        self._wake = wake
        self._alarm = Alarm(wake)

    def overlay(self, instances: Instances) -> Instances:
        """Return the instances; for those that are down, with what the journal says of how they ended."""
        return instances.followed_by([*map(self._overlaid, instances)]) if self._accounts else instances

    def _overlaid(self, item: Instance) -> Instance:
        account = self._accounts.get(item.invocation_id) if item.unclear else None
        return item if account is None else replace(item, ended=account.stop_requested is False)

    def update(self, instances: Iterable[Instance], now: Timestamp, *, busy: bool) -> None:
        """Count crashes, and stop or start instances accordingly. Raises StateError.

        `busy`: a rollout is planned, which decides on all instances; crashes are forgiven.
        """
        if self._known is None:
            self._known = self._history.crashes(self._app, now.boot)
            self._read(self._known)
        self._alarm.clear()
        self._address = self._address.observed((item.invocation_id for item in instances), closed=self._closed())
        if busy or not self._up():
            self._forgive(now)
            return
        if self._forgiving:
            self._forgiving = False
            self._known = {item.number: forgiven(item, self._known.get(item.number)) for item in instances}
        judged = {
            item.number: judge(
                self._known.get(item.number), item, now.monotonic, self._patience, tried=self._was_tried(item)
            )
            for item in instances
            if item.generation is not None and not self._executor.is_busy(item.number)
        }
        self._ask_how_they_ended(instances)
        self._log(judged, now)
        wakes = [judgement.wake_at for judgement in judged.values()]
        pinned = {item.number for item in instances if item.generation is not None}
        if self._remember(self._known, pinned, judged, now):
            wakes += [self._act(number, judgement, now) for number, judgement in judged.items() if judgement.step]
        for wake_at in wakes:
            if wake_at is not None:
                self._alarm.set(wake_at - now.monotonic)

    def retry_now(self, *, absent: bool = False) -> bool:
        """Have the next :meth:`update` start the instances that are kept down, without another delay; with `absent`,
        those that wait for their release. Returns False if there are none."""
        known = self._known or {}
        found = {
            number: replace(item, retry_at=0.0)
            for number, item in known.items()
            if item.retry_at is not None and (item.absent or not absent)
        }
        if self._known is not None:
            self._known |= found
        return bool(found)

    def stop(self) -> None:
        """Never wake the control loop again."""
        self._alarm.close()

    def troubles(self) -> Mapping[int, Trouble]:
        """Return the instances whose crashes are not forgiven."""
        known = self._known or {}
        return {number: self._trouble(crashes) for number, crashes in known.items() if crashes.count}

    def restarts(self, instances: Iterable[Instance]) -> Mapping[int, int]:
        """Return how often each instance was restarted automatically."""
        known = self._known or {}
        return {item.number: restarts(known.get(item.number), item) for item in instances}

    def _trouble(self, crashes: Crashes) -> Trouble:
        account = self._accounts.get(crashes.last, Account())
        settings = self._history.settings(self._app, crashes.generation or 0)
        listen = [] if settings is None else [item.address for item in settings.listen]
        return Trouble(crashes, account.lines, addition(account, listen))

    def _was_tried(self, item: Instance) -> bool:
        tried = item.number in self._tried
        self._tried.discard(item.number)
        return tried

    def _forgive(self, now: Timestamp) -> None:
        known = self._known or {}
        past = {n: Crashes(item.generation, before=item.before) for n, item in known.items() if item.before}
        self._known = past if self._up() else {}  # after a start by request there are no restarts yet
        self._forgiving = True
        self._tried.clear()
        self._stopped.clear()
        self._accounts.clear()
        self._down.clear()
        left = {n: self._known.get(n, Crashes(None)) for n, item in known.items() if item.matters}
        news = {number: crashes for number, crashes in left.items() if crashes != known[number]}
        if news:
            self._save(news, now)
            self._changed()

    def _remember(
        self, known: dict[int, Crashes], pinned: set[int], judged: Mapping[int, Judgement], now: Timestamp
    ) -> bool:
        """Record changes; False if that is not possible."""
        news = {number: judgement.crashes for number, judgement in judged.items()}
        news |= {number: Crashes(None) for number in known.keys() - pinned}
        news = {number: crashes for number, crashes in news.items() if known.get(number) != crashes}
        kept = {n: crashes for n, crashes in news.items() if crashes.matters or (n in known and known[n].matters)}
        if kept and not self._save(kept, now):
            # An instance kept down without a record would stay down for ever if the daemon were killed.
            news = {number: replace(crashes, retry_at=None) for number, crashes in news.items()}
        known |= news
        for number in known.keys() - pinned:
            del known[number]
        if kept:
            self._read(kept)
            self._changed()
        return all(known[number] == judgement.crashes for number, judgement in judged.items())

    def _log(self, judged: Mapping[int, Judgement], now: Timestamp) -> None:
        """Log new crashes, by which a generation on probation is judged."""
        news = [
            Crash(number, crashes.generation, now.monotonic, crashes.why, crashes.last)
            for number, judgement in judged.items()
            if (crashes := judgement.crashes).generation is not None and not self._address.excuses(crashes.last)
            for _ in range(min(judgement.deaths, MOST_AT_ONCE))
        ]
        if news:
            try:
                self._history.log_crashes(self._app, now.boot, news)
            except StateError as error:
                log.warning("%s: %s; crashes are not logged", self._app, error)

    def _save(self, news: Mapping[int, Crashes], now: Timestamp) -> bool:
        try:
            self._history.crashed(self._app, now.boot, news)
        except StateError as error:
            log.warning("%s: %s; crashes are not counted", self._app, error)
            return False
        return True

    def _act(self, number: int, judgement: Judgement, now: Timestamp) -> float | None:
        """Begin what was decided; return when to retry if that could not begin."""
        crashes = judgement.crashes
        settings = self._history.settings(self._app, crashes.generation or 0)
        if crashes.generation is None or settings is None:
            return None
        if judgement.step is Step.STOP:
            if self._stopped.get(number) != crashes.count:
                self._stopped[number] = crashes.count
                stop = Stop(number, crashes.generation, "crash-loop", keep=True)
                self._executor.act(stop, settings)
                self._report_stop(number, crashes, now)
            return None
        log.info("%s: starting instance %d again after %d crashes", self._app, number, crashes.count)
        try:
            start = Start(number, crashes.generation)
            self._executor.act(start, settings)
        except StateError as error:
            log.warning("%s: %s; trying again", self._app, error)
            return now.monotonic + RETRY
        self._tried.add(number)
        return None

    def _report_stop(self, number: int, crashes: Crashes, now: Timestamp) -> None:
        offset = now.wall - now.monotonic
        fields = {
            "instance": number,
            "generation": crashes.generation,
            "crashes": crashes.count,
            "retry_at": iso(offset + crashes.retry_at) if crashes.retry_at is not None else None,
            "reason": crashes.sentence(offset),
        }
        self._emit(EventName.CRASH_LOOP, fields)

    def _read(self, news: Mapping[int, Crashes]) -> None:
        """Begin to read what the journal says of crashed instances."""
        for number, crashes in news.items():
            self._begin_to_read(number, crashes.last)

    def _ask_how_they_ended(self, instances: Iterable[Instance]) -> None:
        """Begin to read what the journal says of instances that are down, and that systemd does not start again."""
        down = [item for item in instances if item.generation is not None and item.unclear]
        self._down = {item.invocation_id for item in down}
        for item in down:
            self._begin_to_read(item.number, item.invocation_id)

    def _begin_to_read(self, number: int, invocation: str) -> None:
        if invocation and invocation not in self._accounts and invocation not in self._reading:
            self._reading[invocation] = asyncio.ensure_future(self._read_journal(number, invocation))

    async def _read_journal(self, number: int, invocation: str) -> None:
        try:
            async with self._readers:
                self._accounts[invocation] = await self._account(invocation, unit_name.instance(self._app, number))
        except Exception:
            log.exception("%s: the journal of invocation %s could not be read", self._app, invocation)
            self._accounts[invocation] = Account()  # not read again
        finally:
            del self._reading[invocation]
        wanted = {crashes.last for crashes in (self._known or {}).values()} | self._down
        self._accounts = {known: account for known, account in self._accounts.items() if known in wanted}
        self._changed()
        if invocation in self._down:
            self._wake()
