"""Drop-ins that apply to the units of an app (systemd.unit(5)): which ones, and which of their settings break it.

An administrator's drop-in is honoured unless it breaks what deployd relies on; `model.directive` has what does.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from deployd.errors import StateError
from deployd.model import unit_name
from deployd.model.directive import Kind, broken
from deployd.units.listing import Listing

LARGEST = 1024 * 1024
"""Bytes of a drop-in that are read."""


@dataclass(frozen=True, slots=True)
class DropIn:
    """One file."""

    path: Path
    text: str

    def breach(self, kind: Kind) -> str:
        """Return which setting breaks a unit of this kind, and why, or ""."""
        for section, name, value in assignments(self.text):
            if reason := broken(kind, section, name, value):
                return f"{self.path} sets {name}=: {reason}"
        return ""


class DropIns:
    """The drop-ins in these directories of units, which are in the order of their precedence: those of ``systemctl
    set-property`` first."""

    def __init__(self, directories: Iterable[Path], listing: Listing | None = None) -> None:
        self._directories = list(directories)
        self._listing = listing or Listing()

    def of(self, unit: str) -> list[DropIn]:
        """Return the drop-ins of a unit in the order in which systemd reads them. Raises StateError.

        Of several with the same file name only the first one counts.
        """
        found: dict[str, Path] = {}
        *named, of_type = names(unit)
        for group in (named, [of_type]):
            for directory in self._directories:
                for name in group:
                    for path in (directory / f"{name}.d").glob("*.conf"):
                        found.setdefault(path.name, path)
        return [DropIn(path, _read(path)) for _, path in sorted(found.items())]

    def files(self, units: Iterable[str]) -> dict[str, DropIn]:
        """Return the drop-ins of these units by their paths relative to a directory of units. Raises StateError."""
        return {f"{item.path.parent.name}/{item.path.name}": item for unit in units for item in self.of(unit)}

    def breaches(self, app: str, units: Iterable[str]) -> list[str]:
        """Return a sentence for each setting that breaks one of the units of `app`. Raises StateError."""
        found = (
            f"{breach}; remove that, {_remedy(app, kind)}"
            for unit in units
            for kind in [_kind(app, unit)]
            for item in self.of(unit)
            if (breach := item.breach(kind))
        )
        return list(dict.fromkeys(found))

    def unfit(self, app: str) -> dict[int, str]:
        """Return the instances that drop-ins for a single number break, each with the reason. Raises StateError."""
        return {
            number: breach
            for number in self.single(app)
            for item in self.of(unit_name.instance(app, number))
            if item.path.parent.name == f"{unit_name.instance(app, number)}.d"
            and (breach := item.breach(Kind.INSTANCE))
        }

    def single(self, app: str) -> frozenset[int]:
        """Return the instances that have drop-ins of their own."""
        before = unit_name.instance(app, "*").partition("*")[0]
        found = {name for place in self._directories for name in self._listing.starting_with(place, before)}
        numbers = (unit_name.instance_number(app, name.removesuffix(".d")) for name in found if name.endswith(".d"))
        return frozenset(number for number in numbers if number is not None)


def names(unit: str) -> list[str]:
    """Return the names whose drop-ins apply to a unit, the most specific one first, that of its type last."""
    stem, _, suffix = unit.rpartition(".")
    prefix, at, instance = stem.partition("@")
    chains = [f"{at}{instance}", at] if instance else [at]
    found = []
    for tail in chains:
        found.append(f"{prefix}{tail}.{suffix}")
        found += [f"{prefix[: dash.end()]}{tail}.{suffix}" for dash in reversed([*re.finditer("-", prefix[:-1])])]
    return [*dict.fromkeys(found), suffix]


def assignments(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield section, name and value of each line of a unit file (systemd.syntax(7))."""
    section = pending = ""
    for line in text.splitlines():
        if line.lstrip().startswith(("#", ";")):
            continue
        whole = pending + line
        if line.endswith("\\"):
            pending = whole[:-1] + " "
            continue
        pending, whole = "", whole.strip()
        if whole.startswith("[") and whole.endswith("]"):
            section = whole[1:-1]
        elif "=" in whole:
            name, _, value = whole.partition("=")
            yield section, name.strip(), value.strip()


def _kind(app: str, unit: str) -> Kind:
    if unit_name.is_socket(unit):
        return Kind.LISTENER
    return Kind.INSTANCE if unit.startswith(unit_name.instance(app, "").removesuffix(".service")) else Kind.APP


def _remedy(app: str, kind: Kind) -> str:
    match kind:
        case Kind.APP:
            return f"settings of instances belong in {unit_name.template(app)}.d or in [service] of the app file"
        case Kind.INSTANCE:
            return "or set it in the app file as far as that allows it"
        case Kind.LISTENER:
            return "and list addresses in listen of the app file"


def _read(path: Path) -> str:
    """Return the text of a drop-in; a link to /dev/null masks it, and what is no file is none to systemd either."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return ""
        with path.open("rb") as file:
            return file.read(LARGEST).decode(errors="surrogateescape")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise StateError(f"cannot read {path}: {error.strerror}") from error
