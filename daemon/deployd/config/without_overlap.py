"""Checks of an app with overlap = false, of which no more than `instances` processes ever run at a time."""

from __future__ import annotations

from deployd.config.source import Table

_ALONE = "overlap = false"
_MORE = ("max_surge", "rollback_surge", "standby")
"""Keys of [rollout] by which instances run, or are kept, in addition to others."""


def refuse_what_overlaps(top: Table) -> None:
    """Raise InvalidFile for keys that ask for more instances at a time."""
    if "mode" in top and top.get("mode", str, "") == "port":
        raise top.fail("mode", f'must not be "port" with {_ALONE}: connections would be lost; remove one of them')
    rollout = top.table("rollout")
    for key in _MORE:
        if key in rollout and rollout.get(key, lambda raw: raw, None) not in (0, "0", "0%", "0s"):
            raise rollout.fail(
                key, f"must be 0 with {_ALONE}, which allows no instance in addition to others; leave it out"
            )
