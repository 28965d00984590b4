"""What stays live: a command that changes something else keeps the release and the number of instances that are live.

The app file decides about them only if it says something else than when it was last applied.
"""

from __future__ import annotations

from dataclasses import replace

from deployd.model.app import App, Applied
from deployd.model.generation import Generation


def applied(generation: Generation) -> Applied:
    """Return what the app file said when it was last applied, as recorded in a generation.

    A generation without the record is assumed to be what the app file said.
    """
    settings = generation.settings
    return settings.applied or Applied(settings.release, generation.release, settings.instances)


def choose(app: App, directory: str, live: Generation | None, last: Generation | None) -> tuple[App, str | None]:
    """Return the settings to roll out, and the release that stays live or None if that of the app file comes.

    `app` is the app file, whose release leads to `directory`; `last` is the generation with the record of what it said.
    """
    before = applied(last) if last is not None else None
    if live is not None and before is not None and app.instances == before.instances:
        instances = live.settings.instances
    else:
        instances = app.instances
    stays = live is not None and before is not None and (app.release, directory) == (before.release, before.directory)
    record = Applied(app.release, directory, app.instances)
    processes = tuple(_process(item, directory, _of(live, item), _of(last, item)) for item in app.processes)
    chosen = replace(app, instances=instances, applied=record, processes=processes)
    return chosen, live.release if live is not None and stays else None


def as_applied(settings: App, last: Generation | None) -> App:
    """Return settings of another generation with the record of what the app file said when it was last applied."""
    if last is None:
        return replace(settings, applied=None)
    processes = []
    for item in settings.processes:
        its = _of(last, item)
        processes.append(item if its is None else replace(item, applied=its.applied))
    return replace(settings, applied=applied(last), processes=tuple(processes))


def _process(item: App, directory: str, live: App | None, last: App | None) -> App:
    """Return a process type of the app file with the number of instances that is live, unless the file has changed."""
    before = item.instances if last is None or last.applied is None else last.applied.instances
    instances = live.instances if live is not None and item.instances == before else item.instances
    return replace(item, instances=instances, applied=Applied(item.release, directory, item.instances))


def _of(generation: Generation | None, process: App) -> App | None:
    """Return the same process type in a generation."""
    processes = () if generation is None else generation.settings.processes
    return next((item for item in processes if item.name == process.name), None)
