"""A rollout's events as sentences: a line each in a pipe, and the last one everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployd_cli.text.failure import ending, failure_of, journal_lines, told
from deployd_cli.text.rollout import how_of
from deployd_cli.text.steering import left_words
from deployd_cli.text.words import command_of, duration, instance_count, number_of, text_of


def event_lines(event: Mapping[str, Any]) -> list[str]:
    """One event, and below it what the process wrote that it tells of."""
    own = event.get("event") == "warning" or (event.get("event") == "hook" and event.get("state") == "failed")
    return [event_line(event), *journal_lines(event if own else failure_of(event))]


def event_line(event: Mapping[str, Any]) -> str:
    """One event, told after the app's name. Unknown ones are told by their name."""
    app = text_of(event, "app", "-")
    return f"{app}: {_sentence(event, app)}"


def _sentence(event: Mapping[str, Any], app: str) -> str:
    name, reason, instance = text_of(event, "event", "?"), text_of(event, "reason"), text_of(event, "instance", "?")
    origin, target = text_of(event, "from"), text_of(event, "to", "?")
    match name:
        case "started":
            return f"rolling out generation {target}{_after(origin)}, {text_of(event, 'release', 'release unknown')}"
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
            return f"gate failed: {told(event) or f'instance {instance}'}"
        case "crash-loop":
            return _because(f"instance {instance} is kept down", reason)
        case "hook":
            return hook_words(event)
        case "analysis":
            return _because(f"analysis {text_of(event, 'state', '?')}", reason)
        case "closing":
            return f"replacing the new instances once more{' ' + reason if reason else ''}"
        case "rolling-back":
            return f"rolling back to {_generation(origin)}"  # why is told before and at the end
        case "paused":
            return f"{_because('paused', reason)}; {how_of(event, app)}"
        case "resumed":
            return "resumed"
        case "finished":
            return outcome(event)
        case "daemon-lost":
            return "deployd went away, waiting for it; the instances are not affected"
        case "daemon-back":
            return "deployd is back"
    return _because(name, reason)


def instance_words(event: Mapping[str, Any]) -> str:
    """Why it is in its state; of one that has stopped also what it was still busy with then."""
    reason, left = text_of(event, "reason"), number_of(event, "connections", -1)
    return ", ".join(words for words in (reason, left_words(left) if left >= 0 else "") if words)


def outcome(event: Mapping[str, Any]) -> str:
    """What came of it, from a ``finished`` event."""
    result, reason, origin = text_of(event, "result", "?"), told(event), text_of(event, "from")
    target = text_of(event, "to") or text_of(event, "generation", "?")
    match result:
        case "succeeded":
            figures = ", ".join(_figures(event))
            return f"generation {target} is live: {figures}" + (f"; {reason}" if reason else "")
        case "rolled-back":
            return _because(
                f"generation {target} failed and was rolled back{' to ' + origin if origin else ''}", reason
            )
        case "failed":
            return _because(f"generation {target} failed", reason)
        case "aborted":
            return _because(f"generation {target} was aborted{', back to ' + origin if origin else ''}", reason)
        case "superseded":
            return _because(f"generation {target} was superseded by a newer rollout", reason)
    return _because(f"generation {target} ended as {result}", reason)


def ended_as(event: Mapping[str, Any], result: str) -> bool:
    return event.get("event") == "finished" and event.get("result") == result


def hook_words(event: Mapping[str, Any]) -> str:
    """``after hook bin/warm: started``; of one that failed, why."""
    name = f"{text_of(event, 'hook', '?')} hook {command_of(event) or '?'}"
    state, reason = text_of(event, "state", "?"), text_of(event, "reason")
    if state == "failed":
        return reason if reason.startswith(name) else _because(f"{name}: failed", reason or ending(event))
    took = duration(event.get("duration"))
    return f"{name}: {state}" + (f" after {took}" if took != "-" else "")


def _figures(event: Mapping[str, Any]) -> list[str]:
    figures = [f"{instance_count(event, key)} {key}" for key in ("replaced", "adopted") if event.get(key) is not None]
    return [*figures, duration(event.get("duration"))]


def _after(origin: str) -> str:
    return f" after {origin}" if origin not in ("", "0") else ""


def _generation(number: str) -> str:
    return f"generation {number}" if number else "before"


def _because(sentence: str, reason: str) -> str:
    return f"{sentence}: {reason}" if reason else sentence
