"""Looks whether the instances of an app have the listening socket that systemd passed to them.

READY=1 says that a process is up, not that clients reach it: it may listen elsewhere, or have closed the socket. The
socket is looked for as soon as an instance is ready, and again from time to time, because no event reports that it was
closed. One look proves that the socket is there; several are needed to prove that it is not, because a process may be
about to pass it on while its descriptors are read.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from deployd.alarm import Alarm, until_next
from deployd.errors import DeploydError, NoAnswer, StateError, SteeringError
from deployd.files.workers import Workers
from deployd.model import unit_name
from deployd.model.app import App
from deployd.model.event import Emit, EventName
from deployd.model.gate import Gate
from deployd.model.instance import Instance, Listener, State
from deployd.model.instances import differing
from deployd.model.scope import SYSTEM, Scope
from deployd.sockdiag.inet_diag import Diag
from deployd.sockdiag.passed import Found, Listening
from deployd.state.history import History
from deployd.systemd.manager import Systemd
from deployd.systemd.proxy import SERVICE
from deployd.units.text import socket_paths

log = logging.getLogger(__name__)

AGAIN = 0.5
"""Seconds between two looks at an instance that was not seen to have the socket."""
PATIENCE = 3.0
"""Seconds for which an instance must be seen without the socket before it counts as MISSING, in LOOKS looks or more."""
LOOKS = 4
INTERVAL = 15.0
"""Seconds between two looks at all instances. Those of all apps are at the same times, like the watchdog's."""
LONGEST = 3600.0
"""Seconds for which clients may wait for an instance whose gate timeout is unknown."""


class Listened(NamedTuple):
    """What is known of one invocation, as the fields of Instance."""

    invocation_id: str
    listener: Listener = Listener.UNSEEN
    listens: tuple[str, ...] = ()


@dataclass(slots=True)
class _Record:
    """What was seen of one invocation."""

    item: Instance
    cgroup: str = ""
    has_socket: bool = True
    """systemd passes a listening socket to it, as far as is known."""
    listener: Listener = Listener.UNSEEN
    listens: tuple[str, ...] = ()
    had: bool = False
    """It was seen to have the socket."""
    without: int = 0
    """Looks in a row that did not find the socket."""
    since: float = 0.0
    """The time of the first of them."""
    accepted: bool = False
    """Connections from its socket were accepted."""
    waiting: Found | None = None
    """The last look since `waiting_since`, as long as connections wait and none was accepted."""
    waiting_since: float = 0.0

    @property
    def doubtful(self) -> bool:
        """True if it is to be looked at again soon."""
        return self.listener is Listener.UNSEEN or (self.without > 0 and self.listener is not Listener.MISSING)


