"""Instances that crash while no rollout is under way: each is kept down for a while and started again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.host.fixtures import MachineFactory
from tests.host.stage import APP, DEADLINE, INSTANCES, Json, Stage
from tests.host.unit_journal import What

STEADY = 4
"""Seconds of being ready until crashes are forgiven, in these tests."""
LIMIT = 5
CRASH = "/srv/crash"
RUN = f"""\
#!/bin/sh
for file in {CRASH}/$DEPLOYD_INSTANCE {CRASH}/all; do
    [ ! -e $file ] || {{ echo "cannot reach the database" >&2; MODE=$(cat $file); export MODE; }}
done
exec /usr/bin/python3 app.py
"""
DAEMON = "deployd.service"
MESSAGE_ID = "7dcfca40a5fa416fb2e7d8e6bb7da0f0"
DETAIL = r"crashed (\d+) times in \d+ s \(exited with status 5 after it was ready\); next try at \d\d:\d\d:\d\d"


@pytest.fixture
def deployed(stage: Stage) -> Iterator[Stage]:
    """Deploy `demo`. Once restarted, an instance whose number is a file in CRASH crashes again and again."""
    deploy(stage)
    yield stage
    machine = stage.machine
    machine.path(CRASH).mkdir(exist_ok=True)
    for file in machine.path(CRASH).iterdir():
        file.unlink()


def deploy(stage: Stage) -> None:
    machine = stage.machine
    machine.write(f"/run/systemd/system/{DAEMON}.d/steady.conf", f"[Service]\nEnvironment=DEPLOYD_STEADY={STEADY}\n")
    machine.run(["systemctl", "daemon-reload"])
    machine.run(["systemctl", "restart", DAEMON])
    stage.release("v1", files={"run": RUN})
    stage.deploy("v1", exec=["./run"])
    stage.journal.restart()


def break_down(stage: Stage, what: str, *instances: int, mode: str = "crash-idle") -> None:
    """Have these instances crash from now on, by default after they are ready. They are stopped gracefully first."""
    stage.machine.write(f"{CRASH}/{what}", mode)
    restart = ["systemctl", "restart", *(f"{APP}@{number}.service" for number in instances)]
    stage.machine.run(restart, check=mode == "crash-idle")


def mend(stage: Stage, what: str) -> None:
    stage.machine.path(f"{CRASH}/{what}").unlink()


def instance(stage: Stage, number: int) -> Json:
    found: Json = next(item for item in stage.status()["instances"] if item["instance"] == number)
    return found


def kept_down(stage: Stage, number: int, crashes: int = LIMIT) -> Json:
    """Wait until an instance is kept down after at least so many crashes; return its status."""

    def found_down() -> Json | None:
        item = instance(stage, number)
        return item if item["retry_at"] and item["crashes"] >= crashes else None

    found = stage.machine.wait_for(found_down, timeout=DEADLINE, what=f"{crashes} crashes of instance {number}")
    assert found is not None
    return found


def is_up(stage: Stage, number: int) -> str:
    return stage.show(f"{APP}@{number}.service", "ActiveState")["ActiveState"]


def forgiven(stage: Stage, number: int) -> bool:
    item = instance(stage, number)
    return bool(item["ready"]) and item["crashes"] == 0


def test_a_crashing_instance_is_backed_off_and_forgiven(deployed: Stage) -> None:
    stage, machine = deployed, deployed.machine
    before = stage.invocations()
    with stage.load(rate=100) as load:
        break_down(stage, "2", 2)
        item = kept_down(stage, 2)
        assert (item["state"], item["ready"], item["generation"]) == ("failed", False, 1)
        assert re.fullmatch(DETAIL, item["detail"]), item
        assert item["journal"] == ["cannot reach the database"]
        kept_down(stage, 2, item["crashes"] + 1)
        mend(stage, "2")
        machine.wait_for(lambda: forgiven(stage, 2), timeout=DEADLINE, what="forgiveness")
        record = load.stop()
    assert not record.failed, record.summary()
    assert stage.status()["ready"] == INSTANCES
    after = stage.invocations()
    assert {number for number in before if before[number] != after[number]} == {2}
    assert (after[2].generation, instance(stage, 2)["retry_at"]) == (1, None)
    assert instance(stage, 2)["restarts"] > LIMIT, "those by deployd, after which systemd counts from 0, are in it"
    journal = machine.run(["journalctl", "--output=json", f"MESSAGE_ID={MESSAGE_ID}", "DEPLOYD_INSTANCE=2"]).stdout
    entries = [json.loads(line) for line in journal.splitlines()]
    assert [entry["PRIORITY"] for entry in entries] == ["4"] * len(entries)
    assert len(entries) >= 2
    assert "delays each restart" in machine.run(["journalctl", "-x", f"MESSAGE_ID={MESSAGE_ID}"]).stdout


@pytest.mark.thorough
def test_an_instance_that_systemd_restarts_at_once_does_not_spin(deployed: Stage) -> None:
    """Without RestartSec= the daemon cannot observe the time between a crash and the next start."""
    stage = deployed
    stage.configure(service={"RestartSec": "0"})
    assert stage.change("apply").result == "succeeded"
    stage.journal.restart()
    number = min(stage.invocations())
    break_down(stage, str(number), number, mode="crash")
    item = kept_down(stage, number, LIMIT + 1)
    assert "(exited with status 3 before it was ready)" in item["detail"]
    starts = [change.instance for change in stage.journal.changes() if change.what is What.STARTING].count(number)
    assert starts <= LIMIT + 5


@pytest.mark.thorough
def test_a_restarted_daemon_continues(deployed: Stage) -> None:
    stage, machine = deployed, deployed.machine
    break_down(stage, "2", 2)
    crashes = kept_down(stage, 2, LIMIT + 1)["crashes"]
    machine.run(["systemctl", "kill", "--signal=KILL", DAEMON])
    machine.wait_unit(DAEMON)
    crashes = kept_down(stage, 2, crashes + 1)["crashes"]
    machine.run(["systemctl", "stop", DAEMON])
    assert is_up(stage, 2) == "inactive"
    mend(stage, "2")
    machine.run(["systemctl", "start", DAEMON])
    machine.wait_for(lambda: forgiven(stage, 2), timeout=DEADLINE, what="forgiveness")
    assert crashes >= LIMIT + 2


@pytest.mark.thorough
def test_what_ends_without_a_request_runs_again_and_what_is_stopped_by_hand_says_so(stage: Stage) -> None:
    machine = stage.machine
    # systemd would start them again, whatever the app file says, but not with this drop-in.
    machine.write(f"/run/systemd/system/{APP}@.service.d/restart.conf", "[Service]\nRestart=on-failure\n")
    stage.deploy("v1", instances=2, service={"Restart": "no"})
    before = stage.invocations()
    for number in before:
        machine.run(["kill", "-TERM", str(stage.pid(number))])  # it exits with 0, and systemd does not start it again
    assert stage.get()["version"] == "v1", "the connection waits"

    def again() -> bool:
        now = stage.invocations()
        return now.keys() == before.keys() and not set(now.values()) & set(before.values())

    machine.wait_for(again, timeout=DEADLINE, what="both instances to run again")
    machine.run(["systemctl", "stop", f"{APP}@2.service"])
    # deployd asks the journal first.
    machine.wait_for(lambda: instance(stage, 2)["stopped_by_hand"], timeout=DEADLINE, what="the stop by hand")
    assert instance(stage, 2)["state"] == "inactive"
    assert f"instance 2 stopped by hand; start it again with: systemctl start {APP}@2.service" in " ".join(
        stage.deployd("status", APP).stdout.split()
    )
    assert stage.change("restart").result == "succeeded"
    assert stage.status()["ready"] == 2


@pytest.mark.thorough
def test_an_instance_stopped_by_hand_stays_down(deployed: Stage) -> None:
    stage, machine = deployed, deployed.machine
    machine.run(["systemctl", "stop", f"{APP}@1.service"])
    break_down(stage, "2", 2)
    kept_down(stage, 2)
    machine.run(["systemctl", "restart", DAEMON])
    kept_down(stage, 2, LIMIT + 1)
    mend(stage, "2")
    machine.wait_for(lambda: forgiven(stage, 2), timeout=DEADLINE, what="forgiveness")
    # By now deployd would have started it twice.
    assert is_up(stage, 1) == "inactive"
    item = instance(stage, 1)
    assert (item["state"], item["crashes"], item["retry_at"]) == ("inactive", 0, None)


@pytest.mark.thorough
def test_connections_wait_in_the_socket_while_all_instances_crash(deployed: Stage) -> None:
    stage, machine = deployed, deployed.machine
    every = range(1, INSTANCES + 1)
    invocation = stage.show(f"{APP}.service", "InvocationID")
    break_down(stage, "all", *every)

    def all_down() -> bool:
        return not any(item["main_pid"] for item in stage.status()["instances"])

    for number in every:
        kept_down(stage, number)
    machine.wait_for(all_down, timeout=DEADLINE, what="a time when no instance runs")
    with ThreadPoolExecutor(8) as clients:
        answers = [clients.submit(stage.get) for _ in range(8)]
        for number in every:
            kept_down(stage, number, LIMIT + 2)
        assert stage.show(f"{APP}.socket", "ActiveState") == {"ActiveState": "active"}
        # Waiting connections start nothing: each instance was started once per crash.
        crashes = {item["instance"]: item["crashes"] for item in stage.status()["instances"]}
        starts = [change.instance for change in stage.journal.changes() if change.what is What.STARTING]
        assert {number: starts.count(number) <= crashes[number] + 2 for number in every} == dict.fromkeys(every, True)
        mend(stage, "all")
        assert {answer.result()["version"] for answer in answers} == {"v1"}
    machine.wait_for(lambda: all(forgiven(stage, number) for number in every), timeout=DEADLINE, what="forgiveness")
    assert stage.show(f"{APP}.service", "InvocationID") == invocation


@pytest.mark.thorough
def test_a_rollout_does_not_wait_for_an_instance_that_is_kept_down(deployed: Stage) -> None:
    stage = deployed
    break_down(stage, "2", 2)
    kept_down(stage, 2, LIMIT + 1)
    mend(stage, "2")
    ended = stage.rollout(stage.release("v2", files={"run": RUN}))
    assert (ended.status, ended.result) == (0, "succeeded"), ended
    items = stage.status()["instances"]
    assert [(item["generation"], item["ready"], item["crashes"]) for item in items] == [(2, True, 0)] * INSTANCES


@pytest.mark.thorough
def test_stopping_the_app_ends_the_crash_loop(deployed: Stage) -> None:
    stage, machine = deployed, deployed.machine
    break_down(stage, "2", 2)
    kept_down(stage, 2)
    machine.run(["systemctl", "stop", f"{APP}.socket", f"{APP}.service"])
    machine.wait_for(lambda: instance(stage, 2)["retry_at"] is None, timeout=DEADLINE, what="the end of the crash loop")
    machine.run(["systemctl", "restart", DAEMON])
    # One that was just started again may end with an error when it is stopped.
    assert {is_up(stage, number) for number in range(1, INSTANCES + 1)} <= {"inactive", "failed"}
    mend(stage, "2")
    machine.run(["systemctl", "start", f"{APP}.socket", f"{APP}.service"])
    machine.wait_for(lambda: stage.status()["ready"] == INSTANCES, timeout=DEADLINE, what="all instances")


@pytest.mark.thorough
@pytest.mark.parametrize("mended", [True, False], ids=["mended", "still-broken"])
def test_a_reboot_starts_instances_that_were_kept_down(machine_factory: MachineFactory, mended: bool) -> None:
    stage = Stage(machine_factory("crashes"))
    deploy(stage)
    break_down(stage, "2", 2)
    kept_down(stage, 2, LIMIT + 1)
    if mended:
        mend(stage, "2")
    stage.machine.reboot(clean=False)
    if mended:
        stage.machine.wait_for(lambda: stage.status()["ready"] == INSTANCES, timeout=DEADLINE, what="all instances")
        return
    kept_down(stage, 2)
    assert [item["instance"] for item in stage.status()["instances"] if item["ready"]] == [1, 3, 4]
