"""[rollout]: pace, pauses, hooks and analysis."""

from __future__ import annotations

import dataclasses
import json

import pytest

from deployd.model.pace import Amount, AnalysisSettings, HookKind, HookSettings, Pace
from tests.config.app_text import parse, refusal

STEERED = 'routing = "steered"\n'


def test_an_analysis_is_a_command() -> None:
    assert parse('[rollout.analysis]\ncommand = ["bin/is-well"]').pace.analysis == AnalysisSettings(
        ("bin/is-well",), 10, 30
    )
    more = 'command = ["x", "y"]\ninterval = "1s"\ntimeout = 2'
    assert parse(STEERED + f"[rollout.analysis]\n{more}").pace.analysis == AnalysisSettings(("x", "y"), 1, 2)
    assert refusal("[rollout.analysis]\ninterval = 1").startswith(
        ': rollout.analysis.command: missing; add command = ["'
    )


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("[rollout]\nmax_surge = -1", ":5: rollout.max_surge: must be from 0 to 1000, not -1; write a count such as 1"),
        ("[rollout]\nmax_surge = 1.5", ":5: rollout.max_surge: must be a count or a percentage, not a float; write"),
        ('[rollout]\nmax_unavailable = "101%"', ':5: rollout.max_unavailable: must be from "0%" to "100%", not "101%"'),
        ('[rollout]\nmax_unavailable = "1"', ':5: rollout.max_unavailable: must be from "0%" to "100%", not "1"'),
        ('[rollout]\norder = "random"', ':5: rollout.order: must be one of "newest-old-first", "oldest-first", not'),
        ('[rollout]\non_failure = "x"', ':5: rollout.on_failure: must be one of "rollback", "pause", not "x"'),
        ('[rollout]\ndeadline = "0s"', ":5: rollout.deadline: must be from 1 to 604800 seconds, not 0s"),
        ("[rollout]\npause_after = 1", ":5: rollout.pause_after: must be an array, not an integer; write it as [1,"),
        ('[rollout]\npause_after = ["1"]', ':5: rollout.pause_after: must be from "0%" to "100%", not "1"; write a'),
        ("[rollout]\npause_after = [-1]", ":5: rollout.pause_after: must be from 0 to 1000, not -1; write a count"),
        ("[rollout]\npause_after = [2, 0]", ":5: rollout.pause_after: a pause after 0 would precede the first"),
        ('[rollout]\npause_after = ["0%"]', ":5: rollout.pause_after: a pause after 0% would precede the first"),
        ("[rollout]\npause_after = [2, 2]", ":5: rollout.pause_after: 2 is listed twice; remove one of them"),
        ('[rollout]\nirreversible = "yes"', ":5: rollout.irreversible: must be a boolean, not a string; write true or"),
        ("[rollout]\nirreversible = 1", ":5: rollout.irreversible: must be a boolean, not an integer; write true or"),
        ("[rollout]\nhooks = []", ":5: rollout.hooks: must be a table, not an array; write it as [rollout.hooks]"),
        (
            '[rollout.hooks]\nbefore = ["./bin/migrate"]',
            ":5: rollout.hooks.before: must be an array of commands, each an array itself, not of a string; write [[",
        ),
        ('[rollout.hooks]\nbefore = "x"', ":5: rollout.hooks.before: must be an array, not a string; write it as [["),
        ("[rollout.hooks]\nafter = [[]]", ":5: rollout.hooks.after: must name a program; write it as "),
        ('[rollout.hooks]\nafter = [["x"], "y"]', ":5: rollout.hooks.after: must be an array, not a string; write"),
        ('[rollout.hooks]\nafter = [["../x"]]', ':5: rollout.hooks.after: must not leave the release with ".."'),
        ("[rollout.hooks]\ntimeout = 0", ":5: rollout.hooks.timeout: must be from 0.1 to 86400 seconds, not 0"),
    ],
)
def test_refusals(more: str, expected: str) -> None:
    assert expected in refusal(more)


@pytest.mark.parametrize(
    ("written", "pauses"),
    [("[]", ()), ("[1]", (Amount(1),)), ('[1, "50%", "100%"]', (Amount(1), Amount(50, True), Amount(100, True)))],
)
def test_pauses(written: str, pauses: tuple[Amount, ...]) -> None:
    assert parse(f"[rollout]\npause_after = {written}").pace.pause_after == pauses


def test_hooks_and_their_timeout() -> None:
    assert parse("[rollout.hooks]").pace == parse("[rollout]\nirreversible = false").pace == Pace()
    hooks = parse('[rollout.hooks]\nafter = [["bin/x", ""]]\ntimeout = "1h"').pace.hooks
    assert hooks == HookSettings(after=(("bin/x", ""),), timeout=3600.0)


@pytest.mark.parametrize("kind", HookKind)
def test_each_kind_of_hook_is_read_and_kept(kind: HookKind) -> None:
    pace = parse(f'[rollout.hooks]\n{kind} = [["bin/x", "{kind}"]]').pace
    assert [pace.hooks.of(other) for other in HookKind if other is not kind] == [()] * (len(HookKind) - 1)
    assert pace.hooks.of(kind) == (("bin/x", str(kind)),)
    assert Pace.from_dict(json.loads(json.dumps(dataclasses.asdict(pace)))) == pace


@pytest.mark.parametrize(
    ("written", "amount"), [("0", Amount(0)), ("3", Amount(3)), ('"25%"', Amount(25, percent=True))]
)
def test_amounts(written: str, amount: Amount) -> None:
    assert parse(f"[rollout]\nmax_surge = {written}").pace.max_surge == amount


@pytest.mark.parametrize(
    ("written", "amount"),
    [
        ("", Amount(100, percent=True)),
        ("max_surge = 3", Amount(100, percent=True)),
        ("max_surge = 0", Amount(0)),
        ('max_surge = "0%"', Amount(0, percent=True)),
        ("max_surge = 0\nrollback_surge = 2", Amount(2)),
        ('rollback_surge = "50%"', Amount(50, percent=True)),
    ],
)
def test_a_rollback_surges_by_all_instances_unless_there_is_no_room_for_any(written: str, amount: Amount) -> None:
    assert parse(f"[rollout]\n{written}").pace.rollback_surge == amount
