"""Where new connections of a steered app go, and what stands by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from deployd_cli.text.words import columns, dicts_of, duration, list_of, moment, number_of, text_of

Status = Mapping[str, Any]


def steered(status: Status) -> bool:
    return text_of(status, "routing") == "steered"


def routing_words(status: Status) -> str:
    """``steered (ebpf)``, or ``steered (none)`` and why; nothing for an app that shares one socket."""
    if not steered(status):
        return ""
    tier, reason = text_of(status, "steering"), text_of(status, "steering_reason")
    words = f"steered ({tier})" if tier else "steered"
    return f"{words}: {reason}" if reason else words


def percent_of(source: Mapping[str, Any], key: str) -> str:
    """``23.8 %``, to three digits; "-" if it is not known."""
    value = source.get(key)
    known = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 100
    return f"{value:.3g} %" if known else "-"


def share_words(status: Status) -> list[str]:
    """For each generation what it is to get of new connections and what it has got, if more than one may get any."""
    shares = [share for share in dicts_of(status, "shares") if number_of(share, "generation")]
    going = [share for share in shares if _gets(share)]
    if len(going) < 2 and not (len(shares) > 1 and isinstance(status.get("rollout"), Mapping)):
        return []
    told = []
    for share in shares:
        words = f"generation {number_of(share, 'generation')} gets {percent_of(share, 'asked')} of new connections"
        if (seen := percent_of(share, "seen")) != "-":
            words += f", {seen} seen, {number_of(share, 'connections')} so far"
        told.append(words)
    return told


def canary_words(status: Status) -> str:
    """What else can be done while a rollout is held with both generations serving."""
    rollout = status.get("rollout")
    if not steered(status) or not isinstance(rollout, Mapping) or text_of(rollout, "pause") != "held":
        return ""
    app, target = text_of(status, "app", "APP"), text_of(rollout, "to", "GENERATION")
    return f"deployd compare {app} shows both; deployd weight {app} {target} 20% changes the share"


def standby_words(status: Status, now: datetime) -> list[str]:
    """What stands by and until when; and how it serves again."""
    standby = status.get("standby")
    if not isinstance(standby, Mapping):
        return []
    app, generation = text_of(status, "app", "APP"), text_of(standby, "generation", "?")
    numbers = [number for number in list_of(standby, "instances") if type(number) is int]
    words = f"standby: generation {generation}, instance{'' if len(numbers) == 1 else 's'} {spans(numbers) or '?'}"
    if (until := moment(standby.get("until"))) is not None:
        left = (until - now).total_seconds()
        words += f", for {duration(left)} more, until {_clock(until, now)}" if left > 0 else ", whose time is over"
    rollout = status.get("rollout")
    if not isinstance(rollout, Mapping):
        how = f"deployd rollback {app} --to {generation}"
    elif text_of(rollout, "from") == generation and text_of(rollout, "phase") != "rolling-back":
        how = f"deployd abort {app}"
    else:
        return [words]
    return [words, f"{how} wakes {'it' if len(numbers) == 1 else 'them'}"]


def steering_words(status: Status, now: datetime, width: int | None) -> list[str]:
    """All of this, sentence by sentence."""
    words = [canary_words(status), *fitted(share_words(status), width), *fitted(standby_words(status, now), width)]
    return [sentence for sentence in words if sentence]


def _clock(then: datetime, now: datetime) -> str:
    """The time of day, as far as that says it."""
    try:
        here = then.astimezone(now.tzinfo)
    except (OverflowError, ValueError):
        return str(then.year)
    return f"{here:%H:%M:%S}" if here.date() == now.date() else f"{here:%d %b %H:%M}"


def _gets(share: Mapping[str, Any]) -> bool:
    return any(percent_of(share, key) not in ("-", "0 %") for key in ("asked", "seen"))


def left_words(connections: int) -> str:
    """What an instance still had when it was asked to stop."""
    if connections <= 0:
        return "drained"
    return f"{connections} connection{'s' if connections != 1 else ''} left"


def spans(numbers: Iterable[int]) -> str:
    """``1-4, 7, 8``."""
    found: list[list[int]] = []
    for number in sorted(set(numbers)):
        if found and number == found[-1][-1] + 1:
            found[-1].append(number)
        else:
            found.append([number])
    return ", ".join(f"{span[0]}-{span[-1]}" if len(span) > 2 else ", ".join(map(str, span)) for span in found)


def fitted(sentences: Sequence[str], width: int | None, indent: int = 2) -> list[str]:
    """On one line of a wide terminal; else a line each, as in a pipe."""
    together = "; ".join(sentences)
    return [together] if together and width is not None and columns(together) <= width - indent else list(sentences)
