"""Trouble of one app does not affect the rollout of another. How long that takes is compared by `make attacks`."""

from __future__ import annotations

import pytest

from tests.attacks.isolation import TROUBLES, compare
from tests.host.stage import Stage


@pytest.mark.sampled
@pytest.mark.parametrize("names", [tuple(TROUBLES), *((name,) for name in TROUBLES)], ids="-".join)
def test_a_rollout_ends_before_the_trouble_of_others(stage: Stage, names: tuple[str, ...]) -> None:
    record = compare(stage, *names).record
    assert not record.failed, record.summary()
