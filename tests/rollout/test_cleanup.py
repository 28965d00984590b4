"""What is left to stop of an app that was stopped by hand during a rollout."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import AsyncMock, create_autospec

import pytest

from deployd.instances.actuator import Actuator
from deployd.model.action import Stop
from deployd.model.instance import Instance, State
from deployd.model.rollout import Rollout
from deployd.rollout.active import ActiveRollout
from deployd.rollout.cleanup import Cleanup
from tests.state.four_rollouts import generation


@pytest.mark.parametrize("state", [State.STARTING, State.READY, State.STOPPING])
@pytest.mark.parametrize("stopped", [True, False])
def test_an_instance_that_started_late_is_stopped_unless_the_app_was_started_again(state: State, stopped: bool) -> None:
    actuator = create_autospec(Actuator, instance=True)
    actuator.observe.return_value = (Instance(4, 8, state),)
    unused: Any = None
    cleanup = Cleanup("demo", unused, unused, unused, actuator, unused, unused, generations=20)
    active = ActiveRollout(Rollout("demo", 7, 8), generation(8))
    assert not asyncio.run(cleanup.restore_origin(active, AsyncMock(return_value=stopped)))
    late = stopped and state is not State.STOPPING
    assert [call.args[0] for call in actuator.act.call_args_list] == ([Stop(4, 8, keep=True)] if late else [])
