"""deployd weight: who may be given a share of new connections, and why somebody may not."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from unittest.mock import MagicMock, create_autospec

import pytest

from deployd.apps.registry import Registry
from deployd.apps.requests import Requests
from deployd.errors import DeploydError, InvalidRequest, Refused
from deployd.model.app import Routing
from deployd.model.rollout import Phase, Rollout
from deployd.rollout.controller import Controller
from tests.state.four_rollouts import generation

STEERED = replace(generation(8), settings=replace(generation(8).settings, routing=Routing.STEERED))
UNDER_WAY = Rollout("demo", 7, 8)


def apps(rollout: Rollout | None, *, steered: bool = True, weighs: bool = True) -> tuple[Requests, MagicMock]:
    controller = create_autospec(Controller, instance=True)
    controller.rollout = rollout
    controller.target = None if rollout is None else STEERED if steered else generation(8)
    controller.weigh.return_value = weighs
    registry = create_autospec(Registry, instance=True)
    registry.hooks = MagicMock()
    registry.known.return_value = controller
    registry.current.return_value = STEERED if steered else generation(8)
    return Requests(registry), controller


@pytest.mark.parametrize(("number", "share"), [(7, 0.0), (8, 1.0), (8, 0.125)])
def test_either_generation_of_a_rollout_may_be_weighed(number: int, share: float) -> None:
    requests, controller = apps(UNDER_WAY)
    asyncio.run(requests.weigh("demo", number, share))
    controller.weigh.assert_called_once_with((number, share))


@pytest.mark.parametrize(
    ("rollout", "steered", "number", "share", "error", "says"),
    [
        (UNDER_WAY, False, 8, 0.1, Refused, "demo shares one socket, where nobody chooses who gets a connection"),
        (None, False, 8, 0.1, Refused, "demo shares one socket"),
        (None, True, 8, 0.1, Refused, "no rollout of demo is under way: one generation serves, and gets everything"),
        (UNDER_WAY, True, 6, 0.1, Refused, "generation 6 has no part in the rollout of demo; those that have: 7 and 8"),
        (replace(UNDER_WAY, origin=None), True, 7, 0.1, Refused, "generation 7 has no part in the rollout of demo"),
        (UNDER_WAY, True, 8, 1.5, InvalidRequest, "a weight of 150 %: allowed are 0 % to 100 %"),
        (UNDER_WAY, True, 8, -0.1, InvalidRequest, "a weight of -10 %"),
        (UNDER_WAY, True, 8, float("nan"), InvalidRequest, "a weight of nan %"),
    ],
)
def test_what_is_refused_changes_nothing(
    rollout: Rollout | None, steered: bool, number: int, share: float, error: type[DeploydError], says: str
) -> None:
    requests, controller = apps(rollout, steered=steered)
    with pytest.raises(error) as caught:
        asyncio.run(requests.weigh("demo", number, share))
    assert str(caught.value).startswith(says)
    controller.weigh.assert_not_called()


def test_on_the_way_back_nobody_is_weighed() -> None:
    requests, _ = apps(replace(UNDER_WAY, phase=Phase.ROLLING_BACK), weighs=False)
    with pytest.raises(Refused, match="rolling-back: where it goes back to gets everything"):
        asyncio.run(requests.weigh("demo", 8, 0.1))
