"""Calendar expressions of timers, which systemd itself checks: no second parser can agree with every version of it."""

from __future__ import annotations

import shutil
import subprocess
from functools import lru_cache

SEARCH_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
DEADLINE = 10.0
"""Seconds that the check of one expression may take."""
MOST_KNOWN = 1000


@lru_cache(MOST_KNOWN)
def is_calendar(expression: str) -> bool:
    """True if systemd accepts `expression` in OnCalendar=, or if it cannot be asked: the units are verified later.

    Blocks for some milliseconds, once for each expression.
    """
    program = shutil.which("systemd-analyze", path=SEARCH_PATH)
    if program is None:
        return True
    try:
        done = subprocess.run(
            [program, "calendar", "--iterations=1", "--", expression],
            env={"PATH": SEARCH_PATH, "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=DEADLINE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return True
    return done.returncode == 0
