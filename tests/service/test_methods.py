"""Options and arguments of the methods of org.deployd1."""

from __future__ import annotations

from typing import Any
from unittest.mock import ANY

import pytest

from deployd.model.fleet import FleetRequest
from deployd.model.generation import Cause
from deployd.service.introspection import APP
from tests.service.served import DEMO, ODD, Serve, Served


def test_arguments_are_passed_on(serve: Serve) -> None:
    async def test(served: Served) -> None:
        release = ("s", "/srv/demo/v2")
        await served.call(DEMO, APP, "Rollout", "a{sv}", {"release": release, "cause": ("s", "reload")})
        served.requests.rollout.assert_awaited_once_with(
            "demo", cause=Cause.RELOAD, agreed=None, release="/srv/demo/v2"
        )
        await served.call(ODD, APP, "Apply", "a{sv}", {"start": ("b", False)})
        served.requests.apply.assert_awaited_once_with("1st-app", agreed=None, start=False)
        await served.call(DEMO, APP, "Plan", "a{sv}", {"release": release})
        served.dry_run.plan.assert_called_once_with(ANY, "demo", release="/srv/demo/v2")
        await served.call(DEMO, APP, "Scale", "ua{sv}", 6, {})
        served.requests.scale.assert_awaited_once_with("demo", 6)
        await served.call(DEMO, APP, "Rollback", "ta{sv}", 3, {})
        served.requests.rollback.assert_awaited_once_with("demo", 3)

    serve(test)


def test_options_are_passed_on(serve: Serve) -> None:
    yes, two = ("b", True), ("u", 2)

    async def test(served: Served) -> None:
        await served.call(DEMO, APP, "Rollout", "a{sv}", {"canary": two, "supersede": yes})
        served.requests.rollout.assert_awaited_once_with(
            "demo", cause=Cause.ROLLOUT, agreed=None, canary=2, supersede=True
        )
        await served.call(DEMO, APP, "Rollout", "a{sv}", {"preview": yes})
        served.requests.rollout.assert_awaited_with("demo", cause=Cause.ROLLOUT, agreed=None, preview=True)
        await served.call(DEMO, APP, "ConnectPreview", "a{sv}", {"ipv4": ("u", 5)})
        served.previews.connect.assert_awaited_once_with(ANY, "demo", {"ipv4": 5})
        await served.call(DEMO, APP, "Apply", "a{sv}", {"canary": two, "supersede": yes})
        served.requests.apply.assert_awaited_once_with("demo", agreed=None, canary=2, supersede=True)
        await served.call(DEMO, APP, "Rollback", "ta{sv}", 3, {"supersede": yes, "past_irreversible": yes})
        served.requests.rollback.assert_awaited_once_with("demo", 3, supersede=True, past_irreversible=True)
        await served.call(DEMO, APP, "Restart", "a{sv}", {"supersede": yes})
        served.requests.restart.assert_awaited_once_with("demo", supersede=True)
        await served.call(DEMO, APP, "Scale", "ua{sv}", 6, {"supersede": yes})
        served.requests.scale.assert_awaited_once_with("demo", 6, supersede=True)
        await served.call(DEMO, APP, "Abort", "a{sv}", {"past_irreversible": yes})
        served.control.abort.assert_called_once_with("demo", past_irreversible=True)
        await served.call(DEMO, APP, "Plan", "a{sv}", {"canary": two})
        served.dry_run.plan.assert_called_once_with(ANY, "demo", canary=2)
        fleet = {"fleet": ("s", "v7"), "token": ("t", 2**40)}
        await served.call(DEMO, APP, "Rollback", "ta{sv}", 6, fleet)
        served.requests.rollback.assert_called_with("demo", 6, fleet=FleetRequest("v7", 2**40))
        await served.call(DEMO, APP, "Rollout", "a{sv}", fleet)
        served.requests.rollout.assert_awaited_with(
            "demo", cause=Cause.ROLLOUT, agreed=None, fleet=FleetRequest("v7", 2**40)
        )
        share = {"canary_share": ("d", 0.05)}
        await served.call(DEMO, APP, "Rollout", "a{sv}", share)
        served.requests.rollout.assert_awaited_with("demo", cause=Cause.ROLLOUT, agreed=None, canary_share=0.05)
        await served.call(DEMO, APP, "Apply", "a{sv}", share)
        served.requests.apply.assert_awaited_with("demo", agreed=None, canary_share=0.05)
        await served.call(DEMO, APP, "Plan", "a{sv}", share)
        served.dry_run.plan.assert_called_with(ANY, "demo", canary_share=0.05)
        await served.call(DEMO, APP, "SetWeight", "tda{sv}", 3, 0.25, {})
        served.weights.set.assert_called_once_with("demo", 3, 0.25)

    serve(test)


BEGIN = "canary, canary_share, cause, fleet, preview, release, supersede, token"
APPLY = "canary, canary_share, start, supersede"


@pytest.mark.parametrize(
    ("member", "options", "says"),
    [
        ("Rollout", {"relase": ("s", "/x")}, f'unknown option "relase"; known are {BEGIN}'),
        ("Rollout", {"release": ("u", 1)}, 'option "release" must be of type str'),
        ("Rollout", {"cause": ("s", "apply")}, 'cause "apply": allowed are rollout and reload'),
        ("Rollout", {"fleet": ("s", "v7")}, 'the options "fleet" and "token" must be given together'),
        (
            "Rollout",
            {"fleet": ("s", "v7"), "token": ("t", 2**63)},
            f"the token of a fleet rollout must be a number from 1 to {2**63 - 1}",
        ),
        ("Apply", {"release": ("s", "/x")}, f'unknown option "release"; known are {APPLY}'),
        ("Rollout", {"canary": ("b", True)}, 'option "canary" must be of type int'),
        ("Restart", {"canary": ("u", 1)}, 'unknown option "canary"; known are process, supersede'),
        ("Abort", {"past_irreversible": ("u", 1)}, 'option "past_irreversible" must be of type bool'),
        ("Apply", {"start": ("s", "no")}, 'option "start" must be of type bool'),
        ("Plan", {"start": ("b", True)}, 'unknown option "start"; known are canary, canary_share, preview, release'),
    ],
)
def test_unknown_options_are_refused(serve: Serve, member: str, options: dict[str, Any], says: str) -> None:
    async def test(served: Served) -> None:
        error = await served.refused(DEMO, APP, member, "a{sv}", options)
        assert (error.name, error.message) == ("org.deployd1.Error.InvalidRequest", says)
        served.require_unchanged()
        served.dry_run.plan.assert_not_called()

    serve(test)
