"""What must be written and removed so that the files of a list are installed, and nothing of an earlier list. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from deployd.errors import Refused
from deployd_cli.setup.contents import File


class Action(StrEnum):
    """What is done with a file."""

    CREATE = "create"
    UPDATE = "update"
    KEEP = "keep"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Present:
    """A file that exists."""

    contents: bytes
    mode: int


@dataclass(frozen=True, slots=True)
class Step:
    """One file. `contents` and `mode` are of the file that is to be there."""

    action: Action
    destination: str
    source: str = ""
    mode: int = 0
    contents: bytes = b""


def plan(wanted: Iterable[File], present: Mapping[str, Present], installed: frozenset[str]) -> tuple[Step, ...]:
    """Return a step for each wanted file, then one for each `installed` file that is not wanted any more.

    `present` has what exists at all these destinations, `installed` what an earlier run has written. Raises Refused if
    a file would be replaced that none has written.
    """
    wanted = tuple(wanted)
    gone = sorted((installed - {file.destination for file in wanted}) & present.keys())
    return (
        *(_step(file, present.get(file.destination), file.destination in installed) for file in wanted),
        *(Step(Action.REMOVE, destination) for destination in gone),
    )


def _step(file: File, present: Present | None, ours: bool) -> Step:
    if present is None:
        action = Action.CREATE
    elif present == Present(file.contents, file.mode):
        action = Action.KEEP
    elif ours:
        action = Action.UPDATE
    else:
        raise Refused(f"{file.destination} exists, and deployd setup has not written it; move it away first")
    return Step(action, file.destination, file.source, file.mode, file.contents)
