"""The display of a steered app: weights, open connections, drains and standby."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd_cli.text.event import event_line
from deployd_cli.text.paint import PLAIN, Paint
from deployd_cli.text.progress import Progress
from deployd_cli.text.status import change_line, status_lines
from deployd_cli.text.steering import spans
from tests.cli.fake_daemon import instance, status

NOW = datetime(2026, 1, 2, 4, 4, 5, tzinfo=UTC)
SHARES = [
    {"generation": 8, "asked": 5.0, "seen": 5.07, "connections": 51},
    {"generation": 7, "asked": 95.0, "seen": 94.93, "connections": 955},
]
STANDBY = {"generation": 7, "instances": [1, 2, 3], "until": "2026-01-02T04:13:05+00:00"}
PAUSED: dict[str, Any] = {
    "phase": "paused",
    "from": 7,
    "to": 8,
    "reason": "canary: 5 % of new connections, 1 new alongside 2 old",
    "pause": "held",
    "waits_for": "resume or abort",
    "how": "continue with: deployd resume demo; or roll back with: deployd abort demo",
}


def steered(**more: Any) -> dict[str, Any]:
    instances = [
        instance(1, 7, weight=47.5, connections=12, in_flight=2, queue=0, boot=1.2),
        instance(2, 7, weight=47.5, connections=9, in_flight=0, queue=0, boot=1.2),
        instance(5, 8, weight=5.0, connections=1, in_flight=0, queue=0, boot=1.1),
    ]
    how = {"routing": "steered", "steering": "ebpf", "choice": "least busy", "steering_reason": ""}
    known = {**how, "instances": instances, **more}
    return status(count=2, **known)


def shown(source: dict[str, Any], width: int | None = 80) -> list[str]:
    return status_lines(source, NOW, width=width, paint=PLAIN)


def test_a_paused_canary_at_eighty_columns() -> None:
    assert shown(steered(shares=SHARES, rollout=PAUSED)) == [
        "demo: generation 7, 2 of 2 ready",
        "  /srv/demo/releases/7",
        "  steered (ebpf, least busy)",
        "  paused 7 → 8",
        "  canary: 5 % of new connections, 1 new alongside 2 old",
        "  waits for resume or abort",
        "  continue with: deployd resume demo; or roll back with: deployd abort demo",
        "  compare both: deployd compare demo; change weights: deployd weight demo 8 20%",
        "  generation 8: weight 5 % (measured 5.07 %), 51 connections",
        "  generation 7: weight 95 % (measured 94.9 %), 955 connections",
        "",
        "  INSTANCE  GEN  STATE   SINCE  WEIGHT  OPEN  BUSY  RESTARTS   PID   BOOT",
        "         1    7  ready  60 min  47.5 %    12     2         0  4001  1.2 s",
        "         2    7  ready  60 min  47.5 %     9     0         0  4002  1.2 s",
        "         5    8  ready  60 min     5 %     1     0         0  4005  1.1 s",
    ]


def test_with_unix_addresses_only_there_are_no_weights_to_change() -> None:
    addresses = [{"address": "/run/demo.sock", "unit": "demo:unix@7.socket", "open": True, "reason": ""}]
    assert "  compare both: deployd compare demo" in shown(steered(rollout=PAUSED, addresses=addresses))


def test_at_a_preview_there_is_nothing_to_compare_or_to_weigh() -> None:
    how = (
        "look at it with: deployd preview demo; promote it with: deployd resume demo; or roll back with: deployd abort"
    )
    lines = shown(steered(rollout={**PAUSED, "how": how, "preview": "/run/deployd/preview/demo.sock"}), None)
    assert any(how in line for line in lines)
    assert not any("compare both" in line for line in lines)


def test_a_wide_terminal_has_the_weights_on_a_line_and_a_column_of_releases() -> None:
    lines = shown(steered(shares=SHARES, rollout=PAUSED), 160)
    assert "; generation 7: weight 95 % (measured 94.9 %), 955 connections" in lines[8]
    assert lines[10].endswith("  RELEASE")
    assert lines[11].endswith("  /srv/demo/releases/7")


def test_a_queue_is_shown_if_there_is_one_and_no_number_is_cut() -> None:
    source = steered()
    assert "QUEUE" not in shown(source)[4]
    source["instances"][0] |= {"queue": 3, "main_pid": 4190001, "state": "stopping"}
    lines = shown(source)
    assert " ".join(lines[4].split()) == "INSTANCE GEN STATE SINCE WEIGHT OPEN BUSY RESTARTS PID QUEUE"
    assert lines[5].split()[-1] == "3"
    assert "…" not in "".join(shown(source, 60))


def test_the_weight_of_a_single_generation_is_not_shown() -> None:
    alone = [{"generation": 8, "asked": 100.0, "seen": 100.0, "connections": 5}]
    resting = [*alone, {"generation": 7, "asked": 0.0, "seen": 0.0, "connections": 955}]
    for shares in (alone, resting):
        assert not [line for line in shown(steered(shares=shares)) if "measured" in line]
    assert [
        line for line in shown(steered(shares=resting, rollout=PAUSED | {"phase": "rolling"})) if "weight 0 %" in line
    ]


def test_uncounted_connections_have_no_measured_weight() -> None:
    shares = [{**share, "seen": None, "connections": 0} for share in SHARES]
    lines = shown(steered(shares=shares, rollout=PAUSED))
    assert lines[8] == "  generation 8: weight 5 %; generation 7: weight 95 %"


def test_a_plain_rollout_has_measured_weights_only() -> None:
    rolling = {"phase": "rolling", "from": 7, "to": 8}
    shares = [{**share, "asked": None} for share in SHARES]
    lines = shown(steered(shares=shares, rollout=rolling), 160)
    together = "generation 8: measured 5.07 %, 51 connections; generation 7: measured 94.9 %, 955 connections"
    assert f"  {together}" in lines
    unknown = [{**share, "seen": None, "connections": 0} for share in shares]
    together = "  generation 8: not measured yet; generation 7: not measured yet"
    assert together in shown(steered(shares=unknown, rollout=rolling))


def test_an_app_whose_requests_are_not_counted_says_why() -> None:
    why = "connections are not counted: the app has locked the filter of its sockets"
    lines = shown(steered(choice="in turn", steering_reason=why), 160)
    assert lines[2] == f"  steered (ebpf, in turn): {why}"


def test_an_instance_that_hangs_is_named_with_what_it_has_in_flight() -> None:
    source = steered()
    words = "has not answered any of its 3 requests for 12 s, and does not read what clients send"
    source["instances"][1] |= {"in_flight": 3, "stalled_for": 12.3, "detail": words}
    for width in (80, 160):
        lines = shown(source, width)
        assert "3 (12 s)" in lines[6]
        assert lines[-1].startswith(f"  instance 2 {words}"[:76])


def test_a_late_instance_that_may_be_at_work_is_no_problem() -> None:
    """Its only request may take long, or its client may expect no answer."""
    source = steered()
    source["instances"][1] |= {"in_flight": 1, "stalled_for": 70.2}
    lines = shown(source, 160)
    assert "1 (70 s)" in lines[6]
    assert len(lines) == 8


@pytest.mark.parametrize(("routing", "words"), [("steered", "steered (none)"), ("shared", "not steered")])
def test_an_app_that_could_not_be_steered_says_why_on_as_many_lines_as_it_takes(routing: str, words: str) -> None:
    reason = "cannot create BPF maps, which needs CAP_BPF: Operation not permitted, as seen by deployd when it started"
    plain = [instance(number, 7) for number in (1, 2)]
    lines = shown(steered(routing=routing, steering="none", choice=None, steering_reason=reason, instances=plain))
    assert " ".join(word for line in lines[2:4] for word in line.split()) == f"{words}: {reason}"
    assert not {"WEIGHT", "OPEN"} & set(lines[5].split())


def test_standby_shows_its_time_limit_and_how_to_wake_it() -> None:
    instances = [instance(1, 7, "standby", weight=0.0), instance(4, 8, weight=100.0)]
    source = steered(standby=STANDBY, instances=instances)
    lines = shown(source)
    assert lines[3:5] == [
        "  standby: generation 7, instances 1-3, until 04:13:05 (9 min left)",
        "  wake them with: deployd rollback demo --to 7",
    ]
    assert change_line(source).endswith(", generation 7 in standby")
    painted = "\n".join(status_lines(source, NOW, width=80, paint=Paint(on=True)))
    assert "\x1b[2mstandby\x1b[0m" in painted
    rolling = shown(steered(standby=STANDBY, rollout=PAUSED))
    assert "  wake them with: deployd abort demo" in rolling
    for rollout in (PAUSED | {"phase": "rolling-back"}, PAUSED | {"from": 6}):
        assert not [line for line in shown(steered(standby=STANDBY, rollout=rollout)) if "wake" in line]


def test_standby_instances_are_summed_up_first() -> None:
    many = [instance(number, 7, "standby") for number in range(1, 11)]
    many += [instance(number, 8) for number in range(11, 21)]
    lines = status_lines(steered(instances=many), NOW, width=80, paint=PLAIN, height=18)
    assert lines[-1].strip() == "… 8 more: 8 standby (generation 7)"


@pytest.mark.parametrize(
    ("event", "lines"),
    [
        ({"state": "stopped", "reason": "replaced", "connections": 0}, "stopped: replaced, drained"),
        ({"state": "stopped", "reason": "replaced", "connections": 1}, "stopped: replaced, 1 connection left"),
        ({"state": "stopped", "connections": 3}, "stopped: 3 connections left"),
        ({"state": "stopped", "reason": "replaced"}, "stopped: replaced"),
        ({"state": "freezing"}, "freezing"),
        ({"state": "thawing"}, "thawing"),
    ],
)
def test_a_stopped_instance_has_the_connections_that_were_left(event: dict[str, Any], lines: str) -> None:
    line = event_line({"event": "instance", "app": "demo", "instance": 4, "generation": 7, **event})
    assert line == f"demo: instance 4 (generation 7) {lines}"


def drawn(progress: Progress, now: float, width: int = 80) -> list[str]:
    return progress.lines(now, width=width, height=30, paint=PLAIN)


def test_the_display_has_weights_and_connections_of_a_drain() -> None:
    progress = Progress("demo", steered(), 8, 0.0)
    progress.apply({"event": "started", "from": 7, "to": 8, "release": "/srv/demo/8"}, 0.0)
    progress.apply({"event": "instance", "instance": 2, "generation": 7, "state": "stopping", "reason": "replaced"}, 1)
    now = steered(shares=SHARES, rollout=PAUSED)
    now["instances"][1] |= {"state": "stopping", "weight": 0.0}
    progress.update(now, 2.0)
    lines = drawn(progress, 3.0)
    assert lines[2:4] == [
        "  generation 8: weight 5 % (measured 5.07 %), 51 connections",
        "  generation 7: weight 95 % (measured 94.9 %), 955 connections",
    ]
    assert " ".join(lines[5].split()) == "INSTANCE GEN STATE FOR WEIGHT OPEN REASON"
    assert " ".join(lines[7].split()) == "2 7 stopping 2.0 s 0 % 9 replaced, 9 connections left"
    event = {"event": "instance", "instance": 2, "generation": 7, "state": "stopped", "reason": "replaced"}
    progress.apply({**event, "connections": 1}, 4.0)
    assert drawn(progress, 4.0)[-1].split(maxsplit=5)[-1] == "replaced, 1 connection left"


def test_a_frozen_instance_is_in_standby_and_in_the_last_drawing() -> None:
    progress = Progress("demo", steered(), 8, 0.0)
    progress.apply({"event": "instance", "instance": 2, "generation": 7, "state": "freezing"}, 1.0)
    assert "freezing" in "".join(drawn(progress, 1.0))
    now = steered()
    now["instances"][1] |= {"state": "standby"}
    progress.update(now, 2.0)
    progress.apply({"event": "finished", "result": "succeeded"}, 3.0)
    lines = drawn(progress, 3.0)
    assert lines[-1].split() == ["2", "7", "standby", "1.0", "s"]
    assert "WEIGHT" not in "".join(lines)


def test_an_app_with_a_shared_socket_has_no_weights() -> None:
    progress = Progress("demo", status(), 8, 0.0)
    before = drawn(progress, 1.0)
    progress.update(status(shares=SHARES), 1.0)
    assert drawn(progress, 1.0) == before


@given(st.sets(st.integers(1, 40)))
def test_spans_name_each_number_once(numbers: set[int]) -> None:
    named: list[int] = []
    for part in filter(None, spans(numbers).split(", ")):
        first, _, last = part.partition("-")
        named += range(int(first), int(last or first) + 1)
    assert named == sorted(numbers)
