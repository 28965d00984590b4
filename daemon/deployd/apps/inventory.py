"""The release directories of an app: what needs each of them, and whether it may be deleted.

History and pins are read here, app files and directories in threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from deployd import config
from deployd.apps.app_files import AppFiles
from deployd.apps.caller import Caller
from deployd.apps.reader_pool import ReaderPool
from deployd.apps.registry import Registry
from deployd.config.contents import Contents, contents, difference
from deployd.documents import Json
from deployd.documents.releases import Found, Needs, releases
from deployd.errors import DeploydError, Refused
from deployd.files.workers import LONG, Workers
from deployd.model.generation import Generation
from deployd.rollout.cleanup import KEPT
from deployd.state.history import History
from deployd.state.pins import Pins


class Inventory:
    """For all apps."""

    def __init__(self, registry: Registry, files: AppFiles, pool: ReaderPool, history: History, pins: Pins) -> None:
        self._registry = registry
        self._files = files
        self._pool = pool
        self._history = history
        self._pins = pins

    async def releases(self, caller: Caller, name: str) -> Json:
        """Return `deployd releases APP --json`: the releases of the app, and the directories next to them.

        Raises NoSuchApp, StateError and BusError (LimitsExceeded).
        """
        return await self._pool.run(caller, lambda: self._releases(caller, name))

    async def _releases(self, caller: Caller, name: str) -> Json:
        workers = self._pool.workers(caller)
        needs = replace(self._needs(name), keep=await self._keep(workers, name))
        # Apps may share a release, or the directory that contains their releases.
        others = {other: self._needs(other).releases for other in self._registry.names() if other != name}
        # Errors in app files are reported by `deployd check`.
        named = {app: path for app, path in (await self._files.releases()).items() if isinstance(path, str)}
        secret = await self._secret(caller)
        named = {app: path for app, path in named.items() if app not in secret}
        present = await workers.run(name, _present, needs)
        needed = [item for number in needs.numbers if (item := self._history.generation(name, number)) is not None]

        def answer() -> Json:
            found = _found(needs, needed, present, others, named)
            if caller.trusted:
                return releases(needs, found)
            return _withheld(releases(needs, _without_changes(needs, found, caller)), caller, [*secret.values()])

        return await workers.run(name, answer, deadline=LONG)

    async def _keep(self, workers: Workers, name: str) -> int:
        """Return how many releases the app file wants to keep; 0 if it does not say, or not clearly."""
        try:
            return (await self._files.load(name, workers)).delivery.keep
        except DeploydError:
            return 0

    async def _secret(self, caller: Caller) -> dict[str, str]:
        """Return the app files that the caller may not read, including those that do not answer: path by name."""
        if caller.trusted:
            return {}
        may_read = await self._files.each(lambda path: caller.files.may_read(str(path)))
        return {app: str(self._files.path(app)) for app in sorted(self._files.names) if may_read.get(app) is not True}

    def _needs(self, name: str) -> Needs:
        controller = self._registry.known(name)
        # A generation has one number and one release for all process types.
        members = [item.name for item in self._registry.members(name) if item.name != name]
        processes = {item.removeprefix(f"{name}."): frozenset(self._pins.read(item).values()) for item in members}
        return Needs(
            name,
            self._history.past(name),
            self._history.current(name),
            controller.rollout if controller is not None else None,
            self._pins.read(name),
            KEPT,
            frozenset(record.generation for record in self._pins.standby(name).values()),
            processes=processes,
            runs=controller.timers.under_way() if controller is not None else {},
        )


def _without_changes(needs: Needs, found: Found, caller: Caller) -> Found:
    """Return `found` without what was changed in releases: callers that can list a release see that it was changed, but
    would have to read all of it to see what."""
    changed = {
        item.number: "a file in it was changed"
        for item in needs.generations
        if item.number in found.changed and caller.files.may_list(item.release)
    }
    return replace(found, changed=changed)


def _withheld(answer: Json, caller: Caller, secret: list[str]) -> Json:
    """Return the answer without directories that the caller cannot list, and without conclusions from app files that it
    may not read."""
    listed = {path: caller.files.may_list(path) for path in {_parent(item["release"]) for item in answer["releases"]}}
    kept = []
    for item in answer["releases"]:
        if not listed[_parent(item["release"])]:
            if not item["generations"]:
                continue
            why = f"user {caller.uid} cannot list its directory; try again as root"
            item |= {"state": "unknown", "deletable": False, "why": why, "changed": False}
        elif item["deletable"] and secret:
            item |= {"state": "kept", "deletable": False, "why": f"{secret[0]} may name it; try again as root"}
        kept.append(item)
    return {**answer, "releases": kept}


def _parent(release: str) -> str:
    return str(Path(release).parent)


def _present(needs: Needs) -> frozenset[str]:
    return frozenset(filter(config.is_there, {item.release for item in needs.generations}))


def _found(
    needs: Needs,
    needed: Iterable[Generation],
    present: frozenset[str],
    others: Mapping[str, frozenset[str]],
    named: Mapping[str, str],
) -> Found:
    return Found(
        present=present,
        siblings=tuple(config.siblings(present)),
        changed=_changed(needed, present),
        named=named.get(needs.app),
        others={other: paths | ({named[other]} if other in named else set()) for other, paths in others.items()},
    )


def _changed(needed: Iterable[Generation], present: frozenset[str]) -> dict[int, str]:
    """Return what has changed in the release of each generation. Reads each directory once."""
    read: dict[tuple[str, str | None], Contents] = {}
    changed = {}
    for item in needed:
        if item.release not in present:
            continue
        try:
            key = item.release, item.settings.user
            read[key] = read.get(key) or contents(item.release, item.settings)
            change = difference(item, read[key])
        except Refused as error:
            change = str(error)
        if change:
            changed[item.number] = change
    return changed
