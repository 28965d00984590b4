"""The further process types of an app in what deployd prints of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def processes_of(answer: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the further process types of an app, each with what is printed of it, in the order of their names."""
    found = answer.get("processes")
    for name, its in sorted(found.items()) if isinstance(found, Mapping) else ():
        if isinstance(name, str) and isinstance(its, Mapping):
            yield name, its
