"""Failures as the command prints them: every fact once, and journal lines without control characters."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd_cli.text.event import event_line, event_lines
from deployd_cli.text.failure import explained, facts, journal_lines
from deployd_cli.text.history import history_lines
from deployd_cli.text.paint import PLAIN
from deployd_cli.text.progress import Progress
from deployd_cli.text.status import status_lines
from deployd_cli.text.words import columns, verbatim
from tests.cli.fake_daemon import failure, generation_row, instance, status

NOW = datetime(2026, 1, 2, 4, 4, 5, tzinfo=UTC)
DIED = "instance 5 exited with status 3 before it was ready"
WHOLE = f"{DIED} (gate notify, waited 0.4 s for READY=1)"
JOURNAL = ["    Traceback (most recent call last):", '      File "app.py", line 3', "    ImportError: no"]

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
journals = st.lists(st.text() | st.integers(), max_size=30) | scalars
failures = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("gate", "reason", "instance", "waited_for", "waited", "exit_status", "signal"), scalars),
        "journal": journals,
    },
)


def assert_fits(lines: list[str], width: int) -> None:
    for line in lines:
        assert line.isprintable()
        assert columns(line) <= width, line


@given(failures, journals, st.integers(20, 200), st.none() | st.integers(0, 40))
def test_any_failure_can_be_printed_anywhere(
    failed: dict[str, Any], journal: object, width: int, height: int | None
) -> None:
    rollout = {"phase": "paused", "from": 7, "to": 8, "reason": "no", "failure": failed}
    sick = instance(3, 7, "failed", crashes=2, journal=journal, retry_at="2026-01-02T04:05:05+00:00")
    now = status(rollout=rollout, instances=[sick])
    lines = status_lines(now, NOW, width=width, paint=PLAIN, height=height)
    assert_fits(lines, width)
    status_lines(now, NOW, width=None, paint=PLAIN)
    history = {"generations": [generation_row(8, "failed", failure=failed)]}
    assert_fits(history_lines(history, NOW, width=width, paint=PLAIN), width)
    events: list[dict[str, Any]] = [
        {"event": "failed-gate", "instance": failed.get("instance"), "reason": "no", "failure": failed},
        {"event": "hook", "hook": "after", "state": "failed", "command": ["x", "\x1b"], "journal": journal},
        {"event": "finished", "result": "failed", "failure": failed},
    ]
    progress = Progress("demo", status(), 8, 0.0)
    for event in events:
        assert all(line.isprintable() for line in event_lines(event))
        progress.apply(event, 1.0)
        lines = progress.lines(2.0, width=width, height=height or 24, paint=PLAIN)
        assert_fits(lines, width)
        assert len(lines) <= (height or 24)


def test_a_failure_is_printed_whole_and_nothing_twice() -> None:
    assert explained({"reason": DIED, "failure": failure()}) == WHOLE
    assert explained({"reason": "", "failure": failure()}) == WHOLE
    assert explained({"reason": f"release missing; {DIED}", "failure": failure()}) == f"release missing; {WHOLE}"
    assert explained({"reason": "aborted by request", "failure": failure()}) == f"aborted by request; {WHOLE}"
    assert explained({"reason": "aborted by request", "failure": None}) == "aborted by request"
    assert explained({"failure": {}}) == ""


@pytest.mark.parametrize(
    ("failed", "said", "missing"),
    [
        (failure(), "", "instance 5, gate notify, waited 0.4 s for READY=1, exit status 3"),
        (failure(), "instance 51 exited with status 3", "instance 5, gate notify, waited 0.4 s for READY=1"),
        (
            failure(signal="SIGSEGV", exit_status=None, waited_for=""),
            DIED,
            "gate notify, after 0.4 s, killed by SIGSEGV",
        ),
        (failure(signal="SIGKILL"), "instance 5 was killed by SIGKILL", "gate notify, waited 0.4 s for READY=1"),
        (
            failure(gate="min-ready", waited_for="to stay up for 5 s", exit_status=0),
            DIED,
            "gate min-ready, waited 0.4 s for it to stay up for 5 s, exit status 0",
        ),
        (failure(None, gate="deadline", waited=None, exit_status=None), "late", "gate deadline, waited for READY=1"),
    ],
)
def test_facts_that_the_reason_does_not_mention_are_added(failed: dict[str, Any], said: str, missing: str) -> None:
    assert facts(failed, said) == missing


def test_journal_lines_keep_their_indentation_and_lose_control_characters() -> None:
    assert verbatim("\tindented\r\n", 80) == "        indented"
    assert verbatim("\x1b]0;title\x07\x1b[2J\x1b[31mred\x1b[0m \x1b(B\u202egnp.exe\x9b5m", 80) == "red  gnp.exe 5m"
    assert verbatim("\x1b]8;;http://x\x1b\\link", 80) == "link"
    assert verbatim("half a \ud800 character", 80) == "half a ? character"
    assert columns(journal_lines({"journal": ["x" * 10_000_000]})[0]) < 1100
    assert journal_lines({"journal": ["", "one", 2, None, "two", " "]}) == ["    one", "    two"]
    assert journal_lines({"journal": ["one", "two", "three"]}, 2) == ["    two", "    three"]


def test_sentences_about_hooks_and_gates() -> None:
    gate = {"event": "failed-gate", "app": "demo", "instance": 5, "reason": DIED, "failure": failure()}
    assert event_lines(gate) == [f"demo: gate failed: {WHOLE}", *JOURNAL]
    hook = {"event": "hook", "app": "demo", "hook": "before", "command": ["bin/migrate", "--to", "new schema"]}
    said = "demo: before hook bin/migrate --to 'new schema'"
    assert event_lines({**hook, "state": "started"}) == [f"{said}: started"]
    fine = {"state": "succeeded", "exit_status": 0, "journal": ["fine"]}
    assert event_lines({**hook, **fine}) == [f"{said}: succeeded"]
    assert event_lines({**hook, **fine, "duration": 0.31}) == [f"{said}: succeeded after 0.3 s"]
    failed = event_lines({**hook, "state": "failed", "exit_status": 4, "journal": ["no such table"]})
    assert failed == [f"{said}: failed: exit status 4", "    no such table"]
    reason = "before hook true exited with status 4"
    ended = {**hook, "command": "true", "state": "failed", "exit_status": 4}
    assert event_line({**ended, "reason": reason}) == f"demo: {reason}"
    assert event_line({**ended, "reason": "one still runs"}) == "demo: before hook true: failed: one still runs"
    loop = {"event": "crash-loop", "app": "demo", "instance": 3, "reason": "crashed 5 times in 12 s"}
    assert event_line(loop) == "demo: instance 3 is kept stopped: crashed 5 times in 12 s"
    probe = {"event": "probe", "app": "demo", "instance": 5, "generation": 8, "reason": "answered 503"}
    said = "demo: instance 5 (generation 8) is ready, waiting for its probe: answered 503"
    assert event_line(probe) == said
    warning = {"event": "warning", "app": "demo", "reason": "rollback is impossible"}
    assert event_line(warning) == "demo: warning: rollback is impossible"
    closing = {"event": "closing", "app": "demo", "reason": "to close 127.0.0.1:80"}
    assert event_line(closing) == "demo: replacing the new instances once more to close 127.0.0.1:80"


def test_the_end_names_instance_gate_and_exit() -> None:
    event = {"event": "finished", "app": "demo", "from": 7, "to": 8, "result": "rolled-back", "reason": DIED}
    assert event_line({**event, "failure": failure()}) == f"demo: generation 8 failed and was rolled back to 7: {WHOLE}"
    warm = {"result": "succeeded", "duration": 1.0, "reason": "the after hook bin/warm exited with status 1"}
    end = "demo: generation 8 is live: 1.0 s; the after hook bin/warm exited with status 1"
    assert event_line({**event, **warm}) == end


def test_history_has_the_reason_and_the_last_journal_lines() -> None:
    long = failure(journal=["first", "second", "third", "fourth"])
    rows = [
        generation_row(8, "rolled-back", reason=DIED, failure=long),
        generation_row(7, irreversible=True, boot={"count": 4, "median": 0.42, "max": 1.3}),
    ]
    shown = history_lines({"generations": rows}, NOW, width=100, paint=PLAIN)
    assert [line.strip() for line in shown[2:6]] == [WHOLE, "second", "third", "fourth"]
    assert shown[0].split()[-3:] == ["ADOPTED", "BOOT", "RELEASE"]
    assert "0.4 s/1.3 s" in shown[6]
    assert shown[7].strip().startswith("irreversible: ")
    assert "BOOT" not in history_lines({"generations": rows}, NOW, width=80, paint=PLAIN)[0], "the release is dearer"


def test_status_says_why_a_rollout_failed() -> None:
    rollout = {"phase": "rolling-back", "from": 7, "to": 8, "reason": DIED, "failure": failure()}
    shown = status_lines(status(rollout=rollout), NOW, width=100, paint=PLAIN)
    assert shown[2:8] == ["  rolling back 8 → 7", f"  {WHOLE}", *JOURNAL, ""]


def test_status_shows_boot_times_and_problems_of_instances() -> None:
    instances = [
        instance(1, 7, boot=0.41),
        instance(2, 7, "failed", detail="exited with status 3", exit_status=3, crashes=5, journal=["no database"])
        | {"retry_at": "2026-01-02T04:04:17+00:00"},
        instance(5, 7, "failed", crashes=5, detail="crashed 5 times in 12 s; next try at 04:04:17")
        | {"retry_at": "2026-01-02T04:04:17+00:00"},
        instance(3, 7, "failed", exit_status=None, signal="SIGSEGV"),
        instance(4, 8, probe_error="answered 503"),
    ]
    boots: dict[str, Any] = {
        "boot": {"count": 12, "median": 0.41, "max": 1.2},
        "gate_timeout": 30.0,
        "gate_timeout_learned": True,
    }
    shown = status_lines(status(instances=instances, **boots), NOW, width=80, paint=PLAIN)
    assert shown[2] == "  boot time 0.4 s, at most 1.2 s (12 boots); gate timeout 30 s (learned)"
    assert shown[4].split()[-1] == "BOOT"
    assert shown[5].split()[-2:] == ["0.4", "s"]
    assert shown[10:] == [
        "",
        "  instance 2 exited with status 3, crashed 5 times, next try in 12 s",
        "      no database",
        "  instance 5 crashed 5 times in 12 s; next try at 04:04:17",
        "  instance 3: killed by SIGSEGV",
        "  instance 4: probe failed: answered 503",
    ]
    short = status_lines(status(instances=instances), NOW, width=80, paint=PLAIN, height=12)
    assert len(short) <= 12
    assert not any("no database" in line for line in short), "sentences come before journal lines"
    assert sum("instance " in line for line in short) == 4


def test_a_crash_of_the_past_is_not_shown() -> None:
    """systemd keeps the exit status as long as the unit is loaded."""
    assert status_lines(status(), NOW, width=80, paint=PLAIN) == status_lines(
        status(instances=[instance(n, 7, exit_status=3, detail="exited with status 3") for n in range(1, 5)]),
        NOW,
        width=80,
        paint=PLAIN,
    )


def test_the_display_shows_failure_and_journal_until_the_end() -> None:
    progress = Progress("demo", status(), 8, 0.0)
    progress.apply({"event": "failed-gate", "instance": 5, "reason": DIED, "failure": failure()}, 1.0)
    progress.apply({"event": "rolling-back", "reason": DIED}, 1.0)
    shown = progress.lines(2.0, width=100, height=24, paint=PLAIN)
    assert shown[-4:] == [f"  {WHOLE}", *JOURNAL]
    assert sum(DIED in line for line in shown) == 1
    progress.apply({"event": "finished", "result": "rolled-back", "reason": DIED, "failure": failure()}, 3.0)
    ended = progress.lines(4.0, width=100, height=24, paint=PLAIN)
    assert not [line for line in ended if DIED in line or line in JOURNAL], "main prints both below"


def test_the_display_shows_hooks_probes_and_the_closing() -> None:
    progress = Progress("demo", status(), 8, 0.0)
    starting = {"event": "instance", "instance": 5, "generation": 8, "state": "starting"}
    progress.apply(starting, 1.0)
    progress.apply({"event": "probe", "instance": 5, "generation": 8, "reason": "answered 503"}, 3.0)
    progress.apply({"event": "probe", "instance": 9, "generation": 8, "reason": "not ours"}, 3.0)
    shown = progress.lines(4.0, width=100, height=24, paint=PLAIN)
    assert shown[-1].split()[:5] == ["5", "8", "starting", "3.0", "s"], "its time advances"
    assert shown[-1].endswith("waiting for its probe: answered 503")
    progress.apply({"event": "warning", "reason": "rollback is impossible"}, 5.0)
    assert progress.lines(5.0, width=100, height=24, paint=PLAIN)[1] == "  rollback is impossible"
    progress.apply({"event": "closing", "reason": "without 127.0.0.1:80"}, 5.0)
    shown = progress.lines(5.0, width=100, height=24, paint=PLAIN)
    assert "closing" in shown[0]
    assert shown[2] == "  without 127.0.0.1:80"
    hook = {"event": "hook", "hook": "after", "command": ["bin/warm"]}
    progress.apply({**hook, "state": "started"}, 6.0)
    assert "  after hook bin/warm: started 2.0 s ago" in progress.lines(8.0, width=100, height=24, paint=PLAIN)
    progress.apply({**hook, "state": "failed", "exit_status": 1, "journal": ["no cache"]}, 9.0)
    shown = progress.lines(9.0, width=100, height=24, paint=PLAIN)
    assert shown[-2:] == ["  after hook bin/warm: failed: exit status 1", "    no cache"]


def test_a_rollout_that_waits_for_the_analysis_says_so() -> None:
    waiting = {"event": "analysis", "app": "demo", "state": "waiting", "reason": "the last old instances serve on"}
    good = {"event": "analysis", "app": "demo", "state": "succeeded", "reason": "./bin/ok exited with status 0"}
    assert event_line(waiting) == "demo: analysis waiting: the last old instances serve on"
    assert event_line(good) == "demo: analysis succeeded: ./bin/ok exited with status 0"
    progress = Progress("demo", status(), 8, 0.0)
    progress.apply(waiting, 1.0)
    assert progress.note == "analysis: the last old instances serve on"
    progress.apply(good, 2.0)
    assert progress.note == ""
    progress.apply({"event": "paused", "reason": "canary", "pause": "held"}, 3.0)
    progress.apply(good, 4.0)
    assert progress.note == "canary", "it is paused nevertheless"
