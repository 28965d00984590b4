"""The JSON of releases: which directories are needed, for what, and which may be deleted. Pure."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from deployd.documents import Json
from deployd.errors import DeploydError, Refused
from deployd.model import advice
from deployd.model.generation import Entry
from deployd.model.rollout import Rollout
from deployd.plan.rollback import good, known_bad, last_good, rollback_target


@dataclass(frozen=True, slots=True)
class Needs:
    """What an app needs of its releases, according to history and pins."""

    app: str
    generations: Sequence[Entry]
    """All generations of the app, newest first."""
    current: int | None
    rollout: Rollout | None
    pins: Mapping[int, int]
    """Instance to generation."""
    kept: int
    """Number of the newest generations whose releases must stay."""
    standby: frozenset[int] = frozenset()
    """Generations that have instances in standby."""
    processes: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """The generations with which instances of further process types start, by process type."""
    runs: Mapping[str, int] = field(default_factory=dict)
    """Timers of which a run is under way, with the generation of the run."""
    keep: int = 0
    """The number of the newest releases that must stay, in place of `kept`; 0 if the app file does not say."""

    @property
    def back(self) -> int | None:
        """The generation that `deployd rollback` would return to."""
        try:
            goal = rollback_target(self.generations, self.current, past_irreversible=True) if self.current else None
        except DeploydError:
            return None
        return goal.number if goal is not None else None

    @property
    def numbers(self) -> frozenset[int]:
        """The generations whose releases must stay."""
        more = {self.current, *self.pins.values(), *self.standby, *self.runs.values()}
        more.update(*self.processes.values())
        live = next((item for item in self.generations if item.number == self.current), None)
        if live is not None:
            with contextlib.suppress(Refused):  # it needs none
                more.add(last_good(self.generations, live).number)
        if self.rollout is not None:
            more |= {self.rollout.origin, self.rollout.target}
        return self._newest | {number for number in more if number is not None}

    @property
    def _newest(self) -> frozenset[int]:
        found = sorted(self.generations, key=lambda item: -item.number)
        if not self.keep:
            return frozenset(item.number for item in found[: self.kept])
        releases = [*dict.fromkeys(item.release for item in found)][: self.keep]
        return frozenset(item.number for item in found if item.release in releases)

    @property
    def unneeded(self) -> str:
        """The end of a sentence about a release that may be deleted."""
        if self.keep:
            return f"it is not among the newest {self.keep} (keep in [deploy])"
        return f"no generation of the last {self.kept} needs it"

    @property
    def releases(self) -> frozenset[str]:
        """The releases that must stay."""
        return frozenset(item.release for item in self.generations if item.number in self.numbers)


@dataclass(frozen=True, slots=True)
class Found:
    """What is on the disk. Only releases that are needed are compared with their generations, which takes time."""

    present: frozenset[str]
    """Releases that exist."""
    siblings: tuple[str, ...] = ()
    """Directories next to them."""
    changed: Mapping[int, str] = field(default_factory=dict)
    """What has changed in the release since the generation was made, by generation."""
    named: str | None = None
    """The release that the app file names."""
    others: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """The releases that other apps need or name, by app."""


def releases(needs: Needs, found: Found) -> Json:
    """Return `deployd releases APP --json`, the newest generation's release first, then those of no generation."""
    by_release: dict[str, list[Entry]] = {}
    for generation in sorted(needs.generations, key=lambda item: -item.number):
        by_release.setdefault(generation.release, []).append(generation)
    for path in sorted({*found.siblings, *([found.named] if found.named else [])} - by_release.keys()):
        by_release[path] = []
    states = _States(needs, found)
    return {"app": needs.app, "releases": [states.release(path, items) for path, items in by_release.items()]}


