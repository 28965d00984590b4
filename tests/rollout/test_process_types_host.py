"""Process types on a real host: rolled out with the app, rolled back with it, added, removed, stopped and started."""

from __future__ import annotations

from functools import partial

import pytest

from tests.host.stage import APP, PORT, Json, Stage

WORKER = '''\
"""A worker: good, crash (at once) or hang (never ready)."""

import os
import signal
import socket
import threading
from pathlib import Path

if Path("worker-mode").read_text().strip() == "crash":
    raise SystemExit(3)
stopping = threading.Event()
if Path("worker-mode").read_text().strip() == "hang":
    stopping.wait()
signal.signal(signal.SIGTERM, lambda *_: stopping.set())
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
    notify.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
print("at work for", os.environ["DEPLOYD_APP"], os.environ["DEPLOYD_PROCESS"], flush=True)
stopping.wait()
'''
TYPE = {"exec": ["/usr/bin/python3", "worker.py"], "instances": 2}


def release(stage: Stage, version: str, worker: str = "good", **options: object) -> str:
    files = {"worker.py": WORKER, "worker-mode": worker}
    return stage.release(version, files=files, **options)  # type: ignore[arg-type]


def deploy(stage: Stage, **settings: object) -> None:
    stage.configure(release=release(stage, "v1"), instances=2, process={"worker": TYPE}, **settings)
    ended = stage.change("apply")
    assert (ended.status, ended.result) == (0, "succeeded"), ended


def of_type(stage: Stage, process: str = "worker") -> dict[int, tuple[int, str]]:
    """Return the generation and the invocation of each ready instance of a process type."""
    found: Json = stage.status()["processes"].get(process, {"instances": []})
    return {
        item["instance"]: (item["generation"], item["invocation_id"]) for item in found["instances"] if item["ready"]
    }


def has_crashed(stage: Stage, count: int) -> bool:
    """True once so many crashes of workers are counted and all run again, or are being replaced."""
    status = stage.status()
    watch = status["processes"]["worker"]["watch"]
    return (
        status["generation"] == 3
        or status["rollout"] is not None
        or (watch and watch["crashes"] >= count and len(of_type(stage)) == 2)
    )


def generations(stage: Stage) -> tuple[set[int], set[int]]:
    """Return the generations of the instances of the app and of its workers."""
    return {ran.generation for ran in stage.invocations().values()}, {made for made, _ in of_type(stage).values()}


def newest(stage: Stage) -> tuple[str, str]:
    """Return the cause and the result of the newest generation."""
    generation = stage.history()[0]
    return generation["cause"], generation["result"]


def test_they_are_rolled_out_together_and_rolled_back_together(stage: Stage) -> None:
    deploy(stage)
    assert generations(stage) == ({1}, {1})
    assert stage.systemctl("is-active", f"{APP}.worker@1.service").stdout.strip() == "active"
    with stage.load() as load:
        ended = stage.rollout(release(stage, "v2"))
        assert (ended.status, ended.result) == (0, "succeeded"), ended
        assert generations(stage) == ({2}, {2})
        workers = [event for event in ended.events if event.get("process") == "worker"]
        assert {event["event"] for event in workers} == {"instance"}
        ready = [index for index, event in enumerate(ended.events) if event.get("state") == "ready"]
        first = next(index for index, event in enumerate(ended.events) if event in workers)
        assert sum(index < first for index in ready) == 2  # all of the app's, before a worker is started

        before = stage.invocations(), of_type(stage)
        ended = stage.rollout(release(stage, "bad", "crash"))
        assert (ended.status, ended.result) == (1, "rolled-back"), ended
        assert ended.reason.startswith("worker: instance 1 exited with status 3 before it was ready"), ended.reason
        assert of_type(stage) == before[1]
        assert generations(stage) == ({2}, {2})
        assert [event["event"] for event in ended.events].count("finished") == 1
        record = load.stop()
    assert record.failed == (), record.failed
    assert stage.get()["version"] == "v2"
    newest = stage.history()[0]
    assert (newest["result"], newest["reason"]) == ("rolled-back", ended.reason)

    ended = stage.change("rollback", "--to", "1")
    assert (ended.result, generations(stage)) == ("succeeded", ({4}, {4})), ended


@pytest.mark.thorough
def test_types_come_and_go_with_generations(stage: Stage) -> None:
    deploy(stage)
    clock = {"exec": ["/usr/bin/python3", "worker.py"], "after": []}
    stage.configure(process={"clock": clock})
    assert stage.change("apply").result == "succeeded"
    gone = f"{APP}.worker.service"
    stage.machine.wait_for(lambda: stage.show(gone, "LoadState")["LoadState"] == "not-found", what="workers to stop")
    stage.machine.wait_for(lambda: sorted(stage.status()["processes"]) == ["clock"], what="the status without them")
    assert len(of_type(stage, "clock")) == 1

    stage.configure(process={"clock": clock, "worker": TYPE}, release=release(stage, "bad", "crash"))
    ended = stage.rollout()
    assert ended.result == "rolled-back", ended
    assert sorted(stage.status()["processes"]) == ["clock"]
    assert stage.show(gone, "LoadState")["LoadState"] == "not-found"

    ended = stage.change("rollback", "--to", "1")
    assert ended.result == "succeeded", ended
    assert len(of_type(stage)) == 2
    stage.machine.wait_for(lambda: sorted(stage.status()["processes"]) == ["worker"], what="the clock to stop")

    assert stage.deployd("remove", APP).returncode == 0
    assert stage.systemctl("list-units", "--all", f"{APP}*", check=False).stdout.count(APP) == 0
    where = ["/etc/systemd", "/var/lib/deployd", "/run/deployd", "/run/systemd/system"]
    assert stage.machine.run(["find", *where, "-name", f"{APP}*"]).stdout == ""


