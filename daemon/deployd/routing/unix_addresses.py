"""The UNIX addresses of a steered app, and the timer that moves them on."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Collection, Mapping
from pathlib import Path

from deployd.errors import SteeringError
from deployd.model.app import App, ListenKind
from deployd.reuseport.table import Table
from deployd.routing import unix_paths
from deployd.routing.unix_paths import SLICE, Paths, PathTakenError
from deployd.units.render import steered

log = logging.getLogger(__name__)

RETRY = 1.0
"""Seconds until the addresses are moved on again after that went wrong."""


class Addresses:
    """Of one app. The timer runs only while an address has a choice between instances."""

    def __init__(self, app: str) -> None:
        self._app = app
        self._paths = Paths(_directory(app), functools.partial(steered.path, app), functools.partial(steered.link, app))
        self._wanted: tuple[str, ...] = ()
        self._keep = False
        self._seen: object = None
        self._timer: asyncio.TimerHandle | None = None
        self._taken = ""

    def __bool__(self) -> bool:
        """Does anybody listen there?"""
        return bool(self._paths.listening)

    def want(self, settings: App, *, keep: bool) -> None:
        """These settings hold now; what they do not have goes with its last listener, unless told to `keep` it: a
        rollout may have to go back to it."""
        self._keep = keep
        self._wanted = tuple(item.address for item in settings.listen if item.kind is ListenKind.UNIX)
        if self._wanted:
            # systemd would make all of it with the DirectoryMode= of the first app.
            for directory in (Path(steered.DIRECTORY).parent, Path(steered.DIRECTORY)):
                directory.mkdir(mode=0o755, exist_ok=True)
                directory.chmod(0o755)

    def find(self, sockets: Mapping[int, object]) -> None:
        """Numbers of the instances whose sockets are open, and something that changes when one is opened anew. Raises
        SteeringError."""
        seen = (self._wanted, self._keep, dict(sockets))
        if seen == self._seen:
            return
        try:
            self._paths.find(self._wanted, sockets, keep=self._keep)
            self._taken = ""
        except PathTakenError as error:
            if str(error) != self._taken:
                log.warning("%s: %s", self._app, error)
            self._taken = str(error)
        self._seen = seen
        self._again()

    def opened(self, number: int, sockets: Mapping[int, object]) -> None:
        """Instance `number` has opened its socket. Raises PathTakenError if it should be named by an address that is
        another's, SteeringError."""
        self._seen = None
        try:
            self._paths.find(self._wanted, {*sockets, number}, keep=True)
        finally:
            self._again()

    def set(self, table: Table) -> None:
        """Move by this table from now on, and at once if need be."""
        self._paths.set(table)
        self._again()

    def queues(self) -> dict[int, int]:
        """Number to connections that wait to be accepted. Raises SteeringError."""
        return self._paths.queues()

    def connections(self, numbers: Collection[int]) -> dict[int, int]:
        """Number to open connections. Raises SteeringError."""
        return self._paths.connections(numbers)

    def stop(self) -> None:
        """The addresses stay with the instances that they name now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _again(self) -> None:
        if not self._paths.moving:
            self.stop()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SLICE, self._tick)

    def _tick(self) -> None:
        self._timer = None
        try:
            self._paths.turn()
        except Exception:
            log.exception("%s: the addresses could not be moved on; trying again", self._app)
            self._timer = asyncio.get_running_loop().call_later(RETRY, self._tick)
        self._again()


def forget(app: str) -> None:
    """The app is removed, its sockets are closed."""
    try:
        unix_paths.forget(_directory(app), functools.partial(steered.link, app))
    except SteeringError as error:
        log.warning("%s: %s", app, error)


def _directory(app: str) -> Path:
    return Path(steered.DIRECTORY) / app
