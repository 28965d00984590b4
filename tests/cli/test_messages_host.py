"""Messages of the command about pauses and failures, on a real systemd."""

from __future__ import annotations

import pytest

from tests.host.stage import APP, INSTANCES, Stage

HOW = f"continue with: deployd resume {APP}; or roll back with: deployd abort {APP}"


def test_a_failed_rollout_is_explained(stage: Stage) -> None:
    stage.deploy("v1")
    bad = stage.release("bad")
    stage.machine.write(f"{bad}/app.py", 'raise SystemExit("  no \\x1b[31mdatabase\\x07 here")\n')
    done = stage.deployd("rollout", APP, "--release", bad)
    assert done.returncode == 1
    end, *journal = done.stderr.splitlines()
    assert end.startswith("deployd: demo: generation 2 failed and was rolled back to 1: instance ")
    for word in ("exited with status", "gate notify", "waited ", "READY=1"):
        assert end.count(word) == 1, end
    assert [line.split() for line in journal] == [["no", "database\ufffd", "here"]]
    assert journal[0].startswith("      no "), "indented, and its own indentation kept"
    shown = done.stdout.splitlines()
    gate = next(line for line in shown if "gate failed" in line)
    assert gate.split("gate failed: ")[1] == end.split("rolled back to 1: ")[1]
    assert set(journal) <= set(shown)
    sentence, *words = stage.deployd("history", APP).stdout.splitlines()[2:]
    assert sentence.strip() == end.split("rolled back to 1: ")[1]
    assert words[0].strip() in {line.strip() for line in journal}


@pytest.mark.thorough
def test_the_command_waits_for_a_paused_rollout_and_says_how_to_continue(stage: Stage) -> None:
    stage.deploy("v1", rollout={"pause_after": [2]})
    release = stage.release("v2")
    plan = stage.deployd("plan", APP, "--release", release, "--canary", "1").stdout
    assert "pause at 1 new instance alongside the old" in plan
    assert "pause at 2 new instances" in plan
    with stage.begin("rollout", "--release", release, "--canary", "1") as begun:
        begun.until("paused", pause="held")
        shown = stage.deployd("status", APP).stdout.splitlines()
        assert [line.strip() for line in shown if "pauses at" in line] == ["then pauses at 2 new instances"]
        assert f"  {HOW}" in shown
        assert "  waits for resume or abort" in shown
        assert any(line.strip().startswith("boot time ") for line in shown)
        assert stage.deployd("resume", APP).returncode == 0
        begun.until("paused", pause="held")
        done = stage.deployd("resume", APP, "--wait")
        assert done.returncode == 0, done
        assert done.stdout.splitlines()[-1].startswith(
            f"{APP}: generation 2 is live: {INSTANCES} replaced, 0 adopted, "
        )
        assert begun.end().result == "succeeded"


@pytest.mark.thorough
def test_an_abort_can_be_waited_for(stage: Stage) -> None:
    stage.deploy("v1")
    assert stage.deployd("rollout", APP, "--release", stage.release("v2", barrier=True), "--no-block").returncode == 0
    done = stage.deployd("abort", APP, "--wait")
    assert (done.returncode, done.stderr) == (0, "")
    end = f"{APP}: generation 2 was aborted and rolled back to 1: aborted by request"
    assert done.stdout.splitlines()[-1] == end
    assert stage.status()["rollout"] is None


def test_a_failing_probe_is_printed_during_the_wait(stage: Stage) -> None:
    stage.deploy("v1", gate={"probe": {"http": "/_status", "interval": "50ms"}, "timeout": "2s"})
    warm = stage.release("warm", "warming", files={"status_after": "0.5"})
    done = stage.deployd("rollout", APP, "--release", warm)
    assert (done.returncode, done.stderr) == (0, "")
    shown = done.stdout.splitlines()
    waiting = [line for line in shown if "is ready, waiting for its probe: GET /_status answered 503" in line]
    assert len(waiting) >= INSTANCES, "one for each instance"
    first = shown.index(waiting[0])
    assert shown[first - 1].endswith(" starting")
    done = stage.deployd("rollout", APP, "--release", stage.release("unready", "unready"))
    assert done.returncode == 1
    end, *_ = done.stderr.splitlines()
    for word in ("gate probe", "answered 503", "GET /_status"):
        assert word in end