class ListeningInstances:
    """The listeners of one app's instances. `changed` is called when what is known of one has changed."""

    def __init__(
        self,
        app: str,
        systemd: Systemd,
        history: History,
        workers: Workers,
        cgroups: Path | None,
        *,
        changed: Callable[[], None],
        emit: Emit,
        also: Callable[[], None] = lambda: None,
        scope: Scope = SYSTEM,
        manager: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`cgroups`: where cgroup v2 is mounted; without it, nothing can be known. `also`: what else is to be done with
        each look at all instances, so that the daemon does not wake for it. `manager`: the PID of the
        service manager."""
        self._app = app
        self._systemd = systemd
        self._history = history
        self._workers = workers
        self._cgroups = cgroups
        self._changed = changed
        self._emit = emit
        self._also = also
        self._runtime, self._manager = scope.runtime, manager
        self._clock = clock
        self.results: Mapping[int, Listened] | None = None if cgroups is None else {}
        """What is known so far, by instance; None if nothing can be known. Replaced when something changes."""
        self._seen: tuple[Instance, ...] = ()
        self._records: dict[int, _Record] = {}
        self._doubtful: set[int] = set()
        """The instances that are to be looked at again soon."""
        self._without = 0, False
        """A generation, and whether it has no `listen`."""
        self._all_at = 0.0
        """The time of the next look at all instances."""
        self._alarm = Alarm(self._begin)
        self._task: asyncio.Task[None] | None = None
        self._complaint = ""

    def update(self, instances: Iterable[Instance]) -> None:
        """Look at the ready ones of these instances from now on. Cheap if nothing changed."""
        if self._cgroups is None:
            return
        seen = tuple(instances)
        gone, new = differing(self._seen, seen)
        present = {item.number: item.invocation_id for item in new if item.state is State.READY and item.invocation_id}
        known = {number: self._records[number].item.invocation_id for number in present.keys() & self._records.keys()}
        begins = (item for item in new if item.number in present and known.get(item.number) != present[item.number])
        begun = {item.number: self._begun(item) for item in begins}  # the history may not answer: the next turn repeats
        self._seen, changed = seen, set()
        for item in (*gone, *new):
            record = self._records.get(item.number)
            if record is not None and record.item.invocation_id != present.get(item.number):
                del self._records[item.number]
                self._doubtful.discard(item.number)
                changed.add(item.number)
        self._records |= begun
        self._doubtful |= {number for number, record in begun.items() if record.doubtful}
        if changed or begun:
            self._publish(changed | begun.keys())
        if any(record.has_socket for record in begun.values()):
            self._alarm.set(0.0)

    def _begun(self, item: Instance) -> _Record:
        """Return the record of a new invocation. Without `listen` there is nothing to look for."""
        if item.generation is None or item.generation != self._without[0]:  # most that begin are of one generation
            settings = self._settings(item)
            self._without = item.generation or 0, settings is not None and not settings.listen
        if not self._without[1]:
            return _Record(item)
        return _Record(item, has_socket=False, listener=Listener.PASSED)

    async def stop(self) -> None:
        """Stop looking."""
        self._alarm.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _publish(self, numbers: Iterable[int]) -> None:
        """Publish what is known of these instances now."""
        results = dict(self.results or {})
        for number in numbers:
            record = self._records.get(number)
            if record is None:
                results.pop(number, None)
            else:
                results[number] = Listened(record.item.invocation_id, record.listener, record.listens)
        self.results = results

    def _begin(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._look())

    async def _look(self) -> None:
        """Look at instances, and set the time of the next look, also if this one fails or is cancelled.

        Those of which enough is known are looked at from time to time, or each new one would cost a look at all.
        """
        now = self._clock()
        if everything := now >= self._all_at:
            self._all_at = now + until_next(INTERVAL, now)
        numbers = self._records if everything else self._doubtful
        looked = {number: self._records[number] for number in numbers if self._records[number].has_socket}
        try:
            if everything:
                self._also()
            for number, found in (await self._found(looked)).items():
                record = looked[number]
                before, known = record.listener, record.listens
                self._note(record, found)
                if self._records.get(number) is not record:
                    continue
                (self._doubtful.add if record.doubtful else self._doubtful.discard)(number)
                if (record.listener, record.listens) != (before, known):
                    self._publish([number])
                    if record.listener is not before:
                        self._report(record, before)
                        self._changed()
        except asyncio.CancelledError:  # perhaps of a future that was cancelled elsewhere; stop() has closed the alarm
            self._set_next(looked)
            raise
        except Exception as error:
            self._complain(error)
        self._set_next(looked)  # not in finally: a coroutine that is closed without its loop has no next look

    def _set_next(self, looked: Mapping[int, _Record]) -> None:
        if any(record.has_socket for record in self._records.values()):
            new = any(looked.get(number) is not self._records[number] for number in self._doubtful)
            left = max(0.0, self._all_at - self._clock())
            self._alarm.set(0.0 if new else AGAIN if self._doubtful else left)

    async def _found(self, records: Mapping[int, _Record]) -> dict[int, Found | None]:
        """Return what was found of each instance, None if that cannot be known."""
        try:
            # At once: while many instances boot, systemd takes its time for each call.
            unknown = [record for record in records.values() if not record.cgroup]
            cgroups = await asyncio.gather(*(self._cgroup(record.item.number) for record in unknown))
            for record, cgroup in zip(unknown, cgroups, strict=True):
                record.cgroup = cgroup
            return await self._workers.run(self._app, self._read, {n: item.cgroup for n, item in records.items()})
        except NoAnswer:
            return dict.fromkeys(records)
        except Exception as error:
            self._complain(error)
            return dict.fromkeys(records)

    def _complain(self, error: Exception) -> None:
        """Log an error once."""
        if repr(error) != self._complaint:
            why = error if isinstance(error, DeploydError) else repr(error)
            log.warning("%s: it is unknown whether instances listen: %s", self._app, why)
        self._complaint = repr(error)

    async def _cgroup(self, number: int) -> str:
        unit = unit_name.instance(self._app, number)
        return str((await self._systemd.read(unit, SERVICE, ["ControlGroup"]))["ControlGroup"]).lstrip("/")

    def _read(self, cgroups: Mapping[int, str]) -> dict[int, Found | None]:
        """Read the listening sockets of instances, in a thread. Raises SteeringError."""
        if self._cgroups is None:
            raise SteeringError("there is no cgroup v2")
        listening, runtime = Listening.read(Diag(), self._manager), self._runtime
        return {
            number: listening.of_unit(self._cgroups / cgroup, [socket_paths.probe(self._app, number, runtime)])
            if cgroup
            else None
            for number, cgroup in cgroups.items()
        }

    def _note(self, record: _Record, found: Found | None) -> None:
        """Take in what a look has found."""
        if found is None or found.passed or self._may_be_elsewhere(record, found):
            record.had = record.had or (found is not None and found.passed)
            unused = found is not None and self._is_unused(record, found)
            record.listener = Listener.UNUSED if unused else Listener.PASSED
            record.listens, record.without = (), 0
            return
        record.since = record.since if record.without else self._clock()
        record.without += 1
        record.listens = found.own
        if record.without >= LOOKS and self._clock() >= record.since + PATIENCE:
            record.listener = Listener.MISSING

    def _is_unused(self, record: _Record, found: Found) -> bool:
        """True if clients have waited for as long as a start may take, and none was ever accepted.

        A busy server has accepted one. With a shared socket it is enough that another instance has: what waits there
        is no fault of this one.
        """
        before, record.waiting = record.waiting, None
        record.accepted = record.accepted or found.accepts or (before is not None and found.accepted_since(before))
        if record.accepted or not (found.waiting or found.unknown):
            return False
        record.waiting = found
        if before is None:
            record.waiting_since = self._clock()
        return self._clock() >= record.waiting_since + self._patience(record.item)

    def _patience(self, item: Instance) -> float:
        gate = self._gate(item)
        return LONGEST if gate is None else max(INTERVAL, gate.timeout)

    def _gate(self, item: Instance) -> Gate | None:
        """Return the gate of the instance's generation, None if it is unknown."""
        settings = self._settings(item)
        return None if settings is None else settings.gate

    def _settings(self, item: Instance) -> App | None:
        """Return the settings of the instance's generation, None if they are unknown."""
        with contextlib.suppress(StateError):
            return None if item.generation is None else self._history.settings(self._app, item.generation)
        return None

    def _may_be_elsewhere(self, record: _Record, found: Found) -> bool:
        """True if a process outside of the unit may serve for it, such as a container, and a probe shows it."""
        if found.own or record.had or record.item.generation is None:
            return False
        gate = self._gate(record.item)
        return gate is None or gate.probe is not None

    def _report(self, record: _Record, before: Listener) -> None:
        """Report that an instance has lost its socket, or has it again."""
        now = replace(record.item, listener=record.listener, listens=record.listens)
        if now.deaf or before in (Listener.MISSING, Listener.UNUSED):
            state, reason = str(now.listener), f"instance {now.number} {now.deaf}" if now.deaf else ""
            fields = {"instance": now.number, "generation": now.generation, "state": state}
            self._emit(EventName.LISTENER, {**fields, **({"reason": reason} if reason else {})})


def overlaid(item: Instance, results: Mapping[int, Listened] | None) -> Instance:
    """Return the instance with what is known of the listener of its present invocation."""
    if results is None or item.state is not State.READY or not item.invocation_id:
        return item
    known = results.get(item.number)
    if known is None or known.invocation_id != item.invocation_id:
        known = Listened(item.invocation_id)
    return replace(item, listener=known.listener, listens=known.listens)
