"""This host: what its daemon knows of an app, and what the fleet requests of it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deployd.api import Client
from deployd.errors import DeploydError, Refused
from deployd.model.fleet import FleetRequest
from deployd_cli.fleet.archive import Archive
from deployd_cli.fleet.delivery import deploy
from deployd_cli.fleet.turn import Begin, Me, Rollout, State
from deployd_cli.text.words import dicts_of, text_of

MACHINE_ID = Path("/etc/machine-id")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
LONGEST_REASON = 1000
"""Characters: every host reads the reasons of all failures."""
RESULTS = {"running": State.ROLLING, "succeeded": State.SUCCEEDED}
"""All others are failures: the release of the fleet is not live."""


class ReleaseMissing(Refused):
    """There is no release of this ID in the directory of the releases."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Of this host and of this agent."""

    name: str
    machine_id: str
    boot: str
    invocation: str

    @classmethod
    def of_process(cls, name: str) -> Identity:
        return cls(
            name,
            MACHINE_ID.read_text().strip(),
            BOOT_ID.read_text().strip(),
            os.environ.get("INVOCATION_ID") or uuid.uuid4().hex,
        )


class HostApp:
    """One app of this host. Methods raise errors of deployd.errors."""

    def __init__(self, client: Client, app: str, identity: Identity, archives: Sequence[str] = ()) -> None:
        """`archives`: below which places archives may be, see FleetSettings."""
        self.app = app
        self._archives = archives
        self.client = client
        self._identity = identity
        self._sent = 0
        self._aborted = 0
        self._refused: Rollout | None = None

    async def me(self) -> Me:
        """Return this host as it is now."""
        status = await self.client.status(self.app)
        rows = dicts_of(await self.client.history(self.app), "generations")
        try:
            releases = await self._releases()
        except DeploydError:
            releases = ""  # a broken app file does not keep the host from reporting a result
        rollout, own = newest(rows)
        under_way = status.get("rollout") or {}
        identity = self._identity
        return Me(
            identity.name,
            identity.machine_id,
            identity.boot,
            identity.invocation,
            datetime.now(UTC).isoformat(timespec="milliseconds"),
            live=release_id(text_of(status, "release"), releases),
            rollout=rollout,
            busy=bool(under_way) and (rollout is None or under_way.get("to") != own),
            sent=self._sent,
            aborted=self._aborted,
            refused=self._refused,
        )

    async def begin(self, act: Begin, undone: int = 0, archive: Archive | None = None) -> None:
        """Request the rollout, or the rollback of the one with the token `undone`, which also brings back its settings.

        A release that is not there is made from the archive. Raises Refused without one, and what the daemon says.
        """
        self._sent = act.token
        request = FleetRequest(act.fleet, act.token)
        rows = dicts_of(await self.client.history(self.app), "generations")
        if undone and (to := origin(rows, undone)):
            await self.client.rollback(self.app, to, fleet=request)
            return
        try:
            release = await self._directory(act.release, rows)
        except ReleaseMissing:
            if archive is None:
                raise
            if not archive.is_below(self._archives):
                raise Refused(f"archives in /etc/deployd/fleet.toml has no place of {archive.source}") from None
            await deploy(self.app, act.release, archive, request)
            return
        await self.client.rollout(self.app, release=release, fleet=request)

    def refuse(self, act: Begin, reason: str) -> None:
        """Remember that a request has come to nothing."""
        self._refused = Rollout(act.token, State.FAILED, reason[:LONGEST_REASON])

    async def abort(self, token: int) -> None:
        await self.client.abort(self.app, token=token)
        self._aborted = token

    async def _releases(self) -> str:
        return text_of(await self.client.deploy_settings(self.app), "releases")

    async def _directory(self, release: str, rows: Sequence[Mapping[str, Any]]) -> str:
        """Return the directory of a release. Raises Refused, if it is missing or its ID leads elsewhere."""
        if release.startswith("/"):
            if any(row.get("release") == release for row in rows):
                return release
            raise Refused(f"release {release} was never rolled out on this host")
        directory = await self._releases()
        if not directory:
            raise Refused(f'the app file of {self.app} has no "releases", the directory of the releases')
        if "/" in release or release in ("", ".", ".."):
            raise Refused(f"release {release!r} is no name of a directory in {directory}")
        if _is_missing(Path(directory, release)):
            raise ReleaseMissing(f"release {release} is not in {directory}")
        return f"{directory}/{release}"


def _is_missing(path: Path) -> bool:
    try:
        return not path.is_dir()
    except PermissionError:
        return False  # the daemon decides


def newest(rows: Sequence[Mapping[str, Any]]) -> tuple[Rollout | None, int]:
    """Return the rollout with the highest token and its generation, of a history that begins with the newest one."""
    best: Mapping[str, Any] | None = None
    for row in rows:
        if _token(row) > (0 if best is None else _token(best)):
            best = row
    if best is None:
        return None, 0
    state = RESULTS.get(text_of(best, "result"), State.FAILED)
    reason = text_of(best, "reason")
    if state is State.SUCCEEDED and (number := best.get("taken_back_by")) is not None:
        back = next((row for row in rows if row.get("generation") == number), {})
        state, reason = State.TAKEN_BACK, text_of(back, "reason")
    return Rollout(_token(best), state, reason[:LONGEST_REASON]), int(best.get("generation") or 0)


def origin(rows: Sequence[Mapping[str, Any]], token: int) -> int:
    """Return the generation that was live before the rollout with this token; 0 if that is not known."""
    return next((int(row.get("origin") or 0) for row in rows if _token(row) == token), 0)


def _token(row: Mapping[str, Any]) -> int:
    fleet = row.get("fleet")
    return int(fleet.get("token") or 0) if isinstance(fleet, Mapping) else 0


def release_id(release: str, releases: str) -> str:
    """Return the name of a release in its directory; its path if it is elsewhere."""
    path = Path(release)
    return path.name if release and releases and str(path.parent) == os.path.realpath(releases) else release
