"""The settings of the daemon itself: directories, what deployd.service sets in the environment, and deployd.toml."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from deployd.config.host import load_host
from deployd.errors import InvalidRequest
from deployd.model.host_drain import RolloutDrain
from deployd.model.scope import SYSTEM, Scope
from deployd.plan.backoff import Patience

COMMAND = "/usr/bin/deployd"


@dataclass(frozen=True, slots=True)
class DaemonSettings:
    """The scope, and limits that apply to all apps."""

    scope: Scope = SYSTEM
    state: Path = SYSTEM.state
    command: str = COMMAND
    patience: Patience = field(default_factory=Patience)
    generations: int = 200
    """Generations of each app that the history keeps."""
    rollout_drain: RolloutDrain = field(default_factory=RolloutDrain)
    """Which apps this host is drained of around their rollouts."""

    @classmethod
    def from_environment(cls, scope: Scope = SYSTEM) -> DaemonSettings:
        """Read the settings from the environment and from deployd.toml. Raises InvalidFile and InvalidRequest."""
        # systemd sets STATE_DIRECTORY; the default is the same directory. Before 254, user units had another one.
        state = scope.state if scope.is_user else Path(os.environ.get("STATE_DIRECTORY", scope.state))
        steady = float(_number("DEPLOYD_STEADY", Patience().steady, "a number of seconds", 999999))
        generations = int(_number("DEPLOYD_GENERATIONS", cls().generations, "a number", 9999))
        return cls(
            scope=scope,
            state=state,
            command=_command(),
            patience=Patience(steady=steady),
            generations=generations,
            rollout_drain=load_host(scope.configuration / "deployd.toml"),
        )


def _command() -> str:
    """Return the path of the command, which units of apps name. Raises InvalidRequest."""
    path = os.environ.get("DEPLOYD_COMMAND", COMMAND)
    if not path.startswith("/"):
        raise InvalidRequest(f"DEPLOYD_COMMAND is {path!r}: it must be an absolute path, for example {COMMAND}")
    return path


def _number(name: str, default: float, what: str, most: int) -> float:
    """Read a positive integer of at most `most` from the environment. Raises InvalidRequest."""
    text = os.environ.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[1-9][0-9]{0,5}", text) or int(text) > most:
        raise InvalidRequest(f"{name} is {text!r}: it must be {what} from 1 to {most}, for example {default:g}")
    return float(text)
