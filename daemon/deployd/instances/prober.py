"""Probes instances as long as the planner needs the results.

A result belongs to one invocation of an instance: it counts only if systemd reports after the probe that the
invocation is still the same. The result is forgotten when the invocation changes.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from deployd.errors import SystemdError
from deployd.model.app import App
from deployd.model.gate import Answer, Probe
from deployd.model.instance import Instance, State

log = logging.getLogger(__name__)

SHOWN = ("probed_since", "probe_error", "probe_failures")
"""Results of which every change counts, not only `gate.probe.fail_after` wrong answers."""

Ask = Callable[[App, Instance, str], Awaitable[Answer]]
"""(settings, instance, release directory) to the answer of the instance.

Raises SystemdError if it could not be probed, which says nothing about the instance.
"""

Invocation = Callable[[int], Awaitable[str]]
"""The number of an instance to its present invocation ID. Raises SystemdError."""


@dataclass(frozen=True, slots=True)
class _Subject:
    """The instance and how it is probed. Probing continues as long as this stays equal."""

    number: int
    invocation_id: str
    probe: Probe
    release: str
    calm: float
    """Seconds between two probes that never end; 0 for probes at the probe's own interval, until one has failed."""


class Result(NamedTuple):
    """The results of one subject, as the fields of Instance."""

    probed_since: float = 0.0
    probe_error: str = ""
    wrong_answers: int = 0
    wrong_since: float = 0.0
    probe_failures: int = 0
    probed_from: float = 0.0

    def after(self, answer: Answer, now: float, *, calm: bool) -> Result:
        """Return the results after one more answer at the time `now`."""
        return Result(
            self.probed_since if answer.problem else self.probed_since or now,
            answer.problem,
            self.wrong_answers + 1 if answer.wrong else 0,
            (self.wrong_since or now) if answer.wrong else 0.0,
            self.probe_failures + 1 if calm and answer.problem else 0,
            self.probed_from,
        )


@dataclass(slots=True)
class _Record:
    """One subject, and its results so far."""

    subject: _Subject
    settings: App
    instance: Instance
    result: Result


class Prober:
    """The probes of one app. `changed` is called when a result differs from the one before."""

    def __init__(
        self,
        ask_http: Ask,
        ask_command: Ask,
        invocation: Invocation,
        changed: Callable[[], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._ask_http = ask_http
        self._ask_command = ask_command
        self._invocation = invocation
        self._changed = changed
        self._clock = clock
        self._sleep = sleep
        self.results: Mapping[int, tuple[str, Result]] = {}
        """The results so far by instance, with the invocation to which they belong. Replaced when one changes."""
        self._records: dict[int, _Record] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def update(self, settings: App, release: str, wanted: Iterable[Instance], calm: float = 0.0) -> None:
        """Probe the `wanted` instances by `settings`, and no others. Cheap if nothing changed.

        With `calm`, probe them every so many seconds whatever they answer; otherwise a failure after a success is the
        last probe.
        """
        asked = settings.gate.probe
        subjects = {
            item.number: (_Subject(item.number, item.invocation_id, asked, release, calm), item)
            for item in wanted
            if asked is not None and item.invocation_id
        }
        self._forget(
            number
            for number, record in list(self._records.items())
            if number not in subjects or subjects[number][0] != record.subject
        )
        for number, (subject, item) in subjects.items():
            if number in self._records:
                self._records[number].settings, self._records[number].instance = settings, item
            else:
                first = Result(probed_from=math.inf if calm else self._clock())
                record = self._records[number] = _Record(subject, settings, item, first)
                self._tasks[number] = asyncio.ensure_future(self._probe(record))

    def clear(self) -> None:
        """Stop all probes and forget their results."""
        self._forget(list(self._records))

    async def stop(self) -> None:
        """Stop all probes, and wait until those under way have been cancelled."""
        self.clear()
        while self._ending:
            await asyncio.wait(self._ending)

    def _forget(self, numbers: Iterable[int]) -> None:
        results = dict(self.results)
        for number in numbers:
            del self._records[number]
            results.pop(number, None)
            task = self._tasks.pop(number)
            if not task.done():
                task.cancel()
                self._ending.add(task)
                task.add_done_callback(self._ending.discard)
        if results.keys() != self.results.keys():
            self.results = results

    async def _probe(self, record: _Record) -> None:
        """Probe until a success is followed by a failure, which is kept so that the planner cannot miss it."""
        subject, logged = record.subject, ""
        while subject.calm or not (record.result.probed_since and record.result.probe_error):
            try:
                await self._probe_once(record)
            except SystemdError as error:
                log.warning("instance %d could not be probed: %s; trying again", subject.number, error)
            except Exception as error:
                if repr(error) != logged:
                    log.exception("instance %d could not be probed; trying again", subject.number)
                logged = repr(error)
            await self._sleep(max(subject.probe.interval, subject.calm))

    async def _probe_once(self, record: _Record) -> None:
        subject = record.subject
        ask = self._ask_http if subject.probe.http else self._ask_command
        answer = await ask(record.settings, record.instance, subject.release)
        # IDs are never reused: an invocation that is the same now was the same all the time.
        if await self._invocation(subject.number) != subject.invocation_id:
            return
        before, after = record.result, record.result.after(answer, self._clock(), calm=bool(subject.calm))
        record.result = after
        if self._records.get(subject.number) is record:
            self.results = {**self.results, subject.number: (subject.invocation_id, after)}
        enough = answer.wrong and after.wrong_answers == record.settings.gate.fail_after
        if enough or any(getattr(before, name) != getattr(after, name) for name in SHOWN):
            self._changed()


def overlaid(item: Instance, known: tuple[str, Result] | None) -> Instance:
    """Return the instance with the results of probes of its present invocation."""
    if known is None or item.state is not State.READY or known[0] != item.invocation_id:
        return item
    return replace(item, **known[1]._asdict())
