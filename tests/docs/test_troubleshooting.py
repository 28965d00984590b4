"""docs/troubleshooting.md explains each gate, pause, error and MESSAGE_ID."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployd import errors
from deployd.model.failure import GateName
from deployd.model.rollout import Pause
from deployd.systemd.journal import MESSAGE_IDS

PAGE = (Path(__file__).resolve().parents[2] / "docs/troubleshooting.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("gate", GateName)
def test_it_explains_every_gate(gate: GateName) -> None:
    assert f"\n- **{gate}**: " in PAGE


@pytest.mark.parametrize("pause", [pause for pause in Pause if pause is not Pause.NONE])
def test_it_explains_every_pause(pause: Pause) -> None:
    assert f"\n- **{pause}**: " in PAGE


@pytest.mark.parametrize("error", errors.ALL)
def test_it_has_every_error_with_its_exit_status(error: type[errors.DeploydError]) -> None:
    assert f"\n| {error.name} | {error.exit_status} | " in PAGE


@pytest.mark.parametrize("message_id", MESSAGE_IDS.values())
def test_it_has_every_message(message_id: str) -> None:
    assert f"\n| {message_id} | " in PAGE
