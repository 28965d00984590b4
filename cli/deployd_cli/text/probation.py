"""The probation of a generation that is live: until when it is watched, what happened, what a failure leads to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployd.model import advice
from deployd_cli.text.words import number_of, text_of, time_of


def watched_until(source: Mapping[str, Any], key: str = "watched_until") -> str:
    """Return ``watched until 14:32:10``, in local time; nothing if that is not known."""
    until = time_of(source.get(key))
    try:
        return f"watched until {until.astimezone():%H:%M:%S}" if until is not None else ""
    except OverflowError:
        return ""


def probation_words(status: Mapping[str, Any]) -> str:
    """Return a sentence about the probation in a status; nothing if there is none."""
    watch = status.get("watch")
    if not isinstance(watch, Mapping):
        return ""
    reason = text_of(watch, "reason")
    if watch.get("failed") is True:
        return f"generation {text_of(watch, 'generation', '?')} failed after its rollout: {reason}"
    if not (until := watched_until(watch, "until")):
        return ""
    crashes = number_of(watch, "crashes")
    so_far = f", {crashes} crash{'' if crashes == 1 else 'es'} so far" if crashes else ""
    if origin := text_of(watch, "returns_to"):
        return f"{until}{so_far}; a failure returns to generation {origin}"
    return f"{until}{so_far}; a failure is only reported{f', as {reason}' if reason else ''}"


def watch_event(event: Mapping[str, Any]) -> str:
    """Return the sentence of a ``watch`` event."""
    state, reason = text_of(event, "state", "?"), text_of(event, "reason")
    generation = f"generation {text_of(event, 'generation', '?')}"
    match state:
        case "started":
            rest = f"; a failure is only reported, as {reason}" if reason else ""
            return f"{generation} is {watched_until(event, 'until') or 'watched'}{rest}"
        case "ended":
            return f"{generation} is no longer watched: it did not fail"
        case "accepted":
            return f"{generation} is no longer watched, by request"
        case "failed":
            return f"{generation} failed after its rollout: {reason}"
    return f"watch of {generation} {state}{f': {reason}' if reason else ''}"


def resumed_words(before: Mapping[str, Any], app: str) -> str:
    """Return what a resume did, by the status `before` it."""
    watch = before.get("watch")
    if before.get("rollout") is None and isinstance(watch, Mapping):
        return f"{app}: generation {text_of(watch, 'generation', '?')} is accepted and no longer watched"
    return f"{app}: resumed; follow it with: {advice.deployd()} status {app} --watch"
