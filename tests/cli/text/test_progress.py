"""The live view of a rollout."""

from __future__ import annotations

from deployd_cli.text.paint import PLAIN, Paint
from deployd_cli.text.progress import Progress
from tests.cli.fake_daemon import status
from tests.cli.text.any_json import text


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
    assert shown[-1].strip() == "… 27 more: 27 ready (generation 7)"


def test_a_wide_terminal_has_all_instances_in_blocks() -> None:
    shown = rolled(40).lines(2.0, width=80, height=30, paint=PLAIN)
    assert shown[3].split() == ["INSTANCE", "GENERATION", "STATE", "FOR"] * 2
    assert shown[4].split() == ["1", "7", "ready", "22", "7", "ready"]
    assert shown[-1].split() == ["21", "7", "ready"]
    assert len(shown) == 25


def test_no_colour_without_paint() -> None:
    assert "\x1b" not in text(rolled().lines(2.0, width=80, height=20, paint=PLAIN))
    assert "\x1b" in text(rolled().lines(2.0, width=80, height=20, paint=Paint(on=True)))


def test_that_instances_are_replaced_takes_no_column_among_many() -> None:
    progress = rolled(40)
    progress.apply(
        {"event": "instance", "instance": 40, "generation": 7, "state": "stopped", "reason": "replaced"}, 2.0
    )
    shown = progress.lines(3.0, width=80, height=12, paint=PLAIN)
    assert shown[3].split() == ["INSTANCE", "GENERATION", "STATE", "FOR"] * 2
    assert shown[-1] == "  … 27 more: 26 ready, 1 stopped (generation 7)"


def test_a_terminal_of_a_few_lines_says_what_it_leaves_out() -> None:
    progress = rolled(4)
    reason = "instance 5 exited with status 1 before it was ready (gate notify, waited 0.1 s for READY=1 within 60 s)"
    progress.apply({"event": "failed-gate", "instance": 5, "reason": reason}, 2.0)
    shown = progress.lines(3.0, width=80, height=4, paint=PLAIN)
    assert shown[2].strip().startswith("… 5 more: 4 ready (generation 7)")
    assert shown[3] == "  … 2 more lines"


def test_instances_of_other_process_types_have_rows_of_their_own() -> None:
    progress = Progress("demo", status(count=1) | {"processes": {"worker": status(count=1)}}, 8, 0.0)
    for state in ("starting", "ready"):
        event = {"event": "instance", "instance": 1, "generation": 8, "state": state, "process": "worker"}
        progress.apply(event, 1.0)
    assert (progress.ready, progress.new) == (1, 0)
    shown = [line.split()[:3] for line in progress.lines(2.0, width=80, height=20, paint=PLAIN)[-2:]]
    assert shown == [["1", "7", "ready"], ["worker@1", "8", "ready"]]
