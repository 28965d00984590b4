"""What was probably meant by the name of a command or an app that does not exist."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from deployd.errors import DeploydError


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question to be appended to the error about a `name` that is not `known`, "" if none is similar."""
    close = get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def similar_app(words: Sequence[str]) -> str:
    """Return the question for the app that the `words` of a command name, "" also if the daemon does not answer."""
    from deployd_cli.session import run

    if not words[1:]:
        return ""
    try:
        return did_you_mean(words[1], run(lambda client: client.list_apps(timeout=1.0), timeout=1.0))
    except DeploydError:
        return ""
