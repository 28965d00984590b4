"""The checks of the demonstration detect what a bad deployment tool would do, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from deployd_cli.text.paint import PLAIN
from deployd_cli.text.words import columns
from tests.demo import report
from tests.demo.evidence import Evidence, Run
from tests.demo.scenario import Step, first, steps
from tests.demo.settings import Settings, settings_of
from tests.demo.stage import active
from tests.demo.timeline import Change, Moment, Timeline
from tests.load.netstat import Listen
from tests.load.record import Kind, Mark, Outcome, Record, Request

TWO = Settings(instances=2)
GOOD, CRASH, *_ = steps(TWO)
OLD, NEW = {1: "a", 2: "b"}, {2: "d", 3: "c"}
SURGE = (
    Moment(0.1, 1, "a", Change.READY),
    Moment(0.2, 2, "b", Change.READY),
    Moment(3.0, 3, "c", Change.READY),
    Moment(3.1, 2, "b", Change.STOPPING),
    Moment(4.0, 2, "d", Change.READY),
    Moment(4.1, 1, "a", Change.STOPPING),
)
SUCCEEDED = {"result": "succeeded", "replaced": [2, 1]}
ROLLED_BACK = {"result": "rolled-back", "replaced": []}


def answer(at: float, version: str, outcome: Outcome = Outcome.OK) -> Request:
    return Request(at, at, at + 0.01, outcome, Kind.FRESH, 200, version=version)


def load(*requests: Request) -> Record:
    marks = [Mark("ready", 1.0), Mark("v1 → v2-start", 2.0), Mark("v1 → v2-end", 5.0)]
    steady = [answer(1 + tenth / 10, "v1") for tenth in range(10)]
    return Record.of([*steady, *requests], 1.0, 9.0, marks)


def good(status: int = 0, after: Mapping[int, str] = NEW) -> Run:
    return Run(GOOD, status, 2.0, 5.0, OLD, after)


def crash(status: int = 1, after: Mapping[int, str] = NEW) -> Run:
    return Run(CRASH, status, 6.0, 7.0, NEW, after)


WELL = Evidence(
    TWO,
    (good(), crash()),
    load(answer(3.0, "v1"), answer(5.5, "v2"), answer(6.5, "v2"), answer(8.0, "v2")),
    Timeline(SURGE),
    [SUCCEEDED, ROLLED_BACK],
    (Listen(0, 0), Listen(0, 0)),
)


def failures(**changed: Any) -> list[str]:
    return [check.text for check in replace(WELL, **changed).checks() if not check.holds]


def test_a_good_run_passes_all_checks() -> None:
    assert failures() == []
    assert WELL.holds
    assert report.as_json(WELL)["ok"] is True


def test_a_failed_request_is_reported_with_its_outcome() -> None:
    record = load(answer(3.0, "v1", Outcome.RESET), answer(5.5, "v2"))
    assert failures(record=record) == ["1 of 12 requests failed: 1 reset"]
    assert report.as_json(replace(WELL, record=record))["failed"] == 1


def test_a_run_without_load_fails() -> None:
    assert failures(record=Record.of([], 1.0, 9.0, load().marks)) == ["no request was made"]


def test_an_old_instance_that_stops_too_early_is_detected() -> None:
    early = replace(SURGE[3], at=2.9)
    moments = sorted([*SURGE[:3], early, *SURGE[4:]], key=lambda moment: moment.at)
    assert failures(timeline=Timeline(tuple(moments))) == ["capacity fell to 1 of 2 ready (v1 → v2)"]
    in_place = replace(TWO, in_place=True)
    assert failures(timeline=Timeline(tuple(moments)), settings=in_place) == []


def test_an_incomplete_journal_fails_the_check_of_capacity() -> None:
    [failure] = failures(timeline=Timeline(SURGE[:-1]))[:1]
    assert "disagree" in failure


def test_an_order_other_than_in_the_history_is_reported() -> None:
    [failure] = failures(history=[{**SUCCEEDED, "replaced": [1, 2]}, ROLLED_BACK])
    assert failure == "v1 → v2: systemd stopped [2, 1], deployd's history has [1, 2]"


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ((good(status=1), crash()), "exit status 1 instead of 0"),
        ((good(), crash(status=0)), "exit status 0 instead of 1"),
        ((good(), crash(after={2: "d", 3: "x"})), "only 1 of 2 instances untouched"),
        ((good(after={2: "b", 3: "c"}), crash()), "1 of 2 instances not replaced"),
        ((good(after={2: "d"}), crash()), "1 instances active afterwards"),
    ],
)
def test_each_difference_is_reported(runs: tuple[Run, ...], said: str) -> None:
    assert any(said in failure for failure in failures(runs=runs))


def test_a_bad_release_must_be_rolled_back_and_serve_no_request() -> None:
    assert any("has the result failed" in text for text in failures(history=[SUCCEEDED, {"result": "failed"}]))
    assert any("has the result unknown" in text for text in failures(history=[SUCCEEDED]))
    answered = failures(record=load(answer(5.5, "v2"), answer(6.5, "v3")))
    assert answered == ["v3, crashes: v3 answered 1 requests"]


def test_an_old_release_that_still_serves_is_reported() -> None:
    assert failures(record=load(answer(5.5, "v1"))) == ["v1 → v2: v1 answered after it"]


# ---- the tables


def test_the_tables_fit_eighty_columns() -> None:
    run = replace(good(), start=0.0)
    many = replace(WELL, settings=replace(TWO, instances=64), runs=(run, *(replace(crash(), step=s) for s in ALL[1:])))
    for lines in (report.load_table(many, 80, PLAIN), report.step_table(many, 80, PLAIN)):
        assert max(map(columns, lines)) <= 80
    table = "\n".join([*report.load_table(WELL, 80, PLAIN), *report.step_table(WELL, 80, PLAIN)])
    assert "…" not in table
    assert "steady state" in table
    assert "2 1" in table
    assert "rolled-back" in table


def test_slow_responses_are_noted() -> None:
    slow = [Request(3.0, 3.0, 3.5, Outcome.OK, Kind.FRESH, 200, version="v1")]
    assert any("50 times as long" in note for note in report.notes(replace(WELL, record=load(*slow))))
    assert len(report.notes(WELL)) == 1


# ---- settings

ALL: tuple[Step, ...] = steps(Settings())


def test_bad_releases_must_fail_and_others_must_not() -> None:
    assert first(Settings()).status == 0
    assert [(step.version, step.status, step.serves) for step in ALL] == [
        ("v2", 0, "v2"),
        ("v3", 1, "v2"),
        ("v4", 1, "v2"),
        ("v1", 0, "v1"),
    ]


def test_capacity_may_fall_by_one_only_without_surge() -> None:
    assert settings_of([]).floor == 4
    assert settings_of(["--instances", "8", "--surge"]).floor == 8
    assert settings_of(["--in-place"]).floor == 3


@pytest.mark.parametrize(
    "argv",
    [
        ["--rate", "0"],
        ["--rate", "nan"],
        ["--steady", "inf"],
        ["--instances", "1.5"],
        ["--instances", "1", "--in-place"],
        ["--surge", "--in-place"],
        ["--boot", "5"],
        ["demo"],
    ],
)
def test_invalid_options_are_a_usage_error(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        settings_of(argv)
    assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_active_instances_are_read_from_systemctl_show() -> None:
    shown = (
        "Id=demo@10.service\nActiveState=active\nInvocationID=aa\n\n"
        "ActiveState=failed\nId=demo@1.service\nInvocationID=bb\n\n"
        "InvocationID=cc\nId=demo@2.service\nActiveState=active\n"
    )
    assert active(shown) == {2: "cc", 10: "aa"}
    assert active("") == {}
