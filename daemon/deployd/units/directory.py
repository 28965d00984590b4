"""The unit directory: compare, verify, install and remove the units of an app. Never a unit that is not ours.

A unit file is ours when it begins with `render.HEADER` (invariant 9). Nothing here talks to systemd: the caller
reloads it after `install` said that something changed, and never without need, since an edited .socket whose
instances run cannot be restarted (EBUSY; see docs/traps.md).
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from deployd.errors import InvalidFile, Refused, StateError, SystemdError
from deployd.model import unit_name
from deployd.model.app import NAME
from deployd.state.disk import Disk, reported
from deployd.units.render import HEADER, Unit, is_unit, unit_names

SYSTEMDS = (
    "/run/systemd/transient", "/run/systemd/system", "/run/systemd/generator", "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system", "/lib/systemd/system",
)  # fmt: skip
"""Where units of others live, which a unit of ours with the same name would hide (systemd.unit(5))."""

SEARCH_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
"""Where systemd-analyze is looked for, and all it gets of PATH."""

_COMPLAINT = re.compile(r"/[^:]*/(?P<unit>[^/]+?\.(?:socket|service)):(?P<line>[0-9]+): (?P<what>.*)")
# Said about names such as "first.last", which systemd then accepts.
_HARMLESS = "Accepting user/group name"
# What our units require and the directory of systemd-analyze would lack (systemd.service(5), implicit dependencies).
_STAND_INS = (Unit("sysinit.target", "[Unit]\nDescription=Stand-in\n"),)


class UnitDirectory:
    """The directory of administrators' units, which deployd shares with them."""

    def __init__(
        self,
        path: str | Path = "/etc/systemd/system",
        *,
        others: Sequence[str | Path] = SYSTEMDS,
        disk: Disk | None = None,
        scratch: Path | None = None,
    ) -> None:
        """`scratch`: where units lie while they are verified, this daemon's alone; by default where the system keeps
        temporary files."""
        self._path = Path(path)
        self._scratch = scratch
        self._others = [Path(other) for other in others]
        self._disk = disk or Disk()

    def sweep(self) -> None:
        """Make the directory for verification anew: a daemon that was killed may have left units in it."""
        if self._scratch is not None:
            with reported(f"clear {self._scratch}"):
                self._disk.remove(self._scratch)
                self._disk.directories(self._scratch)

    def apps(self) -> list[str]:
        """The apps that have a template of ours."""
        paths = {unit_name.app_of_template(path.name): path for path in self._path.glob(unit_name.template("*"))}
        return sorted(app for app, path in paths.items() if app and NAME.fullmatch(app) and self._is_ours(path))

    def _is_ours(self, path: Path) -> bool:
        try:
            return not path.is_symlink() and (self._read(path) or "").startswith(HEADER)
        except StateError:
            return False

    def installed(self, app_name: str) -> dict[str, str]:
        """The units of the app that are there and ours: name to text."""
        later = sorted(path.name for path in self._path.glob(f"{app_name}:*") if is_unit(app_name, path.name))
        names = dict.fromkeys((*unit_names(app_name), unit_name.instance_socket(app_name, ""), *later))
        found = {name: self._read(self._path / name) for name in names}
        return {name: text for name, text in found.items() if text is not None and text.startswith(HEADER)}

    def own(self, app_name: str) -> dict[int, str]:
        """Unit files of single instances, ours, that stand in for the template: instance number to text."""
        return self._of_instances(app_name, unit_name.instance, unit_name.instance_number)

    def own_sockets(self, app_name: str) -> dict[int, str]:
        """The same of their listening sockets, where they have their own."""
        return self._of_instances(app_name, unit_name.instance_socket, unit_name.instance_socket_number)

    def _of_instances(
        self, app_name: str, name: Callable[[str, str], str], number_of: Callable[[str, str], int | None]
    ) -> dict[int, str]:
        found: dict[int, str] = {}
        for path in self._path.glob(name(app_name, "*")):
            number = number_of(app_name, path.name)
            text = self._read(path) if number is not None and not path.is_symlink() else None
            if number is not None and text is not None and text.startswith(HEADER):
                found[number] = text
        return found

    def masked(self, app_name: str) -> frozenset[int]:
        """The instances that somebody masked: systemd will not start them."""
        places = (self._path, *self._others)
        pattern = unit_name.instance(app_name, "*")
        names = {path.name for place in places for path in place.glob(pattern) if path.is_symlink()}
        numbers = {name: unit_name.instance_number(app_name, name) for name in names}
        return frozenset(number for name, number in numbers.items() if number is not None and self._mask(name))

    def path_of(self, unit: str) -> str:
        """Where a unit of that name is or would be installed."""
        return str(self._path / unit)

    def diff(self, units: Iterable[Unit]) -> tuple[str, ...]:
        """The names of the units that `install` would write."""
        return tuple(unit.name for unit in units if self._read(self._path / unit.name) != unit.text)

    def require_writable(self) -> None:
        """Raise `StateError` if no unit could be installed now; leaves nothing behind."""
        with reported(f"write to {self._path}"), tempfile.TemporaryFile(dir=self._path):
            return

    async def verify(self, units: Sequence[Unit], deadline: float = 30.0) -> None:
        """Raise `InvalidFile` unless ``systemd-analyze verify`` has nothing to say about the units, and `Refused` if
        one has the name of somebody else's: it could not be installed.

        Its exit status is no help (0 for unknown directives): any output is a complaint. It sees our units only, so
        that a broken unit of somebody else is not held against this app.
        """
        self._refuse_others(unit for unit in units if not self._is_masked_instance(unit.name))
        with tempfile.TemporaryDirectory(dir=self._scratch) as directory:
            with reported("write units for systemd-analyze"):
                _write_all(Path(directory), (*units, *_STAND_INS))
            # On its command line a ":" is not part of a name; what has one is wanted by the others and read with them.
            output = await _analyze(directory, [unit.name for unit in units if ":" not in unit.name], deadline)
        complaints = [line for line in dict.fromkeys(output.splitlines()) if line and not line.startswith(_HARMLESS)]
        if complaints:
            raise InvalidFile(_sentence(units, complaints))

    def install(self, units: Sequence[Unit], stale: Iterable[str] = ()) -> bool:
        """Write the units that differ and remove the `stale` ones, all or nothing; say whether there were any.

        They are written in their order, each whole. Verify them first. `stale` are names of units that `own` or
        `installed` showed.
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
                    # First: a write that fails in its last step has happened.
                    done.append(name)
                    self._put(name, text)
        except StateError as error:
            self._put_back({name: before[name] for name in reversed(done)}, error)
            raise
        return bool(wanted)

    def remove(self, app_name: str) -> bool:
        """Remove the units of the app that are ours; say whether there were any. Drop-ins stay."""
        names = [
            *self.installed(app_name),
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

    def _is_masked_instance(self, name: str) -> bool:
        """Whether somebody masked this instance. Then it starts by no unit at all and needs none of its own; to write
        one would undo the mask, to refuse would leave a rollout no way back."""
        return unit_name.is_instance(name) and self._mask(name) is not None

    def _mask(self, name: str) -> Path | None:
        """The symlink that masks a unit, if it is masked (systemctl(1), mask). A unit file of ours wins over a mask of
        this boot only."""
        paths = (directory / name for directory in (self._path, *self._others))
        found = next((path for path in paths if path.is_symlink() or path.exists()), None)
        return found if found is not None and found.is_symlink() and str(found.readlink()) == os.devnull else None

    def _refuse_others(self, units: Iterable[Unit]) -> None:
        for unit in units:
            path = self._path / unit.name
            if mask := self._mask(unit.name):
                raise Refused(f"{unit.name} is masked by {mask}; systemctl unmask it, or rename the app")
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


def _write_all(directory: Path, units: Iterable[Unit]) -> None:
    for unit in units:
        (directory / unit.name).write_bytes(unit.text.encode(errors="surrogateescape"))


async def _analyze(directory: str, names: Sequence[str], deadline: float) -> str:
    # A clean environment: SYSTEMD_LOG_LEVEL=debug of the daemon must not look like complaints.
    environment = {
        "PATH": SEARCH_PATH,
        "LC_ALL": "C.UTF-8",
        "SYSTEMD_UNIT_PATH": directory,
        "SYSTEMD_LOG_LEVEL": "notice",
        "SYSTEMD_LOG_TARGET": "console",
        "SYSTEMD_LOG_COLOR": "0",
    }
    paths = [f"{directory}/{name}" for name in names]
    program = shutil.which("systemd-analyze", path=SEARCH_PATH)
    if program is None:
        raise SystemdError("cannot run systemd-analyze to verify the units: it is not installed")
    try:
        process = await asyncio.create_subprocess_exec(
            program, "verify", "--man=no", *paths,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
    except OSError as error:
        raise SystemdError(f"cannot run systemd-analyze to verify the units: {error.strerror}") from error
    try:
        output, _ = await asyncio.wait_for(process.communicate(), deadline)
    except TimeoutError:
        raise SystemdError(f"systemd-analyze did not verify the units within {deadline:g} s; try again") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    text = output.decode(errors="replace").strip()
    if process.returncode and not text:
        raise SystemdError(f"systemd-analyze verify failed with status {process.returncode} and no message")
    return text


def _sentence(units: Sequence[Unit], complaints: Sequence[str]) -> str:
    """What systemd said, about the key of the app file when it can be told from the line."""
    texts = {unit.name: unit.text.splitlines() for unit in units}
    header = re.match(re.escape(HEADER) + r"(\S+\.toml)", units[0].text)
    file = header[1] if header else "the app file"
    said = []
    for complaint in complaints:
        where = _COMPLAINT.fullmatch(complaint)
        lines = texts.get(where["unit"], []) if where else []
        if where and 0 < int(where["line"]) <= len(lines):
            table = "socket" if unit_name.is_socket(where["unit"]) else "service"
            directive = lines[int(where["line"]) - 1].partition("=")[0]
            said.append(f"[{table}] {directive}: {where['what']}")
        else:
            said.append(complaint)
    return f"{file}: systemd-analyze verify complains: {'; '.join(said)}; correct or remove what it names"
