"""The JSON of rollouts: of the one under way, and of the newest that has ended. Pure."""

from __future__ import annotations

import dataclasses

from deployd.documents import Json
from deployd.model.clock import iso
from deployd.model.generation import Entry, Generation
from deployd.model.rollout import Phase, Rollout
from deployd.rollout.pauses import pause_fields
from deployd.units.text import socket_paths


def under_way(rollout: Rollout, target: Generation | None) -> Json:
    """Return the rollout under way, which makes `target`."""
    paused = pause_fields(rollout, target is not None and target.irreversible) if rollout.phase is Phase.PAUSED else {}
    return {
        "phase": str(rollout.phase),
        "from": rollout.origin,
        "to": rollout.target,
        "reason": rollout.reason,
        "started": iso(rollout.started),
        "fleet": fleet(target),
        "pause": None,
        "waits_for": None,
        "how": None,
        **paused,
        "holds": [dataclasses.asdict(hold) for hold in rollout.holds],
        "preview": socket_paths.preview(rollout.app) if rollout.shows_preview else None,
        "failure": None if target is None else failure(target),
    }


def last_rollout(generation: Entry) -> Json:
    """Return how the newest rollout has ended."""
    return {
        "generation": generation.number,
        "cause": str(generation.cause),
        "result": str(generation.result),
        "reason": generation.reason,
    }


def last_failure(generation: Entry) -> Json:
    """Return why the first deployment came to nothing."""
    return {
        "generation": generation.number,
        "release": generation.release,
        "result": str(generation.result),
        "reason": generation.reason,
        "failure": failure(generation),
    }


def failure(generation: Entry) -> Json | None:
    """Return why the rollout to the generation failed, or None if it did not."""
    return None if generation.failure is None else dataclasses.asdict(generation.failure)


def fleet(item: Entry | None) -> Json | None:
    """Return the rollout of several hosts to which a generation belongs; None if it belongs to none."""
    return {"id": item.fleet, "token": item.token} if item is not None and item.token else None
