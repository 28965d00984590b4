"""Requests for the weight of a generation, which is its share of new connections while a rollout is under way."""

from __future__ import annotations

from deployd.apps.app_files import Load
from deployd.apps.registry import Registry
from deployd.apps.rollout_control import UnderWay
from deployd.errors import InvalidRequest, Refused
from deployd.model import advice
from deployd.rollout.generations import Generations
from deployd.units.deployment import Deployment


class Weights:
    """For all apps."""

    def __init__(
        self,
        registry: Registry,
        under_way: UnderWay,
        load: Load,
        generations: Generations,
        deployment: Deployment,
    ) -> None:
        self._registry = registry
        self._under_way = under_way
        self._load = load
        self._generations = generations
        self._deployment = deployment

    async def set(self, name: str, generation: int, share: float) -> None:
        """Give a generation of the rollout under way a share (0 to 1) of new connections, until the rollout is resumed.

        Raises InvalidRequest, Refused and StateError.
        """
        await self._require_steered(name)
        controller = self._under_way.require(name)
        rollout = controller.rollout
        if rollout is None or generation not in (rollout.origin, rollout.target):
            numbers = (rollout.origin, rollout.target) if rollout is not None else ()
            allowed = " and ".join(str(number) for number in numbers if number is not None)
            raise Refused(f"generation {generation} is not part of the rollout of {name}; its generations: {allowed}")
        if rollout.previewed is not None:
            raise Refused(
                f"generation {rollout.previewed} of {name} is a preview, which no client reaches; promote it first,"
                f" with: {advice.deployd()} resume {name}"
            )
        if not 0 <= share <= 1:
            raise InvalidRequest(f"a weight of {share * 100:g} %: allowed are 0 % to 100 %")
        if not controller.weigh((generation, share)):
            raise Refused(f"the rollout of {name} is {rollout.phase}: its origin gets all new connections")

    async def _require_steered(self, name: str) -> None:
        controller = self._registry.known(name)
        current = controller.target if controller is not None else None
        current = current or self._generations.current(name)
        settings = current.settings if current is not None else await self._load(name)
        if not settings.listen:
            raise Refused(f"{name} has no listen, and thus no connections that could be weighted")
        if not settings.steered:
            raise Refused(
                f"the instances of {name} share one socket, so new connections cannot be weighted; weights need"
                ' routing = "steered"'
            )
        if not self._deployment.steers(name):
            raise Refused(
                f"weights need steering, which {name} cannot use here; {advice.deployd()} status {name} says why"
            )
        if settings.unix_only:
            raise Refused(
                f"{name} listens on UNIX addresses only, and these lead to one generation at a time; weights need a TCP"
                " address"
            )