@pytest.mark.thorough
def test_stop_start_and_reboot_reach_all_types(own_stage: Stage) -> None:
    stage = own_stage
    deploy(stage)
    stage.systemctl("stop", APP)
    assert (stage.invocations(), of_type(stage)) == ({}, {})
    stage.systemctl("start", APP)
    stage.machine.wait_for(lambda: len(of_type(stage)) == 2 == len(stage.invocations()), what="all instances")
    stage.machine.reboot()
    stage.machine.wait_for(lambda: len(of_type(stage)) == 2 == len(stage.invocations()), what="all after the boot")
    assert stage.get(port=PORT)["version"] == "v1"


@pytest.mark.sampled
@pytest.mark.parametrize("after", ["starting", "ready"])
def test_a_daemon_that_is_killed_continues_with_all_types(stage: Stage, after: str) -> None:
    deploy(stage)
    begun = stage.begin("rollout", "--release", release(stage, "v2"))
    begun.until("instance", process="worker", state=after)
    stage.machine.run(["systemctl", "kill", "--signal=KILL", "deployd"])
    ended = begun.end()
    assert (ended.status, ended.result) == (0, "succeeded"), ended
    assert generations(stage) == ({2}, {2})
    assert [item["result"] for item in stage.history()] == ["succeeded", "succeeded"]


@pytest.mark.thorough
def test_one_type_is_scaled_restarted_and_shown(stage: Stage) -> None:
    deploy(stage)
    web, workers = stage.invocations(), of_type(stage)
    assert stage.change("scale", "worker=3").result == "succeeded"
    scaled = of_type(stage)
    assert {number: invocation for number, (_, invocation) in scaled.items() if number in workers} == {
        number: invocation for number, (_, invocation) in workers.items()
    }
    assert len(scaled) == 3
    assert {ran.pid for ran in stage.invocations().values()} == {ran.pid for ran in web.values()}

    assert stage.change("restart", "worker").result == "succeeded"
    assert {invocation for _, invocation in of_type(stage).values()}.isdisjoint(item for _, item in scaled.values())
    assert {ran.pid for ran in stage.invocations().values()} == {ran.pid for ran in web.values()}
    newest = stage.history()[0]
    assert (newest["cause"], len(newest["adopted"]), newest["replaced"]) == ("restart-process", 2, [])
    before = of_type(stage)
    assert stage.change("restart", "web").result == "succeeded"
    assert {item for _, item in of_type(stage).values()} == {item for _, item in before.values()}
    assert {ran.pid for ran in stage.invocations().values()}.isdisjoint(ran.pid for ran in web.values())

    stage.configure(environment={"KEY": "value"})
    assert stage.change("apply").result == "succeeded"
    assert len(of_type(stage)) == 3, "the number stays as long as the app file does not change it"

    count = len(stage.history())
    assert stage.deployd("apply", APP).returncode == 0
    assert stage.systemctl("reload", APP).returncode == 0
    assert len(stage.history()) == count, "nothing has changed"

    refused = stage.deployd("scale", APP, "db=2")
    assert (refused.returncode, "no process type" in refused.stderr) == (2, True), refused.stderr
    assert stage.deployd("scale", APP, "worker=x").returncode == 2
    assert stage.deployd("status", f"{APP}.worker").returncode == 4
    assert "worker: 3 of 3 ready" in stage.deployd("status", APP).stdout
    said = stage.deployd("logs", APP, "worker").stdout
    assert f"{APP}.worker@1 gen 1 | at work for {APP} worker" in said
    assert f"{APP}@1 " not in said
    assert f"{APP}.worker@1 gen 1 | " in stage.deployd("logs", APP).stdout
    assert f"{APP}.worker@" not in stage.deployd("logs", APP, "web").stdout


@pytest.mark.thorough
def test_the_watch_takes_all_types_back_when_one_crashes(stage: Stage) -> None:
    deploy(stage, rollout={"watch": "5min"})
    stage.rollout(release(stage, "v2"))
    for count in range(1, 4):
        number = min(of_type(stage))
        stage.systemctl("kill", "--signal=KILL", f"{APP}.worker@{number}.service")
        stage.machine.wait_for(partial(has_crashed, stage, count), what="the crash to be counted")
    stage.machine.wait_for(lambda: newest(stage) == ("watch", "succeeded"), what="the rollback")
    assert generations(stage) == ({3}, {3})
    taken_back = stage.history()[0]
    assert taken_back["release"].endswith("/v1"), taken_back
    assert "worker: instance" in taken_back["reason"]


