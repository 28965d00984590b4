"""The checks of the steered demonstration: share, lost requests, late bad responses, started processes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.demo.bus_monitor import moment
from tests.demo.settings import Settings, settings_of
from tests.demo.timeline import Change, Moment, Timeline
from tests.demo.verdict import Act, Canary, Verdict
from tests.load.record import Kind, Outcome, Record, Request

TWO = {1: "a", 2: "b"}


def answer(at: float, version: str, outcome: Outcome = Outcome.OK, pid: int = 0) -> Request:
    generation = int(version.removeprefix("v"))
    return Request(at, at, at + 0.005, outcome, Kind.FRESH, 200, generation, version, 1, pid or generation * 10)


def bad(at: float) -> Request:
    return answer(at, "v3", Outcome.HTTP_ERROR)


def act(command: str, start: float, status: int = 0) -> Act:
    return Act(command, status, start, start + 0.5, TWO, TWO)


CANARY_TIME = [answer(2 + number / 100, "v2" if number % 20 == 7 else "v1") for number in range(200)]
REQUESTS = [
    *(answer(1 + tenth / 10, "v1") for tenth in range(10)),
    *CANARY_TIME,
    answer(5.0, "v2"),
    bad(6.2),
    bad(7.29),
    answer(7.4, "v2"),
    answer(8.0, "v2"),
]
ACTS = (act("canary", 1.5), act("resume", 4.0), act("rollout v3", 6.0), act("rollback", 7.1))
WELL = Verdict(
    Settings(instances=2, connections=200),
    Record.of(REQUESTS, 1.0, 9.0),
    Timeline((Moment(0.5, 1, "a", Change.READY), Moment(6.1, 3, "c", Change.READY))),
    ACTS,
    Canary(2, 2.0, 5.0, 4.98),
    "v3",
    7.25,
)


def failures(verdict: Verdict) -> list[str]:
    return [check.text for check in verdict.checks() if not check.holds]


def recorded(*more: Request, without: int = 0) -> Record:
    return Record.of([*REQUESTS[: len(REQUESTS) - without], *more], 1.0, 9.0)


def test_a_good_run_passes_all_checks() -> None:
    assert failures(WELL) == []
    assert WELL.holds
    texts = "\n".join(check.text for check in WELL.checks())
    assert "canary: 10 of 200 new connections, 5.00 %" in texts
    assert "(2 of them by v3, with its 500)" in texts
    assert "came 45 ms after the request reached deployd" in texts
    assert "195 ms after the command was entered" in texts
    found = WELL.as_json()
    assert (found["ok"], found["lost"], found["last_bad_ms"]) == (True, 0, {"after_call": 45.0, "after_command": 195.0})


@pytest.mark.parametrize(
    "lost",
    [
        Request(3.0, 3.0, 3.1, Outcome.RESET, Kind.FRESH),
        Request(6.5, 6.5, 7.1, Outcome.TIMEOUT, Kind.KEEPALIVE),
        answer(5.0, "v2", Outcome.HTTP_ERROR),
    ],
)
def test_a_lost_request_is_reported(lost: Request) -> None:
    [fault] = failures(replace(WELL, record=recorded(lost)))
    assert fault == f"1 of {len(REQUESTS) + 1} requests lost: 1 {lost.outcome}"


@pytest.mark.parametrize(("more", "holds"), [(0, True), (1, True), (2, False)])
def test_the_share_must_be_the_requested_one(more: int, holds: bool) -> None:
    """The canary has 10 of 200 responses; each additional one is half a percent."""
    requests = [replace(one, generation=2) if 100 <= place < 100 + more else one for place, one in enumerate(REQUESTS)]
    verdict = replace(WELL, record=Record.of(requests, 1.0, 9.0))
    assert verdict.share().holds is holds


def test_too_few_connections_are_reported() -> None:
    assert "only 205 new connections, not 1,000" in failures(
        replace(WELL, settings=replace(WELL.settings, connections=1000))
    ).pop(0)


@pytest.mark.parametrize(("asked", "seen"), [(20.0, 5.0), (5.0, 4.0), (5.0, None)])
def test_the_shares_reported_by_deployd_must_agree(asked: float, seen: float | None) -> None:
    [fault] = failures(replace(WELL, canary=replace(WELL.canary, asked=asked, seen=seen)))
    assert "deployd status --json" in fault


def test_a_late_bad_response_is_reported() -> None:
    [fault] = failures(replace(WELL, record=recorded(bad(7.39))))
    assert "came 145 ms after" in fault
    assert fault.endswith("; 1 came later than that")
    assert not replace(WELL, called=None).rolled_back().holds
    assert not replace(WELL, record=Record.of(CANARY_TIME, 1.0, 9.0)).rolled_back().holds


def test_a_start_during_the_rollback_is_reported() -> None:
    started = Timeline((*WELL.timeline.moments, Moment(7.3, 4, "d", Change.READY)))
    assert failures(replace(WELL, timeline=started)) == ["rollback: instances 4 were started"]
    strangers = replace(WELL, record=recorded(answer(8.5, "v2", pid=99)))
    assert failures(strangers) == ["rollback: processes serve that did not serve before the bad release"]
    silence = replace(WELL, record=Record.of(REQUESTS[:-1], 1.0, 9.0))
    assert not silence.nothing_started().holds


def test_a_failed_command_is_reported() -> None:
    assert failures(replace(WELL, acts=(*ACTS[:-1], replace(ACTS[-1], status=1)))) == ["rollback: exit status 1"]


def test_the_series_and_moments_of_the_plot() -> None:
    assert [(one.generation, one.label, one.bad) for one in WELL.series()] == [
        (1, "generation 1, v1", False),
        (2, "generation 2, v2", False),
        (3, "generation 3, v3 (responds 500)", True),
    ]
    assert [text for _, text in WELL.moments()][-2:] == ["rollback", "the last response of the bad release"]
    assert len(WELL.samples()) == len(REQUESTS)


def test_the_time_of_a_call_is_read_from_the_bus_monitor() -> None:
    call = {"type": "method_call", "timestamp-realtime": 1795318004521623, "member": "Rollback"}
    assert moment(call, 1795293076.5) == pytest.approx(24928.021623)


def test_the_load_depends_on_the_routing() -> None:
    shared, steered = settings_of([]), settings_of(["--routing", "steered"])
    assert (shared.rate, shared.keepalive, shared.routing) == (300, 16, "shared")
    assert (steered.rate, steered.keepalive, steered.connections) == (800, 0, 20_000)
    assert settings_of(["--routing", "steered", "--rate", "100", "--keepalive", "2"]).rate == 100
