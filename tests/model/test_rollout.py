"""How long a rollout took, whatever the clocks do."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.model.clock import Timestamp
from deployd.model.rollout import Rollout

BEGUN = Rollout("demo", 7, 8, started=1000.0, since=50.0, began=50.0, boot="a")

seconds = st.floats(0, 1e6)


@given(monotonic=st.floats(50.0, 1e6), wall=seconds)
def test_within_a_boot_the_duration_does_not_follow_the_wall_clock(monotonic: float, wall: float) -> None:
    now = Timestamp(monotonic, wall, "a")
    assert BEGUN.lasted(now) == monotonic - 50.0
    assert BEGUN.progressed(now).lasted(now) == pytest.approx(monotonic - 50.0)


def test_across_a_reboot_the_wall_clock_is_all_there_is() -> None:
    assert BEGUN.lasted(Timestamp(2.0, 1090.0, "b")) == 90.0


@given(monotonic=seconds, wall=seconds, later=seconds, step=st.floats(-1e6, 1e6))
def test_after_a_reboot_it_grows_with_the_monotonic_clock(
    monotonic: float, wall: float, later: float, step: float
) -> None:
    up = Timestamp(monotonic, wall, "b")
    before = BEGUN.lasted(up)
    assert before >= 0.0
    continued = BEGUN.progressed(up)
    assert (continued.since, continued.boot) == (monotonic, "b")
    set_by_ntp = Timestamp(monotonic + later, wall + later + step, "b")
    assert continued.lasted(set_by_ntp) == pytest.approx(before + later, abs=1e-6)


@given(now=st.builds(Timestamp, seconds, seconds, st.sampled_from("ab")), began=seconds)
def test_it_is_never_negative(now: Timestamp, began: float) -> None:
    assert replace(BEGUN, began=began).lasted(now) >= 0.0