@pytest.mark.thorough
def test_a_failed_type_pauses_all_where_the_app_file_says_so(stage: Stage) -> None:
    deploy(stage, rollout={"on_failure": "pause"})
    begun = stage.begin("rollout", "--release", release(stage, "bad", "crash"))
    paused = begun.until("paused")
    assert "worker: instance" in paused["reason"], paused
    stage.machine.write("/srv/demo/bad/worker-mode", "good\n")
    assert stage.deployd("resume", APP).returncode == 0
    ended = begun.end()
    assert (ended.result, generations(stage)) == ("succeeded", ({2}, {2})), ended

    begun = stage.begin("rollout", "--release", release(stage, "worse", "crash"))
    begun.until("paused")
    assert stage.deployd("abort", APP).returncode == 0
    ended = begun.end()
    assert (ended.result, generations(stage)) == ("aborted", ({2}, {2})), ended


@pytest.mark.thorough
def test_what_would_change_is_shown_with_all_types(stage: Stage) -> None:
    deploy(stage)
    stage.configure(process={"clock": {**TYPE, "instances": 1}}, release=release(stage, "v2"))
    plan = stage.json("plan", APP)
    steps = {name: [item["action"] for item in its["actions"]] for name, its in plan["processes"].items()}
    assert (steps["clock"], steps["worker"]) == (["start"], ["stop", "stop"])
    said = stage.deployd("plan", APP).stdout
    assert "\nclock:\n  1. start instance 1 (generation 2)" in said, said
    units = {item["name"]: item for item in stage.json("units", APP)["units"]}
    assert units[f"{APP}.clock@.service"]["installed"] is None
    assert units[f"{APP}.worker@.service"]["text"] == ""
    assert f"PartOf={APP}.service" in units[f"{APP}.clock.service"]["text"]
    assert stage.deployd("health", APP).returncode == 0
    stage.systemctl("stop", f"{APP}.worker")
    checked = stage.deployd("health", APP)
    assert (checked.returncode, "worker is stopped" in checked.stdout) == (2, True), checked.stdout


@pytest.mark.thorough
def test_a_connection_starts_all_types_of_an_app_that_was_only_installed(stage: Stage) -> None:
    stage.configure(release=release(stage, "v1"), instances=2, process={"worker": TYPE})
    assert stage.change("apply", "--no-start").result == "succeeded"
    assert of_type(stage) == {}
    assert stage.get()["version"] == "v1"
    stage.machine.wait_for(lambda: len(of_type(stage)) == 2, what="the workers")


@pytest.mark.thorough
def test_an_app_that_is_stopped_in_the_middle_ends_the_rollout_of_all_types(stage: Stage) -> None:
    deploy(stage)
    begun = stage.begin("rollout", "--release", release(stage, "v2", "hang"))
    begun.until("instance", process="worker", state="starting")
    stage.systemctl("stop", APP)
    ended = begun.end()
    assert (ended.result, [event["event"] for event in ended.events].count("finished")) == ("aborted", 1), ended
    stage.machine.wait_for(lambda: stage.status()["processes"]["worker"]["rollout"] is None, what="the end of all")
    stage.systemctl("start", APP)
    stage.machine.wait_for(
        lambda: generations(stage) == ({1}, {1}) and len(of_type(stage)) == 2, what="what ran before"
    )


@pytest.mark.thorough
def test_a_reboot_in_the_middle_of_a_rollout_that_fails(own_stage: Stage) -> None:
    """The worker never says READY=1: its gate ends the rollout of all types, whatever happens meanwhile."""
    stage = own_stage
    deploy(stage)
    stage.configure(process={"worker": {**TYPE, "gate": {"timeout": "20s"}}})
    stage.begin("rollout", "--release", release(stage, "v2", "hang")).until(
        "instance", process="worker", state="starting"
    )
    stage.machine.reboot()
    stage.machine.wait_for(lambda: stage.status()["rollout"] is None, what="the end of the rollout")
    newest = stage.history()[0]
    assert (newest["result"], newest["reason"].startswith("worker: instance")) == ("rolled-back", True), newest
    stage.machine.wait_for(lambda: generations(stage) == ({1}, {1}), what="the instances of before")
    assert (len(stage.invocations()), len(of_type(stage))) == (2, 2)
    assert stage.status()["processes"]["worker"]["rollout"] is None


@pytest.mark.thorough
def test_no_type_begins_while_a_canary_is_tried(stage: Stage) -> None:
    stage.configure(release=release(stage, "v1"), instances=2, process={"worker": {**TYPE, "after": []}})
    assert stage.change("apply").result == "succeeded"
    begun = stage.begin("rollout", "--release", release(stage, "v2"), "--canary", "1")
    begun.until("paused")
    assert generations(stage) == ({1, 2}, {1})
    assert stage.deployd("resume", APP).returncode == 0
    ended = begun.end()
    assert (ended.result, generations(stage)) == ("succeeded", ({2}, {2})), ended
