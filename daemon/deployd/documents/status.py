"""The JSON of status, history, repair and plan (contracts). Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from deployd.documents import Json, rollouts
from deployd.documents.timer import timer
from deployd.model import advice, unit_name
from deployd.model.action import Adopt, Freeze, Start, Stop, Thaw, Unpin
from deployd.model.clock import iso
from deployd.model.crashes import Trouble
from deployd.model.generation import Cause, Entry, Generation, Result
from deployd.model.host_drain import HOST, HostDrain
from deployd.model.instance import Instance, State
from deployd.model.probation import Probation
from deployd.model.rollout import Hold, Rollout
from deployd.model.timer import TimerState
from deployd.plan.boots import Boots
from deployd.plan.health import health, serving
from deployd.plan.simulation import Outcome
from deployd.routing import Report
from deployd.state.totals import CRASHES, Total

UNREACHABLE = "unreachable"
"""The state of an instance whose process is ready, but which clients do not reach."""

TAKING = (Result.RUNNING, Result.SUCCEEDED)
"""Results of a generation that takes back, or has taken back, the one before it."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One app at one moment."""

    app: str
    generation: Generation | None
    """The current generation, or the one that a first deployment under way makes."""
    rollout: Rollout | None
    """The rollout under way."""
    target: Generation | None
    """The generation that the rollout under way made."""
    instances: Iterable[Instance]
    releases: Mapping[int, str]
    """Release by generation, of the generations of the instances."""
    desired: int
    """Number of instances wanted."""
    boot: float
    """CLOCK_REALTIME at CLOCK_MONOTONIC 0."""
    troubles: Mapping[int, Trouble]
    """Crashes by instance."""
    restarts: Mapping[int, int]
    """Automatic restarts by instance, of systemd and deployd."""
    boots: Boots | None
    """How long instances take to become ready."""
    routing: Report
    """Where new connections go."""
    standby: Json | None
    up: bool
    """True while the app unit is up."""
    probation: Probation | None
    """The probation of the current generation, also after that has failed it."""
    crashes: int
    """Crashes of instances of the generation on probation."""
    last: Entry | None
    """The newest generation, unless a rollout is under way."""
    fence: Entry | None
    """The generation with the highest token of a fleet that was accepted."""
    totals: Mapping[str, Total]
    """How often each result of a rollout and CRASHES has occurred so far."""
    drain: HostDrain | None
    """What keeps clients of load balancers from the app."""
    history_error: str
    """Why the history cannot be used; "" if it can."""
    timers: Iterable[TimerState] = ()


def status(of: Snapshot) -> Json:
    """Return `deployd status APP --json`."""
    unreachable = _unreachable(of)
    shown = [item for item in of.instances if item.generation is not None or item.state is not State.INACTIVE]
    ready = [item for item in shown if item.state is State.READY]
    served, addresses = serving(shown, unreachable, of.routing.addresses), of.routing.addresses
    generation = of.generation
    return {
        "app": of.app,
        "generation": generation.number if generation else None,
        "release": generation.release if generation else None,
        "reason": generation.reason if generation else "",
        "desired": of.desired,
        "ready": sum(item.number not in unreachable for item in ready),
        "health": str(health(of.desired, served, addresses, of.rollout, up=of.up)),
        "addresses": [dataclasses.asdict(address) for address in addresses],
        "mode": str(generation.settings.mode) if generation else None,
        "routing": str(of.routing.routing),
        "steering": of.routing.steering,
        "steering_reason": of.routing.reason,
        "choice": of.routing.choice,
        "shares": [dataclasses.asdict(share) for share in of.routing.shares],
        "standby": of.standby,
        "timers": [timer(of.app, item) for item in of.timers],
        "watch": None if of.probation is None else watch(of.probation, of.crashes),
        "drain": host_drain(of.drain),
        "history_error": of.history_error or None,
        "fleet": rollouts.fleet(of.fence),
        "last_rollout": None if of.last is None else rollouts.last_rollout(of.last),
        "last_failure": None if of.last is None or of.generation is not None else rollouts.last_failure(of.last),
        "totals": None if of.history_error else _totals(of.totals),
        "rollout": None if of.rollout is None else rollouts.under_way(of.rollout, of.target),
        "boot": of.boots,
        "gate_timeout": generation.settings.gate.timeout if generation else None,
        "gate_timeout_learned": generation.settings.gate.learned if generation else None,
        "instances": [_instance(of, item, unreachable.get(item.number, "")) for item in shown],
    }


