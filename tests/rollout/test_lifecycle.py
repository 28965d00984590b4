"""The life of a rollout while requests arrive at any time, and while the history cannot be read."""

from __future__ import annotations

import asyncio
from unittest.mock import AsyncMock, create_autospec

import pytest

from deployd.errors import StateError
from deployd.instances.actuator import Actuator
from deployd.instances.observer import Observer
from deployd.model.failure import Failure, GateName
from deployd.model.rollout import Rollout
from deployd.rollout.active import ActiveRollout
from deployd.rollout.analysis import Analysis
from deployd.rollout.cleanup import Cleanup
from deployd.rollout.events import Events
from deployd.rollout.lifecycle import Lifecycle
from deployd.rollout.recorder import Recorder
from deployd.state.history import History
from tests.state.four_rollouts import generation

FAILURE = Failure(GateName.NOTIFY, "exited with status 3", instance=1)


class Parts:
    """A lifecycle whose parts only record their calls."""

    def __init__(self) -> None:
        self.active = ActiveRollout(Rollout("demo", 7, 8), generation(8))
        self.recorder = create_autospec(Recorder, instance=True)
        self.observer = create_autospec(Observer, instance=True)
        self.cleanup = create_autospec(Cleanup, instance=True)
        actuator, analysis = create_autospec(Actuator, instance=True), create_autospec(Analysis, instance=True)
        self.lifecycle = Lifecycle(self.recorder, self.observer, actuator, analysis, self.cleanup, moved=lambda: None)

    def supersede(self) -> None:
        self.active.end()


@pytest.mark.parametrize("superseded", [False, True])
def test_an_app_that_was_stopped_does_not_abort_a_superseded_rollout(superseded: bool) -> None:
    parts = Parts()

    async def restore_origin(_active: ActiveRollout, _is_stopped: object) -> bool:
        if superseded:
            parts.supersede()
        return True

    parts.cleanup.restore_origin = restore_origin
    assert asyncio.run(parts.lifecycle.app_stopped(parts.active, AsyncMock())) is not superseded
    assert parts.recorder.finish.called is not superseded


def test_a_failure_does_not_end_a_rollout_that_was_superseded_while_the_journal_was_read() -> None:
    parts = Parts()

    async def with_journal(failure: Failure) -> Failure:
        parts.supersede()
        return failure

    parts.observer.with_journal = with_journal
    asyncio.run(parts.lifecycle.fail(parts.active, FAILURE))
    parts.recorder.fail.assert_not_called()
    parts.recorder.finish.assert_not_called()


def test_a_history_that_cannot_be_read_leaves_the_active_rollout() -> None:
    history = create_autospec(History, instance=True)
    history.rollout.side_effect = StateError("the disk does not answer")
    recorder = Recorder("demo", history, create_autospec(Events, instance=True))
    recorder.active = active = Parts().active
    with pytest.raises(StateError):
        recorder.take_up()
    assert recorder.active is active
    assert not active.over
