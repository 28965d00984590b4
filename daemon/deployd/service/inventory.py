"""What `deployd releases` is told from: history, pins and app files here, the directories in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from deployd import config
from deployd.config.contents import Contents, contents, difference
from deployd.control.ground import KEPT
from deployd.control.registry import Registry
from deployd.documents.releases import Found, Needs, releases
from deployd.documents.status import Json
from deployd.errors import DeploydError, Refused
from deployd.model.app import App


async def inventory(apps: Registry, name: str) -> Json:
    """Every release directory of the app and beside those: who needs it, and whether it may be deleted.

    Raises NoSuchApp and StateError.
    """
    apps.known(name)
    needs = _needs(apps, name)
    # Apps may share a release, or the directory that releases lie in.
    others = {other: _needs(apps, other).releases for other in apps.names() if other != name}
    files = {app: _file(apps, app) for app in apps.names()}
    return await asyncio.get_running_loop().run_in_executor(None, lambda: releases(needs, _look(needs, others, files)))


def _needs(apps: Registry, name: str) -> Needs:
    controller = apps.known(name)
    return Needs(
        name,
        apps.history.generations(name),
        apps.history.current(name),
        controller.rollout if controller is not None else None,
        apps.pins.read(name),
        KEPT,
    )


def _file(apps: Registry, name: str) -> App | None:
    try:
        return apps.load(name)
    except DeploydError:
        return None  # what is wrong with the file, `deployd check` tells


def _look(needs: Needs, others: Mapping[str, frozenset[str]], files: Mapping[str, App | None]) -> Found:
    known = {item.release for item in needs.generations}
    present = frozenset(filter(config.is_there, known))
    named = {name: path for name, app in files.items() if app is not None and (path := _named(app)) is not None}
    return Found(
        present=present,
        beside=tuple(config.siblings(present)),
        changed=_changed(needs, present),
        named=named.get(needs.app),
        others={other: paths | ({named[other]} if other in named else set()) for other, paths in others.items()},
    )


def _named(app: App) -> str | None:
    try:
        return config.resolve_release(app)
    except DeploydError:
        return None


def _changed(needs: Needs, present: frozenset[str]) -> dict[int, str]:
    """Generation to what is different now, of those that are needed. Each directory is looked at once."""
    looked: dict[tuple[str, str | None], Contents] = {}
    changed, numbers = {}, needs.numbers
    for item in needs.generations:
        if item.number not in numbers or item.release not in present:
            continue
        try:
            key = item.release, item.settings.user
            looked[key] = looked.get(key) or contents(item.release, item.settings)
            change = difference(item, looked[key])
        except Refused as error:
            change = str(error)
        if change:
            changed[item.number] = change
    return changed
