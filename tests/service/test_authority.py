"""In user mode, the user as which deployd runs may do everything, and other users nothing."""

from __future__ import annotations

import asyncio
from unittest.mock import create_autospec

import pytest

from deployd.apps import caller
from deployd.apps.app_files import AppFiles
from deployd.apps.caller import Caller
from deployd.apps.rollback_goal import RollbackGoal
from deployd.errors import AccessDenied
from deployd.rollout.generations import Generations
from deployd.service.actions import Action
from deployd.service.authority import NoConsent
from deployd.service.consent import Consent

OWN, OTHER = 1000, 1001


@pytest.fixture
def consent(monkeypatch: pytest.MonkeyPatch) -> Consent:
    monkeypatch.setattr(caller, "TRUSTED", frozenset({0, OWN}))
    parts = (create_autospec(part, instance=True) for part in (AppFiles, Generations, RollbackGoal))
    return Consent(NoConsent(), *parts)


@pytest.mark.parametrize("uid", [0, OWN])
def test_the_user_and_root_need_no_consent(consent: Consent, uid: int) -> None:
    assert asyncio.run(consent.obtain(Caller(":1.2", uid), Action.REMOVE, "Remove", "demo", [])) is None
    assert asyncio.run(consent.reads_logs(Caller(":1.2", uid), "demo"))


def test_other_users_change_nothing_and_see_no_lines(consent: Consent) -> None:
    other = Caller(":1.2", OTHER)
    with pytest.raises(AccessDenied, match="not allowed: remove needs the user as which this deployd runs, or root"):
        asyncio.run(consent.obtain(other, Action.REMOVE, "Remove", "demo", []))
    assert not asyncio.run(NoConsent().allows(other, Action.READ_LOGS, {"app": "demo", "verb": "logs", "release": ""}))
