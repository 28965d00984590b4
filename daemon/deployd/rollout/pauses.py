"""Why a rollout is paused, what it waits for and how to continue. Pure."""

from __future__ import annotations

from typing import Any

from deployd.model import advice
from deployd.model.rollout import Pause, Rollout
from deployd.units.text import socket_paths


def pause_fields(rollout: Rollout, irreversible: bool) -> dict[str, Any]:
    """Return the keys of a paused rollout: why it is paused, what it waits for and how to continue."""
    app = rollout.app
    resume, supersede = f"{advice.deployd()} resume {app}", f"{advice.deployd()} rollout {app} --supersede"
    undo = "roll back" if rollout.origin is not None else "undo the deployment"
    abort = f"{undo} with: {advice.deployd()} abort {app}{' --past-irreversible' if irreversible else ''}"
    match rollout.pause:
        case Pause.BLOCKED:
            waits_for = "the problem to be fixed"
            how = f"fix it, then continue with: {resume}; or {abort}"
        case Pause.STRANDED:
            waits_for = "the rollback to be made possible"
            how = f"fix the problem, then repeat the rollback with: {resume}; or roll out a fix with: {supersede}"
        case Pause.FAILED:
            waits_for = "a decision after the failure"
            how = f"roll out a fix with: {supersede}; try again with: {resume}; or {abort}"
        case _ if rollout.previewed is not None and rollout.pause is Pause.HELD:
            waits_for = "resume or abort"
            how = f"look at it with: {advice.deployd()} preview {app}; promote it with: {resume}; or {abort}"
        case _:
            waits_for = "resume or abort"
            how = f"continue with: {resume}; or {abort}"
    return {"pause": str(rollout.pause), "waits_for": waits_for, "how": how}


def hold_reason(rollout: Rollout, instances: int) -> str:
    """Return the reason of a pause at a canary or a pause_after step."""
    hold = rollout.holds[0]
    if hold.preview:
        address = socket_paths.preview(rollout.app)
        return f"preview: {hold.new} new alongside {instances} old, without clients, at {address}"
    weight = "" if hold.share is None else f"{hold.share * 100:g} % of new connections, "
    if hold.canary:
        return f"canary: {weight}{hold.new} new alongside {instances} old"
    return f"pause_after: {weight}{hold.new} of {instances} instances are new"
