"""The pace of a rollout: how many instances at a time, where it waits, and what surrounds it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any


class Order(StrEnum):
    """Which old instance is stopped first."""

    NEWEST_OLD_FIRST = "newest-old-first"
    OLDEST_FIRST = "oldest-first"


class OnFailure(StrEnum):
    """The reaction to a failed gate."""

    ROLLBACK = "rollback"
    PAUSE = "pause"


@dataclass(frozen=True, slots=True)
class Amount:
    """A number of instances, absolute (``4``) or relative to all instances (``25%``)."""

    value: int
    percent: bool = False

    def of(self, total: int, *, round_up: bool) -> int:
        """Return the number of instances out of `total`. As in Kubernetes, surge is rounded up, unavailable down."""
        if not self.percent:
            return self.value
        whole, rest = divmod(self.value * total, 100)
        return whole + 1 if rest and round_up else whole

    def __str__(self) -> str:
        return f"{self.value}%" if self.percent else str(self.value)


@dataclass(frozen=True, slots=True)
class Memory:
    """An amount of memory in bytes, or in percent of the available memory (MemAvailable of proc_meminfo(5))."""

    value: int
    percent: bool = False

    def of(self, available: int) -> int:
        """Return the number of bytes if `available` bytes are available."""
        return self.value * available // 100 if self.percent else self.value

    def __str__(self) -> str:
        return f"{self.value}%" if self.percent else str(self.value)


class HookKind(StrEnum):
    """When a hook runs; also its key in [rollout.hooks]."""

    BEFORE = "before"
    AFTER = "after"
    FAILED = "failed"
    """A gate failed, or a generation failed its probation."""
    PAUSED = "paused"
    ROLLED_BACK = "rolled_back"
    """An automatic rollback has ended."""
    FINISHED = "finished"


NOTIFICATIONS = (HookKind.FAILED, HookKind.PAUSED, HookKind.ROLLED_BACK, HookKind.FINISHED)
"""The hooks that report something, and decide nothing."""


@dataclass(frozen=True, slots=True)
class HookSettings:
    """Commands around a rollout, each an argv, run in the new release as the app's user."""

    before: tuple[tuple[str, ...], ...] = ()
    after: tuple[tuple[str, ...], ...] = ()
    failed: tuple[tuple[str, ...], ...] = ()
    paused: tuple[tuple[str, ...], ...] = ()
    rolled_back: tuple[tuple[str, ...], ...] = ()
    finished: tuple[tuple[str, ...], ...] = ()
    timeout: float = 600.0
    """Seconds for each command."""

    def of(self, kind: HookKind) -> tuple[tuple[str, ...], ...]:
        """Return the commands of a kind."""
        commands: tuple[tuple[str, ...], ...] = getattr(self, kind.value)
        return commands


@dataclass(frozen=True, slots=True)
class AnalysisSettings:
    """A command that judges a rollout and is repeated until the rollout ends. Times in seconds."""

    command: tuple[str, ...]
    """An argv, run in the new release as the app's user."""
    interval: float = 10.0
    timeout: float = 30.0


@dataclass(frozen=True, slots=True)
class Pace:
    """The [rollout] table. Times in seconds."""

    max_surge: Amount = Amount(1)
    max_unavailable: Amount = Amount(0)
    rollback_surge: Amount = Amount(100, percent=True)
    """The surge of a rollback, as far as memory allows; never less than `max_surge`."""
    order: Order = Order.NEWEST_OLD_FIRST
    on_failure: OnFailure = OnFailure.ROLLBACK
    deadline: float = 1800.0
    """The longest time without progress: each instance that passes its gate, and each resume, restarts it."""
    pause_after: tuple[Amount, ...] = ()
    """Numbers of new instances at which the rollout waits to be resumed."""
    irreversible: bool = False
    """A rollback cannot undo what this generation changes: a failure pauses the rollout instead."""
    hooks: HookSettings = HookSettings()
    standby: float = 0.0
    """How long replaced instances are kept frozen for a fast rollback."""
    standby_memory: Memory = Memory(50, percent=True)
    """How much memory the instances in standby may use."""
    analysis: AnalysisSettings | None = None
    watch: float = 300.0
    """How long a generation is on probation after its rollout; 0 for not at all."""
    preview_group: str = ""
    """The group whose members may reach a preview, beyond root and the user of the app; "" for none."""

    def in_place(self) -> Pace:
        """Return the pace of an app that never has more instances than `instances`."""
        return replace(self, max_surge=Amount(0), rollback_surge=Amount(0), standby=0.0)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Pace:
        """Return the pace from which dataclasses.asdict and JSON made `raw`."""
        hooks, analysis = raw["hooks"], raw["analysis"]
        return cls(
            max_surge=Amount(**raw["max_surge"]),
            max_unavailable=Amount(**raw["max_unavailable"]),
            rollback_surge=Amount(**raw["rollback_surge"]),
            order=Order(raw["order"]),
            on_failure=OnFailure(raw["on_failure"]),
            deadline=raw["deadline"],
            watch=raw["watch"],
            pause_after=tuple(Amount(**item) for item in raw["pause_after"]),
            irreversible=raw["irreversible"],
            hooks=HookSettings(
                **{kind.value: _commands(hooks.get(kind.value, ())) for kind in HookKind}, timeout=hooks["timeout"]
            ),
            standby=raw["standby"],
            standby_memory=Memory(**raw["standby_memory"]),
            analysis=None
            if analysis is None
            else AnalysisSettings(**{**analysis, "command": tuple(analysis["command"])}),
            preview_group=raw.get("preview_group", ""),
        )


def _commands(raw: Iterable[Iterable[str]]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(command) for command in raw)
