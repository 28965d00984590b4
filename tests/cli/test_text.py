"""Texts of the command: correct for the JSON of the daemon, and harmless for any other JSON."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd_cli.text.event import ended_as, event_line, event_lines, outcome
from deployd_cli.text.history import history_lines
from deployd_cli.text.paint import PLAIN, Paint
from deployd_cli.text.plan import check_line, diff_lines, plan_lines, unit_lines
from deployd_cli.text.progress import Progress
from deployd_cli.text.readiness import ready_of, ready_words
from deployd_cli.text.rollout import rollout_of
from deployd_cli.text.status import change_line, overview_lines, status_lines
from deployd_cli.text.words import age, columns, cut, duration, printable, wrapped
from tests.cli.fake_daemon import generation_row, instance, status

NOW = datetime(2026, 1, 2, 4, 4, 5, tzinfo=UTC)
WIDTHS = st.integers(min_value=1, max_value=200)

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
# fmt: off
KEYS = [
    "app", "generation", "release", "desired", "ready", "routing", "rollout", "instances", "instance", "unit",
    "state", "main_pid", "since", "restarts", "weight", "phase", "from", "to", "reason", "generations", "cause",
    "result", "started", "finished", "replaced", "adopted", "duration", "event", "actions", "action", "floor",
    "units", "name", "path", "text", "installed", "apps", "valid", "error", "failure", "gate", "waited_for", "waited",
    "exit_status", "signal", "journal", "hook", "command", "pause", "waits_for", "how", "holds", "new", "canary",
    "boot", "count", "median", "max", "gate_timeout", "gate_timeout_learned", "irreversible", "crashes", "retry_at",
    "detail", "probe_error", "steering", "steering_reason", "shares", "standby", "asked", "seen", "connections",
    "queue", "until",
]
WORDS = [
    "demo", "ready", "starting", "stopping", "stopped", "failed", "adopted", "inactive", "rolling", "rolling-back",
    "paused", "steered", "standby", "freezing", "thawing", "ebpf",
    "succeeded", "rolled-back", "aborted", "superseded", "running", "started", "instance",
    "failed-gate", "probe", "resumed", "closing", "hook", "before", "after", "held", "finished", "daemon-lost",
    "daemon-back", "2026-01-02T03:04:05+00:00",
    "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-01-02",
]
# fmt: on
values = st.recursive(
    scalars | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=8),
    max_leaves=30,
)
odd = st.dictionaries(st.sampled_from(KEYS), values, max_size=12)


def text(lines: list[str]) -> str:
    return "\n".join(lines)


def unpainted(line: str) -> str:
    return re.sub(r"\x1b\[\d+m", "", line)


def assert_fits(lines: list[str], width: int) -> None:
    for line in lines:
        assert columns(unpainted(line)) <= width, line
        assert unpainted(line).isprintable()


@given(odd, WIDTHS, st.booleans(), st.none() | st.integers(0, 50))
def test_any_status_can_be_drawn_at_any_size(
    source: dict[str, Any], width: int, colour: bool, height: int | None
) -> None:
    paint = Paint(on=colour)
    lines = status_lines(source, NOW, width=max(width, 2), paint=paint, height=height)
    assert_fits(lines, max(width, 2))
    assert_fits(overview_lines([source, source], width=width, paint=paint), width)
    status_lines(source, NOW, width=None, paint=paint)
    assert change_line(source).isprintable()


@given(odd, WIDTHS)
def test_any_history_can_be_drawn(source: dict[str, Any], width: int) -> None:
    width = max(width, 20)
    assert_fits(history_lines(source, NOW, width=width, paint=PLAIN), width)
    history_lines(source, NOW, width=None, paint=PLAIN)


@given(odd)
def test_any_plan_unit_verdict_and_event_can_be_printed(source: dict[str, Any]) -> None:
    assert plan_lines(source, PLAIN)
    unit_lines(source, PLAIN)
    diff_lines(source, PLAIN)
    check_line(source)
    assert event_line(source).isprintable()
    assert outcome(source)
    ended_as(source, "succeeded")
    assert all(line.isprintable() for line in event_lines(source))


@given(odd, st.lists(odd, max_size=12), st.integers(2, 200), st.integers(0, 60), st.booleans())
def test_any_rollout_can_be_drawn_at_any_size(
    source: dict[str, Any], events: list[dict[str, Any]], width: int, height: int, colour: bool
) -> None:
    progress = Progress("demo", source, 8, 0.0)
    for number, event in enumerate(events):
        progress.apply(event, float(number))
        progress.update(event, float(number))
    lines = progress.lines(100.0, width=width, height=height, paint=Paint(on=colour))
    assert len(lines) <= height
    assert_fits(lines, width)


@given(st.text(), st.integers(0, 50), st.booleans())
def test_cut_keeps_to_its_width_and_keeps_what_fits(source: str, width: int, left: bool) -> None:
    result = cut(source, width, left=left)
    assert columns(result) <= width
    if columns(source) <= width:
        assert result == source


@given(st.text(alphabet=st.characters(exclude_categories=["C", "Z"]) | st.just(" ")), st.integers(2, 50))
def test_wrapping_keeps_to_its_width_and_loses_nothing(source: str, width: int) -> None:
    lines = wrapped(source, width)
    assert all(columns(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(source.split())


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0.0 s"),
        (0.44, "0.4 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7200, "2 h"),
        (3 * 86400, "3 d"),
        (None, "-"),
        (-1, "-"),
        (float("nan"), "-"),
        (float("inf"), "-"),
        ("5", "-"),
    ],
)
def test_durations_are_short(seconds: object, shown: str) -> None:
    assert duration(seconds) == shown


def test_ages_need_a_time_with_a_zone() -> None:
    assert age("2026-01-02T04:03:05+00:00", NOW) == "60 s"
    assert age("2026-01-02T05:03:05+01:00", NOW) == "60 s"
    assert age("2026-01-02T04:05:05Z", NOW) == "0.0 s"  # clocks differ; nothing is ever in the future
    assert age("2026-01-02T04:03:05", NOW) == "-"
    assert age(None, NOW) == "-"


def test_output_of_an_application_cannot_control_the_terminal() -> None:
    assert printable("a\x1b[31mred\x1b[0m\r\nb\x07\x9bc") == "ared b c"


def test_status_of_one_app() -> None:
    instances = [instance(1, 7), instance(2, 7, "failed", restarts=3)]
    shown = status_lines(status(count=2, ready=1, instances=instances), NOW, width=80, paint=PLAIN)
    assert shown == [
        "demo: generation 7, 1 of 2 ready",
        "  /srv/demo/releases/7",
        "",
        "  INSTANCE  GENERATION  STATE    SINCE  RESTARTS   PID",
        "         1           7  ready   60 min         0  4001",
        "         2           7  failed  60 min         3  4002",
    ]


def test_a_paused_rollout_says_what_can_be_done() -> None:
    rollout = {"phase": "paused", "from": 7, "to": 8, "reason": "after 1 instance"}
    shown = text(status_lines(status(rollout=rollout), NOW, width=80, paint=PLAIN))
    assert "paused 7 → 8" in shown
    assert "after 1 instance" in shown
    assert "deployd resume demo" in shown
    assert "deployd abort demo" in shown


def test_a_release_is_shortened_from_the_left() -> None:
    shown = status_lines(status(release="/srv/demo/releases/" + "x" * 80 + "/2026-01-02"), NOW, width=80, paint=PLAIN)
    assert shown[1].startswith("  …x")
    assert shown[1].endswith("/2026-01-02")


def test_weights_are_shown_where_they_matter() -> None:
    different, equal = ([instance(1, 7, weight=30), instance(2, 7, weight=weight)] for weight in (70, 30))
    assert "WEIGHT" in text(status_lines(status(routing="steered", instances=different), NOW, width=80, paint=PLAIN))
    for other in (status(routing="steered", instances=equal), status(instances=different)):
        assert "WEIGHT" not in text(status_lines(other, NOW, width=80, paint=PLAIN))


def test_an_instance_with_a_problem_is_shown_among_many_that_serve() -> None:
    many = [instance(number, 7) for number in range(1, 41)]
    many[30] = instance(31, 7, "failed")
    shown = status_lines(status(instances=many), NOW, width=80, paint=PLAIN, height=20)
    assert len(shown) == 20
    assert any(line.split()[:3] == ["31", "7", "failed"] for line in shown)
    assert shown[-1].strip() == "and 25 ready (generation 7)"


def test_history_shows_the_measured_duration_although_the_clock_was_set_back() -> None:
    rows = [generation_row(8, "running"), generation_row(7, finished="2020-01-01T00:00:00+00:00", duration=75.0)]
    _, running, done = history_lines({"generations": rows}, NOW, width=None, paint=PLAIN)
    assert running.split()[5:7] == ["-", "4"]
    assert done.split()[5:7] == ["75", "s"]


def test_history_fits_a_small_terminal_and_cuts_no_reason() -> None:
    reason = "instance 5 exited with status 3 before it was ready, and has a reason that is too long for a line"
    history = {"app": "demo", "generations": [generation_row(8, "rolled-back", reason=reason), generation_row(7)]}
    shown = history_lines(history, NOW, width=80, paint=PLAIN)
    assert " ".join(word for line in shown[2:4] for word in line.split()) == reason
    assert shown[1].split()[:3] == ["8", "rolled-back", "rollout"]
    assert shown[4].split() == [
        "7",
        "succeeded",
        "rollout",
        "02",
        "Jan",
        "03:04",
        "6.2",
        "s",
        "4",
        "0",
        "…o/releases/7",
    ]


def test_plan_numbers_its_actions_and_ends_with_the_minimum() -> None:
    actions = [
        {"action": "start", "instance": 5, "generation": 8, "ready": 5},
        {"action": "stop", "instance": 4, "generation": 7, "ready": 4},
    ]
    plan = {"app": "demo", "from": 7, "to": 8, "release": "/srv/demo/8", "actions": actions, "floor": 4}
    assert plan_lines(plan, PLAIN) == [
        "demo: generation 7 → 8: /srv/demo/8",
        "  1. start instance 5 (generation 8)  5 ready",
        "  2. stop instance 4 (generation 7)   4 ready",
        "minimum: 4 ready",
    ]


def test_a_plan_says_what_the_app_file_changes() -> None:
    changes = [
        {"key": "contents.environment_files", "change": "changed", "before": None, "after": None},
        {"key": "environment.KEY", "change": "removed", "before": None, "after": None},
        {"key": "exec", "change": "changed", "before": ["bin/serve"], "after": ["bin/serve", "-q"]},
        {"key": "service.MemoryMax", "change": "added", "before": None, "after": "1G\x1b[31m"},
    ]
    plan = {"app": "demo", "from": 7, "to": 8, "release": "/srv/demo/8", "actions": [], "changes": changes}
    assert plan_lines(plan, PLAIN) == [
        "demo: generation 7 → 8: /srv/demo/8",
        "  ~ contents of environment_files",
        "  - environment.KEY",
        '  - exec = ["bin/serve"]',
        '  + exec = ["bin/serve", "-q"]',
        '  + service.MemoryMax = "1G\\u001b[31m"',
        "nothing to do",
    ]


def test_the_diff_is_from_what_is_installed_and_empty_if_nothing_differs() -> None:
    unit = {"name": "demo.socket", "path": "/etc/systemd/system/demo.socket", "text": "[Socket]\nA=1\n"}
    shown = diff_lines({"units": [{**unit, "installed": "[Socket]\nA=2\n"}]}, PLAIN)
    assert shown[0] == "--- /etc/systemd/system/demo.socket"
    assert shown[-2:] == ["-A=2", "+A=1"]
    assert diff_lines({"units": [{**unit, "installed": unit["text"]}]}, PLAIN) == []
    assert diff_lines({"units": [{**unit, "installed": None}]}, PLAIN)[0] == "--- /dev/null"
    going = {"units": [{**unit, "installed": unit["text"], "text": ""}]}
    assert diff_lines(going, PLAIN)[1] == "+++ /dev/null"
    assert unit_lines(going, PLAIN) == []


END = {"event": "finished", "app": "demo", "from": 7, "to": 8}


@pytest.mark.parametrize(
    ("event", "shown"),
    [
        (
            {"result": "succeeded", "replaced": [1, 2, 3, 4], "adopted": [], "duration": 6.2},
            "demo: generation 8 is live: 4 replaced, 0 adopted, 6.2 s",
        ),
        (
            {"result": "rolled-back", "reason": "instance 5 exited with status 3 before it was ready"},
            "demo: generation 8 failed and was rolled back to 7: instance 5 exited with status 3 before it was ready",
        ),
        ({"result": "failed", "reason": "no"}, "demo: generation 8 failed: no"),
        ({"result": "aborted"}, "demo: generation 8 was aborted and rolled back to 7"),
        ({"result": "aborted", "from": None}, "demo: generation 8 was aborted and removed"),
        ({"result": "rolled-back", "from": None, "reason": "no"}, "demo: generation 8 failed and was removed: no"),
        ({"result": "superseded", "reason": None}, "demo: generation 8 was superseded by a newer rollout"),
        ({"result": "novel"}, "demo: generation 8 ended as novel"),
    ],
)
def test_every_result_has_its_sentence(event: dict[str, Any], shown: str) -> None:
    assert event_line({**END, **event}) == shown


def test_a_first_deployment_has_no_generation_before_it() -> None:
    first = {"app": "demo", "from": None, "to": 1, "release": "/srv/demo/1"}
    assert event_line({**first, "event": "started"}) == "demo: first deployment, generation 1: /srv/demo/1"
    assert event_line({**first, "event": "rolling-back"}) == "demo: removing the failed first deployment"
    assert event_line({**END, "event": "rolling-back"}) == "demo: rolling back to generation 7"
    assert plan_lines({**first, "actions": []}, PLAIN)[0] == "demo: first deployment, generation 1: /srv/demo/1"
    phases = ("rolling", "paused", "rolling-back")
    assert [rollout_of({"rollout": {**first, "phase": phase}}) for phase in phases] == [
        "first deployment, generation 1",
        "first deployment, paused, generation 1",
        "removing the failed first deployment",
    ]


def test_a_requested_pause_is_called_so_once() -> None:
    event = {
        "event": "paused",
        "app": "demo",
        "reason": "paused by request",
        "how": "continue with: deployd resume demo",
    }
    assert event_line(event) == "demo: paused by request; continue with: deployd resume demo"


def rolled(count: int = 4) -> Progress:
    progress = Progress("demo", status(count=count), 8, 0.0)
    progress.apply({"event": "started", "from": 7, "to": 8, "release": "/srv/demo/8"}, 0.0)
    progress.apply({"event": "instance", "instance": count + 1, "generation": 8, "state": "starting"}, 1.0)
    return progress


def test_progress_counts_what_is_ready() -> None:
    progress = rolled()
    assert progress.ready == 4
    progress.apply({"event": "instance", "instance": 5, "generation": 8, "state": "ready"}, 2.0)
    progress.apply({"event": "instance", "instance": 4, "generation": 7, "state": "stopping"}, 2.0)
    assert progress.ready == 4
    shown = progress.lines(3.0, width=80, height=23, paint=PLAIN)
    assert shown[0] == "demo  generation 7 → 8  rolling  1 of 4 new  4 of 4 ready  3.0 s  5.0 s left"
    assert shown[1] == "  /srv/demo/8"
    assert shown[-1].split() == ["5", "8", "ready", "1.0", "s"]


def test_progress_says_how_long_the_rest_takes() -> None:
    """By the learned boot time until the first instance is ready, then by the time that those so far took."""

    def left(now: float) -> str:
        return progress.lines(now, width=120, height=23, paint=PLAIN)[0].partition(" s  ")[2]

    progress = Progress("demo", status(boot={"count": 9, "median": 2.0, "max": 3.0}), 8, 0.0)
    assert left(1.0) == "7.0 s left"
    assert left(9.0) == "", "late"
    progress.apply({"event": "instance", "instance": 5, "generation": 8, "state": "ready"}, 4.0)
    assert left(4.0) == "12 s left"
    assert left(6.0) == "10 s left"
    progress.apply({"event": "paused", "reason": "by request"}, 7.0)
    assert left(7.0) == ""


def test_more_instances_than_desired_are_counted_apart() -> None:
    assert ready_words(status(count=4) | {"ready": 5}) == "4 of 4 ready and 1 more"
    assert ready_of(status(count=4) | {"ready": 5}) == "4 of 4 +1"
    assert ready_words(status(count=4) | {"ready": 3}) == "3 of 4 ready"
    assert ready_words(status(count=0) | {"ready": 4}) == "4 ready"


def test_failures_are_shown_to_the_end() -> None:
    progress = rolled(40)
    progress.apply({"event": "instance", "instance": 41, "generation": 8, "state": "failed", "reason": "status 3"}, 2.0)
    progress.apply({"event": "failed-gate", "instance": 41, "reason": "exited with status 3"}, 2.0)
    progress.apply({"event": "rolling-back", "reason": "instance 41"}, 2.0)
    progress.apply({"event": "instance", "instance": 41, "generation": 8, "state": "stopped"}, 3.0)
    progress.apply({"event": "finished", "result": "rolled-back", "from": 7, "to": 8}, 4.0)
    shown = progress.lines(9.0, width=80, height=20, paint=PLAIN)
    assert shown[0] == "demo  generation 7 → 8  rolled-back  40 of 40 ready  4.0 s"
    assert shown[-1] == "  instance 41: exited with status 3"
    assert len(shown) == 20
    assert "ready (generation 7)" in shown[-2]


def test_changing_instances_are_shown_before_serving_ones() -> None:
    shown = rolled(40).lines(2.0, width=80, height=12, paint=PLAIN)
    assert len(shown) == 12
    assert any("starting" in line for line in shown)
    assert shown[-1].strip() == "and 27 ready (generation 7)"


def test_a_wide_terminal_has_all_instances_in_blocks() -> None:
    shown = rolled(40).lines(2.0, width=80, height=30, paint=PLAIN)
    assert shown[3].split() == ["INSTANCE", "GENERATION", "STATE", "FOR"] * 2
    assert shown[4].split() == ["1", "7", "ready", "22", "7", "ready"]
    assert shown[-1].split() == ["21", "7", "ready"]
    assert len(shown) == 25


def test_no_colour_without_paint() -> None:
    assert "\x1b" not in text(rolled().lines(2.0, width=80, height=20, paint=PLAIN))
    assert "\x1b" in text(rolled().lines(2.0, width=80, height=20, paint=Paint(on=True)))


@pytest.mark.parametrize("opened", [True, False])
def test_a_stopped_app_is_said_to_be_stopped_and_not_each_instance(opened: bool) -> None:
    stopped = [{**item, "state": "inactive", "exit_status": 0} for item in status()["instances"]]
    address = {"address": "127.0.0.1:80", "open": opened, "reason": ""}
    source = status(ready=0, health="stopped", instances=stopped, addresses=[address])
    shown = status_lines(source, NOW, width=None, paint=PLAIN)
    how = "start it with: systemctl start demo.service"
    assert f"  stopped; {'the next connection starts it, or ' if opened else ''}{how}" in shown
    assert not any("exited" in line for line in shown)
