"""Collects the data of `deployd releases`: history and pins here, app files and directories in threads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from deployd import config
from deployd.apps.caller import Caller
from deployd.apps.registry import Registry
from deployd.config.contents import Contents, contents, difference
from deployd.documents.releases import Found, Needs, releases
from deployd.documents.status import Json
from deployd.errors import Refused
from deployd.files.workers import LONG, Workers
from deployd.model.generation import Generation
from deployd.rollout.preparation import KEPT


async def inventory(apps: Registry, caller: Caller, name: str, workers: Workers) -> Json:
    """Every release directory of the app and beside those: who needs it, and whether it may be deleted.

    Raises NoSuchApp and StateError.
    """
    apps.known(name)
    needs = _needs(apps, name)
    # Apps may share a release, or the directory that releases lie in.
    others = {other: _needs(apps, other).releases for other in apps.names() if other != name}
    # What is wrong with a file, `deployd check` tells.
    known = {app: path for app, path in (await apps.files.releases()).items() if isinstance(path, str)}
    secret = await _secret(apps, caller)
    known = {app: path for app, path in known.items() if app not in secret}
    present = await workers.run(name, _present, needs)
    whole = [item for number in needs.numbers if (item := apps.history.generation(name, number)) is not None]

    def answer() -> Json:
        found = _look(needs, whole, present, others, known)
        if caller.root:
            return releases(needs, found)
        return _withheld(releases(needs, _unnamed(needs, found, caller)), caller, [*secret.values()])

    return await workers.run(name, answer, deadline=LONG)


async def _secret(apps: Registry, caller: Caller) -> dict[str, str]:
    """The app files that the caller may not read, those that do not answer included: name to path."""
    if caller.root:
        return {}
    may_read = await apps.files.each(lambda path: caller.files.may_read(str(path)))
    return {app: str(apps.files.path(app)) for app in sorted(apps.files.names) if may_read.get(app) is not True}


def _unnamed(needs: Needs, found: Found, caller: Caller) -> Found:
    """That a release has changed, to those who can list it; what has, only a walk through all of it would tell them."""
    changed = {
        item.number: "a file in it is not what it was"
        for item in needs.generations
        if item.number in found.changed and caller.files.may_list(item.release)
    }
    return replace(found, changed=changed)


def _withheld(answer: Json, caller: Caller, secret: list[str]) -> Json:
    """The answer without what the caller could not find out: which directories there are where it may not look, and
    what app files say that it may not read."""
    listed = {path: caller.files.may_list(path) for path in {_parent(item["release"]) for item in answer["releases"]}}
    kept = []
    for item in answer["releases"]:
        if not listed[_parent(item["release"])]:
            if not item["generations"]:
                continue
            why = f"user {caller.uid} cannot look there; ask as root"
            item |= {"state": "unknown", "deletable": False, "why": why, "changed": False}
        elif item["deletable"] and secret:
            item |= {"state": "kept", "deletable": False, "why": f"{secret[0]} may name it; ask as root"}
        kept.append(item)
    return {**answer, "releases": kept}


def _parent(release: str) -> str:
    return str(Path(release).parent)


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
