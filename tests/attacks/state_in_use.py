"""State that is lost, damaged or locked while apps are rolled out: no request is lost, and the rollout continues."""

from __future__ import annotations

from collections.abc import Callable

from tests.attacks.broken_history import DAEMON, lock, python, sql
from tests.host.neighbour import Neighbour
from tests.host.stage import APP, Stage
from tests.host.steered import asked


def all_state_lost(stage: Stage) -> str:
    """All of /var/lib/deployd is deleted while the app serves; then a bad release is applied, and a good one."""
    stage.deploy("v1")
    load = stage.load()
    before = {number: (item.pid, item.invocation) for number, item in stage.invocations().items()}
    stage.machine.run(["systemctl", "stop", DAEMON])
    stage.machine.run(["find", "/var/lib/deployd", "-mindepth", "1", "-delete"])
    stage.machine.run(["systemctl", "start", DAEMON])
    shown = {item["instance"]: (item["main_pid"], item["invocation_id"]) for item in stage.status()["instances"]}
    if shown.keys() != before.keys() or "generation unknown, 4 ready" not in stage.deployd("status", APP).stdout:
        return f"status does not show the running instances: {stage.status()}"
    stage.configure(release=stage.release("bad", "crash"))
    with stage.begin("apply") as begun:
        begun.until("paused")
    if stage.status()["ready"] < 4:
        return "running instances were stopped for a release that failed"
    stage.configure(release=stage.release("v2"))
    ended = stage.change("apply", "--supersede")
    status = stage.status()
    if ended.result != "succeeded" or {item["generation"] for item in status["instances"]} != {2}:
        return f"it could not be deployed again: {ended}"
    record = load.stop()
    return f"requests were lost: {record.summary()}" if record.failed else ""


def generations_lost(stage: Stage) -> str:
    """Generations and pins are deleted while the app serves; the history is intact."""
    stage.deploy("v1")
    load = stage.load()
    stage.machine.run(["systemctl", "stop", DAEMON])
    stage.machine.run(["find", "/var/lib/deployd/apps", "-mindepth", "1", "-delete"])
    stage.machine.run(["systemctl", "start", DAEMON])
    if (status := stage.status())["ready"] != 4 or status["generation"] != 1:
        return f"status does not show the running instances: {status}"
    ended = stage.change("apply")
    pins = {path.name for path in stage.machine.path("/var/lib/deployd/apps/demo/pins").iterdir()}
    if ended.result != "succeeded" or len(pins) != 4:
        return f"an unchanged apply did not restore the pins: {ended}"
    record = load.stop()
    return f"requests were lost: {record.summary()}" if record.failed else ""


def deleted_in_mid_rollout(stage: Stage) -> str:
    """history.sqlite is deleted during a rollout, while the daemon runs."""
    stage.deploy("v1")
    load = stage.load()
    with stage.begin("rollout", "--release", stage.release("v2", boot=0.3)) as begun:
        begun.until("instance", state="stopped")
        python(stage, "os.remove(H)")
        begun.until("paused")
    before = stage.invocations()
    if not (error := stage.status()["history_error"]) or "is missing" not in error:
        done = stage.deployd("resume", APP)
        error = stage.status()["history_error"]
        if done.returncode != 1 or not error:
            return f"the rollout continued without a history: {done}"
    stage.machine.run(["systemctl", "restart", DAEMON])
    stage.json("repair")
    rollout = stage.status()["rollout"]
    if rollout is None or (rollout["phase"], rollout["from"], rollout["to"]) != ("paused", 1, 2):
        return f"the rollout is shown as {rollout}"
    if stage.invocations() != before:
        return "an instance was changed by the repair"
    ended = stage.change("resume", "--wait")
    if ended.result != "succeeded" or stage.status()["generation"] != 2:
        return f"it could not be resumed: {ended}"
    record = load.stop()
    return f"requests were lost: {record.summary()}" if record.failed else ""


