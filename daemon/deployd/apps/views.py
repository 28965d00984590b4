"""What can be asked of the apps without changing anything: the readers behind the D-Bus API."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from dataclasses import replace
from functools import partial

from deployd import __version__
from deployd.apps import release_access
from deployd.apps.caller import Caller
from deployd.apps.inventory import inventory
from deployd.apps.quota import Quota
from deployd.apps.registry import Registry
from deployd.apps.simulator import simulated
from deployd.documents import status
from deployd.documents.status import Json
from deployd.errors import AccessDenied, InvalidFile, InvalidRequest, NoAnswer, NoSuchApp
from deployd.files.workers import LONG, Workers
from deployd.model import unit_name
from deployd.model.app import App
from deployd.plan import boots, closing
from deployd.plan import goal as goals
from deployd.plan.goal import Goal
from deployd.plan.planner import Verdict
from deployd.units.render import Unit

PAGE = 200
"""Generations in one answer, which has to fit into one D-Bus message."""
AT_ONCE = 2
"""Pieces of work for all unprivileged callers together."""


class Views:
    """Every method raises a DeploydError whose text is for people."""

    def __init__(self, apps: Registry) -> None:
        self._apps = apps
        # Of their time unprivileged callers get a tenth.
        self._admission = Quota(AT_ONCE, pause=9)
        self._public = Workers(AT_ONCE)

    async def names(self) -> list[str]:
        """All apps, those whose files have just come included."""
        await self._apps.files.refresh()
        return self._apps.names()

    async def describe(self) -> Json:
        apps = []
        for name in await self.names():
            try:
                apps.append(self._apps.status(name))
            except NoSuchApp:  # it was removed meanwhile
                continue
            await asyncio.sleep(0)  # others are answered in between
        return {"apps": apps, "version": __version__}

    async def check(self, caller: Caller, name: str) -> Json:
        """Validate one app file, or all for ""."""
        if name and name not in self._apps.files.names:
            await self._apps.files.refresh()
            if name not in self._apps.files.names:
                raise self._apps.unknown(name)
        problems = await self._admission.run(caller, lambda: self._problems(caller, name))
        return {
            "apps": [
                {"app": app, "file": file, "valid": problem is None, "error": problem}
                for app, file, problem in problems
            ]
        }

    async def _problems(self, caller: Caller, name: str) -> list[tuple[str, str, str | None]]:
        found = await self._apps.files.problems(name, None if caller.root else partial(self._check, caller))
        wrong = [app for app, _, problem in found if problem is not None]
        secret = [app for app in wrong if not await self.may_read_file(caller, app)]
        return [(app, file, str(self.invalid(app)) if app in secret else problem) for app, file, problem in found]

    @staticmethod
    def _check(caller: Caller, app: App) -> None:
        """What is wrong with the release, to those who can see that it is."""
        with contextlib.suppress(AccessDenied):
            release_access.seen_release(caller, app)

    def invalid(self, app: str) -> InvalidFile:
        """Return the error for a caller who may not read the invalid app file."""
        file = self._apps.files.path(app)
        return InvalidFile(f"{file} is not valid; deployd check {app} tells why to those who may read it")

    async def may_read_file(self, caller: Caller, app: str) -> bool:
        """True if the caller may read the app file, and so may see its contents in an answer."""
        try:
            return await self._can_read(caller, app)
        except NoAnswer:
            return False

    async def _can_read(self, caller: Caller, app: str) -> bool:
        path = str(self._apps.files.path(app))
        return caller.root or await self._public.run(app, caller.files.may_read, path)

    async def _require_readable(self, caller: Caller, app: str) -> None:
        if app in self._apps.files.names and not await self._can_read(caller, app):
            file = self._apps.files.path(app)
            raise AccessDenied(f"user {caller.uid} may not read {file}, and is not told what it says; ask as root")

    def _workers(self, caller: Caller) -> Workers:
        return self._apps.viewers if caller.root else self._public

    def history(self, name: str, before: int = 0) -> Json:
        """Return the newest generations or, with `before`, the newest of those with lower numbers."""
        self._apps.known(name)
        history = self._apps.history
        entries = history.entries(name, PAGE + 1, before)
        page, more = entries[:PAGE], len(entries) > PAGE
        found = history.boots_by_generation(name, [item.number for item in page])
        known = {number: boots.summary(seconds) for number, seconds in found.items()}
        return status.history(name, page, history.current(name), known, more=more, trouble=history.source.trouble(name))

    async def units(self, caller: Caller, name: str) -> Json:
        self._apps.known(name)
        await self._require_readable(caller, name)
        return await self._admission.run(caller, lambda: self._units(caller, name))

    async def _units(self, caller: Caller, name: str) -> Json:
        app, current = await self._load(caller, name), self._apps.current(name)
        # What was learned since is no reason to write units anew; the next generation does.
        app = self._apps.learned(app) if current is None else app.with_learned(current.settings.gate.timeout)
        installed = self._apps.deployment.installed(name)
        # Units of single instances come and go with a rollout; here are those of the app.
        pinned = frozenset(self._apps.pins.read(name).values())
        units = self._apps.deployment.settled(app, Goal.of(app, 0, same=pinned))
        going = [Unit(unit, "") for unit in installed if unit not in {item.name for item in units}]
        return {
            "app": name,
            "units": [
                {
                    "name": unit.name,
                    "path": self._apps.deployment.path(unit.name),
                    "text": _as_text(unit.text),
                    "installed": _as_text(installed.get(unit.name)),
                }
                for unit in (*units, *going)
            ],
        }

    async def plan(
        self,
        caller: Caller,
        name: str,
        release: str | None = None,
        canary: int = 0,
        canary_share: float = 0.0,
    ) -> Json:
        """Every action a rollout of the app file (or of `release`) would take, and where it would wait."""
        self._apps.known(name)
        await self._require_readable(caller, name)
        return await self._admission.run(caller, lambda: self._plan(caller, name, release, canary, canary_share))

    async def _plan(self, caller: Caller, name: str, release: str | None, canary: int, share: float) -> Json:
        controller = self._apps.known(name)
        app = self._apps.learned(await self._load(caller, name))
        first = goals.canary(app, canary, share, steers=self._apps.steers(name))
        look = partial(self._workers(caller).run, name)
        await look(release_access.seen_release, caller, app, release)  # takes less time to give up
        real, held = await look(release_access.seen, caller, app, release, deadline=LONG)
        number = self._apps.history.next_number(name)
        goal = self._apps.goal(app, number, app.fingerprint(real, held))
        layout = self._apps.deployment.layout(app, goal)
        goal = replace(goal, avoid=layout.avoid, masked=self._apps.deployment.masked(name))
        seen = controller.observe() if controller else ()
        # A first deploy has nothing to wait for.
        waits = (
            goals.holds(app, first, steers=self._apps.steers(name))
            if self._apps.history.current(name) is not None
            else ()
        )
        now = time.monotonic()
        outcome = await simulated(goal, seen, waits, now)
        again = closing.second_pass(outcome, bool(layout.late), layout.holders)
        if again and outcome.verdict is Verdict.DONE:
            more = await simulated(replace(goal, avoid=again), outcome.instances, (), now)
            outcome = closing.joined(outcome, more)
        return status.dry_run(name, self._apps.history.current(name), number, real, outcome)

    async def releases(self, caller: Caller, name: str) -> Json:
        """Every release directory: who needs it, and whether it may be deleted."""
        self._apps.known(name)
        return await self._admission.run(caller, lambda: inventory(self._apps, caller, name, self._workers(caller)))

    async def compare(self, caller: Caller, name: str) -> Json:
        """The generations that have instances now, side by side."""
        self._apps.known(name)
        comparer = self._apps.comparer if caller.root else self._apps.public_comparer
        return await self._admission.run(caller, lambda: comparer.compare(name))

    async def _load(self, caller: Caller, name: str) -> App:
        return await self._apps.files.load(name, self._workers(caller))

    def log_matches(self, name: str, generation: int) -> list[str]:
        """journalctl(1) matches: what instances wrote, and what systemd and deployd wrote about them."""
        self._apps.known(name)
        history = self._apps.history
        if not generation:
            # Instances log with DEPLOYD_APP (LogExtraFields=), as deployd does; PID 1 names the unit.
            sockets = self._apps.deployment.sockets(name)
            instances = (unit_name.instance(name, number) for number in history.instances(name))
            units = [unit_name.app_unit(name), *sockets, *instances]
            return _any([f"DEPLOYD_APP={name}"], *([f"UNIT={unit}"] for unit in units))
        if history.generation(name, generation) is None:
            raise InvalidRequest(f"{name} has no generation {generation}; see deployd history {name}")
        found = history.invocations(name, generation)
        return _any(
            [f"DEPLOYD_APP={name}", f"DEPLOYD_GENERATION={generation}"],
            *([f"_SYSTEMD_INVOCATION_ID={item}"] for item in found),
            *([f"INVOCATION_ID={item}"] for item in found),
        )


def _any(*groups: list[str]) -> list[str]:
    """Groups of matches that hold together, joined by journalctl's "+", which is or."""
    return [word for group in groups for word in ("+", *group)][1:]


def _as_text(installed: str | None) -> str | None:
    """A unit file as it is shown: somebody may have written into it what is not UTF-8."""
    return None if installed is None else os.fsencode(installed).decode(errors="backslashreplace")
