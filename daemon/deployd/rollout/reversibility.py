"""Whether the rollout of a generation can be rolled back."""

from __future__ import annotations

from collections.abc import Iterable

from deployd.model.generation import Generation
from deployd.model.instance import Instance, State
from deployd.rollout.generations import Generations
from deployd.rollout.release_reader import ReleaseReader


class Reversibility:
    """For all apps."""

    def __init__(self, releases: ReleaseReader, generations: Generations) -> None:
        self._releases = releases
        self._generations = generations

    async def lost_origin(self, name: str) -> str:
        """Return why instances of the current generation could not be started again; "" if they could."""
        return await self._releases.missing(self._generations.current(name))

    async def mark(self, generation: Generation, instances: Iterable[Instance]) -> tuple[str, list[str]]:
        """Return why `generation` is irreversible, and what its release says about that; "" if it is not, or if the
        release is the current one. `instances` are those of the app."""
        current = self._generations.current(generation.app)
        if current is None and any(item.generation is None and item.state is State.READY for item in instances):
            return "as the generation that runs now is not known", []
        same = current is not None and (current.release, current.contents) == (generation.release, generation.contents)
        if same or generation.cause.rolls_back:
            return "", []
        words = await self._releases.irreversible(generation.app, generation.release)
        return ("as its release says", [words]) if words else ("", [])
