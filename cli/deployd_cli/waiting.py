"""Begins a rollout and waits for its end: what is shown meanwhile, and what ^C and a bad end mean."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from deployd.errors import DeploydError, RolloutFailed
from deployd_cli.interrupted import Interrupted
from deployd_cli.output import can_redraw, message, paint_for, show, show_json
from deployd_cli.session import run
from deployd_cli.text.event import ended_as, event_line, event_lines
from deployd_cli.text.failure import failure_of, journal_lines

if TYPE_CHECKING:
    from deployd.api import Client

Begin = Callable[["Client"], Awaitable[int]]
Event = Mapping[str, Any]


class Report:
    """Shows a rollout's events. One class for each way to show them; this one tells a line each."""

    def begin(self, app: str, status: Event, generation: int) -> AbstractContextManager[object]:  # noqa: ARG002
        return nullcontext()

    def looks(self, client: Client, app: str) -> AbstractAsyncContextManager[object]:  # noqa: ARG002
        """What is looked at while events are waited for."""
        return nullcontext()

    def early(self, event: Event) -> None:
        """What happens before the request is answered: hooks."""
        self.event(event)

    def event(self, event: Event) -> None:
        # The end is told by carry_out: when it is a bad one once, on standard error, by main.
        if event.get("event") != "finished":
            show(event_lines(event))


class JsonReport(Report):
    """An object a line, as the daemon sent it."""

    def event(self, event: Event) -> None:
        show_json(event)


class LiveReport(Report):
    """A picture that is drawn over, then the sentence about the end."""

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

    def looks(self, client: Client, app: str) -> AbstractAsyncContextManager[object]:
        from deployd_cli.glance import glances

        return glances(client, app, lambda status: self._progress.look(status, self._clock()))

    def early(self, event: Event) -> None:
        show(event_lines(event))  # the picture is not there yet

    def event(self, event: Event) -> None:
        self._progress.apply(event, self._clock())
        self._screen.draw()


def carry_out(app: str, begin: Begin, *, wait: bool, as_json: bool, wanted: str = "succeeded") -> None:
    """Begin with `begin`; raises RolloutFailed for every end but the one that is wanted.

    A rollout that is held or paused is waited for like any other: what it waits for is told, and how to go on.
    """
    report = JsonReport() if as_json else LiveReport() if can_redraw(sys.stdout) else Report()
    waiting = _Waiting(app, begin, report)
    try:
        last = run(waiting.through if wait else waiting.begun)
    except Interrupted:
        raise Interrupted(waiting.what_goes_on()) from None
    if last.get("event") != "finished":
        return
    if not ended_as(last, wanted):
        failed = RolloutFailed(event_line(last))
        for line in journal_lines(failure_of(last)):
            failed.add_note(line)
        raise failed
    if not as_json:
        show([event_line(last)])


class _Waiting:
    """`generation` is None until the daemon has answered, 0 if there was nothing to do."""

    def __init__(self, app: str, begin: Begin, report: Report) -> None:
        self._app, self._begin, self._report = app, begin, report
        self.generation: int | None = None

    async def begun(self, client: Client) -> Event:
        """Begin and leave it at that."""
        self.generation = await self._begin(client)
        if not self.generation:
            return await self._nothing(client)
        event = {"event": "begun", "app": self._app, "to": self.generation}
        if isinstance(self._report, JsonReport):
            self._report.event(event)
        else:
            message(f"{self._app}: rolling out generation {self.generation}; deployd status {self._app} shows it")
        return event

    async def through(self, client: Client) -> Event:
        """Begin and see it through; returns the ``finished`` event."""
        async with client.watch(self._app) as watch:
            status = await _status_before(client, self._app)
            async with watch.meanwhile(self._report.early):
                self.generation = await self._begin(client)
            if not self.generation:
                return await self._nothing(client)
            last: Event = {}
            with self._report.begin(self._app, status, self.generation):
                async with self._report.looks(client, self._app):
                    async for event in watch.until_finished(self.generation):
                        last = await _with_figures(client, self._app, event)
                        self._report.event(last)
            return last

    async def _nothing(self, client: Client) -> Event:
        status = await client.status(self._app)
        event = {"event": "finished", "app": self._app, "to": status.get("generation"), "result": "succeeded"}
        event |= {"reason": "nothing to do", "generation": status.get("generation"), "duration": 0.0}
        if isinstance(self._report, JsonReport):
            self._report.event(event)
        else:
            message(f"{self._app}: nothing to do")
        return {}

    def what_goes_on(self) -> str:
        if self.generation is None:
            return f"{self._app}: interrupted before deployd answered; deployd status {self._app} shows what it does"
        return (
            f"{self._app}: the rollout of generation {self.generation} goes on; "
            f"deployd status {self._app} --watch shows it, deployd abort {self._app} takes it back"
        )


async def _status_before(client: Client, app: str) -> Event:
    """For the picture only: an app that has none yet is no reason not to begin."""
    try:
        return await client.status(app)
    except DeploydError:
        return {}


async def _with_figures(client: Client, app: str, event: Event) -> Event:
    """The last event with what history knows of it, as far as it does not say so itself."""
    if event.get("event") != "finished" or "replaced" in event:
        return event
    try:
        rows = (await client.history(app)).get("generations", [])
    except DeploydError:
        return event
    row: Event = next((row for row in rows if row.get("generation") == event.get("to", event.get("generation"))), {})
    return {**event, **{key: row[key] for key in ("release", "replaced", "adopted") if key in row and key not in event}}
