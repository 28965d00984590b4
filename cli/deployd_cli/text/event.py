"""The events of a rollout as sentences: a line each in a pipe, and the last one everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from deployd_cli.text.failure import ending, explained, failure_of, journal_lines
from deployd_cli.text.probation import watch_event, watched_until
from deployd_cli.text.rollout import how_of, release_change, rolling_back
from deployd_cli.text.steering import left_words
from deployd_cli.text.words import command_of, duration, instance_count, local_time, number_of, text_of


def event_lines(event: Mapping[str, Any]) -> list[str]:
    """Return the sentence of an event and, below it, the last lines of the process that failed."""
    own = event.get("event") == "warning" or (event.get("event") == "hook" and event.get("state") == "failed")
    return [event_line(event), *journal_lines(event if own else failure_of(event))]


def dated_lines(event: Mapping[str, Any], now: datetime) -> list[str]:
    """Return the lines of an event, the first one with its time in the zone of `now`."""
    first, *rest = event_lines(event)
    return [f"{local_time(event.get('time'), now) or now:%Y-%m-%d %H:%M:%S} {first}", *rest]


def event_line(event: Mapping[str, Any]) -> str:
    """Return the sentence of an event, after the name of the app; the name of the event if it is unknown."""
    app = text_of(event, "app")
    sentence = _sentence(event, app)
    if process := text_of(event, "process"):
        sentence = f"{process}: {sentence}"
    return f"{app}: {sentence}" if app else sentence


def _sentence(event: Mapping[str, Any], app: str) -> str:
    name, reason, instance = text_of(event, "event", "?"), text_of(event, "reason"), text_of(event, "instance", "?")
    origin, target = text_of(event, "from"), text_of(event, "to", "?")
    match name:
        case "started":
            release = text_of(event, "release", "release unknown")
            if origin in ("", "0"):
                return f"first deployment, generation {target}: {release}"
            return f"rolling out generation {target} in place of {origin}: {release_change(event)}"
        case "instance":
            words = (
                f"instance {instance} (generation {text_of(event, 'generation', '?')}) {text_of(event, 'state', '?')}"
            )
            return _because(words, instance_words(event))
        case "probe":
            generation = text_of(event, "generation", "?")
            return _because(f"instance {instance} (generation {generation}) is ready, waiting for its probe", reason)
        case "failed-gate":
            # The reason names the instance.
            return f"gate failed: {explained(event) or f'instance {instance}'}"
        case "waiting" if event.get("instance"):
            return f"waiting: instance {instance} of generation {text_of(event, 'generation', '?')} {reason}"
        case "waiting":
            return f"waiting for {reason}"
        case "listener":
            return reason or f"instance {instance} has its listening socket again"
        case "crash-loop":
            return _because(f"instance {instance} is kept stopped", reason)
        case "hook":
            return hook_words(event)
        case "smoke":
            return smoke_words(event)
        case "analysis":
            return _because(f"analysis {text_of(event, 'state', '?')}", reason)
        case "address":
            state = "is open" if event.get("open") is True else "is closed"
            return _because(f"{text_of(event, 'address', '?')} {state}", reason)
        case "closing":
            return f"replacing the new instances once more{' ' + reason if reason else ''}"
        case "rolling-back":
            return rolling_back(origin)  # the events before it and the last one give the reason
        case "paused":
            return f"{reason if reason.startswith('paused') else _because('paused', reason)}; {how_of(event, app)}"
        case "resumed":
            return "resumed"
        case "finished":
            return outcome(event)
        case "watch":
            return watch_event(event)
        case "taken-back":
            by = text_of(event, "by", "?")
            return _because(f"generation {text_of(event, 'generation', '?')} was taken back by generation {by}", reason)
        case "daemon-lost":
            return "deployd is not running, waiting for it; instances keep serving"
        case "daemon-back":
            return "deployd is running again"
    return _because(name, reason)


def instance_words(event: Mapping[str, Any]) -> str:
    """Return the reason of an instance's state and, of a stopped one, the connections that it had left."""
    reason, left = text_of(event, "reason"), number_of(event, "connections", -1)
    return ", ".join(words for words in (reason, left_words(left) if left >= 0 else "") if words)


def outcome(event: Mapping[str, Any]) -> str:
    """Return the result of a rollout, from its ``finished`` event."""
    result, reason, origin = text_of(event, "result", "?"), explained(event), text_of(event, "from")
    target = text_of(event, "to") or text_of(event, "generation", "?")
    match result:
        case "succeeded":
            rest = [part for part in (watched_until(event), reason) if part]
            return f"generation {target} is live: {'; '.join([', '.join(_figures(event)), *rest])}"
        case "rolled-back":
            return _because(f"generation {target} failed and was {_undone(origin)}", reason)
        case "failed":
            return _because(f"generation {target} failed", reason)
        case "aborted":
            return _because(f"generation {target} was aborted and {_undone(origin)}", reason)
        case "superseded":
            return _because(f"generation {target} was superseded by a newer rollout", reason)
    return _because(f"generation {target} ended as {result}", reason)


def ended_as(event: Mapping[str, Any], result: str) -> bool:
    """True for a ``finished`` event with this `result`."""
    return event.get("event") == "finished" and event.get("result") == result


def hook_words(event: Mapping[str, Any]) -> str:
    """Return ``after hook bin/warm: started``, or why the hook failed."""
    name = f"{text_of(event, 'hook', '?')} hook {command_of(event) or '?'}"
    state, reason = text_of(event, "state", "?"), text_of(event, "reason")
    if state == "failed":
        return reason if reason.startswith(name) else _because(f"{name}: failed", reason or ending(event))
    took = duration(event.get("duration"))
    return f"{name}: {state}" + (f" after {took}" if took != "-" else "")


def smoke_words(event: Mapping[str, Any]) -> str:
    """Return ``smoke test bin/smoke of instance 5: started``."""
    name = f"smoke test {command_of(event) or '?'} of instance {text_of(event, 'instance', '?')}"
    took = duration(event.get("duration"))
    return f"{name}: {text_of(event, 'state', '?')}" + (f" after {took}" if took != "-" else "")


def _figures(event: Mapping[str, Any]) -> list[str]:
    figures = [f"{instance_count(event, key)} {key}" for key in ("replaced", "adopted") if event.get(key) is not None]
    return [*figures, duration(event.get("duration"))]


def _undone(origin: str) -> str:
    """Return what a rollback did; a first deployment has no `origin`."""
    return f"rolled back to {origin}" if origin else "removed"


def _because(sentence: str, reason: str) -> str:
    return f"{sentence}: {reason}" if reason else sentence
