"""One case: a rollout with a fault injected at one step, and the checks afterwards."""

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
"""Generations whose files deployd always keeps."""

UNTIL_UNDONE = 5.0
"""Seconds before the fault is undone if the rollout neither ends nor pauses."""
POLL = 2.0

AT_THE_END = 0.5
"""Seconds before the end of the rollout in which a stop by request may end without the daemon noticing it in time, on a
busy machine."""


@dataclass(frozen=True, slots=True)
class Case:
    """A kind of fault, at a step of a rollout."""

    index: int
    kind: Kind
    step: Step
    carrier: Carrier
    seed: int

    def __str__(self) -> str:
        return f"{self.kind} at {self.step}, {self.carrier}"


@dataclass(slots=True)
class Outcome:
    """The result of a case. `wrong` lists the violations."""

    case: Case
    result: str = ""
    reason: str = ""
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0
    journal: str = ""
    failed: int = 0
    """Requests that failed."""
    held: int = 0
    """Connections of killed processes; as many requests may fail."""
    stuck: bool = False
    """True if something did not end in time, after which the host cannot be used any more."""

    @property
    def counts(self) -> bool:
        """True if a fault was injected."""
        return self.result not in (MISSED, NOTHING)


@dataclass(slots=True)
class Trial:
    """A case in progress."""

    site: Site
    case: Case
    outcome: Outcome
    rows: list[Json]
    """History before the case."""
    error: str = ""
    """The error of the request, "" if it returned a generation."""
    follower: int = 0
    """The superseding generation."""
    silent: bool = False
    """True if the request got no reply."""
    paused: bool = False
    """True if the rollout was paused at some time."""
    short: bool = False
    """True if an instance may be down at the end."""

    async def request(self) -> None:
        """Request the rollout and record the reply; then make the requests that follow it."""
        carrier = self.case.carrier
        try:
            async with await self.site.client() as client:
                await carrier.begin(client)
                with contextlib.suppress(Refused, Busy):  # already finished, or being rolled back
                    self.follower = await carrier.follow(client, self.site, f"r{self.case.index}-newer")
        except Unreachable as error:
            self.silent, self.error = True, str(error)
        except DeploydError as error:
            self.error = str(error)
        except AWAY as error:
            self.silent, self.error = True, str(error)

    async def run(self, scene: Scene) -> None:
        """Run the rollout with the fault to its end."""
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
            await asyncio.gather(*scene.requests)
        finally:
            life.cancel()
            for future in scene.requests:
                future.cancel()
            await scene.undo_all()

    async def kill_next(self, scene: Scene, life: asyncio.Future[None]) -> None:
        """Kill the next daemon, too, if it reaches a step of recovery."""
        line = self.site.line
        line.arm_next(scene.rng.choice(RECOVERY))
        waiting: set[asyncio.Future[Any]] = {line.reached, life}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if line.reached.done():
            await line.answer(do="die")
        else:
            await line.arm(None)

    async def live(self, scene: Scene) -> None:
        """Follow the rollout from the request to the end; resume or abort it whenever it is paused."""
        await self.request()
        for _ in range(MOST_PAUSES):
            status = await self.ended_or_paused(scene)
            if status["rollout"] is None:
                return
            await self.decide(scene, status["rollout"])
        self.outcome.wrong.append("it was resumed or aborted repeatedly, and is still paused")

    async def ended_or_paused(self, scene: Scene) -> Json:
        """Return the status when the rollout has ended or paused.

        A rollback does not pause but retries, so the fault is undone after a while.
        """
        what, end = "the rollout ends or pauses", time.monotonic() + DEADLINE
        while True:
            try:
                return await self.site.until(_ended_or_paused, what, POLL)
            except Stuck:
                now = time.monotonic()
                if scene.undo and now > scene.inflicted + UNTIL_UNDONE:
                    await scene.undo_all()
                    end = now + DEADLINE
                elif now > end:
                    raise

    async def decide(self, scene: Scene, rollout: Json) -> None:
        """Check that a paused rollout gives its reason and how to continue; then resume or abort it."""
        if not (rollout["reason"] or rollout["waits_for"]) or not rollout["how"]:
            self.outcome.wrong.append(f"paused without a reason or how to continue: {rollout}")
        self.paused, self.outcome.reason = True, f"paused: {rollout['reason'] or rollout['waits_for']}"
        await scene.undo_all()
        if self.case.kind is Kind.FLIP_WEIGHT:
            await scene.flip_weight()
        # An error may be caused by the fault; any other error will be repeated.
        with contextlib.suppress(*AWAY):
            async with await self.site.client() as client:
                await (client.resume if self.case.carrier.resume else client.abort)(APP)

    async def check(self, scene: Scene, socket: dict[str, str]) -> None:
        """Check what must hold after any fault."""
        site, wrong = self.site, self.outcome.wrong
        rows = await site.history()
        # An instance stopped by request after a rollout stays down, and so may one whose stop the daemon had not yet
        # noticed when the rollout ended.
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
        # The next number may have files, of a rollout that failed before it was recorded.
        known = {row["generation"] for row in rows[:KEPT]} | {rows[0]["generation"] + 1} | set(pins.values())
        known |= set(site.records().values())
        # A few older ones, on which the target of a rollback depends, keep their rows and files.
        older = {row["generation"] for row in rows[KEPT:]} & site.generations()
        known |= older if len(older) <= KEPT else set()
        left = site.left_overs() | {(f"generation {number}", 0) for number in site.generations() - known}
        if self.outcome.result == "succeeded" and (still := left & site.left):
            wrong.append(f"leftovers of an earlier rollout: {', '.join(sorted(path for path, _ in still))}")
        site.left = left
        if site.routing == "steered":
            woken = self.case.kind is Kind.WAKE_STANDBY
            wrong += await what_is_wrong(site, down=scene.stopped if self.short else None, woken=woken)
        self.outcome.journal = await site.journal()
        for sign in ("Traceback", "unexpected error", "internal error", "never retrieved"):
            if sign in self.outcome.journal:
                wrong.append(f"the daemon's journal has {sign!r}")

    def check_history(self, rows: list[Json]) -> None:
        """Check that the newest row records this rollout correctly, and that no other row is new."""
        wrong, case, outcome = self.outcome.wrong, self.case, self.outcome
        fresh = [row for row in rows if row["generation"] > (self.rows[0]["generation"] if self.rows else 0)]
        if not fresh:
            outcome.result = outcome.result or (LOST if self.silent else REFUSED)
            outcome.reason = outcome.reason or self.error
            if not self.error:
                wrong.append("the request succeeded, but history has no row of it")
            if self.silent and case.kind not in ENDS_THE_REQUEST:
                wrong.append(f"the request got no reply: {self.error}")
            return
        # A rollout may end by itself while the before hooks of the one that supersedes it run.
        newest = fresh[0]["started"] if case.carrier.supersede else ""
        rest = [row for row in fresh[1:] if not row["finished"] or row["finished"] > newest]
        if any(row["result"] != "superseded" for row in rest) or not all(row["reason"] for row in fresh[1:]):
            wrong.append(f"more than one row that was not superseded, or a row without a reason: {fresh}")
        row = fresh[0]
        if self.error and not self.silent and not case.carrier.supersede:
            wrong.append(f"the request was refused ({self.error}), but a rollout began")
        outcome.result = outcome.result or row["result"]
        outcome.reason = row["reason"] or outcome.reason
        if row["result"] == "running":
            wrong.append("history says that the rollout is running")
        if row["result"] != "succeeded" and not row["reason"]:
            wrong.append(f"history gives no reason for {row['result']}")
        if row["result"] not in (allowed := self.allowed(row["generation"])):
            wrong.append(f"ended {row['result']} ({row['reason']}), allowed were {', '.join(sorted(allowed))}")

    def allowed(self, newest: int) -> frozenset[str]:
        """Return the results with which the rollout may end."""
        case = self.case
        aborted = {"aborted"} if self.paused and not case.carrier.resume else set()
        if case.carrier.supersede and not case.carrier.good and (not self.follower or self.follower != newest):
            return frozenset({"succeeded", "rolled-back"} | aborted)  # the newer one may or may not have begun
        if not case.carrier.good and not self.follower:
            return frozenset({"rolled-back"} | aborted)
        if case.kind in NO_OBSTACLE or self.outcome.result == MISSED:
            return frozenset({"succeeded"} | aborted)
        return frozenset({"succeeded", "rolled-back"} | aborted)