def watch(probation: Probation, crashes: int) -> Json:
    """Return the probation of a generation, and how many crashes count so far."""
    return {
        "generation": probation.generation,
        "until": None if probation.failed else iso(probation.ends),
        "returns_to": probation.origin,
        "reason": probation.failed or probation.stays,
        "failed": bool(probation.failed),
        "crashes": crashes,
    }


def host_drain(drain: HostDrain | None) -> Json | None:
    """Return the drain of the host or of an app; None if there is none."""
    if drain is None:
        return None
    what = "host" if drain.app == HOST else "app"
    return {"what": what, "since": iso(drain.since), "reason": drain.reason, "generation": drain.generation}


def _totals(found: Mapping[str, Total]) -> Json:
    ended = [result for result in Result if result is not Result.RUNNING]
    rollouts = {str(result): dataclasses.asdict(found.get(result, Total())) for result in ended}
    return {"rollouts": rollouts, "crashes": found.get(CRASHES, Total()).count}


def _instance(of: Snapshot, item: Instance, why: str) -> Json:
    """Return an instance. `why`: why clients do not reach it."""
    since, trouble = item.draining_since or item.ready_since or item.started, of.troubles.get(item.number)
    crashes = trouble.crashes if trouble is not None else None
    retry_at = crashes.retry_at if crashes is not None and item.state in (State.INACTIVE, State.FAILED) else None
    down = crashes is not None and retry_at is not None
    unreachable = why if item.state is State.READY else ""
    state = State.FAILED if down else item.state
    return {
        "instance": item.number,
        "unit": unit_name.instance(of.app, item.number),
        "generation": item.generation,
        "release": of.releases.get(item.generation) if item.generation is not None else None,
        "state": UNREACHABLE if unreachable else str(state),
        "ready": item.state is State.READY and not unreachable,
        "main_pid": item.main_pid,
        "invocation_id": item.invocation_id,
        "since": iso(of.boot + since) if since else None,
        "drains_until": iso(of.boot + item.drains_until) if item.drains_until else None,
        "restarts": of.restarts.get(item.number, item.restarts),
        "weight": of.routing.weights.get(item.number),
        "connections": of.routing.connections.get(item.number),
        "queue": of.routing.queues.get(item.number),
        "in_flight": of.routing.in_flight.get(item.number),
        "stalled_for": of.routing.stalled.get(item.number),
        "detail": unreachable
        or of.routing.hanging.get(item.number)
        or _detail(of, item, trouble if down or item.state is State.FAILED else None, down=down),
        "stopped_by_hand": not down and _is_stopped_by_hand(of, item),
        "exit_status": item.exit_status,
        "signal": item.signal,
        "probe_error": item.probe_error,
        "boot": round(item.ready_since - item.started, 3) if item.ready_since else None,
        "crashes": crashes.count if crashes is not None else 0,
        "retry_at": iso(of.boot + retry_at) if retry_at is not None else None,
        "journal": list(trouble.journal) if trouble is not None else [],
    }


def _unreachable(of: Snapshot) -> dict[int, str]:
    """Return why clients do not reach instances that are ready."""
    return {**{item.number: item.deaf for item in of.instances if item.deaf}, **of.routing.unreachable}


def _is_stopped_by_hand(of: Snapshot, item: Instance) -> bool:
    """True if an instance that should run was stopped by a request that was not deployd's."""
    down = item.ended is False and item.state is not State.DRAINING
    return down and item.generation is not None and of.rollout is None


