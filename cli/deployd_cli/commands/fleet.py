"""deployd fleet: rollouts of several hosts, which agree by keys of an etcd."""

from __future__ import annotations

import asyncio
import gc
import getpass
import socket
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from deployd.errors import InvalidFile, Refused, RolloutFailed, Unreachable
from deployd_cli.interrupted import Interrupted
from deployd_cli.options import APP, APP_OR_ALL, JSON, JSON_LINES, SUPERSEDE, seconds
from deployd_cli.output import can_redraw, message, paint_for, show, show_json, width_of
from deployd_cli.text.fleet_status import (
    fleet_event_line,
    fleet_history_lines,
    fleet_line,
    fleet_lines,
    goal_words,
)

if TYPE_CHECKING:
    from deployd_cli.fleet.driver import Driver
    from deployd_cli.fleet.settings import FleetSettings
    from deployd_cli.fleet.view import View

T = TypeVar("T")

RELEASE = typer.Option(..., "--release", metavar="ID", help="Name of the release, in the directory of the releases.")
ARCHIVE = typer.Option(
    "", "--archive", metavar="PATH|URL", help="Archive of the release, for hosts that do not have it."
)
SHA256 = typer.Option("", "--sha256", metavar="HEX", help="SHA-256 of the archive.")
CANARIES = typer.Option([], "--canary", metavar="HOST", help="Host to begin with; may be repeated.", show_default=False)
BATCHES = typer.Option(
    "1,25%", "--batches", metavar="N|P%,…", help="Sizes of the batches; the last one repeats.", show_default=True
)
MAX_FAILURES = typer.Option(0, "--max-failures", min=0, metavar="N", help="Hosts that may fail before it stops.")
BAKE = typer.Option("0s", "--bake", metavar="TIME", help="Wait so long after each batch.")
ON_FAILURE = typer.Option(
    "stop", "--on-failure", metavar="stop|rollback", help="What becomes of the hosts that were done before."
)
NO_BLOCK = typer.Option(False, "--no-block", help="Do not wait until the rollout has finished.")
WATCH = typer.Option(False, "--watch", "-w", help="Update the display until ^C; in a pipe, print a line per change.")
HOST = typer.Argument(..., metavar="HOST", help="Name of the host in the fleet.", show_default=False)
RETRY = 2.0
"""Seconds until etcd is asked again."""


def rollout(
    app: str = APP,
    release: str = RELEASE,
    archive: str = ARCHIVE,
    sha256: str = SHA256,
    canary: list[str] = CANARIES,
    batches: str = BATCHES,
    max_failures: int = MAX_FAILURES,
    bake: str = BAKE,
    on_failure: str = ON_FAILURE,
    supersede: bool = SUPERSEDE,
    no_block: bool = NO_BLOCK,
    as_json: bool = JSON_LINES,
) -> None:
    """Roll a release out on all hosts of the fleet, batch by batch.

    It stops at the first host that fails, which rolls itself back. ^C leaves the fleet rolling.
    """
    if on_failure not in ("stop", "rollback"):
        raise typer.BadParameter(f'"{on_failure}": allowed are stop and rollback', param_hint="--on-failure")
    pause = seconds(bake, "--bake")
    from deployd_cli.fleet.archive import Archive

    if bool(archive) != bool(sha256):
        raise typer.BadParameter("--archive PATH|URL and --sha256 HEX belong together")
    shared = Archive(archive, sha256) if archive else None
    if shared is not None and (problem := shared.problem()):
        raise typer.BadParameter(problem)
    settings = _settings()
    from deployd_cli.fleet.driver import Wanted
    from deployd_cli.fleet.goal import OnFailure

    wanted = Wanted(release, tuple(canary), batches, max_failures, pause, OnFailure(on_failure), supersede, shared)
    token = _drive(settings, app, lambda driver: driver.rollout(wanted))
    _wait(settings, app, token, "succeeded", no_block, as_json)


def rollback(app: str = APP, no_block: bool = NO_BLOCK, as_json: bool = JSON_LINES) -> None:
    """Return the hosts to the release before, in reverse order."""
    settings = _settings()
    token = _drive(settings, app, lambda driver: driver.rollback())
    _wait(settings, app, token, "succeeded", no_block, as_json)


