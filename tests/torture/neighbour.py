"""The app beside the one under torture, by name: what the daemon does for it is not counted among the steps."""

from __future__ import annotations

NEIGHBOUR = "broken"


def is_neighbours(text: str) -> bool:
    """Whether a unit's name or a path is the neighbour's."""
    return text.startswith((f"{NEIGHBOUR}@", f"{NEIGHBOUR}.", f"{NEIGHBOUR}:")) or any(
        part == NEIGHBOUR or part.startswith((f"{NEIGHBOUR}@", f"{NEIGHBOUR}.")) for part in text.split("/")
    )
