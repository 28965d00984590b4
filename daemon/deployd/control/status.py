"""The JSON of status, history and plan (contracts). Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from deployd.model.action import Adopt, Start, Stop
from deployd.model.generation import Generation
from deployd.model.instance import Instance, State
from deployd.model.rollout import Rollout
from deployd.plan.simulation import Outcome

Json = dict[str, Any]


def iso(seconds: float) -> str:
    """Seconds since the epoch as ISO 8601 with zone."""
    return datetime.fromtimestamp(seconds, UTC).astimezone().isoformat(timespec="milliseconds")


def status(
    app: str,
    generation: Generation | None,
    rollout: Rollout | None,
    instances: Iterable[Instance],
    releases: dict[int, str],
    desired: int,
    boot: float,
) -> Json:
    """`deployd status APP --json`. `boot`: CLOCK_REALTIME at CLOCK_MONOTONIC 0; `releases`: by generation."""
    shown = [item for item in instances if item.generation is not None or item.state is not State.INACTIVE]
    return {
        "app": app,
        "generation": generation.number if generation else None,
        "release": generation.release if generation else None,
        "desired": desired,
        "ready": sum(item.state is State.READY for item in shown),
        "routing": "shared",
        "rollout": None
        if rollout is None
        else {
            "phase": str(rollout.phase),
            "from": rollout.origin,
            "to": rollout.target,
            "reason": rollout.reason,
            "started": iso(rollout.started),
        },
        "instances": [_instance(app, item, releases, boot) for item in shown],
    }


def _instance(app: str, item: Instance, releases: dict[int, str], boot: float) -> Json:
    moment = item.ready_since or item.started
    return {
        "instance": item.number,
        "unit": f"{app}@{item.number}.service",
        "generation": item.generation,
        "release": releases.get(item.generation) if item.generation is not None else None,
        "state": str(item.state),
        "ready": item.state is State.READY,
        "main_pid": item.main_pid,
        "invocation_id": item.invocation_id,
        "since": iso(boot + moment) if moment else None,
        "restarts": item.restarts,
        "weight": None,
        "detail": item.detail,
    }


def history(app: str, generations: Iterable[Generation], current: int | None) -> Json:
    """`deployd history APP --json`, newest first."""
    return {
        "app": app,
        "generation": current,
        "generations": [
            {
                "generation": item.number,
                "release": item.release,
                "cause": str(item.cause),
                "result": str(item.result),
                "reason": item.reason,
                "started": iso(item.started),
                "finished": iso(item.finished) if item.finished is not None else None,
                "replaced": list(item.replaced),
                "adopted": list(item.adopted),
            }
            for item in generations
        ],
    }


def dry_run(app: str, origin: int | None, target: int, release: str, outcome: Outcome) -> Json:
    """`deployd plan APP --json`."""
    names = {Start: "start", Stop: "stop", Adopt: "adopt"}
    return {
        "app": app,
        "from": origin,
        "to": target,
        "release": release,
        "actions": [
            {
                "action": names[type(step.action)],
                "instance": step.action.number,
                "generation": step.action.generation,
                "ready": step.ready,
            }
            for step in outcome.steps
            if isinstance(step.action, (Start, Stop, Adopt))
        ],
        "floor": outcome.floor,
        "ceiling": outcome.ceiling,
    }