def abort(app: str = APP, no_block: bool = NO_BLOCK, as_json: bool = JSON_LINES) -> None:
    """Begin on no other host, and abort on those that roll."""
    settings = _settings()
    token = _drive(settings, app, lambda driver: driver.abort())
    _wait(settings, app, token, "aborted", no_block, as_json)


def pause(app: str = APP) -> None:
    """Begin on no other host until the fleet is resumed. Hosts that roll finish."""
    who = f"{getpass.getuser()} on {socket.gethostname()}"
    _drive(_settings(), app, lambda driver: driver.pause(who))
    message(f"{app}: the fleet is paused; continue with: deployd fleet resume {app}")


def resume(app: str = APP) -> None:
    """Continue a fleet that is paused."""
    _drive(_settings(), app, lambda driver: driver.resume())
    message(f"{app}: the fleet continues")


def release_slot(app: str = APP, host: str = HOST) -> None:
    """Continue without a host that is gone.

    The host may still be rolling, and may return with the old or the new release. Use it only if it does not return
    soon: until then, one host more than a batch may roll at the same time.
    """
    _drive(_settings(), app, lambda driver: driver.release_slot(host))
    message(
        f"{app}: the fleet continues without {host}; it may still be rolling, or return with the old or the new"
        " release, so look at it before it serves clients again"
    )


def forget(app: str = APP, host: str = HOST) -> None:
    """Take a host that is gone out of the fleet.

    It is a member again when its agent comes back, and a new machine may have its name.
    """
    _drive(_settings(), app, lambda driver: driver.forget(host))
    message(f"{app}: {host} is no longer in the fleet")


def status(app: str = APP_OR_ALL, watch: bool = WATCH, as_json: bool = JSON) -> None:
    """Show the fleet and its hosts. Changes nothing."""
    settings = _settings()
    if watch:
        if not app:
            raise typer.BadParameter("--watch needs the name of an app")
        _run(lambda: _watch(settings, app, as_json))
        return
    from deployd_cli.fleet.report import document

    names = [app] if app else settings.apps
    found = [document(name, _drive(settings, name, lambda driver: driver.view())) for name in names]
    if as_json:
        show_json(found[0] if app else {"apps": found})
        return
    for item in found:
        show(_lines(item, width_of(sys.stdout)) if app else [fleet_line(item)])
        for problem in item["problems"]:
            message(problem)
    if not found:
        message("no apps; name one, or add it to apps in /etc/deployd/fleet.toml")


def history(app: str = APP, as_json: bool = JSON) -> None:
    """Show the rollouts of the fleet, newest first. Changes nothing."""
    settings = _settings()
    from deployd_cli.fleet.report import history_document

    found = history_document(app, _drive(settings, app, lambda driver: driver.history()))
    if as_json:
        show_json(found)
        return
    now = datetime.now().astimezone()
    show(fleet_history_lines(found, now, width=width_of(sys.stdout), paint=paint_for(sys.stdout)))


def agent() -> None:
    """Take part in rollouts; used by deployd-fleet.service."""
    settings = _settings()
    if not settings.apps:
        raise InvalidFile("/etc/deployd/fleet.toml has no apps: the host takes part in no rollouts; add apps")
    from deployd_cli.fleet.agent import Agent
    from deployd_cli.fleet.service_manager import ServiceManager
    from deployd_cli.session import connect

    async def serve() -> None:
        async with await connect(timeout=30.0) as client:
            try:
                await Agent(settings, client, ServiceManager()).run()
            except* Unreachable as group:
                raise Unreachable(f"the agent ends, to be started again: {group.exceptions[0]}") from None

    _run(serve)


fleet: dict[str, Callable[..., None]] = {
    "rollout": rollout,
    "status": status,
    "pause": pause,
    "resume": resume,
    "abort": abort,
    "rollback": rollback,
    "history": history,
    "release-slot": release_slot,
    "forget": forget,
    "agent": agent,
}


