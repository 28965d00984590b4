"""Files to which the instances write their output (systemd.exec(5), StandardOutput=).

systemd creates the file, but not its directory, and opens it before it makes the directories of LogsDirectory= and the
like: instances could not start, with a message that does not name the file.
"""

from __future__ import annotations

import os

from deployd.config.source import one_line
from deployd.errors import Refused
from deployd.model import specifier
from deployd.model.app import App

KEYS = ("StandardOutput", "StandardError")
KINDS = ("append", "file", "truncate")
MADE_BY_SYSTEMD = frozenset({"CacheDirectory", "LogsDirectory", "RuntimeDirectory", "StateDirectory"})
"""Directives that make a directory once an instance starts."""


def doubtful_outputs(app: App) -> tuple[str, ...]:
    """Return sentences about directories that may be missing when an instance starts.

    Raises Refused for one that certainly is. Blocks, so it must not run in the event loop.
    """
    service, doubts = dict(app.service), []
    for key in KEYS:
        kind, _, path = (service.get(key) or ("",))[-1].partition(":")
        directory = specifier.literal(os.path.dirname(path))  # noqa: PTH120 - the name may have specifiers
        if kind not in KINDS or not directory or os.path.isdir(directory):  # noqa: PTH112 - the same
            continue
        sentence = one_line(f"{key} of {app.name} names {path}, and there is no directory {directory}")
        if MADE_BY_SYSTEMD.isdisjoint(service):
            raise Refused(f"{sentence}; create it, because systemd does not")
        doubts.append(f"{sentence}; create it, because systemd opens the file before it makes directories")
    return tuple(doubts)
