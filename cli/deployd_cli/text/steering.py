"""Weights of the generations of a steered app, and its standby instances."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from deployd.model import advice
from deployd_cli.text.words import columns, count, dicts_of, duration, list_of, number_of, text_of, time_of

Status = Mapping[str, Any]


def steered(status: Status) -> bool:
    """True if the kernel assigns each new connection to an instance of this app."""
    return text_of(status, "routing") == "steered"


def routing_words(status: Status) -> str:
    """Return ``steered (ebpf, least busy)``, or ``in turn`` or ``none`` with the reason, and whether a proxy passes
    connections on; of an app with a shared socket only the reason why it is not steered, if its file does not ask for
    that."""
    reason = text_of(status, "steering_reason")
    if not steered(status):
        return f"not steered: {reason}" if reason else ""
    how = [word for key in ("steering", "choice") if (word := text_of(status, key))]
    words = f"steered ({', '.join(how)})" if how else "steered"
    if text_of(status, "mode") == "port":
        words += ", each instance on a port of its own behind systemd-socket-proxyd"
    return f"{words}: {reason}" if reason else words


def percent_of(source: Mapping[str, Any], key: str) -> str:
    """Return ``23.8 %``, to three digits; "-" if unknown."""
    value = source.get(key)
    known = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 100
    return f"{value:.3g} %" if known else "-"


def weight_words(status: Status) -> list[str]:
    """Return the weight of each generation, set and measured, if more than one generation may get connections.

    Without a weight that is set, the least busy instance of either gets a connection.
    """
    shares = [share for share in dicts_of(status, "shares") if number_of(share, "generation")]
    served = [share for share in shares if _gets(share)]
    if len(served) < 2 and not (len(shares) > 1 and isinstance(status.get("rollout"), Mapping)):
        return []
    sentences = []
    for share in shares:
        asked, seen = percent_of(share, "asked"), percent_of(share, "seen")
        weight, measured = f"weight {asked}" if asked != "-" else "", f"measured {seen}" if seen != "-" else ""
        words = f"{weight} ({measured})" if weight and measured else weight or measured or "not measured yet"
        more = f", {count(number_of(share, 'connections'), 'connection')}" if measured else ""
        sentences.append(f"generation {number_of(share, 'generation')}: {words}{more}")
    return sentences


def canary_words(status: Status) -> str:
    """Return the commands that help while a rollout is paused and both generations serve: not at a preview."""
    rollout = status.get("rollout")
    if not steered(status) or not isinstance(rollout, Mapping) or text_of(rollout, "pause") != "held":
        return ""
    if rollout.get("preview") is not None:
        return ""
    app, target = text_of(status, "app", "APP"), text_of(rollout, "to", "GENERATION")
    compare = f"compare both: {advice.deployd()} compare {app}"
    addresses = [text_of(item, "address") for item in dicts_of(status, "addresses")]
    if addresses and all(address.startswith("/") for address in addresses):
        return compare  # UNIX addresses lead to one generation, so there are no weights to change
    return f"{compare}; change weights: {advice.deployd()} weight {app} {target} 20%"


def standby_words(status: Status, now: datetime) -> list[str]:
    """Return which instances are in standby and until when, and the command that wakes them."""
    standby = status.get("standby")
    if not isinstance(standby, Mapping):
        return []
    app, generation = text_of(status, "app", "APP"), text_of(standby, "generation", "?")
    numbers = [number for number in list_of(standby, "instances") if type(number) is int]
    words = f"standby: generation {generation}, instance{'' if len(numbers) == 1 else 's'} {spans(numbers) or '?'}"
    if (until := time_of(standby.get("until"))) is not None:
        left = (until - now).total_seconds()
        words += f", until {clock(until, now)} ({duration(left)} left)" if left > 0 else ", time limit reached"
    rollout = status.get("rollout")
    if not isinstance(rollout, Mapping):
        how = f"{advice.deployd()} rollback {app} --to {generation}"
    elif text_of(rollout, "from") == generation and text_of(rollout, "phase") != "rolling-back":
        how = f"{advice.deployd()} abort {app}"
    else:
        return [words]
    return [words, f"wake {'it' if len(numbers) == 1 else 'them'} with: {how}"]


def steering_words(status: Status, now: datetime, width: int | None) -> list[str]:
    """Return all sentences about weights and standby."""
    words = [canary_words(status), *fitted(weight_words(status), width), *fitted(standby_words(status, now), width)]
    return [sentence for sentence in words if sentence]


def clock(then: datetime, now: datetime) -> str:
    """Return the time of day, with the date if it is another day."""
    try:
        here = then.astimezone(now.tzinfo)
    except (OverflowError, ValueError):
        return str(then.year)
    return f"{here:%H:%M:%S}" if here.date() == now.date() else f"{here:%d %b %H:%M}"


def _gets(share: Mapping[str, Any]) -> bool:
    """True if a generation gets or got new connections."""
    return percent_of(share, "asked") != "0 %" or percent_of(share, "seen") not in ("-", "0 %")


def left_words(connections: int) -> str:
    """Return the open connections of an instance when it was asked to stop."""
    if connections <= 0:
        return "drained"
    return f"{count(connections, 'connection')} left"


def spans(numbers: Iterable[int]) -> str:
    """Return ``1-4, 7, 8``."""
    found: list[list[int]] = []
    for number in sorted(set(numbers)):
        if found and number == found[-1][-1] + 1:
            found[-1].append(number)
        else:
            found.append([number])
    return ", ".join(f"{span[0]}-{span[-1]}" if len(span) > 2 else ", ".join(map(str, span)) for span in found)


def fitted(sentences: Sequence[str], width: int | None, indent: int = 2) -> list[str]:
    """Return the sentences on one line if the terminal is wide enough; else, and in a pipe, one line each."""
    together = "; ".join(sentences)
    return [together] if together and width is not None and columns(together) <= width - indent else list(sentences)
