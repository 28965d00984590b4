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
    return replace(app, instances=instances, applied=record), live.release if live is not None and stays else None
