"""Actions on instances that replace others which are still under way."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import AsyncMock, create_autospec

from deployd.instances.actuator import Actuator
from deployd.instances.drain_notice import DrainNotices
from deployd.instances.freezer import Freezer
from deployd.instances.occupied_units import OccupiedUnits
from deployd.instances.quiet_periods import QuietPeriods
from deployd.model.action import Start, Stop
from deployd.state.pins import Pins
from deployd.systemd.manager import Systemd
from tests.state.four_rollouts import SETTINGS


def test_a_start_whose_socket_is_being_opened_is_not_requested_after_the_stop_that_replaces_it() -> None:
    async def check() -> None:
        systemd = create_autospec(Systemd, instance=True)
        systemd.watch.return_value = systemd.properties.return_value = {"ActiveState": "inactive"}
        systemd.stop.return_value = asyncio.get_running_loop().create_future()
        systemd.stop.return_value.set_result("done")
        router, opening, opened, ended = AsyncMock(), asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def open_socket(_number: int) -> None:
            opening.set()
            await opened.wait()

        router.backend.open = open_socket
        router.backend.close.side_effect = lambda _number: ended.set()
        pins, freezer, unused = create_autospec(Pins, instance=True), create_autospec(Freezer, instance=True), Any
        notices = create_autospec(DrainNotices, instance=True)
        notices.drain.return_value = None
        quiet = create_autospec(QuietPeriods, instance=True)
        quiet.settings.return_value = None
        actuator = Actuator(
            "demo",
            systemd,
            pins,
            router,
            freezer,
            unused,  # type: ignore[arg-type]
            notices,
            create_autospec(OccupiedUnits, instance=True),
            quiet,
            changed=lambda: None,
            stopped=lambda *_: None,
            failed=lambda _error: None,
        )
        actuator.act(Start(1, 7), SETTINGS)
        await opening.wait()
        actuator.act(Stop(1, 7), SETTINGS)
        await ended.wait()
        opened.set()
        await asyncio.sleep(0)
        await actuator.stop()
        systemd.stop.assert_awaited_once_with("demo@1.service")
        systemd.start.assert_not_called()

    asyncio.run(check())
