"""One fault: a rollout that is stopped at a step and hit there, and what has to hold afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from deployd.errors import Busy, DeploydError, Refused, Unreachable
from tests.host.link import MachineError
from tests.host.stage import APP
from tests.torture.carrier import Carrier
from tests.torture.kinds import (
    ENDS_THE_REQUEST,
    NEEDS_OWN_DISK,
    NEEDS_SMALL_DISK,
    NO_OBSTACLE,
    RECOVERY,
    Kind,
    Scene,
    inflict,
)
from tests.torture.line import AWAY, Step
from tests.torture.site import DEADLINE, Json, Site, Stuck
from tests.torture.steered import what_is_wrong

MISSED = "not reached"
NOTHING = "nothing to hit"
REFUSED = "refused"
LOST = "not begun"

MOST_PAUSES = 8
KEPT = 10
"""Generations whose files deployd keeps in any case."""

TILL_MENDED = 5.0
"""Seconds that a rollout gets with the fault still there."""
GLANCE = 2.0

AT_THE_END = 0.5
"""Seconds between the end of a stop by hand and the end of the rollout, on a busy machine, when the daemon had no
occasion to hear of the one before it decided the other."""


@dataclass(frozen=True, slots=True)
class Case:
    """Which fault, where, in what rollout."""

    index: int
    kind: Kind
    step: Step
    carrier: Carrier
    seed: int

    def __str__(self) -> str:
        return f"{self.kind} at {self.step}, {self.carrier}"


@dataclass(slots=True)
class Outcome:
    """What became of it. `wrong`: what did not hold."""

    case: Case
    result: str = ""
    reason: str = ""
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0
    journal: str = ""
    failed: int = 0
    """Requests that failed."""
    held: int = 0
    """Connections held by processes that were killed: so many requests may fail."""
    stuck: bool = False
    """Something did not come to its end: the host is of no more use."""

    @property
    def counts(self) -> bool:
        """Whether there was a fault at all."""
        return self.result not in (MISSED, NOTHING)


@dataclass(slots=True)
class Trial:
    """One case on its way."""

    site: Site
    case: Case
    outcome: Outcome
    rows: list[Json]
    """History before it."""
    error: str = ""
    """What the request was answered, if not with a generation."""
    follower: int = 0
    """The generation that superseded it."""
    silent: bool = False
    """The request was not answered."""
    stood: bool = False
    """It was paused at some time."""
    short: bool = False
    """An instance may be down at the end."""

    async def request(self) -> None:
        """Ask for the rollout, and note the answer; then for what is to follow it."""
        carrier = self.case.carrier
        try:
            async with await self.site.client() as client:
                await carrier.begin(client)
                with contextlib.suppress(Refused, Busy):  # it is over already, or on its way back
                    self.follower = await carrier.follow(client, self.site, f"r{self.case.index}-newer")
        except Unreachable as error:
            self.silent, self.error = True, str(error)
        except DeploydError as error:
            self.error = str(error)
        except AWAY as error:
            self.silent, self.error = True, str(error)

    async def run(self, scene: Scene) -> None:
        """The rollout, with the fault in its midst, to its end."""
        site, outcome = self.site, self.outcome
        await site.line.arm(self.case.step)
        reached = site.line.reached
        life = asyncio.ensure_future(self.live(scene))
        waiting: set[asyncio.Future[Any]] = {reached, life}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if reached.done():
                verdict = await inflict(self.case.kind, scene)
                scene.inflicted = time.monotonic()
                await site.line.answer(**(verdict or {"do": "go"}))
                outcome.result = "" if verdict else NOTHING
                if self.case.kind is Kind.KILL_TWICE:
                    await self.kill_next(scene, life)
            else:
                await site.line.arm(None)
                outcome.result = MISSED
            await life
            await asyncio.gather(*scene.asked)
        finally:
            life.cancel()
            for future in scene.asked:
                future.cancel()
            await scene.mend()

    async def kill_next(self, scene: Scene, life: asyncio.Future[None]) -> None:
        """The daemon that takes up the rollout is killed, too, if it comes to the step."""
        line = self.site.line
        line.arm_next(scene.rng.choice(RECOVERY))
        waiting: set[asyncio.Future[Any]] = {line.reached, life}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if line.reached.done():
            await line.answer(do="die")
        else:
            await line.arm(None)

    async def live(self, scene: Scene) -> None:
        """From the request to the end; where it stands paused it is told to go on or back."""
        await self.request()
        for _ in range(MOST_PAUSES):
            status = await self.rest(scene)
            if status["rollout"] is None:
                return
            await self.go_on(scene, status["rollout"])
        self.outcome.wrong.append("it was told to go on again and again, and still stands")

    async def rest(self, scene: Scene) -> Json:
        """The status when the rollout has ended or stands. On its way back it does not stand: it tries until it can,
        so the fault is mended after a while."""
        what, end = "the rollout ends or stands paused", time.monotonic() + DEADLINE
        while True:
            try:
                return await self.site.until(_rests, what, GLANCE)
            except Stuck:
                now = time.monotonic()
                if scene.undo and now > scene.inflicted + TILL_MENDED:
                    await scene.mend()
                    end = now + DEADLINE
                elif now > end:
                    raise

    async def go_on(self, scene: Scene, rollout: Json) -> None:
        """What stands says why, and how it can be told to go on."""
        if not (rollout["reason"] or rollout["waits_for"]) or not rollout["how"]:
            self.outcome.wrong.append(f"paused without a reason, or not telling how to go on: {rollout}")
        self.stood, self.outcome.reason = True, f"paused: {rollout['reason'] or rollout['waits_for']}"
        await scene.mend()
        if self.case.kind is Kind.FLIP_WEIGHT:
            await scene.flip_weight()
        # An error may be of the fault itself, or of another answer to it; when it is not, it comes again.
        with contextlib.suppress(*AWAY):
            async with await self.site.client() as client:
                await (client.resume if self.case.carrier.resume else client.abort)(APP)

    async def check(self, scene: Scene, socket: dict[str, str]) -> None:
        """What has to hold after any fault."""
        site, wrong = self.site, self.outcome.wrong
        rows = await site.history()
        # An instance that is stopped by hand after a rollout stays down, and so may one whose stop the daemon had not
        # heard of when it ended the rollout.
        self.short = scene.stopped is not None and _moment(rows[0]["finished"]) < scene.stopped_at + AT_THE_END
        await site.until_idle(but=scene.stopped if self.short else None)
        self.check_history(rows)
        pins = site.pins()
        current = max((row["generation"] for row in rows if row["result"] == "succeeded"), default=0)
        if set(pins.values()) != {current}:
            wrong.append(f"pins are {pins}, the app is at generation {current}")
        now = await site.socket()
        rebooted = self.case.kind in NEEDS_OWN_DISK
        if now != socket and not (rebooted and now["ActiveState"] == "active"):
            wrong.append(f"the socket was closed: {socket} before, {now} now")
        # The next number may have files: of a rollout that came to nothing before it was recorded.
        known = {row["generation"] for row in rows[:KEPT]} | {rows[0]["generation"] + 1} | set(pins.values())
        known |= set(site.records().values())
        # Older ones that a way back is decided by keep their files, as their rows: a few.
        older = {row["generation"] for row in rows[KEPT:]} & site.generations()
        known |= older if len(older) <= KEPT else set()
        left = site.left_overs() | {(f"generation {number}", 0) for number in site.generations() - known}
        if self.outcome.result == "succeeded" and (still := left & site.left):
            wrong.append(f"left over by a rollout before this one: {', '.join(sorted(path for path, _ in still))}")
        site.left = left
        if site.routing == "steered":
            woken = self.case.kind is Kind.WAKE_STANDBY
            wrong += await what_is_wrong(site, down=scene.stopped if self.short else None, woken=woken)
        self.outcome.journal = await site.said()
        for sign in ("Traceback", "unexpected error", "internal error", "never retrieved"):
            if sign in self.outcome.journal:
                wrong.append(f"the daemon's journal has {sign!r}")

    def check_history(self, rows: list[Json]) -> None:
        """The newest row tells what happened, to this rollout and to no other."""
        wrong, case, outcome = self.outcome.wrong, self.case, self.outcome
        fresh = [row for row in rows if row["generation"] > (self.rows[0]["generation"] if self.rows else 0)]
        if not fresh:
            outcome.result = outcome.result or (LOST if self.silent else REFUSED)
            outcome.reason = outcome.reason or self.error
            if not self.error:
                wrong.append("the request was answered, but history has no row of it")
            if self.silent and case.kind not in ENDS_THE_REQUEST:
                wrong.append(f"the request was not answered: {self.error}")
            return
        if [row["result"] for row in fresh[1:] if row["result"] != "superseded" or not row["reason"]]:
            wrong.append(f"more rows than one that was not superseded, or one without a reason: {fresh}")
        row = fresh[0]
        if self.error and not self.silent and not case.carrier.supersede:
            wrong.append(f"the request was refused ({self.error}), but a rollout was begun")
        outcome.result = outcome.result or row["result"]
        outcome.reason = row["reason"] or outcome.reason
        if row["result"] == "running":
            wrong.append("history says that the rollout is running")
        if row["result"] != "succeeded" and not row["reason"]:
            wrong.append(f"history gives no reason for {row['result']}")
        if row["result"] not in (allowed := self.allowed(row["generation"])):
            wrong.append(f"ended {row['result']} ({row['reason']}), allowed were {', '.join(sorted(allowed))}")

    def allowed(self, newest: int) -> frozenset[str]:
        """How the rollout may end."""
        case = self.case
        aborted = {"aborted"} if self.stood and not case.carrier.resume else set()
        if case.carrier.supersede and not case.carrier.good and (not self.follower or self.follower != newest):
            return frozenset({"succeeded", "rolled-back"} | aborted)  # whether the newer one was begun is not known
        if not case.carrier.good and not self.follower:
            return frozenset({"rolled-back"} | aborted)
        if case.kind in NO_OBSTACLE or self.outcome.result == MISSED:
            return frozenset({"succeeded"} | aborted)
        return frozenset({"succeeded", "rolled-back"} | aborted)


async def run_case(site: Site, case: Case) -> Outcome:
    """Do it, and check. Never raises for what deployd did wrong."""
    outcome = Outcome(case)
    began = time.monotonic()
    try:
        async with asyncio.timeout(4 * DEADLINE):
            await _run(site, case, outcome)
    except (Stuck, TimeoutError, MachineError) as error:
        outcome.stuck = True
        outcome.wrong.append(str(error) or "took too long altogether")
        await site.tell_tasks()
        outcome.journal = await site.units() + await site.said()
    outcome.seconds = time.monotonic() - began
    return outcome


async def _run(site: Site, case: Case, outcome: Outcome) -> None:
    if case.kind in NEEDS_SMALL_DISK | NEEDS_OWN_DISK:
        await site.put_on_small_disk(case.kind in NEEDS_SMALL_DISK)
    await site.until_idle()
    await site.put_on(case.carrier.routing, case.carrier.keepalive)
    if case.carrier.standby and not site.records():
        await _roll_out_plainly(site, outcome, "before")  # there is somebody to wake, or to clear away
    trial = Trial(site, case, outcome, await site.history())
    release = case.carrier.prepare(site, f"r{case.index}")
    scene = Scene(site, random.Random(case.seed), trial.rows[0]["generation"], release)
    socket = await site.socket()
    (_, failed), held = await site.traffic(), site.held
    await trial.run(scene)
    await trial.check(scene, socket)
    if outcome.result not in ("succeeded", MISSED) or trial.short:
        await _roll_out_plainly(site, outcome)
    outcome.failed, outcome.held = (await site.traffic())[1] - failed, site.held - held
    if outcome.failed > outcome.held:
        outcome.wrong.append(
            f"{outcome.failed} requests failed, {outcome.held} were held by processes that were killed"
        )


async def _roll_out_plainly(site: Site, outcome: Outcome, when: str = "next") -> None:
    """Whatever was: the next rollout works. Where the one with the fault succeeded, that is the next fault's."""
    try:
        carrier = outcome.case.carrier
        Carrier(routing=carrier.routing, standby=carrier.standby).prepare(site, f"r{outcome.case.index}-{when}")
        async with await site.client() as client:
            number = await client.rollout(APP)
        await site.until_idle()
        newest = (await site.history())[0]
        if (newest["generation"], newest["result"]) != (number, "succeeded"):
            outcome.wrong.append(f"the plain rollout ({when}) ended {newest['result']}: {newest['reason']}")
    except DeploydError as error:
        outcome.wrong.append(f"the plain rollout ({when}) was refused: {error}")
    finally:
        outcome.journal += await site.said()


def _moment(text: str | None) -> float:
    return datetime.fromisoformat(text).timestamp() if text else math.inf


def _rests(status: Json) -> bool:
    return status["rollout"] is None or status["rollout"]["phase"] == "paused"
