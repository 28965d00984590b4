"""deployd weight: which generations may be given a share of new connections, and what is refused."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from unittest.mock import AsyncMock, MagicMock, create_autospec

import pytest

from deployd.apps.history_recovery import HistoryRecovery
from deployd.apps.registry import Registry
from deployd.apps.rollout_control import UnderWay
from deployd.apps.weights import Weights
from deployd.errors import DeploydError, InvalidRequest, Refused
from deployd.model.app import Routing
from deployd.model.rollout import Phase, Rollout
from deployd.rollout.controller import Controller
from deployd.rollout.generations import Generations
from deployd.rollout.hooks import Hooks
from deployd.units.deployment import Deployment
from tests.state.four_rollouts import generation

STEERED = replace(generation(8), settings=replace(generation(8).settings, routing=Routing.STEERED))
UNDER_WAY = Rollout("demo", 7, 8)


def site(rollout: Rollout | None, *, steered: bool = True, weighs: bool = True) -> tuple[Weights, MagicMock]:
    """Weights of an app, and its controller."""
    controller = create_autospec(Controller, instance=True)
    controller.rollout = rollout
    controller.target = None if rollout is None else STEERED if steered else generation(8)
    controller.weigh.return_value = weighs
    controller.watched.return_value = None
    registry, generations = create_autospec(Registry, instance=True), create_autospec(Generations, instance=True)
    registry.known.return_value, registry.members.return_value = controller, [controller]
    generations.current.return_value = STEERED if steered else generation(8)
    hooks, recovery = create_autospec(Hooks, instance=True), create_autospec(HistoryRecovery, instance=True)
    deployment = create_autospec(Deployment, instance=True)
    under_way = UnderWay(registry, hooks, recovery)
    return Weights(registry, under_way, AsyncMock(), generations, deployment), controller


@pytest.mark.parametrize(("number", "share"), [(7, 0.0), (8, 1.0), (8, 0.125)])
def test_both_generations_of_a_rollout_take_weights(number: int, share: float) -> None:
    weights, controller = site(UNDER_WAY)
    asyncio.run(weights.set("demo", number, share))
    controller.weigh.assert_called_once_with((number, share))


@pytest.mark.parametrize(
    ("rollout", "steered", "number", "share", "error", "says"),
    [
        (
            UNDER_WAY,
            False,
            8,
            0.1,
            Refused,
            "the instances of demo share one socket, so new connections",
        ),
        (None, False, 8, 0.1, Refused, "the instances of demo share one socket"),
        (None, True, 8, 0.1, Refused, "no rollout of demo is under way"),
        (UNDER_WAY, True, 6, 0.1, Refused, "generation 6 is not part of the rollout of demo; its generations: 7 and 8"),
        (replace(UNDER_WAY, origin=None), True, 7, 0.1, Refused, "generation 7 is not part of the rollout of demo"),
        (UNDER_WAY, True, 8, 1.5, InvalidRequest, "a weight of 150 %: allowed are 0 % to 100 %"),
        (UNDER_WAY, True, 8, -0.1, InvalidRequest, "a weight of -10 %"),
        (UNDER_WAY, True, 8, float("nan"), InvalidRequest, "a weight of nan %"),
    ],
)
def test_a_refused_weight_changes_nothing(
    rollout: Rollout | None, steered: bool, number: int, share: float, error: type[DeploydError], says: str
) -> None:
    weights, controller = site(rollout, steered=steered)
    with pytest.raises(error) as caught:
        asyncio.run(weights.set("demo", number, share))
    assert str(caught.value).startswith(says)
    controller.weigh.assert_not_called()


def test_a_rollout_that_rolls_back_takes_no_weights() -> None:
    weights, _ = site(replace(UNDER_WAY, phase=Phase.ROLLING_BACK), weighs=False)
    with pytest.raises(Refused, match="rolling-back: its origin gets all new connections"):
        asyncio.run(weights.set("demo", 8, 0.1))
