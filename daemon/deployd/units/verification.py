"""Verification of unit files by ``systemd-analyze verify``, before they are installed.

Its exit status is of no use (0 for unknown directives): any output is a complaint.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from deployd.errors import InvalidFile, SystemdError
from deployd.model import unit_name
from deployd.state.disk import reported
from deployd.units.drop_ins import DropIn
from deployd.units.text import HEADER, Unit

SEARCH_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
"""Where systemd-analyze is searched for, and its PATH."""

_COMPLAINT = re.compile(r"/[^:]*/(?P<unit>[^/]+?\.(?:socket|service|timer)):(?P<line>[0-9]+): (?P<what>.*)")

_HARMLESS = "Accepting user/group name"
"""The beginning of a message about names such as "first.last", which systemd accepts."""

_IGNORED = "ignoring"
"""In a message about a line without which a unit is loaded."""

_STAND_INS = tuple(Unit(name, "[Unit]\nDescription=Stand-in\n") for name in ("sysinit.target", "basic.target"))
"""Units that are required by ours (systemd.service(5), implicit dependencies) and missing in the directory: the first
of system units, the second of user units."""


async def verify(
    units: Sequence[Unit],
    drop_ins: Mapping[str, DropIn],
    scratch: Path | None,
    deadline: float,
    *,
    user: bool = False,
) -> None:
    """Raise InvalidFile if ``systemd-analyze verify`` complains about the units with these drop-ins.

    `drop_ins`: by their paths relative to the directory of the units. All are written to a temporary directory in
    `scratch` (None: the system's default), so that no others are read: a broken unit of another package is no reason to
    reject this app. `deadline` in seconds; `user`: for a user manager. Raises SystemdError if
    systemd-analyze cannot be run or does not end.
    """
    timers = [unit.name for unit in units if unit_name.is_timer(unit.name)]
    wanting = Unit("timers-of-app.target", f"[Unit]\nDescription=Stand-in\nWants={' '.join(timers)}\n")
    with tempfile.TemporaryDirectory(dir=scratch) as directory:
        with reported("write units for systemd-analyze"):
            texts = {unit.name: unit.text for unit in (*units, *_STAND_INS, wanting)}
            _write(Path(directory), texts | {path: item.text for path, item in drop_ins.items()})
        # On its command line ":" cannot be part of a name. Units with one are read because the others want them.
        names = [unit.name for unit in (*units, wanting) if ":" not in unit.name]
        output = await _analyze(directory, names, deadline, user=user)
    for path, item in drop_ins.items():
        output = output.replace(f"{directory}/{path}", str(item.path))
    drop_in = tuple(f"{item.path}:" for item in drop_ins.values())
    complaints = [
        line
        for line in dict.fromkeys(output.splitlines())
        # systemd loads a unit without the lines of a drop-in that it ignores.
        if line and not line.startswith(_HARMLESS) and not (line.startswith(drop_in) and _IGNORED in line)
    ]
    if complaints:
        raise InvalidFile(_sentence(units, complaints))


def _write(directory: Path, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text.encode(errors="surrogateescape"))


async def _analyze(directory: str, names: Sequence[str], deadline: float, *, user: bool) -> str:
    """Return the output of ``systemd-analyze verify`` for the units `names` in `directory`."""
    # Nothing of the daemon's environment: with SYSTEMD_LOG_LEVEL=debug there would be output without complaints.
    environment = {
        "PATH": SEARCH_PATH,
        "LC_ALL": "C.UTF-8",
        "SYSTEMD_UNIT_PATH": directory,
        "SYSTEMD_LOG_LEVEL": "notice",
        "SYSTEMD_LOG_TARGET": "console",
        "SYSTEMD_LOG_COLOR": "0",
    }
    if user:
        # It makes the manager's directories below these, which must not be the user's own.
        environment |= {"HOME": directory, "XDG_RUNTIME_DIR": directory}
    paths = [f"{directory}/{name}" for name in names]
    program = shutil.which("systemd-analyze", path=SEARCH_PATH)
    if program is None:
        raise SystemdError("cannot run systemd-analyze to verify the units: it is not installed")
    try:
        process = await asyncio.create_subprocess_exec(
            program, *(["--user"] if user else []), "verify", "--man=no", *paths,
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
    """Return the complaints as one sentence, with the key of the app file where the line number leads to one."""
    texts = {unit.name: unit.text.splitlines() for unit in units}
    header = re.match(re.escape(HEADER) + r"(\S+\.toml)", units[0].text)
    file = header[1] if header else "the app file"
    said = []
    for complaint in complaints:
        where = _COMPLAINT.fullmatch(complaint)
        lines = texts.get(where["unit"], []) if where else []
        if where and 0 < int(where["line"]) <= len(lines):
            directive = lines[int(where["line"]) - 1].partition("=")[0]
            said.append(f"{_table(where['unit'])} {directive}: {where['what']}")
        else:
            said.append(complaint)
    return f"{file}: systemd-analyze verify complains: {'; '.join(said)}; correct or remove what it names"


def _table(unit: str) -> str:
    """Return the table of the app file to which the lines of a unit belong."""
    timer = unit_name.timer_name(unit_name.app(unit), unit)
    if timer is not None:
        return f"[process.{timer}{'' if unit_name.is_timer(unit) else '.service'}]"
    return "[socket]" if unit_name.is_socket(unit) else "[service]"