def _detail(of: Snapshot, item: Instance, trouble: Trouble | None, *, down: bool) -> str:
    """Return why an instance is down or failed, with what systemd said of it."""
    if not down and _is_stopped_by_hand(of, item):
        start = f"{advice.systemctl()} start {unit_name.instance(of.app, item.number)}"
        again = f"{start}, or {advice.deployd()} restart {of.app}"
        how = f" ({item.detail})" if item.state is State.FAILED else ""
        return f"stopped by hand{how}; start it again with: {again}"
    if trouble is None:
        return item.detail
    return f"{trouble.crashes.sentence(of.boot) if down else item.detail}{trouble.said}"


def history(
    app: str,
    generations: Iterable[Entry],
    current: int | None,
    boots: Mapping[int, Boots | None] = MappingProxyType({}),
    *,
    types: Mapping[str, Mapping[int, Entry]] = MappingProxyType({}),
    more: bool = False,
    trouble: str = "",
    probation: Probation | None = None,
) -> Json:
    """Return `deployd history APP --json`, newest first.

    `boots` is by generation, `types` by further process type and generation; `more` is true if there are older ones;
    `trouble` is why the history cannot be used; `probation` is that of the current generation.
    """
    generations = list(generations)
    back = {item.origin: item.number for item in generations if item.cause is Cause.WATCH and item.result in TAKING}
    watched = {probation.generation: iso(probation.ends)} if probation is not None and not probation.failed else {}
    return {
        "app": app,
        "generation": current,
        "more": more,
        "history_error": trouble or None,
        "generations": [
            {
                "generation": item.number,
                "release": item.release,
                "cause": str(item.cause),
                "result": str(item.result),
                "reason": item.reason,
                "started": iso(item.started),
                "finished": iso(item.finished) if item.finished is not None else None,
                "duration": round(item.duration, 3) if item.duration is not None else None,
                "replaced": list(item.replaced),
                "adopted": list(item.adopted),
                "processes": {
                    process: {
                        "replaced": list(entries[item.number].replaced),
                        "adopted": list(entries[item.number].adopted),
                    }
                    for process, entries in types.items()
                    if item.number in entries
                },
                "origin": item.origin,
                "irreversible": item.irreversible,
                "fleet": rollouts.fleet(item),
                "failure": rollouts.failure(item),
                "boot": boots.get(item.number),
                "watched_until": watched.get(item.number),
                "taken_back_by": back.get(item.number),
            }
            for item in generations
        ],
    }


def repaired(path: Path, aside: Path | None, apps: Mapping[str, tuple[int | None, Rollout | None, str]]) -> Json:
    """Return `deployd repair --json`. `apps` maps a name to the app's generation, its rollout under way, and what is
    still wrong with its history."""
    return {
        "history": str(path),
        "aside": None if aside is None else str(aside),
        "apps": [
            {
                "app": name,
                "generation": generation,
                "rollout": None if rollout is None else rollout.target,
                "history_error": trouble or None,
            }
            for name, (generation, rollout, trouble) in apps.items()
        ],
    }


def dry_run(
    app: str,
    origin: int | None,
    target: int,
    releases: tuple[str | None, str],
    outcome: Outcome,
    changes: list[Json],
) -> Json:
    """Return `deployd plan APP --json`. `releases` are those of origin and target. Pins that are removed without an
    instance behind them are left out."""
    return {
        "app": app,
        "from": origin,
        "to": target,
        "from_release": releases[0],
        "release": releases[1],
        **actions(outcome),
        "changes": changes,
    }


def actions(outcome: Outcome) -> Json:
    """Return what a rollout does with the instances of one process type."""
    return {
        "actions": [_step(step.action, step.ready) for step in outcome.steps if not isinstance(step.action, Unpin)],
        "floor": outcome.floor,
        "ceiling": outcome.ceiling,
    }


def _step(action: Start | Stop | Adopt | Freeze | Thaw | Hold, ready: int) -> Json:
    if isinstance(action, Hold):
        return {"action": "pause", **dataclasses.asdict(action), "ready": ready}
    names = {Start: "start", Stop: "stop", Adopt: "adopt", Freeze: "freeze", Thaw: "thaw"}
    return {
        "action": names[type(action)],
        "instance": action.number,
        "generation": action.generation,
        "ready": ready,
    }
