"""What is left to stop of an app that was stopped by hand during a rollout."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, create_autospec

import pytest

from deployd.instances.actuator import Actuator
from deployd.model.action import Stop
from deployd.model.instance import Instance, State
from deployd.model.rollout import Rollout
from deployd.rollout.active import ActiveRollout
from deployd.rollout.cleanup import Cleanup
from tests.rollout.simulated_app import NAME, Faults, SimulatedApp
from tests.state.four_rollouts import generation


@pytest.mark.parametrize("state", [State.STARTING, State.READY, State.STOPPING])
@pytest.mark.parametrize("stopped", [True, False])
def test_an_instance_that_started_late_is_stopped_unless_the_app_was_started_again(state: State, stopped: bool) -> None:
    actuator = create_autospec(Actuator, instance=True)
    actuator.observe.return_value = (Instance(4, 8, state),)
    actuator.is_busy.return_value = False
    unused: Any = None
    cleanup = Cleanup("demo", unused, unused, unused, actuator, unused, unused, unused, generations=20)
    active = ActiveRollout(Rollout("demo", 7, 8), generation(8))
    assert not asyncio.run(cleanup.restore_origin(active, AsyncMock(return_value=stopped)))
    late = stopped and state is not State.STOPPING
    assert [call.args[0] for call in actuator.act.call_args_list] == ([Stop(4, 8, keep=True)] if late else [])


def test_no_start_is_waited_for_after_the_app_was_stopped(tmp_path: Path) -> None:
    """systemd started the instances after it had stopped the app, and they never become ready."""

    async def check() -> None:
        app, started = SimulatedApp(tmp_path, Faults()), asyncio.Event()

        def hanging(unit: str) -> bool:
            if unit == f"{NAME}@2.service":
                started.set()
            return unit.startswith(f"{NAME}@")

        app.systemd.hanging = hanging
        app.systemd.units[f"{NAME}.service"] = app.systemd.up()
        app.controller.start()
        await app.controller.ready()
        app.begin(1)
        await started.wait()
        app.systemd.units[f"{NAME}.service"] = app.systemd.down()
        app.systemd.changed(f"{NAME}.service")
        assert (await app.event("finished"))["result"] == "aborted"
        assert not app.pins.read(NAME)
        await app.close()

    asyncio.run(check())
