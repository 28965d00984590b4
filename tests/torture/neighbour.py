"""The name of the app alongside the one under torture; the daemon's work for it does not count as steps."""

from __future__ import annotations

NEIGHBOUR = "broken"


def is_neighbours(text: str) -> bool:
    """True if the name of a unit or a path belongs to the neighbour."""
    return text.startswith((f"{NEIGHBOUR}@", f"{NEIGHBOUR}.", f"{NEIGHBOUR}:")) or any(
        part == NEIGHBOUR or part.startswith((f"{NEIGHBOUR}@", f"{NEIGHBOUR}.")) for part in text.split("/")
    )
