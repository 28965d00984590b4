"""deployd logs on a real systemd: what a rollout, a failed release and a crash write to the journal."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

import pytest

from tests.host.stage import APP, INSTANCES, Stage

SPEAK = ["/bin/sh", "-c", "echo generation $DEPLOYD_GENERATION speaks; exec /usr/bin/python3 app.py"]


Logged = Callable[..., list[str]]


@pytest.fixture
def logged(stage: Stage) -> Logged:
    """Return a function that returns what `deployd logs` prints of this test, without the times: other tests on the
    host had an app of the same name."""
    began = stage.machine.run(["date", "+%F %T.%6N"]).stdout.strip()
    return partial(_logged, stage, began)


def _logged(stage: Stage, began: str, *options: str) -> list[str]:
    stage.machine.run(["journalctl", "--sync"])
    done = stage.deployd("logs", APP, "--since", began, *options)
    assert done.returncode == 0, done
    return [re.sub(r"^\w{3} \d\d \d\d:\d\d:\d\d ", "", line) for line in done.stdout.splitlines()]


def test_each_line_begins_with_its_instance_and_generation(stage: Stage, logged: Logged) -> None:
    stage.deploy("v1", exec=SPEAK)
    assert stage.rollout(stage.release("v2")).result == "succeeded"
    spoken = logged("--grep", "speaks")
    found = [re.fullmatch(rf"{APP}@\d gen (\d) \| generation (\d) speaks", line) for line in spoken]
    assert [match is not None and match[1] == match[2] for match in found] == [True] * 2 * INSTANCES, spoken
    for generation, other in ((1, 2), (2, 1)):
        lines = logged("--generation", str(generation))
        assert sum(f"| generation {generation} speaks" in line for line in lines) == INSTANCES
        assert not any(f"generation {other} speaks" in line for line in lines)
        assert f"deployd gen {generation} | rollout of generation {generation} succeeded" in lines
    assert not any("speaks" in line for line in logged("--priority", "warning"))
    assert len(logged("-n", "3")) == 3


@pytest.mark.thorough
def test_a_rollout_says_each_thing_once(stage: Stage, logged: Logged) -> None:
    stage.deploy("v1", instances=1)
    assert stage.rollout(stage.release("v2")).result == "succeeded"
    lines = [line for line in logged("--generation", "2") if not line.startswith(f"{APP}@")]
    assert lines == [
        f"deployd gen 2 | rolling out generation 2 from {stage.release('v2')} (rollout)",
        "deployd gen 2 | instance 2 of generation 2 starting",
        "deployd gen 2 | instance 2 of generation 2 ready",
        "deployd gen 2 | rollout of generation 2 succeeded",
        *[line for line in lines if "watch of generation 2 started" in line],
    ]
    whole = logged()
    assert not any(re.search(r"@\d gen \d \| systemd: (Start|Stopp|Deactivated)", line) for line in whole), whole
    assert "Started" in stage.deployd("logs", APP, "-o", "short").stdout


def test_a_failed_release_has_its_reason_in_one_line(stage: Stage, logged: Logged) -> None:
    stage.deploy("v1", instances=1)
    ended = stage.rollout(stage.release("bad", "crash"))
    lines = logged("--generation", "2")
    assert [line for line in lines if ended.reason in line] == [f"deployd gen 2 | gate failed: {ended.reason}"]
    assert "deployd gen 2 | rolling back to generation 1" in lines
    assert lines[-1] == "deployd gen 2 | rollout of generation 2 rolled-back, generation 1 is live"


@pytest.mark.thorough
def test_a_crash_is_one_message_of_systemd(stage: Stage, logged: Logged) -> None:
    stage.deploy("v1", instances=1)
    before = stage.pid(1)
    stage.kill(1)
    stage.machine.wait_for(lambda: stage.pid(1) not in (0, before))
    stage.machine.wait_unit(f"{APP}@1.service")
    lines = [line for line in logged() if line.startswith(f"{APP}@1 gen 1 | systemd: ")]
    said = [line.partition("systemd: ")[2] for line in lines]
    assert said[0] == "Main process exited, code=killed, status=9/KILL"
    assert [line.partition(",")[0] for line in said[1:]] == ["Scheduled restart job"]


@pytest.mark.thorough
def test_the_journal_of_the_app_unit_has_what_deployd_says(stage: Stage) -> None:
    stage.deploy("v1")
    stage.machine.run(["journalctl", "--sync"])
    own = stage.machine.run(["journalctl", "-u", APP, "--output=cat"]).stdout
    assert f"{APP}: rollout of generation 1 succeeded" in own
    assert f"{APP}: units changed, systemd was reloaded" in own
    both = stage.machine.run(["journalctl", "-u", APP, "-u", f"{APP}@*"]).stdout
    assert re.search(rf" {APP}@1\[\d+\]: ", both) or f"Started {APP}@1.service" in both
