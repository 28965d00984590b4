"""What `deployd releases` is told from: history and pins here, app files and directories in threads."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from deployd import config
from deployd.config.contents import Contents, contents, difference
from deployd.control.ground import KEPT
from deployd.control.registry import Registry
from deployd.control.workers import LONG
from deployd.documents.releases import Found, Needs, releases
from deployd.documents.status import Json
from deployd.errors import DeploydError, Refused
from deployd.model.generation import Generation


async def inventory(apps: Registry, name: str) -> Json:
    """Every release directory of the app and beside those: who needs it, and whether it may be deleted.

    Raises NoSuchApp and StateError.
    """
    apps.known(name)
    needs = _needs(apps, name)
    # Apps may share a release, or the directory that releases lie in.
    others = {other: _needs(apps, other).releases for other in apps.names() if other != name}
    # Another app whose file system does not answer costs time, but not the answer.
    names = [name, *others]
    found = await asyncio.gather(*(_named(apps, app) for app in names))
    named = {app: path for app, path in zip(names, found, strict=True) if path is not None}
    present = await apps.viewers.run(name, _present, needs)
    whole = [item for number in needs.numbers if (item := apps.history.generation(name, number)) is not None]
    return releases(needs, await apps.viewers.run(name, _look, needs, whole, present, others, named, deadline=LONG))


def _needs(apps: Registry, name: str) -> Needs:
    controller = apps.known(name)
    return Needs(
        name,
        apps.history.past(name),
        apps.history.current(name),
        controller.rollout if controller is not None else None,
        apps.pins.read(name),
        KEPT,
    )


async def _named(apps: Registry, name: str) -> str | None:
    """The release that the app file names."""
    try:
        app = await apps.files.load(name, apps.viewers)
        return await apps.viewers.run(name, config.resolve_release, app)
    except DeploydError:
        return None  # what is wrong with the file, `deployd check` tells


def _present(needs: Needs) -> frozenset[str]:
    return frozenset(filter(config.is_there, {item.release for item in needs.generations}))


def _look(
    needs: Needs,
    whole: Iterable[Generation],
    present: frozenset[str],
    others: Mapping[str, frozenset[str]],
    named: Mapping[str, str],
) -> Found:
    return Found(
        present=present,
        beside=tuple(config.siblings(present)),
        changed=_changed(whole, present),
        named=named.get(needs.app),
        others={other: paths | ({named[other]} if other in named else set()) for other, paths in others.items()},
    )


def _changed(needed: Iterable[Generation], present: frozenset[str]) -> dict[int, str]:
    """Generation to what is different now. Each directory is looked at once."""
    looked: dict[tuple[str, str | None], Contents] = {}
    changed = {}
    for item in needed:
        if item.release not in present:
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
