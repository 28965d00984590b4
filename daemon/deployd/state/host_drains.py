"""Which apps this host is drained of, for load balancers. Imports disk, errors and model only.

    STATE/drained/host, STATE/drained/apps/NAME: "SINCE REASON", of the host and of an app while it is drained
    STATE/drained/rollouts/NAME: the same of an app during its rollout; REASON is the generation
    STATE/up/host, STATE/up/apps/NAME: exist while clients may be sent here

The files in ``up`` are for health checks that request a static file: they need no daemon, and outlive a reboot. The
health endpoint reads both directories, so that a daemon that is down changes no answer.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from deployd.errors import StateError
from deployd.model.host_drain import HOST, HostDrain
from deployd.state.disk import Disk, reported

log = logging.getLogger(__name__)

ROLLOUT = "rollout to generation"
"""With a number, the reason of the drain of a rollout."""

_GENERATION = re.compile(r"[1-9][0-9]{0,8}")
_RECORD = re.compile(r"([0-9]{1,12}\.[0-9]{1,6}) ([^\n]*)\n")


class HostDrains:
    """Of the host and of all apps, below one state directory. Methods raise StateError."""

    def __init__(self, state_dir: Path, disk: Disk | None = None) -> None:
        self._drained = state_dir / "drained"
        self._up = state_dir / "up"
        self._disk = disk or Disk()

    def drain(self, app: str, now: float, reason: str = "") -> HostDrain:
        """Drain the host (HOST) or an app. `now` is in seconds since the epoch.

        What is drained already stays so since then, with the new reason unless that is empty.
        """
        before = self.own(app)
        drain = HostDrain(app, before.since if before else now, reason or (before.reason if before else ""))
        path = _path(self._drained, app)
        with reported(f"write {path}"):
            self._disk.directories(path.parent)
            self._disk.replace(path, f"{drain.since:.6f} {drain.reason}\n".encode(errors="replace"), 0o644)
        return drain

    def undrain(self, app: str) -> bool:
        """End the drain of the host (HOST) or of an app; False if it was not drained. That of a rollout stays."""
        return self._remove(_path(self._drained, app))

    def begin_rollout(self, app: str, generation: int, now: float) -> None:
        """Drain an app for its rollout to a generation, until :meth:`end_rollout`. `now` is as for :meth:`drain`."""
        path = self._rollout(app)
        with reported(f"write {path}"):
            self._disk.directories(path.parent)
            self._disk.replace(path, f"{now:.6f} {generation}\n".encode(), 0o644)

    def end_rollout(self, app: str) -> bool:
        """End the drain of an app for its rollout; False if there was none."""
        return self._remove(self._rollout(app))

    def rollout(self, app: str) -> HostDrain | None:
        """Return the drain of an app for its rollout."""
        found = _read(self._rollout(app), app) if app != HOST else None
        if found is None or not _GENERATION.fullmatch(found.reason):
            return found
        return replace(found, reason=f"{ROLLOUT} {found.reason}", generation=int(found.reason))

    def _rollout(self, app: str) -> Path:
        return self._drained / "rollouts" / app

    def _remove(self, path: Path) -> bool:
        with reported(f"remove {path}"):
            if not path.is_file():
                return False
            self._disk.remove(path)
            self._disk.sync(path.parent)
        return True

    def own(self, app: str) -> HostDrain | None:
        """Return the drain of the host (HOST), or that of an app alone, that was asked for."""
        return _read(_path(self._drained, app), app)

    def of(self, app: str) -> HostDrain | None:
        """Return the drain that keeps clients from an app: that of the host, its own, or that of its rollout."""
        return self.own(HOST) or (self.own(app) or self.rollout(app) if app != HOST else None)

    def is_up(self, app: str) -> bool:
        """True if the file exists that says that clients may be sent here."""
        return _path(self._up, app).exists()

    def show(self, apps: Iterable[str]) -> None:
        """Make the files in ``up`` those of the host and these `apps`, without what is drained."""
        wanted = {app for app in (HOST, *apps) if self.of(app) is None}
        with reported(f"write the files in {self._up}"):
            self._disk.directories(self._up / "apps")
            found = {HOST} if self.is_up(HOST) else set[str]()
            found |= {path.name for path in (self._up / "apps").iterdir()}
            for app in sorted(found - wanted):
                self._disk.remove(_path(self._up, app))
            for app in sorted(wanted - found):
                self._disk.replace(_path(self._up, app), b"up\n", 0o644)
            if found != wanted:
                self._disk.sync(self._up)
                self._disk.sync(self._up / "apps")

    def forget(self, app: str) -> None:
        """Remove the drains of an app that is removed."""
        try:
            self.undrain(app)
            self.end_rollout(app)
        except StateError as error:
            log.warning("%s", error)


def _read(path: Path, app: str) -> HostDrain | None:
    with reported(f"read {path}"):
        try:
            text = path.read_text(errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            return None
        found = _RECORD.fullmatch(text)
        # The file counts, whatever an administrator wrote into it.
        return HostDrain(app, float(found[1]), found[2]) if found else HostDrain(app, path.stat().st_mtime)


def _path(directory: Path, app: str) -> Path:
    return directory / "host" if app == HOST else directory / "apps" / app
