"""Why a rollout stands, in words: what it waits for, and how to go on. Pure."""

from __future__ import annotations

from typing import Any

from deployd.model.rollout import Pause, Rollout


def standing(rollout: Rollout, irreversible: bool) -> dict[str, Any]:
    """Why a paused rollout stands, what it waits for and how to go on."""
    app = rollout.app
    on = f"deployd resume {app} goes on"
    back = f"deployd abort {app}{' --past-irreversible' if irreversible else ''} goes back"
    match rollout.pause:
        case Pause.BLOCKED:
            waits_for = "what keeps deployd from acting to be put right"
            how = f"put it right, then {on}; {back}"
        case Pause.STRANDED:
            waits_for = "the way back to be put right"
            how = f"put it right, then deployd resume {app} goes back; deployd rollout {app} --supersede goes forward"
        case Pause.FAILED:
            waits_for = "somebody to decide after a failure"
            how = f"deployd rollout {app} --supersede rolls out a better one; deployd resume {app} tries again; {back}"
        case Pause.HELD:
            waits_for = f"deployd resume {app}"
            how = f"{on}; {back}"
        case _:
            waits_for = f"deployd resume {app}, for somebody asked for the pause"
            how = f"{on}; {back}"
    return {"pause": str(rollout.pause), "waits_for": waits_for, "how": how}


def held(rollout: Rollout, instances: int) -> str:
    """The reason of a pause at a hold."""
    hold = rollout.holds[0]
    share = "" if hold.share is None else f"{hold.share * 100:g} % of new connections, "
    if hold.canary:
        return f"canary: {share}{hold.new} new beside the {instances} old"
    return f"pause_after: {share}{hold.new} of {instances} instances are new"