def _settings() -> FleetSettings:
    """Return the settings of this host. Raises InvalidFile, and Refused without httpx."""
    try:
        from deployd_cli.fleet.settings import FleetSettings
    except ModuleNotFoundError as error:
        if error.name != "httpx":
            raise
        raise Refused("deployd fleet needs the Python package httpx: install python3-httpx") from None
    return FleetSettings.load()


def _run(work: Callable[[], Awaitable[T]]) -> T:
    async def started() -> T:
        gc.freeze()  # imported modules stay to the end, so no collection need search them
        gc.enable()  # off until here, see main
        return await work()

    try:
        return asyncio.run(started())
    except KeyboardInterrupt:
        raise Interrupted from None


def _drive(settings: FleetSettings, app: str, work: Callable[[Driver], Awaitable[T]]) -> T:
    from deployd_cli.fleet.driver import Driver

    async def connected() -> T:
        async with Driver.connect(settings, app) as driver:
            return await work(driver)

    return _run(connected)


def _lines(document: dict[str, Any], width: int | None) -> list[str]:
    return fleet_lines(document, datetime.now().astimezone(), width=width, paint=paint_for(sys.stdout))


async def _follow(settings: FleetSettings, app: str, seen: Callable[[View], bool]) -> None:
    """Call `seen` with each view until it returns True, also across times in which etcd does not answer."""
    from deployd_cli.fleet.driver import Driver
    from deployd_cli.fleet.gateway import EtcdUnavailable

    lost = False
    while True:
        try:
            async with Driver.connect(settings, app) as driver:
                async for view in driver.views():
                    if lost:
                        message("etcd answers again")
                        lost = False
                    if seen(view):
                        return
        except EtcdUnavailable as error:
            if not lost:
                message(f"{error}; hosts finish what they have begun, and none begins; trying again")
            lost = True
        await asyncio.sleep(RETRY)


async def _watch(settings: FleetSettings, app: str, as_json: bool) -> None:
    from deployd_cli.fleet.report import document
    from deployd_cli.live import Screen

    latest: dict[str, Any] = {"app": app, "state": "unknown", "reason": "waiting for etcd", "hosts": []}

    def keep(view: View) -> bool:
        latest.update(document(app, view))
        return False

    def printed(view: View) -> bool:
        item = document(app, view)
        if as_json:
            show_json(item)
        else:
            show([fleet_line(item)])
        return False

    if as_json or not can_redraw(sys.stdout):
        await _follow(settings, app, printed)
        return
    with Screen(lambda width, height: _lines(latest, width)[:height]):
        await _follow(settings, app, keep)


def _wait(settings: FleetSettings, app: str, token: int, wanted: str, no_block: bool, as_json: bool) -> None:
    """Show a goal until it has ended. Raises RolloutFailed unless the result is the `wanted` one."""
    from deployd_cli.fleet.report import Awaited, document, events

    awaited = Awaited(token)
    before: dict[str, Any] | None = None
    result: tuple[str, str] | None = None

    def seen(view: View) -> bool:
        nonlocal before, result
        now = document(app, view)
        if before is None and not as_json and now["goal"] is not None:
            show([f"{app}: {goal_words(now['goal'])}"])
        result = ("begun", "") if no_block else awaited.result(view)
        for event in events(before, now):
            if as_json:
                show_json(event)
            elif event["event"] != "fleet" or result is None or no_block:  # the last line says how the fleet has ended
                show([fleet_event_line(event)])
        before = now
        return result is not None

    try:
        _run(lambda: _follow(settings, app, seen))
    except Interrupted:
        raise Interrupted(
            f"{app}: the rollout of the fleet continues; follow it with: deployd fleet status {app} --watch;"
            f" end it with: deployd fleet abort {app}"
        ) from None
    if result is None or no_block:
        return
    outcome, reason = result
    if as_json:
        show_json({"event": "finished", "app": app, "token": token, "result": outcome, "reason": reason})
    if outcome != wanted:
        raise RolloutFailed(f"{app}: {outcome}{f': {reason}' if reason else ''}")
    if not as_json:
        show([f"{app}: {'done' if outcome == 'succeeded' else outcome}{f': {reason}' if reason else ''}"])
