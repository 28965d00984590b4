"""Whether an app needs attention, in the states of the Nagios plugin API. A pure function of the status of the app."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Any

from deployd_cli.text.drained import drained_words
from deployd_cli.text.problems import HANGS
from deployd_cli.text.processes import processes_of
from deployd_cli.text.rollout import rollout_of, waits_of
from deployd_cli.text.timers import result_of
from deployd_cli.text.words import count, dicts_of, number_of, text_of


class State(IntEnum):
    """The values are the exit statuses of a plugin (Monitoring Plugins Development Guidelines, "Return Codes")."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """The state of one app."""

    app: str
    state: State
    ready: int
    desired: int
    generation: str
    """The number of the current generation; "" if the app is not deployed."""
    restarts: int
    """Of all instances."""
    reasons: tuple[str, ...] = ()
    """Why the state is not OK, those that are CRITICAL first."""
    notes: tuple[str, ...] = ()
    """What is shown and changes no state."""


def verdict(status: Mapping[str, Any], file: Mapping[str, Any] = MappingProxyType({})) -> Verdict:
    """Return the state of the app with this status, whose `file` differs in this way from what is live (see Changes in
    org.deployd1(5)); empty if that is not known.

    A file that cannot be rolled out is a WARNING: nothing is wrong until the next rollout, which is refused, also when
    it is urgent. That something is not rolled out yet is a note, since it is so in the middle of each deployment.
    """
    critical, warnings = tuple(_critical(status)), (*_warnings(status), *_file_problem(file))
    return Verdict(
        text_of(status, "app", "?"),
        State.CRITICAL if critical else State.WARNING if warnings else State.OK,
        number_of(status, "ready"),
        number_of(status, "desired"),
        text_of(status, "generation"),
        sum(number_of(item, "restarts") for item in dicts_of(status, "instances")),
        critical + warnings,
        tuple(_notes(status, file)),
    )


def worst(verdicts: list[Verdict]) -> State:
    """Return the state of a check of these apps, OK without any."""
    return max((item.state for item in verdicts), default=State.OK)


def _critical(status: Mapping[str, Any]) -> Iterator[str]:
    """Yield why some or all clients are not served, or the app cannot be changed."""
    if text_of(status, "health") == "stopped":
        yield "the app is stopped"
    else:
        unserved = list(_unserved(status))
        yield from unserved
        if not unserved and number_of(status, "desired") and not number_of(status, "ready"):
            yield "no instance is ready"
        for process, its in processes_of(status):
            if text_of(its, "health") == "stopped" and number_of(its, "desired"):
                yield f"{process} is stopped"
            elif number_of(its, "desired") and not number_of(its, "ready"):
                yield f"{process}: no instance is ready"
            yield from (f"{process}: {reason}" for reason in _unserved(its))
    if error := text_of(status, "history_error"):
        yield f"changes are refused: {error}"


def _unserved(status: Mapping[str, Any]) -> Iterator[str]:
    """Yield the addresses at which clients are not served. One open socket of an address is enough."""
    addresses = dicts_of(status, "addresses")
    served = {
        text_of(item, "address") for item in addresses if item.get("open") is True and not text_of(item, "reason")
    }
    for item in addresses:
        address = text_of(item, "address")
        if address not in served:
            served.add(address)
            reason = text_of(item, "reason")
            state = "open" if item.get("open") is True else "closed"
            yield f"{address} is {state}{f': {reason}' if reason else ''}"


def _warnings(status: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is not as desired although clients are served."""
    if text_of(status, "health") != "stopped":
        yield from _instances(status)
        for process, its in processes_of(status):
            yield from (f"{process}: {reason}" for reason in _instances(its))
    rollout = status.get("rollout")
    if isinstance(rollout, Mapping) and rollout.get("phase") == "paused":
        yield f"rollout {rollout_of(status)}{f', {waits}' if (waits := waits_of(rollout)) else ''}"
    last, watch = status.get("last_rollout"), status.get("watch")
    if isinstance(last, Mapping) and text_of(last, "result") in ("failed", "rolled-back"):
        yield f"the last rollout failed: generation {text_of(last, 'generation', '?')}{_because(last)}"
    elif isinstance(last, Mapping) and text_of(last, "cause") == "watch":
        yield f"the last release was rolled back after it had been live{_because(last)}"
    if isinstance(watch, Mapping) and watch.get("failed") is True:
        yield f"generation {text_of(watch, 'generation', '?')} failed while watched, and is live{_because(watch)}"
    for timer in dicts_of(status, "timers"):
        if timer.get("failed") is True:
            yield f"the last run of {text_of(timer, 'timer', '?')} failed: {result_of(timer)}"


def _file_problem(file: Mapping[str, Any]) -> Iterator[str]:
    if error := text_of(file, "error"):
        yield f"the app file is invalid: {error}"


def _notes(status: Mapping[str, Any], file: Mapping[str, Any]) -> Iterator[str]:
    """Yield that load balancers send clients to other hosts, and what was changed and is not live. After a rollout that
    failed, the next one would try it again."""
    if words := drained_words(status):
        yield words
    if status.get("rollout"):
        return
    if changes := dicts_of(file, "changes"):
        yield f"the app file has {count(len(changes), 'changed key')}"
    live, chosen = text_of(status, "release"), text_of(file, "release")
    if live and chosen and live != chosen:
        yield f"release leads to {chosen}"


def _because(source: Mapping[str, Any]) -> str:
    reason = text_of(source, "reason")
    return f": {reason}" if reason else ""


def _instances(status: Mapping[str, Any]) -> Iterator[str]:
    """Yield that too few instances are ready, the first one that has a problem, and how many others have one."""
    desired, ready = number_of(status, "desired"), number_of(status, "ready")
    troubled = [words for item in dicts_of(status, "instances") if (words := _problem(item, short=ready < desired))]
    if troubled:
        yield troubled[0] + (f" (and {len(troubled) - 1} more)" if len(troubled) > 1 else "")
    elif 0 < ready < desired:
        yield f"{desired - ready} of {desired} instances are not ready"


def _problem(instance: Mapping[str, Any], *, short: bool) -> str:
    """Return what is wrong with an instance: that it hangs or is kept down after crashes or, if the app is `short` of
    instances, why it is not ready."""
    detail, state = text_of(instance, "detail"), text_of(instance, "state")
    kept_down, hangs = instance.get("retry_at") is not None, detail.startswith(HANGS)
    missing = short and state in ("failed", "inactive", "unreachable")
    if not (kept_down or hangs or missing):
        return ""
    return f"instance {text_of(instance, 'instance', '?')} {detail or f'is {state}'}"
