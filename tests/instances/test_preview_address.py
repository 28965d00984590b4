"""The units of a preview's address: who may connect, and that nothing of an app file is unit syntax."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from unittest.mock import AsyncMock, create_autospec

import pytest

from deployd.errors import SystemdError
from deployd.instances.preview_address import PreviewAddress, service_properties, socket_properties
from deployd.model.pace import Pace
from deployd.systemd.manager import Systemd
from tests.plan.worlds import app

SOCKET, SERVICE = "shop:preview.socket", "shop:preview.service"
COMMAND = "/usr/bin/deployd"


def test_the_user_of_the_app_and_a_group_may_connect() -> None:
    alone = socket_properties(replace(app(), user="www-data"), "/run/shop.sock")
    assert (alone["SocketUser"], alone["SocketGroup"], alone["SocketMode"]) == (
        ("s", "www-data"),
        ("s", "root"),
        ("u", 0o600),
    )
    both = socket_properties(replace(app(), user="www-data", pace=Pace(preview_group="staff")), "/run/shop.sock")
    assert (both["SocketUser"], both["SocketGroup"], both["SocketMode"]) == (
        ("s", "www-data"),
        ("s", "staff"),
        ("u", 0o660),
    )
    assert socket_properties(app(), "/run/shop.sock")["SocketUser"] == ("s", "root")
    assert service_properties(replace(app(), user="www-data"), COMMAND)["User"] == ("s", "www-data")


class Site:
    """The address of an app, with a systemd that says `done` to each job."""

    def __init__(self, directory: Path) -> None:
        self.runtime = directory
        self.path = directory / "preview/shop.sock"
        self.path.parent.mkdir()
        self.systemd = create_autospec(Systemd, instance=True)
        self.state = "inactive"
        self.systemd.watch = AsyncMock(side_effect=lambda _: {"ActiveState": self.state})
        self.systemd.start_transient.side_effect = self._start
        self.systemd.stop.side_effect = self._done
        self.result = "done"
        self.address = self.again()

    def again(self) -> PreviewAddress:
        """Return the address as another daemon has it."""
        return PreviewAddress("shop", self.systemd, COMMAND, self.runtime)

    def _done(self, _: str) -> asyncio.Future[str]:
        job: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        job.set_result(self.result)
        return job

    def _start(self, unit: str, *_: object, **__: object) -> asyncio.Future[str]:
        self.state = "active"
        return self._done(unit)

    def stopped(self) -> list[str]:
        return [call.args[0] for call in self.systemd.stop.call_args_list]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_it_is_opened_once_and_closed_once(site: Site) -> None:
    async def test() -> None:
        for _ in range(3):
            await site.address.update(app())
        site.systemd.start_transient.assert_called_once()
        assert site.systemd.start_transient.call_args.args[0] == SOCKET
        assert set(site.systemd.start_transient.call_args.kwargs["others"]) == {SERVICE}
        site.path.touch()
        for _ in range(3):
            await site.address.update(None)
        assert site.stopped() == [SOCKET, SERVICE]

    asyncio.run(test())


def test_what_an_earlier_daemon_opened_is_used_or_closed(site: Site) -> None:
    async def test() -> None:
        site.state = "active"
        await site.address.update(app())
        site.systemd.start_transient.assert_not_called()
        site.path.touch()
        await site.again().update(None)
        assert site.stopped() == [SOCKET, SERVICE]

    asyncio.run(test())


def test_without_a_preview_systemd_is_not_asked(site: Site) -> None:
    asyncio.run(site.address.update(None))
    assert site.systemd.mock_calls == []


def test_an_address_that_cannot_be_opened_is_an_error(site: Site) -> None:
    site.result = "failed"
    with pytest.raises(SystemdError, match=r"cannot listen at .*shop\.sock"):
        asyncio.run(site.address.update(app()))
