"""The settings of the daemon itself: its directories, and what deployd.service sets in the environment."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from deployd.errors import InvalidRequest
from deployd.plan.backoff import Patience


@dataclass(frozen=True, slots=True)
class DaemonSettings:
    """Directories, and limits that apply to all apps."""

    apps: Path = Path("/etc/deployd/apps")
    state: Path = Path("/var/lib/deployd")
    units: Path = Path("/etc/systemd/system")
    scratch: Path = Path("/run/deployd/verify")
    spool: Path = Path("/run/deployd/notifications")
    """Not in the state directory: a rollout that pauses because the disk is full has to be reported."""
    command: str = "/usr/bin/deployd"
    patience: Patience = field(default_factory=Patience)
    generations: int = 200
    """Generations of each app that the history keeps."""

    @classmethod
    def from_environment(cls) -> DaemonSettings:
        """Read the settings from the environment. Raises InvalidRequest."""
        # systemd sets STATE_DIRECTORY; the default is the same directory.
        state = Path(os.environ.get("STATE_DIRECTORY", "/var/lib/deployd"))
        steady = float(_number("DEPLOYD_STEADY", Patience().steady, "a number of seconds", 999999))
        generations = int(_number("DEPLOYD_GENERATIONS", cls().generations, "a number", 9999))
        return cls(state=state, patience=Patience(steady=steady), generations=generations)


def _number(name: str, default: float, what: str, most: int) -> float:
    """Read a positive integer of at most `most` from the environment. Raises InvalidRequest."""
    text = os.environ.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[1-9][0-9]{0,5}", text) or int(text) > most:
        raise InvalidRequest(f"{name} is {text!r}: it must be {what} from 1 to {most}, for example {default:g}")
    return float(text)
