"""The JSON of what differs between the settings of two generations."""

from __future__ import annotations

from collections.abc import Iterable

from deployd.documents import Json
from deployd.model.changes import Change


def changes(found: Iterable[Change], *, values: bool) -> list[Json]:
    """Return the changes, without their values unless `values`, and never with secret ones."""
    return [
        {
            "key": item.key,
            "change": "added" if item.before is None else "removed" if item.after is None else "changed",
            "before": item.before if values and not item.secret else None,
            "after": item.after if values and not item.secret else None,
        }
        for item in found
    ]
