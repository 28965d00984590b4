"""The [stop] table."""

from __future__ import annotations

import pytest

from deployd.model.app import App, StopSettings
from tests.config.app_text import parse, refusal


def test_a_quiet_period() -> None:
    stop = parse('[stop]\nquiet = "TSTP"\nquiet_for = "5min"\ntimeout = "1h"').stop
    assert stop == StopSettings(timeout=3600.0, quiet="SIGTSTP", quiet_for=300.0)
    assert stop.longest == 7500.0
    assert parse().stop.longest == 60.0
    assert parse('[stop]\nquiet = "SIGTSTP"').stop.quiet_for == 10.0


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ('quiet = "SIGSTOP"', "cannot be handled by a program"),
        ('quiet = "SIGTERM"', "is the signal that stops the instance"),
        ('quiet_for = "5s"', "quiet_for: needs quiet"),
    ],
)
def test_what_makes_no_sense_is_refused(more: str, expected: str) -> None:
    assert expected in refusal(f"[stop]\n{more}")


def test_settings_of_before_have_no_quiet_period() -> None:
    text = parse().to_json().replace('"quiet": "", "quiet_for": 10.0, ', "")
    assert '"quiet"' not in text
    assert App.from_json(text) == parse()
