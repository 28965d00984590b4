"""Begins a rollout, shows its progress and waits for its end; the exit status depends on the result."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from deployd.errors import DeploydError, NothingRestarted, Refused, RolloutFailed
from deployd.model import advice
from deployd_cli.interrupted import Interrupted
from deployd_cli.output import can_redraw, message, paint_for, show, show_json
from deployd_cli.session import run
from deployd_cli.text.event import ended_as, event_line, event_lines
from deployd_cli.text.failure import failure_of, journal_lines
from deployd_cli.text.rollout import release_change

if TYPE_CHECKING:
    from deployd.api import Client

Begin = Callable[["Client"], Awaitable[int]]
Event = Mapping[str, Any]


class Report:
    """Shows the events of a rollout; this class prints a line for each."""

    def begin(self, app: str, status: Event, generation: int) -> AbstractContextManager[object]:  # noqa: ARG002
        return nullcontext()

    def polls(self, client: Client, app: str) -> AbstractAsyncContextManager[object]:  # noqa: ARG002
        """Poll, within the context, what no event reports."""
        return nullcontext()

    def early(self, event: Event) -> None:
        """Show an event that comes before the daemon has answered the request: a hook."""
        self.event(event)

    def event(self, event: Event) -> None:
        # carry_out reports the end: a success on standard output, a failure as an exception.
        if event.get("event") != "finished":
            show(event_lines(event))


class JsonReport(Report):
    """Prints a JSON object for each event, as the daemon sent it."""

    def event(self, event: Event) -> None:
        show_json(event)


class LiveReport(Report):
    """Draws the rollout in place."""

    def begin(self, app: str, status: Event, generation: int) -> AbstractContextManager[object]:
        import asyncio

        from deployd_cli.live import Screen
        from deployd_cli.text.progress import Progress

        clock = asyncio.get_running_loop().time
        paint = paint_for(sys.stdout)
        self._clock = clock
        self._progress = progress = Progress(app, status, generation, clock())
        self._screen = Screen(lambda width, height: progress.lines(clock(), width=width, height=height, paint=paint))
        return self._screen

    def polls(self, client: Client, app: str) -> AbstractAsyncContextManager[object]:
        from deployd_cli.polling import polled

        return polled(client, app, lambda status: self._progress.update(status, self._clock()))

    def early(self, event: Event) -> None:
        show(event_lines(event))  # the display does not exist yet

    def event(self, event: Event) -> None:
        self._progress.apply(event, self._clock())
        self._screen.draw()


class Receipt(Report):
    """Prints nothing, and keeps the last event."""

    def __init__(self) -> None:
        self.last: Event = {}

    def event(self, event: Event) -> None:
        self.last = event


def carry_out(
    app: str,
    begin: Begin,
    *,
    wait: bool,
    as_json: bool,
    wanted: str = "succeeded",
    expect_restart: bool = False,
    may_have_ended: bool = False,
    report: Report | None = None,
) -> None:
    """Begin a rollout with `begin` and wait for its end. Raises RolloutFailed unless its result is the `wanted` one.

    With `may_have_ended`, the rollout may have begun, or even ended, before. With `expect_restart`, raises
    NothingRestarted if all instances were adopted. `report` gets the events in place of what would show them. The
    command also waits for a paused rollout: it prints what the rollout waits for and how to continue.
    """
    last = _run(_Waiting(app, begin, report or _report(as_json), may_have_ended=may_have_ended), wait)
    if last.get("event") != "finished":
        return
    _conclude(last, as_json=as_json or report is not None, wanted=wanted)
    if expect_restart and last.get("adopted") and not last.get("replaced"):
        raise NothingRestarted(
            f"{app}: no process was restarted: release, settings, environment files and credentials are those that"
            f" already run; restart it all the same with: {advice.deployd()} restart {app}"
        )


def attach(app: str, *, as_json: bool) -> None:
    """Wait for the end of the rollout in progress, or take the last one that has ended. Raises RolloutFailed unless it
    has succeeded."""
    _conclude(_run(_Attached(app, _report(as_json)), wait=True), as_json=as_json, wanted="succeeded")


def _report(as_json: bool) -> Report:
    return JsonReport() if as_json else LiveReport() if can_redraw(sys.stdout) else Report()


def _run(waiting: _Waiting, wait: bool) -> Event:
    try:
        return run(waiting.through if wait else waiting.begun)
    except Interrupted:
        raise Interrupted(waiting.what_continues()) from None


def _conclude(last: Event, *, as_json: bool, wanted: str) -> None:
    """Print the end of a rollout. Raises RolloutFailed unless its result is the `wanted` one."""
    if not ended_as(last, wanted):
        failed = RolloutFailed(event_line(last))
        for line in journal_lines(failure_of(last)):
            failed.add_note(line)
        raise failed
    if not as_json:
        show([event_line(last)])


class _Waiting:
    """Begins a rollout and waits for it. `generation` is None until the daemon has answered, 0 if nothing was to do."""

    def __init__(self, app: str, begin: Begin, report: Report, *, may_have_ended: bool = False) -> None:
        self._app, self._begin, self._report = app, begin, report
        self._may_have_ended = may_have_ended
        self.generation: int | None = None

    async def begun(self, client: Client) -> Event:
        """Begin the rollout without waiting for its end."""
        status = await _status_before(client, self._app)
        self.generation = await self._begin(client)
        if not self.generation:
            return await self._nothing(client)
        event = {"event": "begun", "app": self._app, "from": status.get("generation"), "to": self.generation}
        event |= {"from_release": status.get("release"), "release": await _release(client, self._app, self.generation)}
        if isinstance(self._report, JsonReport):
            self._report.event(event)
        else:
            message(f"{self._app}: rolling out generation {self.generation}: {release_change(event)}")
            message(f"follow it with: {advice.deployd()} status {self._app} --watch")
        return event

    async def through(self, client: Client) -> Event:
        """Begin the rollout and wait for its end; return the ``finished`` event."""
        async with client.watch(self._app) as watch:
            status = await _status_before(client, self._app)
            async with watch.meanwhile(self._report.early):
                self.generation = await self._begin(client)
            if not self.generation:
                return await self._nothing(client)
            last: Event = {}
            with self._report.begin(self._app, status, self.generation):
                async with self._report.polls(client, self._app):
                    async for event in watch.until_finished(self.generation, ended=self._may_have_ended):
                        last = await _with_figures(client, self._app, event)
                        self._report.event(last)
            return last

    async def _nothing(self, client: Client) -> Event:
        status = await client.status(self._app)
        event = {"event": "finished", "app": self._app, "to": status.get("generation"), "result": "succeeded"}
        event |= {"reason": "nothing to do", "generation": status.get("generation"), "duration": 0.0}
        event |= {"from_release": status.get("release"), "release": status.get("release")}
        if isinstance(self._report, JsonReport):
            self._report.event(event)
        else:
            message(f"{self._app}: nothing to do: {release_change(event)}")
        return {}

    def what_continues(self) -> str:
        """Return the message for ^C."""
        if self.generation is None:
            return (
                f"{self._app}: interrupted before deployd answered; check with: {advice.deployd()} status {self._app}"
            )
        return (
            f"{self._app}: the rollout of generation {self.generation} continues; "
            f"follow it with: {advice.deployd()} status {self._app} --watch; "
            f"roll back with: {advice.deployd()} abort {self._app}"
        )


class _Attached(_Waiting):
    """Waits for a rollout that something else has begun."""

    def __init__(self, app: str, report: Report) -> None:
        super().__init__(app, self._in_progress, report)

    async def _in_progress(self, client: Client) -> int:
        rollout = (await client.status(self._app)).get("rollout") or {}
        return int(rollout.get("to") or 0)

    async def _nothing(self, client: Client) -> Event:
        rows = (await client.history(self._app)).get("generations", [])
        if not rows:
            raise Refused(f"{self._app} has had no rollout; deploy it with: {advice.deployd()} apply {self._app}")
        event = {"event": "finished", "app": self._app, "from": rows[0].get("origin"), "to": rows[0].get("generation")}
        event |= rows[0]
        if isinstance(self._report, JsonReport):
            self._report.event(event)
        return event


async def _status_before(client: Client, app: str) -> Event:
    """Return the status, for the display only: empty for an app that has none yet."""
    try:
        return await client.status(app)
    except DeploydError:
        return {}


async def _release(client: Client, app: str, generation: int) -> str | None:
    """Return the release of a generation, None if the history does not answer."""
    try:
        rows = (await client.history(app)).get("generations", [])
    except DeploydError:
        return None
    return next((row.get("release") for row in rows if row.get("generation") == generation), None)


async def _with_figures(client: Client, app: str, event: Event) -> Event:
    """Return the last event, completed from the history."""
    if event.get("event") != "finished" or "replaced" in event:
        return event
    try:
        rows = (await client.history(app)).get("generations", [])
    except DeploydError:
        return event
    row: Event = next((row for row in rows if row.get("generation") == event.get("to", event.get("generation"))), {})
    return {**event, **{key: row[key] for key in ("release", "replaced", "adopted") if key in row and key not in event}}
