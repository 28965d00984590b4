"""Signals of systemd that do not reach the daemon: it notices the end of jobs by checks, long before a deadline."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.attacks.bus import policy
from tests.host.stage import Begun, Stage

DEAF = """<policy user="root"><deny receive_sender="org.freedesktop.systemd1" receive_type="signal"/></policy>"""
NOTICED = "was lost"


@contextlib.contextmanager
def deaf_from_the_first_start_on(stage: Stage, release: str) -> Iterator[Begun]:
    """A rollout that loses all signals of systemd after it has begun to start an instance."""
    with stage.begin("rollout", "--release", release) as begun:
        begun.until("instance", state="starting")
        with policy(stage, DEAF):
            yield begun


def losses(stage: Stage) -> int:
    return sum(NOTICED in line for line in stage.journal.of_deployd())


@pytest.mark.thorough
def test_a_rollout_succeeds_without_signals(stage: Stage) -> None:
    stage.deploy("v1", instances=2)
    before = losses(stage)
    with deaf_from_the_first_start_on(stage, stage.release("v2", boot=1.0)) as begun:
        ended = begun.end()
    assert (ended.status, ended.result) == (0, "succeeded"), ended
    assert {ran.generation for ran in stage.invocations().values()} == {2}
    assert losses(stage) - before >= 2, "starts and stops, and their ends were not signalled"


def test_a_bad_release_is_rolled_back_without_signals(stage: Stage) -> None:
    stage.deploy("v1", instances=2, gate={"timeout": "2s"})
    before, was = losses(stage), stage.invocations()
    with deaf_from_the_first_start_on(stage, stage.release("bad", "hang")) as begun:
        ended = begun.end()
    assert (ended.status, ended.result) == (1, "rolled-back"), ended
    assert stage.invocations() == was
    assert losses(stage) > before
