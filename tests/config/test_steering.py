"""routing = "steered", and the keys that need it or do not work with it."""

from __future__ import annotations

import pytest

from deployd.model.app import Drain, Routing
from deployd.model.pace import Memory
from tests.config.app_text import parse, refusal

STEERED = 'routing = "steered"\n'


def test_keys_of_steering() -> None:
    app = parse(
        STEERED + 'spill_over = 0\nwarm_up = "10s"\n[drain]\nclose_after = "1min"\n'
        '[rollout]\nstandby = "15min"\nstandby_memory = "512M"',
        listen='[80, "/run/web.sock"]',
        instances="500",
    )
    assert (app.routing, app.steered) == (Routing.STEERED, True)
    assert (app.spill_over, app.warm_up, app.drain) == (0, 10.0, Drain(60.0))
    assert (app.pace.standby, app.pace.standby_memory) == (900.0, Memory(512 << 20))
    default = parse(STEERED)
    assert (default.spill_over, default.warm_up, default.drain, default.pace.standby) == (16, 0, Drain(0), 0)
    assert (parse().routing, parse().steered) == (Routing.SHARED, False)


@pytest.mark.parametrize(
    ("top", "more", "expected"),
    [
        ({"instances": "501"}, "", ':4: instances: must be from 1 to 500 with routing = "steered", not 501'),
        ({}, "[socket]\nReusePort = true", ":6: [socket] ReusePort: is set by deployd: with routing ="),
        ({}, "[socket]\nReusePort = false", ":6: [socket] ReusePort: is set by deployd: with routing ="),
    ],
)
def test_settings_that_do_not_work_with_steering_are_refused(top: dict[str, str], more: str, expected: str) -> None:
    assert expected in refusal(STEERED + more, **top)
    parse(more, **top)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("spill_over = 16", ':4: spill_over: needs routing = "steered"'),
        ("warm_up = 0", ':4: warm_up: needs routing = "steered"'),
        ("[drain]\nclose_after = 0", ':4: drain: needs routing = "steered"'),
        ("[rollout]\nstandby = 60", ':5: rollout.standby: needs routing = "steered": with a shared socket connections'),
        ("[rollout]\nstandby_memory = 0", ':5: rollout.standby_memory: needs routing = "steered"'),
    ],
)
def test_keys_that_need_steering_are_refused_without_it(more: str, expected: str) -> None:
    assert refusal(more).startswith(expected)
    parse(STEERED + more)
