"""Celery, rq and Sidekiq under deployd: no job is lost or run twice in rollouts, and bad releases do no harm."""

from __future__ import annotations

import pytest

from tests.host.stage import Stage
from tests.queues.catalog import CELERY, RQ, SIDEKIQ, Queue
from tests.queues.proof import Proof


@pytest.mark.sampled
@pytest.mark.parametrize("queue", [CELERY, RQ, SIDEKIQ], ids=lambda queue: queue.name)
def test_no_job_is_lost_or_run_twice(own_stage: Stage, queue: Queue) -> None:
    proof = Proof(own_stage, queue)
    proof.prepare()
    found = proof.rollouts(2)
    assert (found.lost, found.twice, found.again) == ((), (), ()), found
    assert len(found.generations) == 3
    found = proof.bad("crash")
    assert (found.lost, found.twice, found.again) == ((), (), ()), found
