"""The choice of an app's backend by its installed units, and what an app on a shared socket reports."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from unittest.mock import create_autospec

import pytest

from deployd.model.app import App, Listen, ListenKind, Routing
from deployd.model.instance import Instance, State
from deployd.routing import Report, Router, Snapshot
from deployd.routing.backend import Backend
from deployd.routing.kernel import Kernel
from deployd.routing.shared import Shared
from deployd.routing.steered import Steered
from deployd.systemd.manager import Systemd
from deployd.units.deployment import Deployment
from tests.plan.worlds import app

OBSTACLE = "cannot create BPF maps, which needs CAP_BPF: Operation not permitted"
SETTINGS = replace(app(), routing=Routing.STEERED)


class Site:
    """A router and the installed units of its app, which may change."""

    def __init__(self, *, own_sockets: bool, obstacle: str = OBSTACLE) -> None:
        self.deployment = create_autospec(Deployment, instance=True)
        self.deployment.listening.return_value = ()
        self.own_sockets = own_sockets
        self.systemd = create_autospec(Systemd, instance=True)
        self.systemd.properties.return_value = {}
        kernel = Kernel(obstacle, store=lambda *_: None, unstore=lambda _: None)
        self.router = Router(
            "shop",
            self.systemd,
            kernel,
            self.deployment,
            emit=lambda *_: None,
            changed=lambda: None,
            reported=lambda: None,
        )

    def backend(self) -> Backend:
        return self.router.backend

    @property
    def own_sockets(self) -> bool:
        return bool(self.deployment.has_own_sockets.return_value)

    @own_sockets.setter
    def own_sockets(self, value: bool) -> None:
        self.deployment.has_own_sockets.return_value = value


def test_the_backend_follows_the_units_once_they_have_changed() -> None:
    site = Site(own_sockets=False)
    shared = site.backend()
    assert isinstance(shared, Shared)
    site.own_sockets = True
    assert site.backend() is shared, "units are being written"
    site.router.units_changed()
    steered = site.backend()
    assert isinstance(steered, Steered)
    site.router.units_changed()
    assert site.backend() is steered, "its timers and counters survive a change of other units"
    site.own_sockets = False
    site.router.units_changed()
    assert isinstance(site.backend(), Shared)


def test_a_backend_that_is_replaced_is_stopped() -> None:
    site = Site(own_sockets=True)
    stopped = []
    steered = site.router.backend
    steered.stop = lambda: stopped.append("steered")  # type: ignore[method-assign]
    site.own_sockets = False
    site.router.units_changed()
    site.router.stop()
    assert stopped == ["steered"]


def test_sockets_of_a_shared_app_are_not_touched() -> None:
    site = Site(own_sockets=False)
    backend = site.router.backend

    async def replaced() -> int | None:
        await backend.update(Snapshot((Instance(1, 1, State.READY),), app()))
        await backend.open(2)
        left = await backend.drain(1, app())
        backend.undrain(1)
        await backend.close(1)
        return left

    assert asyncio.run(replaced()) is None
    assert backend.connected([1, 2]) == {}
    assert backend.report() == Report()
    backend.stop()
    assert site.systemd.mock_calls == []


@pytest.mark.parametrize(
    ("settings", "obstacle", "why"),
    [
        (SETTINGS, OBSTACLE, OBSTACLE),
        (SETTINGS, "", "deployd could not steer when the app was deployed; the next rollout changes that"),
        (
            replace(SETTINGS, listen=(Listen(ListenKind.UNIX, "/run/shop.sock"),)),
            "",
            "deployd could not steer when the app was deployed; the next rollout changes that",
        ),
        (replace(app(), routing_reason="501 instances"), "", "501 instances"),
    ],
)
def test_a_shared_app_that_should_be_steered_reports_why_it_is_not(settings: App, obstacle: str, why: str) -> None:
    backend = Site(own_sockets=False, obstacle=obstacle).router.backend
    asyncio.run(backend.update(Snapshot((), settings)))
    assert backend.report() == Report(steering="none", reason=why)


def test_a_steered_app_reports_no_weights_where_the_kernel_cannot_steer() -> None:
    backend = Site(own_sockets=True).router.backend
    report = backend.report()
    assert report.reason == f"deployd cannot change which instances get new connections: {OBSTACLE}"
    assert (report.routing, report.steering) == (Routing.STEERED, "none")
    assert (report.weights, report.shares) == ({}, ())


def test_where_the_kernel_cannot_steer_any_instance_may_be_given_connections() -> None:
    """So none of them may stay frozen."""
    assert Site(own_sockets=True).router.backend.connected([1, 2]) == {1: None, 2: None}
