"""What the server of an instance gets that is about to stop, and when it gets nothing."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import AsyncMock, Mock, call

import pytest

from deployd.errors import StateError, SystemdError
from deployd.instances.drain_notice import DrainNotices
from deployd.model.app import App, Drain
from deployd.model.instance import Instance, State
from deployd.routing.backend import Notice
from tests.plan.worlds import app

SIGNAL = Drain(9.0, "SIGUSR2")
COMMAND = Drain(9.0, command=("bin/leave",))
INSTANCE = Instance(3, 7, State.READY, main_pid=os.getpid(), invocation_id="ab")


class Site:
    def __init__(self, drain: Drain) -> None:
        self.systemd, self.history, self.transient, self.commands = AsyncMock(), Mock(), AsyncMock(), AsyncMock()
        self.history.generation.return_value = SimpleNamespace(settings=replace(app(), drain=drain), release="/srv/v1")
        self.transient.run.return_value = SimpleNamespace(succeeded=True)
        self.notices = DrainNotices("shop", self.systemd, self.history, self.transient, self.commands)

    def send(self, instance: Instance = INSTANCE) -> bool:
        """Send the notice of an instance; False if it gets none."""
        notice = self.notices.of(instance)
        if notice is not None:
            assert notice.close_after == 9.0
            asyncio.run(notice.send())  # type: ignore[arg-type]
        return notice is not None


@pytest.fixture
def handled() -> Iterator[None]:
    before = signal.signal(signal.SIGUSR2, lambda *_: None)
    yield
    signal.signal(signal.SIGUSR2, before)


@pytest.mark.usefixtures("handled")
def test_the_signal_of_its_own_generation_is_sent_once() -> None:
    site = Site(SIGNAL)
    assert site.send()
    site.history.generation.assert_called_once_with("shop", 7)
    site.systemd.signal_main.assert_awaited_once_with("shop@3.service", "SIGUSR2")
    assert not site.send(), "a stop may follow a freeze"
    assert site.send(replace(INSTANCE, invocation_id="cd"))
    site.notices.forget(3)
    assert site.send(), "it was thawed and has served again"


def test_a_signal_that_would_end_the_process_is_not_sent(caplog: pytest.LogCaptureFixture) -> None:
    site = Site(SIGNAL)
    assert site.send()
    site.systemd.signal_main.assert_not_awaited()
    assert "SIGUSR2 would end its main process, which does not handle it ([drain] signal)" in caplog.text


def test_the_command_runs_for_close_after_at_most() -> None:
    site = Site(COMMAND)
    assert site.send()
    (_, instance, argv, what), settings = site.commands.of_instance.await_args
    assert (instance, argv, what) == (INSTANCE, ("bin/leave",), "drain")
    assert settings == {"release": "/srv/v1", "timeout": 9.0}
    assert site.transient.run.await_args.args[0] == "shop:drain-3.service"


class Failed:
    succeeded = False

    def __str__(self) -> str:
        return "exited with status 1"


def test_a_command_that_fails_delays_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    site = Site(COMMAND)
    site.transient.run.return_value = Failed()
    assert site.send()
    site.transient.run.side_effect = SystemdError("systemd does not answer")
    site.notices.forget(3)
    assert site.send()
    assert [record.message.partition("leave: ")[2] for record in caplog.records] == [
        "bin/leave exited with status 1",
        "systemd does not answer",
    ]


@pytest.mark.parametrize(
    "instance", [replace(INSTANCE, generation=None), replace(INSTANCE, state=State.FAILED, generation=7)]
)
def test_an_instance_that_does_not_serve_gets_none(instance: Instance) -> None:
    assert not Site(SIGNAL).send(instance)


def test_without_a_setting_there_is_none() -> None:
    assert not Site(Drain(9.0)).send()
    site = Site(SIGNAL)
    site.history.generation.return_value = None
    assert not site.send()
    site.history.generation.side_effect = StateError("the disk is gone")
    assert not site.send()


@pytest.mark.usefixtures("handled")
@pytest.mark.parametrize(("waits", "expected"), [(True, 9.0), (False, 0.0)])
def test_a_notice_waits_for_the_clients_of_other_instances(waits: bool, expected: float) -> None:
    """And its clients get the time that its own generation says, unless the instance is to be frozen."""
    site, order, backend = Site(SIGNAL), Mock(), AsyncMock()
    order.attach_mock(backend, "backend")
    order.attach_mock(site.systemd, "systemd")

    async def drain(_number: int, settings: App, notice: Notice) -> int:
        assert settings.drain.close_after == expected
        await notice(7)
        return 3

    backend.drain.side_effect = drain
    assert asyncio.run(site.notices.drain(backend, INSTANCE, app(), waits=waits)) == 3
    paced, sent = order.mock_calls[-2:]
    assert (paced, sent) == (call.backend.pace(3, 7), call.systemd.signal_main("shop@3.service", "SIGUSR2"))


def test_without_a_notice_the_connections_get_the_time_of_the_new_generation() -> None:
    site, backend = Site(Drain()), AsyncMock()
    settings = replace(app(), drain=Drain(4.0))
    asyncio.run(site.notices.drain(backend, INSTANCE, settings, waits=True))
    backend.drain.assert_awaited_once_with(3, settings, None)