def deleted_during_a_canary(stage: Stage) -> str:
    """history.sqlite is deleted while a rollout of a steered app is paused at a canary of 5 % of new connections."""
    stage.deploy("v1", routing="steered")
    load = stage.load()
    with stage.begin("rollout", "--release", stage.release("v2"), "--canary", "5%") as begun:
        begun.until("paused")
    if asked(stage)[2] != 5:
        return f"the canary did not have its share before: {asked(stage)}"
    before = stage.invocations()
    stage.machine.run(["systemctl", "stop", DAEMON])
    python(stage, "os.remove(H)")
    stage.machine.run(["systemctl", "start", DAEMON])
    for step in ("start", "repair"):
        if step == "repair":
            stage.json("repair")
        if asked(stage)[2] != 5 or stage.status()["rollout"]["phase"] != "paused":
            return f"after the {step} the shares are {asked(stage)}"
    if stage.invocations() != before:
        return "an instance was changed by the repair"
    with stage.begin("resume", "--wait") as resumed:
        resumed.until("paused")
    if asked(stage)[2] != 5:
        return f"after the resume the shares are {asked(stage)}"
    ended = stage.change("resume", "--wait")
    if ended.result != "succeeded":
        return f"it could not be resumed: {ended}"
    record = load.stop()
    return f"requests were lost: {record.summary()}" if record.failed else ""


def one_apps_rows(stage: Stage) -> str:
    """The rows of one app are damaged, while another rolls out."""
    neighbour = Neighbour(stage, "other", 9000)
    neighbour.deploy()
    stage.deploy("v1")
    stage.machine.run(["systemctl", "stop", DAEMON])
    sql(stage, "UPDATE generations SET settings = '{broken' WHERE app = 'other'")
    stage.machine.run(["systemctl", "start", DAEMON])
    if stage.status()["history_error"] is not None or neighbour.status()["history_error"] is None:
        return "the wrong app reports damage"
    with stage.begin("rollout", "--release", stage.release("v2", boot=0.3)) as begun:
        begun.until("instance", state="stopped")
        stage.json("repair")
        ended = begun.end()
    if ended.result != "succeeded":
        return f"the rollout of the other app: {ended}"
    done = stage.deployd("restart", "other")
    return "" if done.returncode == 0 else f"after the repair: {done}"


def locked(stage: Stage) -> str:
    """Another process keeps history.sqlite locked for seconds during a rollout."""
    stage.deploy("v1")
    load = stage.load()
    with stage.begin("rollout", "--release", stage.release("v2", boot=0.3)) as begun:
        begun.until("instance", state="starting")
        with lock(stage):
            done = stage.deployd("scale", APP, "3", "--supersede")
            if done.returncode != 1 or "is locked by another process" not in done.stderr:
                return f"a request got {done}"
            if stage.status()["ready"] < 4:
                return "an instance was lost"
        ended = begun.end()
    if ended.result != "succeeded":
        return f"the rollout did not succeed: {ended}"
    record = load.stop()
    return f"requests were lost: {record.summary()}" if record.failed else ""


def locked_at_the_start(stage: Stage) -> str:
    """Another process has history.sqlite locked when the daemon starts during a rollout, and unlocks it later."""
    stage.deploy("v1")
    load = stage.load()
    with stage.begin("rollout", "--release", stage.release("v2", boot=0.3)) as begun:
        begun.until("instance", state="stopped")
        stage.machine.run(["systemctl", "stop", DAEMON])
        with lock(stage, "EXCLUSIVE"):
            stage.machine.run(["systemctl", "start", DAEMON])
            status = stage.status()
            if "is locked by another process" not in str(status["history_error"]) or status["ready"] < 4:
                return f"status shows {status}"
            done = stage.deployd("repair")
            if done.returncode != 1 or "is locked by another process" not in done.stderr:
                return f"a locked history was repaired: {done}"
        ended = begun.end()
    if ended.result != "succeeded":
        return f"the rollout was not continued: {ended}"
    record = load.stop()
    return f"requests were lost: {record.summary()}" if record.failed else ""


ATTACKS: tuple[Callable[[Stage], str], ...] = (
    all_state_lost,
    generations_lost,
    deleted_in_mid_rollout,
    deleted_during_a_canary,
    one_apps_rows,
    locked,
    locked_at_the_start,
)
