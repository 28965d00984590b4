"""The history of an app, and the matches that find its log lines in the journal."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator

from deployd.apps.registry import Registry
from deployd.config import one_line
from deployd.documents import Json
from deployd.documents.status import history
from deployd.errors import InvalidRequest
from deployd.model import advice, unit_name
from deployd.model.app import WEB
from deployd.model.generation import Entry
from deployd.model.scope import SYSTEM, JournalFields
from deployd.plan import boots
from deployd.state.history import History
from deployd.units.deployment import Deployment

PAGE = 200
"""Generations in one answer, which has to fit into one D-Bus message."""

_INVOCATION = re.compile(r"[0-9a-f]{32}")


class HistoryView:
    """Of all apps."""

    def __init__(
        self,
        registry: Registry,
        history: History,
        deployment: Deployment,
        names: JournalFields = SYSTEM.journal,
    ) -> None:
        self._registry = registry
        self._history = history
        self._deployment = deployment
        self._names = names

    def _members(self, name: str) -> list[str]:
        """Return the names under which the app and its process types are in the history, the app first."""
        return [name, *(item.name for item in self._registry.members(name) if item.name != name)]

    def page(self, name: str, before: int = 0) -> Json:
        """Return the newest generations or, with `before`, the newest of those with lower numbers."""
        entries = self._history.entries(name, PAGE + 1, before)
        page, more = entries[:PAGE], len(entries) > PAGE
        found = self._history.boots_by_generation(name, [item.number for item in page])
        known = {number: boots.summary(seconds) for number, seconds in found.items()}
        trouble = self._history.source.trouble(name)
        current, probation = self._history.current(name), self._history.probation(name)
        types = self._of_types(name, before)
        return history(name, page, current, known, types=types, more=more, trouble=trouble, probation=probation)

    def _of_types(self, name: str, before: int) -> dict[str, dict[int, Entry]]:
        """Return the generations of further process types, by process type and number."""
        found = {item: self._history.entries(item, PAGE, before) for item in self._members(name)[1:]}
        return {item.removeprefix(f"{name}."): {entry.number: entry for entry in found[item]} for item in found}

    def generations_of(self, name: str, invocations: Collection[str]) -> Json:
        """Return the generations of invocations of instances, without those that are not known, or no longer."""
        valid = [item for item in invocations if _INVOCATION.fullmatch(item)]
        found: dict[str, int] = {}
        for member in self._members(name):
            found |= self._history.generations_of(member, valid)
        return {"app": name, "generations": found}

    def log_matches(self, name: str, generation: int, process: str = "") -> list[str]:
        """Return journalctl(1) matches for what instances wrote, and for what systemd and deployd wrote about them; of
        one generation, or of all for 0, and of one process type or timer, or of all for "". Raises InvalidRequest."""
        members, timers = self._chosen(name, process)
        if generation and self._history.generation(name, generation) is None:
            raise InvalidRequest(f"{name} has no generation {generation}; see {advice.deployd()} history {name}")
        if not generation:
            whole = [f"DEPLOYD_APP={name}", *([f"DEPLOYD_PROCESS={process}"] if process else [])]
            runs = [unit_name.timer_service(name, timer) for timer in timers]
            return _any(
                *([] if process == WEB else [whole]),
                *([f"DEPLOYD_APP={item}"] for item in members if item != name),  # what deployd says of one type
                *self._of_units(members, written=process == WEB),
                *([f"{self._names.about_unit}={unit}"] for unit in runs),
                *self._written_by(runs),
            )
        found = [item for member in members for item in self._history.invocations(member, generation)]
        own = [f"DEPLOYD_APP={name}", f"DEPLOYD_GENERATION={generation}"]
        return _any(
            own if not process else [*own, f"DEPLOYD_PROCESS={process}"],
            *([f"_SYSTEMD_INVOCATION_ID={item}"] for item in found),
            *([f"{self._names.about_invocation}={item}"] for item in found),
        )

    def _chosen(self, name: str, process: str) -> tuple[list[str], list[str]]:
        """Return the app and its process types by their names in the history, and its timers, or the one of these that
        is chosen. Raises InvalidRequest."""
        members, timers = self._members(name), self._timers(name)
        if not process:
            return members, timers
        if process in timers:
            return [], [process]
        member = name if process == WEB else f"{name}.{process}"
        if member not in members:
            known = ", ".join([WEB, *(item.removeprefix(f"{name}.") for item in members[1:]), *timers])
            raise InvalidRequest(f'{name} has no process type "{one_line(process)}"; it has {known}')
        return [member], []

    def _timers(self, name: str) -> list[str]:
        """Return the timers that are installed."""
        found = (unit_name.timer_name(name, unit) for unit in self._deployment.timers.installed(name))
        return sorted({timer for timer in found if timer is not None})

    def _of_units(self, members: Iterable[str], *, written: bool) -> Iterator[list[str]]:
        """Yield the matches for what instances of these process types wrote, and what systemd wrote about their units.

        Instances log with DEPLOYD_APP (LogExtraFields=), as deployd does; systemd names the unit.
        """
        for member in members:
            sockets = self._deployment.sockets(member)
            instances = [unit_name.instance(member, number) for number in self._history.instances(member)]
            units = [unit_name.app_unit(member), *sockets, *instances]
            yield from ([f"{self._names.about_unit}={unit}"] for unit in units)
            if written:  # the fields of an app do not distinguish what its own instances wrote
                yield from ([f"{self._names.of_unit}={unit}"] for unit in instances)
            yield from self._written_by(units)

    def _written_by(self, units: Iterable[str]) -> Iterator[list[str]]:
        """Yield the matches for what these units wrote, if it has no field of ours. Of a process that has ended it may
        not even have the unit, see `systemd.tail`."""
        for unit in units if not self._names.has_extra else ():
            yield [f"{self._names.of_unit}={unit}"]
            yield [f"SYSLOG_IDENTIFIER={unit.removesuffix('.service')}", f"_UID={self._names.owner}"]


def _any(*groups: list[str]) -> list[str]:
    """Join groups of matches, of each of which all must match, by journalctl's "+", which means or."""
    return [word for group in groups for word in ("+", *group)][1:]
