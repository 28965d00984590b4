"""The names of etcd's keys, relative to `PREFIX/APP/`, and of what may be a part of one."""

from __future__ import annotations

import re

CONTROL = "control/"
"""What every host watches."""
GOAL = CONTROL + "goal"
PROGRESS = CONTROL + "progress"
PAUSED = CONTROL + "paused"
FAILURES = CONTROL + "failures/"
SLOTS = "slots/"
HOSTS = "hosts/"
ALIVE = "alive/"
HISTORY = "history/"

HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")
ALLOWED_HOST_NAME = "1 to 253 letters, digits and . _ -, with a letter or digit first"


def root(prefix: str, app: str) -> str:
    """Return what all keys of an app begin with; `prefix` is `/deployd` by default."""
    return f"{prefix.rstrip('/')}/{app}/"


def failure(host: str) -> str:
    return FAILURES + host


def slot(host: str) -> str:
    return SLOTS + host


def host(name: str) -> str:
    return HOSTS + name


def alive(host: str) -> str:
    return ALIVE + host


def history(fleet: str) -> str:
    """Return the key of the goal with the ID `fleet` and of its outcome."""
    return HISTORY + fleet