async def run_case(site: Site, case: Case) -> Outcome:
    """Carry out a case and the checks. Never raises because of a fault of deployd."""
    outcome = Outcome(case)
    began = time.monotonic()
    try:
        async with asyncio.timeout(4 * DEADLINE):
            await _run(site, case, outcome)
    except (Stuck, TimeoutError, MachineError) as error:
        outcome.stuck = True
        outcome.wrong.append(str(error) or "took too long in total")
        await site.log_tasks()
        outcome.journal = await site.units() + await site.journal()
    outcome.seconds = time.monotonic() - began
    return outcome


async def _run(site: Site, case: Case, outcome: Outcome) -> None:
    if case.kind in NEEDS_SMALL_DISK | NEEDS_OWN_DISK:
        await site.put_on_small_disk(case.kind in NEEDS_SMALL_DISK)
    await site.until_idle()
    await site.put_on(case.carrier.routing, case.carrier.keepalive)
    if case.carrier.standby and not site.records():
        await _roll_out_plainly(site, outcome, "before")  # so that there are instances in standby
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
        outcome.wrong.append(f"{outcome.failed} requests failed, {outcome.held} were handled by killed processes")


async def _roll_out_plainly(site: Site, outcome: Outcome, when: str = "next") -> None:
    """Check that a rollout without a fault succeeds. After a success the rollout of the next case shows that."""
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
        outcome.journal += await site.journal()


def _moment(text: str | None) -> float:
    return datetime.fromisoformat(text).timestamp() if text else math.inf


def _ended_or_paused(status: Json) -> bool:
    return status["rollout"] is None or status["rollout"]["phase"] == "paused"
