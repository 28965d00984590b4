"""Signals by the names that systemd uses, and whether a process handles them."""

from __future__ import annotations

import re
import signal
from pathlib import Path

_REALTIME = re.compile(r"SIGRT(MIN|MAX)(?:([+-])([0-9]+))?")
_HANDLED = re.compile(r"^Sig(?:Blk|Ign|Cgt):\s*([0-9a-f]+)$", re.MULTILINE)


def number_of(name: str) -> int:
    """Return the number of a signal, such as SIGUSR1 or SIGRTMIN+3 (signal(7))."""
    found = _REALTIME.fullmatch(name)
    if found is None:
        return int(signal.Signals[name])
    base = signal.SIGRTMIN if found[1] == "MIN" else signal.SIGRTMAX
    return int(base) + int(f"{found[2] or '+'}{found[3] or 0}")


def handles(pid: int, name: str, proc: Path = Path("/proc")) -> bool:
    """False if a signal would end the process: it neither handles, ignores nor blocks it (proc_pid_status(5))."""
    try:
        text = (proc / str(pid) / "status").read_text()
    except OSError:
        return False
    mask = 0
    for found in _HANDLED.findall(text):
        mask |= int(found, 16)
    return bool(mask >> number_of(name) - 1 & 1)
