"""Looks up generations of an app, and what a new one has to reach."""

from __future__ import annotations

from deployd.errors import InvalidRequest, Refused, StateError
from deployd.model import advice
from deployd.model.app import App
from deployd.model.fleet import FleetRequest
from deployd.model.generation import Entry, Generation, Result
from deployd.plan import boots, fence, live
from deployd.plan.goal import Goal
from deployd.state.history import History


class Generations:
    """Of all apps in the history."""

    def __init__(self, history: History) -> None:
        self._history = history

    def current(self, name: str) -> Generation | None:
        """Return the current generation of an app, or None if it is not deployed."""
        number = self._history.current(name)
        return None if number is None else self._history.generation(name, number)

    def application(self, name: str) -> str:
        """Return the app of which `name` is a process type, or `name` itself."""
        try:
            newest = next(iter(self._history.entries(name, 1)), None)
            settings = None if newest is None else self._history.settings(name, newest.number)
        except StateError:
            return name
        return name if settings is None else settings.application

    def last_applied(self, name: str) -> Generation | None:
        """Return the newest generation that went live or was aborted, with the record of the app file.

        The app file of a failed one was not applied: it is tried again. One that was aborted was not wanted.
        """
        accepted = (Result.SUCCEEDED, Result.ABORTED)
        number = next((item.number for item in self._history.past(name) if item.result in accepted), None)
        return None if number is None else self._history.generation(name, number)

    def choose(self, app: App, directory: str) -> tuple[App, str | None]:
        """Return settings and release as plan.live.choose() does."""
        return live.choose(app, directory, self.current(app.name), self.last_applied(app.name))

    def require_current(self, name: str) -> Generation:
        """Return the current generation. Raises Refused if the app is not deployed."""
        current = self.current(name)
        if current is None:
            raise Refused(f"{name} is not deployed yet; use {advice.deployd()} apply {name}")
        return current

    def require(self, name: str, number: int) -> Generation:
        """Return a generation by its number. Raises InvalidRequest if there is none."""
        found = self._history.generation(name, number)
        if found is None:
            raise InvalidRequest(f"{name} has no generation {number}; see {advice.deployd()} history {name}")
        return found

    def newest_of(self, name: str, release: str) -> Generation | None:
        """Return the newest generation that has a release, or None."""
        number = max((item.number for item in self._history.past(name) if item.release == release), default=None)
        return None if number is None else self._history.generation(name, number)

    def made(self, name: str, request: FleetRequest, release: str | None = None) -> Entry | None:
        """Return the generation that the same request made before, see plan.fence.made(). Raises Refused."""
        return fence.made(self._history.past(name), request, release)

    def releases(self, name: str) -> frozenset[str]:
        """Return the releases of all generations of an app."""
        return frozenset(item.release for item in self._history.past(name))

    def goal(self, app: App, number: int, fingerprint: str) -> Goal:
        """Return what a generation with these settings and this fingerprint has to reach."""
        return Goal.of(app, number, same=self._history.same(app.name, fingerprint))

    def learned(self, app: App) -> App:
        """Return the settings with a gate timeout learned from past boots, if the app file leaves it out."""
        return app.with_learned(boots.gate_timeout(self._history.boots(app.name)))
