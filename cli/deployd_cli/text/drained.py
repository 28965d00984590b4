"""That load balancers send clients to other hosts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployd_cli.text.words import text_of


def drained_words(source: Mapping[str, Any]) -> str:
    """Return that the host or the app is drained, since when and why; "" if neither is. `source` is the status of an
    app, or the answer of Describe."""
    drain = source.get("drain")
    if not isinstance(drain, Mapping):
        return ""
    what = "this host" if text_of(drain, "what") == "host" else text_of(source, "app", "the app")
    reason = text_of(drain, "reason")
    return f"{what} is drained since {text_of(drain, 'since', '?')}{f': {reason}' if reason else ''}"
