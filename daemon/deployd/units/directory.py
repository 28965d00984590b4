"""The unit directory: reads, compares, verifies, installs and removes the units of an app.

A unit file is deployd's own if it begins with `HEADER`; no other is ever written or removed (invariant 9).
Nothing here calls systemd. The caller reloads it if `install` returns True and never without need, because the socket
of an edited unit cannot be opened again while its instances run (EBUSY; see docs/traps.md).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from deployd.errors import Refused, StateError
from deployd.model import advice, unit_name
from deployd.model.app import NAME
from deployd.model.scope import SYSTEM
from deployd.state.disk import Disk, reported
from deployd.units import verification
from deployd.units.drop_ins import DropIns
from deployd.units.listing import Listing
from deployd.units.text import HEADER, Unit, is_unit, unit_names


class UnitDirectory:
    """The directory of the administrator's units, in which deployd writes its own."""

    def __init__(
        self,
        path: str | Path = SYSTEM.units,
        *,
        others: Sequence[str | Path] = SYSTEM.other_units,
        control: Sequence[Path] = SYSTEM.control,
        user: bool = False,
        disk: Disk | None = None,
        scratch: Path | None = None,
    ) -> None:
        """`others`: further directories of units; a unit of deployd hides one of the same name that is there.

        `control`: where ``systemctl set-property`` writes drop-ins. `user`: the units are those of a user manager.
        `scratch`: the directory for verification, used by this daemon only; by default that for temporary files.
        """
        self._path = Path(path)
        self._user = user
        self._scratch = scratch
        self._others = [Path(other) for other in others]
        self._disk = disk or Disk()
        self._listing = Listing()
        self._drop_ins = DropIns([*control, self._path, *self._others], self._listing)

    def sweep(self) -> None:
        """Empty the directory for verification: a daemon that was killed may have left units there."""
        if self._scratch is not None:
            with reported(f"clear {self._scratch}"):
                self._disk.remove(self._scratch)
                self._disk.directories(self._scratch)

    def apps(self) -> list[str]:
        """Return the apps whose template was installed by deployd."""
        paths = {unit_name.app_of_template(path.name): path for path in self._path.glob(unit_name.template("*"))}
        return sorted(app for app, path in paths.items() if app and NAME.fullmatch(app) and self._is_ours(path))

    def installed(self, app_name: str) -> dict[str, str]:
        """Return the installed units of the app as a whole: name to text."""
        found = self._listing.starting_with(self._path, f"{app_name}:")
        later = [name for name in found if is_unit(app_name, name)]
        names = dict.fromkeys((*unit_names(app_name), unit_name.instance_socket(app_name, ""), *later))
        texts = {name: self._read(self._path / name) for name in names}
        return {name: text for name, text in texts.items() if text is not None and text.startswith(HEADER)}

    def timers(self, app_name: str) -> dict[str, str]:
        """Return the installed units of the timers of an app: name to text."""
        found = self._listing.starting_with(self._path, f"{app_name}:")
        names = [name for name in found if unit_name.timer_name(app_name, name) is not None]
        texts = {name: self._read(self._path / name) for name in names if not (self._path / name).is_symlink()}
        return {name: text for name, text in texts.items() if text is not None and text.startswith(HEADER)}

    def own(self, app_name: str) -> dict[int, str]:
        """Return the unit files of single instances, which replace the template: instance number to text."""
        return self._of_instances(app_name, unit_name.instance, unit_name.instance_number)

    def own_sockets(self, app_name: str) -> dict[int, str]:
        """Return the unit files of single instances' listening sockets: instance number to text."""
        return self._of_instances(app_name, unit_name.instance_socket, unit_name.instance_socket_number)

    def masked(self, app_name: str) -> frozenset[int]:
        """Return the instances that are masked, which systemd does not start."""
        before = unit_name.instance(app_name, "*").partition("*")[0]
        places = (self._path, *self._others)
        names = {
            name: number
            for place in places
            for name in self._listing.starting_with(place, before)
            if (number := unit_name.instance_number(app_name, name)) is not None and (place / name).is_symlink()
        }
        return frozenset(number for name, number in names.items() if self._mask(name))

    def unfit(self, app_name: str) -> dict[int, str]:
        """Return the instances that drop-ins for a single number break, each with the reason. Raises StateError."""
        return self._drop_ins.unfit(app_name)

    def special(self, app_name: str) -> frozenset[int]:
        """Return the instances that have drop-ins of their own."""
        return self._drop_ins.single(app_name)

    def path_of(self, unit: str) -> str:
        """Return the path at which a unit of that name is or would be installed."""
        return str(self._path / unit)

    def diff(self, units: Iterable[Unit]) -> tuple[str, ...]:
        """Return the names of the units that `install` would write."""
        return tuple(unit.name for unit in units if self._read(self._path / unit.name) != unit.text)

    def require_writable(self) -> None:
        """Raise StateError if no unit could be installed now. Leaves nothing behind."""
        with reported(f"write to {self._path}"), tempfile.TemporaryFile(dir=self._path):
            return

    def has_drop_ins(self, units: Sequence[Unit]) -> bool:
        """True if drop-ins apply to these units. Raises StateError."""
        return bool(self._drop_ins.files(unit.name for unit in units))

    async def verify(self, app_name: str, units: Sequence[Unit], deadline: float = 30.0) -> None:
        """Raise InvalidFile if ``systemd-analyze verify`` complains about the units with their drop-ins.

        Raises Refused if a drop-in breaks what deployd relies on, or a name is taken by another unit. `deadline` in
        seconds.
        """
        names = [unit.name for unit in units]
        if breaches := self._drop_ins.breaches(app_name, names):
            raise Refused("; ".join(breaches))
        self._refuse_others(unit for unit in units if not self._is_masked_instance(unit.name))
        await verification.verify(units, self._drop_ins.files(names), self._scratch, deadline, user=self._user)

    def install(self, units: Sequence[Unit], stale: Iterable[str] = ()) -> bool:
        """Write the units that differ and remove the `stale` ones, all or none; return True if there were any.

        Verify the units first. They are written in their order, each atomically. `stale` are names that `own` or
        `installed` returned.
        """
        units = [unit for unit in units if not self._is_masked_instance(unit.name)]
        changed = set(self.diff(units))
        self._refuse_others(units)
        wanted: dict[str, str | None] = {unit.name: unit.text for unit in units if unit.name in changed}
        wanted |= dict.fromkeys(stale)
        before = {name: self._read(self._path / name) for name in wanted}
        done: list[str] = []
        try:
            for name, text in wanted.items():
                with reported(f"write {self._path / name}"):
                    # Before the write: one that fails in its last step has changed the file.
                    done.append(name)
                    self._put(name, text)
        except StateError as error:
            self._put_back({name: before[name] for name in reversed(done)}, error)
            raise
        return bool(wanted)

    def remove(self, app_name: str) -> bool:
        """Remove the units of the app that are deployd's own; return True if there were any. Drop-ins stay."""
        names = [
            *self.installed(app_name),
            *self.timers(app_name),
            *(unit_name.instance(app_name, number) for number in self.own(app_name)),
            *(unit_name.instance_socket(app_name, number) for number in self.own_sockets(app_name)),
        ]
        for name in names:
            with reported(f"remove {self._path / name}"):
                self._disk.remove(self._path / name)
        if names:
            with reported(f"remove units from {self._path}"):
                self._disk.sync(self._path)
        return bool(names)

    def _of_instances(
        self, app_name: str, name: Callable[[str, str], str], number_of: Callable[[str, str], int | None]
    ) -> dict[int, str]:
        found: dict[int, str] = {}
        for file in self._listing.starting_with(self._path, name(app_name, "*").partition("*")[0]):
            path, number = self._path / file, number_of(app_name, file)
            text = self._read(path) if number is not None and not path.is_symlink() else None
            if number is not None and text is not None and text.startswith(HEADER):
                found[number] = text
        return found

    def _is_ours(self, path: Path) -> bool:
        try:
            return not path.is_symlink() and (self._read(path) or "").startswith(HEADER)
        except StateError:
            return False

    def _is_masked_instance(self, name: str) -> bool:
        """True if the unit is an instance that is masked. No unit file starts it, so that it needs none of its own: to
        write one would undo the mask, and to refuse would make a rollback impossible."""
        return unit_name.is_instance(name) and self._mask(name) is not None

    def _mask(self, name: str) -> Path | None:
        """Return the symlink that masks a unit, or None if it is not masked (systemctl(1), mask). A unit file of
        deployd overrides a mask made with --runtime."""
        paths = (directory / name for directory in (self._path, *self._others))
        found = next((path for path in paths if path.is_symlink() or path.exists()), None)
        return found if found is not None and found.is_symlink() and str(found.readlink()) == os.devnull else None

    def _refuse_others(self, units: Iterable[Unit]) -> None:
        """Raise Refused if one of the names is taken by a unit that is not deployd's own."""
        for unit in units:
            path = self._path / unit.name
            if mask := self._mask(unit.name):
                raise Refused(f"{unit.name} is masked by {mask}; {advice.systemctl()} unmask it, or rename the app")
            if path.is_symlink():
                raise Refused(f"{path} is a symlink that deployd did not make; remove it or rename the app")
            text = self._read(path)
            if text is not None and not text.startswith(HEADER):
                raise Refused(f"{path} was not written by deployd; remove it or rename the app")
            for other in self._others:
                if (other / unit.name).exists():
                    raise Refused(f"{other / unit.name} already has the name of a unit of this app; rename the app")

    def _put(self, name: str, text: str | None) -> None:
        if text is None:
            self._disk.remove(self._path / name)
        else:
            self._disk.replace(self._path / name, text.encode(errors="surrogateescape"), 0o644)

    def _put_back(self, before: dict[str, str | None], error: StateError) -> None:
        """Restore what was written before `error`, to which a note is added for each file where that fails too."""
        for name, text in before.items():
            try:
                self._put(name, text)
            except OSError:
                error.add_note(f"{name} could not be put back either; `deployd apply` writes it again")

    def _read(self, path: Path) -> str | None:
        try:
            return path.read_bytes().decode(errors="surrogateescape")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StateError(f"cannot read {path}: {error.strerror}") from error
