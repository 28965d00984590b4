"""The control loop survives every exception of a step."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from deployd.rollout import control_loop
from deployd.rollout.control_loop import ControlLoop


@pytest.mark.parametrize("error", [RuntimeError, KeyError, asyncio.CancelledError])
def test_a_failed_step_is_retried(error: Callable[[], BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_loop, "RETRY", 0.001)

    failures: list[Exception] = []

    async def test() -> None:
        steps: asyncio.Queue[int] = asyncio.Queue()

        async def step() -> None:
            steps.put_nowait(1)
            if count < 3:
                raise error()

        made = ControlLoop()
        made.start(step, failures.append)
        async with asyncio.timeout(30):
            for count in range(5):
                await steps.get()
                if count >= 3:
                    made.wake()
            await made.stop()

    asyncio.run(test())


def test_stop_cancels_a_step() -> None:
    failures: list[Exception] = []

    async def test() -> None:
        begun = asyncio.Event()

        async def step() -> None:
            begun.set()
            await asyncio.Event().wait()

        made = ControlLoop()
        made.start(step, failures.append)
        await begun.wait()
        async with asyncio.timeout(30):
            await made.stop()

    asyncio.run(test())