class _States:
    """The states of all releases. What they have in common is computed once."""

    def __init__(self, needs: Needs, found: Found) -> None:
        self._needs, self._found = needs, found
        self._numbers, self._back = needs.numbers, needs.back
        self._paths = needs.releases
        self._reachable = {item.number for item in good(needs.generations, known_bad(needs.generations))}

    def release(self, path: str, generations: Sequence[Entry]) -> Json:
        numbers = [item.number for item in generations]
        instances = sorted(instance for instance, number in self._needs.pins.items() if number in numbers)
        state, why = self._state(path, numbers, instances)
        return {
            "release": path,
            "generations": numbers,
            "instances": instances,
            "state": state,
            "deletable": state == "free",
            "why": why,
            "changed": bool(numbers) and numbers[0] in self._found.changed,
        }

    def _state(self, path: str, numbers: Sequence[int], instances: Sequence[int]) -> tuple[str, str]:
        app, needed = self._needs.app, [number for number in numbers if number in self._numbers]
        if numbers and path not in self._found.present:
            if instances:
                return (
                    "missing",
                    f"{_some('instance', instances)} cannot start again; put it back, or roll out another release",
                )
            lost = self._lost(needed)
            return "missing", f"{lost}; put it back to allow that" if lost else "nothing needs it"
        if instances:
            return "running", "; ".join(
                [
                    f"{_some('instance', instances)} start{'s' if len(instances) == 1 else ''} from it",
                    *self._changes(needed),
                ]
            )
        if found := [name for name, made in self._needs.processes.items() if not made.isdisjoint(numbers)]:
            return "running", "; ".join([f"{', '.join(sorted(found))} start from it", *self._changes(needed)])
        reasons = self._reasons(path, needed)
        if reasons:
            return "kept", "; ".join(reasons)
        if not numbers:
            return "unknown", f"no generation of {app} was made from it; it may be a new release, or no release at all"
        return "free", f"no instance runs it, and {self._needs.unneeded}"

    def _reasons(self, path: str, needed: Sequence[int]) -> list[str]:
        """Return why the release must stay, the most important reason first."""
        app, rollout, found = self._needs.app, self._needs.rollout, self._found
        reasons = []
        if rollout is not None and rollout.origin in needed:
            reasons.append(f"the rollout under way may roll back to generation {rollout.origin}")
        reasons += [f"instances of generation {number} stand by" for number in needed if number in self._needs.standby]
        reasons += [f"a run of {timer} is under way" for timer, made in self._needs.runs.items() if made in needed]
        possible = [number for number in needed if number in self._reachable and number not in found.changed]
        if self._needs.current in needed:
            reasons.append(f"generation {self._needs.current} is the current one")
        elif self._back in possible:
            reasons.append(f"{advice.deployd()} rollback {app} returns to generation {self._back}")
        elif possible:
            reasons.append(f"{advice.deployd()} rollback {app} --to {possible[0]} is possible")
        reasons += self._changes(needed)
        if needed and not reasons:
            last = f"among the last {self._needs.keep or self._needs.kept}, although a rollback to it is not possible"
            reasons.append(f"{_some('generation', needed)} {'is' if len(needed) == 1 else 'are'} {last}")
        if found.named is not None and _within(path, [found.named]):
            reasons.append("the app file names it")
        reasons += [f"{other} needs it" for other, paths in sorted(found.others.items()) if _within(path, paths)]
        if not reasons and _within(path, self._paths):
            reasons.append(f"another release of {app} lies in it")
        return reasons

    def _changes(self, needed: Sequence[int]) -> list[str]:
        change = self._found.changed.get(needed[0]) if needed else None
        return [f"changed since generation {needed[0]}: {change}"] if change else []

    def _lost(self, needed: Iterable[int]) -> str:
        possible = [number for number in needed if number in self._reachable]
        return f"cannot roll back to {_some('generation', possible)}" if possible else ""


def _within(path: str, paths: Iterable[str]) -> bool:
    """True if deleting `path` would delete one of `paths`."""
    return any(item == path or item.startswith(f"{path}/") for item in paths)


def _some(noun: str, numbers: Iterable[int]) -> str:
    """Return ``instance 3`` or ``instances 1-4, 7``."""
    ordered = sorted(numbers)
    runs: list[list[int]] = []
    for number in ordered:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    words = ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
    return f"{noun}{'' if len(ordered) == 1 else 's'} {words}"
