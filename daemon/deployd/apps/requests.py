"""Requests for a new generation of an app. Each is refused before it changes anything."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

from deployd.apps.app_files import Load
from deployd.apps.installer import Installer
from deployd.apps.registry import Registry
from deployd.apps.rollback_goal import RollbackGoal
from deployd.apps.rollout_starter import RolloutStarter
from deployd.apps.turns import Turns
from deployd.config import one_line
from deployd.errors import Busy, DeploydError, InvalidRequest, Refused
from deployd.model import advice
from deployd.model.app import MOST_STEERED, WEB, App
from deployd.model.fleet import FleetRequest
from deployd.model.generation import Cause, Entry, Generation
from deployd.model.probation import Probation
from deployd.model.rollout import Phase
from deployd.plan import live
from deployd.rollout.generations import Generations
from deployd.rollout.release_reader import ReleaseReader

MOST_INSTANCES = 1000


class Requests:
    """For all apps. Methods return the number of the new generation, and raise a DeploydError for people to read.

    Options that several methods have: `supersede` replaces a rollout under way; `canary` and `canary_share` make the
    rollout wait at a number of instances, or at a share of new connections; `agreed` is the release that polkit has
    agreed to, in case the app file or a link names another one by now.
    """

    def __init__(
        self,
        registry: Registry,
        turns: Turns,
        load: Load,
        releases: ReleaseReader,
        generations: Generations,
        starter: RolloutStarter,
        installer: Installer,
        rollback_goal: RollbackGoal,
    ) -> None:
        self._registry = registry
        self._turns = turns
        self._load = load
        self._releases = releases
        self._generations = generations
        self._starter = starter
        self._installer = installer
        self._rollback_goal = rollback_goal

    async def apply(
        self,
        name: str,
        start: bool = True,
        *,
        agreed: str | None = None,
        supersede: bool = False,
        canary: int = 0,
        canary_share: float = 0.0,
    ) -> int:
        """Deploy the app for the first time, or roll out changed settings. Returns 0 if nothing has changed."""
        async with self._turn(name, supersede):
            app, stays = await self._chosen(name)
            release = await self._releases.resolve(app, stays, agreed)
            doubts = await self._releases.require_runnable(app, release)
            if await self._is_live(app, release):
                return 0
            if not start:
                if self._generations.current(name) is not None:
                    raise Refused(f"{name} is deployed already; --no-start is for the first deployment only")
                return await self._installer.install(app, release)
            hold = self._starter.canary(app, canary, canary_share)
            doubts = (*doubts, *_unlike_file(app, release, stays))
            return await self._starter.begin(app, release, Cause.APPLY, canary=hold, warnings=doubts)

    async def rollout(
        self,
        name: str,
        release: str | None = None,
        cause: Cause = Cause.ROLLOUT,
        *,
        agreed: str | None = None,
        supersede: bool = False,
        canary: int = 0,
        canary_share: float = 0.0,
        fleet: FleetRequest | None = None,
        preview: bool = False,
    ) -> int:
        """Roll out what the app file says now, with `release` if it is given.

        With `preview`, the rollout first waits with one new instance that no client reaches.
        Without `release`, the live release stays unless the app file's leads elsewhere than when it was last applied.
        Returns 0 if a reload finds nothing changed: logrotate(8) may ask for one every night. A rollout of a `fleet`
        that was requested before is not begun again: its generation is returned, whether it has ended or not.
        """
        async with self._turn(name, supersede, fleet) as made:
            if made is not None:
                return await self._again(made, fleet, release)
            app, stays = await self._chosen(name)
            real = await self._releases.resolve(app, stays if release is None else release, agreed)
            doubts = await self._releases.require_runnable(app, real)
            if cause is Cause.RELOAD and await self._is_live(app, real):
                return 0
            hold = self._starter.canary(app, canary, canary_share)
            first = self._starter.preview(app) if preview else None
            doubts = (*doubts, *(_unlike_file(app, real, stays) if release is None else ()))
            return await self._starter.begin(app, real, cause, canary=hold, preview=first, warnings=doubts, fleet=fleet)

    async def rollback(
        self,
        name: str,
        to: int = 0,
        *,
        supersede: bool = False,
        past_irreversible: bool = False,
        fleet: FleetRequest | None = None,
    ) -> int:
        """Roll out release and settings of generation `to` again, or of the last good one before the current.

        One of a `fleet` that was requested before is not begun again, as with rollout().
        """
        async with self._turn(name, supersede, fleet) as made:
            if made is not None:
                return made.number
            goal = self._rollback_goal.find(name, to, past_irreversible)
            with self._recalled(name, goal):
                release = await self._releases.unchanged(goal)
                doubts = self._rollback_goal.doubts(goal)
                # What the rollback leaves was applied, and stays so: only another change of the app file is news.
                settings = self._as_applied(goal.settings)
                return await self._starter.begin(settings, release, Cause.ROLLBACK, goal, warnings=doubts, fleet=fleet)

    async def _is_live(self, app: App, release: str) -> bool:
        """True if the current generation has these settings and this release, and no rollout is in progress. Its units
        are then installed again."""
        current = self._generations.current(app.name)
        if current is None or self._registry.rollout(app.name) is not None:
            return False
        if current.settings.processes != app.processes:
            return False
        for item in app.members:
            live = self._generations.current(item.name)
            digest = await self._releases.digest(item, release)
            if live is None or not await self._installer.reinstalled(item, release, digest, live):
                return False
        return True

    async def take_back(self, probation: Probation, reason: str) -> None:
        """Roll back a generation that has failed its probation, unless another one is live by now."""
        name, origin = probation.app, probation.origin
        async with self._turn(name, supersede=False):
            current = self._generations.current(name)
            if origin is None or current is None or current.number != probation.generation:
                return
            goal = self._generations.require(name, origin)
            with self._recalled(name, goal):
                release = await self._releases.unchanged(goal)
                why = f"generation {current.number}: {reason}"
                settings = self._as_applied(goal.settings)
                await self._starter.begin(settings, release, Cause.WATCH, goal, reason=why)

    @contextlib.contextmanager
    def _recalled(self, name: str, goal: Generation) -> Iterator[None]:
        """Wake the standby instances of `goal` at once; return them to standby if the rollback is refused."""
        controller = self._registry.known(name)
        # Hooks may refuse the rollback, and a rollout under way has a goal of its own.
        if controller is not None and not goal.settings.pace.hooks.before and controller.rollout is None:
            controller.recall.begin(goal.number, goal.settings)
        try:
            yield
        except DeploydError:
            if controller is not None:
                controller.recall.cancel(controller.observe(), goal.settings)
            raise

    async def restart(self, name: str, *, supersede: bool = False, process: str = "") -> int:
        """Roll out the current generation again, in new processes, which get environment files and credentials as they
        are now; only those of one process type if it is given."""
        async with self._turn(name, supersede):
            current = self._generations.require_current(name)
            member = _member(current.settings, process)
            release = await self._releases.unchanged(current)
            captured = await self._releases.capture(current.settings)
            if process:
                captured = _with(current.settings, _member(captured, process))
            settings, only = self._as_applied(captured), (member.process or WEB) if process else ""
            return await self._starter.begin(settings, release, Cause.RESTART, current, only=only)

    async def scale(self, name: str, instances: int, *, supersede: bool = False, process: str = "") -> int:
        """Change the number of instances, of one process type if it is given. Running instances are adopted."""
        if not 1 <= instances <= MOST_INSTANCES:
            raise InvalidRequest(f"{instances} instances: allowed are 1 to {MOST_INSTANCES}")
        async with self._turn(name, supersede):
            current = self._generations.require_current(name)
            member = _member(current.settings, process)
            if member.steered and instances > MOST_STEERED:
                raise Refused(
                    f'{instances} instances of {member.name}: with routing = "steered", at most {MOST_STEERED} are'
                    " possible"
                )
            release = await self._releases.unchanged(current)
            settings = self._as_applied(_with(current.settings, replace(member, instances=instances)))
            return await self._starter.begin(settings, release, Cause.SCALE, current)

    async def _again(self, made: Entry, fleet: FleetRequest | None, release: str | None) -> int:
        """Return the generation that a request of a fleet made before. Raises Refused if it was of another release."""
        if fleet is not None and release is not None:
            app, _ = await self._chosen(made.app)
            self._generations.made(made.app, fleet, await self._releases.resolve(app, release, None))
        return made.number

    async def _chosen(self, name: str) -> tuple[App, str | None]:
        """Return the settings to roll out, and the live release if it stays."""
        app = await self._releases.capture(await self._load(name))
        return self._generations.choose(app, await self._releases.directory(app))

    def _as_applied(self, settings: App) -> App:
        """Return settings with what the app file said when it was last applied, also by a rollout that is superseded
        now."""
        controller = self._registry.known(settings.name)
        last = controller.target if controller is not None else None
        return live.as_applied(settings, last or self._generations.last_applied(settings.name))

    @contextlib.asynccontextmanager
    async def _turn(self, name: str, supersede: bool, fleet: FleetRequest | None = None) -> AsyncIterator[Entry | None]:
        """Wait for earlier requests; yield the generation that the same request of a fleet made before. Raises Busy
        and Refused."""
        async with self._turns.request(name):
            if fleet is not None and (made := self._generations.made(name, fleet)) is not None:
                yield made
                return
            self._registry.known(name)
            rollout = self._registry.rollout(name)
            if rollout is not None and not supersede:
                is_paused = rollout.phase is Phase.PAUSED
                hint = f"continue it with {advice.deployd()} resume {name}" if is_paused else "wait for its end"
                hint += f", roll it back with {advice.deployd()} abort {name}"
                under_way = f"a rollout of {name} to generation {rollout.target} is {rollout.phase}"
                raise Busy(f"{under_way}; {hint}, or replace it with --supersede")
            yield None


def _member(app: App, process: str) -> App:
    """Return the process type of an app, the app itself for "" and "web". Raises InvalidRequest."""
    found = next((item for item in app.members if process in (item.process, item.process or WEB)), None)
    if found is None:
        known = ", ".join(item.process or WEB for item in app.members)
        raise InvalidRequest(f'{app.name} has no process type "{one_line(process)}"; it has {known}')
    return found


def _with(app: App, member: App) -> App:
    """Return the app with other settings of one process type, or of itself."""
    if not member.process:
        return replace(member, processes=app.processes)
    return replace(app, processes=tuple(member if item.name == member.name else item for item in app.processes))


def _unlike_file(app: App, release: str, stays: str | None) -> Iterator[str]:
    """Yield a sentence if the release that stays live is not the one to which the app file leads."""
    directory = app.applied.directory if app.applied is not None else ""
    if stays is None or directory == release:
        return
    if directory:
        yield (
            f"{release} stays live; the release of the app file still leads to {directory}, as when it was last"
            f" applied; to roll that out, run {advice.deployd()} rollout {app.name} --release {directory}"
        )
    else:
        yield f"{release} stays live; the release of the app file, {app.release}, does not exist"
