"""The key `releases` and the table [deploy]: how `deployd deploy` makes a release."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import permutations
from typing import Any

from deployd.config import values
from deployd.config.pace import commands
from deployd.config.source import Problem, Table, kind
from deployd.model.delivery import SHARED, Delivery

MOST_KEPT = 1000


def delivery(top: Table, release: str) -> Delivery:
    """Read key and table of the file; `release` is the key of that name."""
    table, default = top.table("deploy"), Delivery()
    found = Delivery(
        releases=top.get("releases", _releases, default.releases),
        build=table.get("build", commands, default.build),
        timeout=table.get("timeout", values.duration(1, values.DAY), default.timeout),
        shared=table.get("shared", _inner_paths, default.shared),
        assets=table.get("assets", _inner_path, default.assets),
        keep=table.get("keep", values.integer(1, MOST_KEPT), default.keep),
        current=table.get("current", lambda raw: _current(raw, release), default.current),
    )
    table.finish({"releases": "the top level of the file, above all tables"})
    for key in ("shared", "assets"):
        if key in table and not found.releases:
            raise table.fail(key, f'needs releases, next to which is the directory "{SHARED}"; add that key')
    if found.assets and (other := _overlapping(found.assets, found.shared)):
        raise table.fail("assets", f'overlaps with "{other}" of shared, to which the app may write; choose one of both')
    return found


def _releases(raw: Any) -> str:
    path = values.path(raw)
    if path.count("/") < 2:
        raise Problem(f'must not be a directory at the top such as "{path}"; write one like "/srv/shop/releases"')
    return path


def _inner_paths(raw: Any) -> tuple[str, ...]:
    paths = values.array(_inner_path, '["log", "public/uploads"]')(raw)
    for first, second in permutations(paths, 2):
        if first == second or second.startswith(f"{first}/"):
            raise Problem(f'"{second}" is covered by "{first}"; remove one of them')
    return paths


def _inner_path(raw: Any) -> str:
    """Convert a path in a release, and normalise it."""
    text = values.plain(raw)
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if text.startswith("/") or not parts or ".." in parts or "\\" in text or text != text.strip():
        raise Problem(f'must be a path inside the release, not "{text}"; write it like "public/uploads"')
    return "/".join(parts)


def _overlapping(path: str, others: Iterable[str]) -> str:
    """Return one of `others` that is `path`, or lies above or below it; "" if there is none."""
    return next((item for item in others if f"{path}/".startswith(f"{item}/") or f"{item}/".startswith(f"{path}/")), "")


def _current(raw: Any, release: str) -> str:
    if isinstance(raw, bool):
        return release if raw else ""
    if not isinstance(raw, str):
        raise Problem(f"must be true or the path of a symbolic link, not {kind(raw)}; true stands for that of release")
    return values.path(raw)
