"""Apps without `listen`: what they cannot have, and what proves that an instance of one is ready."""

from __future__ import annotations

import pytest

from deployd.model.app import App, Routing
from deployd.model.gate import GateType
from tests.config.app_text import parse, refusal


def test_listen_may_be_left_out() -> None:
    app = parse(listen="")
    assert (app.listen, app.routing, app.routing_reason, app.steered) == ((), Routing.NONE, "", False)
    assert App.from_json(app.to_json()) == app
    assert parse(listen="", instances="501").instances == 501, "the kernel's tables are no limit"
    assert "at least one address" in refusal(listen="[]")


def test_the_routing_of_such_an_app_is_no_value_for_files() -> None:
    assert refusal(routing='"none"').startswith(':4: routing: must be one of "shared", "steered", not "none"')


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ('routing = "shared"', "routing"),
        ('routing = "steered"', "routing"),
        ('warm_up = "1s"', "warm_up"),
        ('mode = "port"', "mode"),
        ('[drain]\nclose_after = "1s"', "drain"),
        ("[socket]\nBacklog = 5", "socket"),
        ("[gate]\nwatchdog = 5", "gate.watchdog"),
        ('[gate]\nprobe = { http = "/" }', "gate.probe.http"),
        ('[rollout]\nstandby = "15min"', "rollout.standby"),
        ('[rollout]\nstandby_memory = "1G"', "rollout.standby_memory"),
    ],
)
def test_what_needs_an_address_is_refused(more: str, key: str) -> None:
    sentence = refusal(more, listen="")
    assert f" {key}: " in sentence
    assert "the app has no listen; " in sentence


def test_without_an_address_min_ready_is_proof_enough_of_a_program_that_cannot_notify() -> None:
    gate = parse('[gate]\ntype = "exec"\nmin_ready = "5s"', listen="").gate
    assert (gate.type, gate.min_ready, gate.probe) == (GateType.EXEC, 5.0, None)
    assert parse('[gate]\ntype = "exec"\nprobe = { command = ["bin/check"] }', listen="").gate.probe is not None
    assert "needs min_ready" in refusal('[gate]\ntype = "exec"', listen="")
    assert "needs a probe" in refusal('[gate]\ntype = "exec"\nmin_ready = "5s"')
