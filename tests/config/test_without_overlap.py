"""overlap = false in app files."""

from __future__ import annotations

import pytest

from deployd.model.app import App
from deployd.model.pace import Amount
from tests.config.app_text import parse, refusal

ALONE = "overlap = false\n"


def test_overlap_is_the_default_and_can_be_forbidden() -> None:
    assert parse().overlap
    app = parse(ALONE + "[rollout]\nmax_surge = 0\nmax_unavailable = 2", listen="", instances="3")
    assert (app.overlap, app.pace.max_surge, app.pace.rollback_surge) == (False, Amount(0), Amount(0))
    assert app.pace.max_unavailable == Amount(2)
    assert App.from_json(app.to_json()) == app
    assert not parse(ALONE).overlap, "with listen, too"


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ("[rollout]\nmax_surge = 1", "max_surge"),
        ('[rollout]\nrollback_surge = "100%"', "rollback_surge"),
        ('[rollout]\nstandby = "5min"', "standby"),
        ('mode = "port"', "mode"),
    ],
)
def test_what_needs_an_instance_in_addition_is_refused(more: str, key: str) -> None:
    sentence = refusal(ALONE + more)
    assert f"{key}: must " in sentence
    assert "overlap = false" in sentence


def test_a_setting_of_before_has_overlap() -> None:
    text = parse().to_json().replace('"overlap": true, ', "")
    assert App.from_json(text) == parse()
