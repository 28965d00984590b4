"""The asyncio client of org.deployd1, the only interface between command and daemon.

watch.py waits for a rollout across restarts of the daemon. The client imports only bus, errors, names and replies,
nothing of the daemon itself.

Answers are the JSON objects of deployd(1) as plain dicts, not classes: the command prints them unchanged
(``--json``), and a newer daemon may have fields that the command does not know.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from deployd.bus import Bus, BusError
from deployd.errors import DeploydError
from deployd.model.fleet import FleetRequest
from deployd.names import APP, CHANGES, MANAGER, NAME, ROOT, app_path
from deployd.replies import Json, error_from, json_object, lacks_lines
from deployd.watch import Watch

__all__ = ["APP", "MANAGER", "NAME", "ROOT", "Client", "app_path"]

DBUS_NAME, DBUS_PATH = "org.freedesktop.DBus", "/org/freedesktop/DBus"
READ_TIMEOUT = 10.0
PATIENCE = 1.0
"""Seconds for an answer that is left out if it takes longer: files of an app may be on a file system that hangs."""
FILES_TIMEOUT = 90.0
"""The daemon reads files of apps: releases with tens of thousands of files, perhaps on a slow disk. It gives up after a
minute with an error; users other than root wait for their turn."""
CHANGE_TIMEOUT = 120.0
"""A call that changes something may wait for a password (polkit) or a daemon-reload."""
DAY = 86400.0
BEGIN_TIMEOUT = 30 * DAY
"""A call that begins a rollout first runs its hooks, which have timeouts of up to a day each. If the daemon dies in the
meantime, the bus reports it at once."""

MayAsk = Callable[[], Awaitable[bool]]

SIGNATURES: dict[type, str] = {str: "s", bool: "b", int: "u", float: "d"}


class Client:
    """A connection to the daemon. Every method raises errors of deployd.errors and no others."""

    def __init__(self, bus: Bus, may_ask: MayAsk | None = None) -> None:
        self.bus = bus
        self._may_ask = may_ask

    @classmethod
    async def connect(cls, address: str | None = None, *, timeout: float = 5.0, may_ask: MayAsk | None = None) -> Self:
        """Connect to the system bus, or to the bus at `address`. The first call starts the daemon.

        `may_ask` is awaited before each call that changes something: while it waits, polkit may ask for a password if
        that returns True. By default it may not.
        """
        return cls(await Bus.connect(address, timeout), may_ask)

    async def close(self) -> None:
        await self.bus.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        await self.close()

    async def present(self) -> bool:
        """Return True if the daemon is running. Unlike other calls, this one does not start it."""
        try:
            (found,) = await self.bus.call(DBUS_NAME, DBUS_PATH, DBUS_NAME, "NameHasOwner", "s", [NAME])
        except BusError as error:
            raise error_from(error) from error
        return bool(found)

    async def list_apps(self, *, timeout: float = READ_TIMEOUT) -> list[str]:
        """Return the names of all apps."""
        (apps,) = await self._call("", "ListApps", timeout=timeout)
        return [name for name, _ in apps]

    async def check(self, app: str = "", *, timeout: float = FILES_TIMEOUT) -> Json:
        return json_object(*await self._call("", "Check", "s", [app], timeout=timeout))

    async def describe(self, *, timeout: float = READ_TIMEOUT) -> Json:
        """Return the status of every app: ``{"apps": [...], "version"}``."""
        return json_object(*await self._call("", "Describe", timeout=timeout))

    async def status(self, app: str, *, timeout: float = READ_TIMEOUT) -> Json:
        return json_object(*await self._call(app, "Describe", timeout=timeout))

    async def history(self, app: str, before: int = 0, *, timeout: float = READ_TIMEOUT) -> Json:
        """Return the newest generations or, with `before`, the newest of those with lower numbers."""
        call = ("HistoryBefore", "t", [before]) if before else ("History",)
        return json_object(*await self._call(app, *call, timeout=timeout))

    async def repair(self, *, timeout: float = CHANGE_TIMEOUT) -> Json:
        """Rebuild an unusable history."""
        return json_object(*await self._call("", "Repair", timeout=timeout))

    async def units(self, app: str, *, timeout: float = FILES_TIMEOUT) -> Json:
        return json_object(*await self._call(app, "Units", timeout=timeout))

    async def plan(
        self,
        app: str,
        *,
        release: str = "",
        canary: float = 0,
        preview: bool = False,
        timeout: float = FILES_TIMEOUT,
    ) -> Json:
        options = _options(release=release, canary=canary, preview=preview)
        return json_object(*await self._call(app, "Plan", "a{sv}", [options], timeout=timeout))

    async def file_changes(self, app: str, *, timeout: float = PATIENCE) -> Json:
        """Return what the app file changes in the settings of the live generation."""
        return json_object(*await self._call(app, "Changes", timeout=timeout))

    async def releases(self, app: str, *, timeout: float = FILES_TIMEOUT) -> Json:
        """Return the release directories: what needs them, and whether they may be deleted."""
        return json_object(*await self._call(app, "Releases", timeout=timeout))

    async def deploy_settings(self, app: str, *, timeout: float = FILES_TIMEOUT) -> Json:
        """Return what the app file says of `deployd deploy`, with null for what it leaves out."""
        return json_object(*await self._call(app, "DeploySettings", timeout=timeout))

    async def compare(self, app: str, *, timeout: float = FILES_TIMEOUT) -> Json:
        """Return the generations that have running instances, side by side."""
        return json_object(*await self._call(app, "Compare", timeout=timeout))

    async def connect_preview(self, app: str, sockets: Mapping[str, int], *, timeout: float = READ_TIMEOUT) -> Json:
        """Have one of these sockets of this process, by family (ipv4, ipv6, unix), connected to the preview."""
        options = {family: ("u", descriptor) for family, descriptor in sockets.items()}
        return json_object(*await self._call(app, "ConnectPreview", "a{sv}", [options], timeout=timeout))

    async def event(self, app: str, number: int, *, timeout: float = READ_TIMEOUT) -> Json:
        """Return an event with the journal lines that its signal lacks, if this caller may read them."""
        return json_object(*await self._call(app, "Event", "t", [number], timeout=timeout))

    async def log_matches(
        self, app: str, generation: int = 0, process: str = "", *, timeout: float = READ_TIMEOUT
    ) -> list[str]:
        """Return arguments for journalctl(1); generation 0 selects all generations, "" all process types."""
        call = ("LogMatchesOf", "st", [process, generation]) if process else ("LogMatches", "t", [generation])
        (matches,) = await self._call(app, *call, timeout=timeout)
        return [str(match) for match in matches]

    async def generations_of(
        self, app: str, invocations: Sequence[str], *, timeout: float = READ_TIMEOUT
    ) -> dict[str, int]:
        """Return the generations of invocation IDs of instances, without those that are not known."""
        (text,) = await self._call(app, "GenerationsOf", "as", [list(invocations)], timeout=timeout)
        return dict(json_object(text)["generations"])

    async def apply(
        self,
        app: str,
        *,
        start: bool = True,
        canary: float = 0,
        supersede: bool = False,
        timeout: float = BEGIN_TIMEOUT,
    ) -> int:
        """Deploy an app or roll out changed settings. Returns the generation that is rolled out, 0 for none.

        Here and below: `supersede` replaces a rollout in progress; with a `canary` the rollout waits for resume or
        abort when these new instances are ready alongside the old ones: an int is their number, a float their
        weight, the fraction of new connections that they get.
        """
        options = {"start": ("b", start), **_options(canary=canary, supersede=supersede)}
        return int(*await self._call(app, "Apply", "a{sv}", [options], timeout=timeout))

    async def rollout(
        self,
        app: str,
        *,
        release: str = "",
        cause: str = "",
        canary: float = 0,
        preview: bool = False,
        supersede: bool = False,
        fleet: FleetRequest | None = None,
        timeout: float = BEGIN_TIMEOUT,
    ) -> int:
        """Roll out what the app file says now, with `release` if it is given.

        With a `preview`, the rollout first waits with one new instance that no client reaches. Returns the generation;
        with a `fleet`, the one that the same request has made before, which may have ended.
        """
        options = _options(release=release, cause=cause, canary=canary, preview=preview, supersede=supersede)
        options |= _fleet(fleet)
        return int(*await self._call(app, "Rollout", "a{sv}", [options], timeout=timeout))

    async def rollback(
        self,
        app: str,
        to: int = 0,
        *,
        supersede: bool = False,
        past_irreversible: bool = False,
        fleet: FleetRequest | None = None,
        timeout: float = BEGIN_TIMEOUT,
    ) -> int:
        """Roll release and settings of generation `to` out again, with 0 those of the last good one before."""
        options = _options(supersede=supersede, past_irreversible=past_irreversible) | _fleet(fleet)
        return int(*await self._call(app, "Rollback", "ta{sv}", [to, options], timeout=timeout))

    async def restart(
        self, app: str, *, process: str = "", supersede: bool = False, timeout: float = BEGIN_TIMEOUT
    ) -> int:
        options = _options(process=process, supersede=supersede)
        return int(*await self._call(app, "Restart", "a{sv}", [options], timeout=timeout))

    async def scale(
        self, app: str, instances: int, *, process: str = "", supersede: bool = False, timeout: float = BEGIN_TIMEOUT
    ) -> int:
        body = [instances, _options(process=process, supersede=supersede)]
        return int(*await self._call(app, "Scale", "ua{sv}", body, timeout=timeout))

    async def pause(self, app: str, *, timeout: float = CHANGE_TIMEOUT) -> None:
        await self._call(app, "Pause", timeout=timeout)

    async def resume(self, app: str, *, timeout: float = CHANGE_TIMEOUT) -> None:
        await self._call(app, "Resume", timeout=timeout)

    async def abort(
        self, app: str, *, past_irreversible: bool = False, token: int = 0, timeout: float = CHANGE_TIMEOUT
    ) -> None:
        """Roll the rollout in progress back; with a `token`, only if it is the one of a fleet which has it."""
        options = _options(past_irreversible=past_irreversible)
        if token:
            options["token"] = ("t", token)
        await self._call(app, "Abort", "a{sv}", [options], timeout=timeout)

    async def weigh(self, app: str, generation: int, weight: float, *, timeout: float = CHANGE_TIMEOUT) -> None:
        """Set the `weight` (0 to 1) of a generation of the rollout in progress."""
        await self._call(app, "SetWeight", "tda{sv}", [generation, float(weight), {}], timeout=timeout)

    async def remove(self, app: str, *, timeout: float = DAY) -> None:
        """Remove the app and wait until its instances have stopped; each has a timeout."""
        await self._call(app, "Remove", timeout=timeout)

    async def drain(self, app: str = "", *, reason: str = "", timeout: float = CHANGE_TIMEOUT) -> None:
        """Have load balancers send clients of an app, or of all apps, to other hosts."""
        await self._call(app, "Drain", "a{sv}", [_options(reason=reason)], timeout=timeout)

    async def undrain(self, app: str = "", *, timeout: float = CHANGE_TIMEOUT) -> None:
        """End the drain of an app, or that of the host."""
        await self._call(app, "Undrain", timeout=timeout)

    async def run(
        self,
        app: str,
        command: list[str],
        *,
        release: str = "",
        process: str = "",
        stdin: int = 0,
        stdout: int = 1,
        stderr: int = 2,
        terminal: str = "",
        timeout: float = BEGIN_TIMEOUT,
    ) -> Json:
        """Run a command in a release, with these descriptors of this process, to its end; return its result.

        An empty command is that of the timer `process`. With a `terminal`, the value of TERM, `stdin` is a
        pseudo-terminal that is to control the command.
        """
        numbers = {"stdin": ("u", stdin), "stdout": ("u", stdout), "stderr": ("u", stderr)}
        options = {**numbers, **_options(release=release, process=process, terminal=terminal)}
        return json_object(*await self._call(app, "Run", "asa{sv}", [command, options], timeout=timeout))

    async def build(
        self, app: str, release: str, *, stdin: int, stdout: int, stderr: int, timeout: float = BEGIN_TIMEOUT
    ) -> Json:
        """Run the build of a release, with these descriptors of this process; return its result.

        The release is on `stdin` as an archive, and on `stdout` once it is complete. `release` is the empty directory
        that it will have.
        """
        numbers = {"stdin": ("u", stdin), "stdout": ("u", stdout), "stderr": ("u", stderr)}
        options = {**numbers, **_options(release=release)}
        return json_object(*await self._call(app, "Build", "a{sv}", [options], timeout=timeout))

    def watch(self, app: str) -> Watch:
        """Return a context to enter before the rollout begins, so that none of its events is missed."""
        return Watch(self, APP, "RolloutEvent", app)

    async def events(self, app: str = "") -> AsyncGenerator[Json, None]:
        """Yield every event of `app` (of every app for ""), also across daemon restarts, until the bus disconnects."""
        async with self.watch(app) as watch:
            await (self.status(app) if app else self.list_apps())  # starts the daemon, or raises NoSuchApp
            async for event in watch.endless():
                yield event

    async def changes(self, app: str = "") -> AsyncGenerator[Json, None]:
        """Yield the status of `app` (of every app for ""), now and after every change, also across daemon restarts."""
        async with Watch(self, MANAGER, "AppChanged", app) as watch:
            item: Json | str = "now"
            while True:
                if isinstance(item, dict):
                    yield await self._complete(item)
                elif item:
                    for status in [await self.status(app)] if app else (await self.describe()).get("apps", []):
                        yield status
                item = await watch.next()

    async def _complete(self, status: Json) -> Json:
        """Return a broadcast status with journal lines, if this caller may read them."""
        app = str(status.get("app") or "")
        if app and lacks_lines(status) and self.bus.owner(NAME):  # or the call would start the daemon
            with contextlib.suppress(DeploydError):
                return await self.status(app)
        return status

    async def _call(
        self, app: str, member: str, signature: str = "", body: list[Any] | None = None, *, timeout: float
    ) -> list[Any]:
        path, interface = (app_path(app), APP) if app else (ROOT, MANAGER)
        interactive = member in CHANGES and self._may_ask is not None and await self._may_ask()
        try:
            return await self.bus.call(
                NAME,
                path,
                interface,
                member,
                signature,
                body or [],
                timeout=timeout,
                interactive=interactive,
            )
        except BusError as error:
            raise error_from(error, app) from error


def _options(**values: str | float) -> dict[str, tuple[str, str | float]]:
    """Return the options that are set, each with its D-Bus type."""
    if isinstance(values.get("canary"), float):
        values["canary_share"] = values.pop("canary")
    return {key: (SIGNATURES[type(value)], value) for key, value in values.items() if value}


def _fleet(request: FleetRequest | None) -> dict[str, tuple[str, str | float]]:
    """Return the options of a rollout that is part of one of several hosts."""
    return {} if request is None else {"fleet": ("s", request.fleet), "token": ("t", request.token)}
