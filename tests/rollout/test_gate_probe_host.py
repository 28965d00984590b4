"""A probe is a gate: no old instance stops before a new one has answered it as expected."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.host.faults import kill_daemon
from tests.host.private import HTTP, ask
from tests.host.stage import APP, INSTANCES, Stage
from tests.host.unit_journal import What, capacity

ALL = range(1, INSTANCES + 1)
SHORT = {"timeout": "3s", "probe": {**HTTP, "interval": "50ms", "timeout": "500ms"}}

SLOW = """\
import os, runpy, socket
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
    notify.sendto(b"EXTEND_TIMEOUT_USEC=20000000", os.environ["NOTIFY_SOCKET"])
runpy.run_path("app.py", run_name="__main__")
"""

# Takes its socket as fd 3 and does not notify systemd. It creates a file when it is up.
PLAIN = """\
import http.server, os, pathlib, socket, sys, time

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = ('{"pid": %d, "version": "%s"}' % (os.getpid(), sys.argv[1])).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

server = http.server.HTTPServer(("", 0), Handler, bind_and_activate=False)
server.socket = socket.socket(fileno=3)
time.sleep(float(sys.argv[2]))
pathlib.Path("/run/up", os.environ["DEPLOYD_INSTANCE"]).write_text(str(os.getpid()))
server.serve_forever()
"""
CHECK = """\
import os, pathlib, sys
path = pathlib.Path("/run/up", os.environ["DEPLOYD_INSTANCE"])
assert os.environ["DEPLOYD_APP"] == "demo" and os.environ["DEPLOYD_GENERATION"]
assert pathlib.Path.cwd() == pathlib.Path(os.environ["DEPLOYD_RELEASE"])
sys.exit(0 if path.exists() and path.read_text() == os.environ["MAINPID"] else 4)
"""


@pytest.mark.thorough
def test_no_old_instance_stops_before_a_new_one_passes_its_probe(stage: Stage) -> None:
    stage.deploy("v1", instances=2, gate={"probe": HTTP})
    stage.journal.restart()
    release = stage.release("v2", "warming", files={"status_after": "1"})
    with stage.load(rate=100) as load:
        ended = stage.rollout(release)
        record = load.stop()
    assert ended.result == "succeeded", ended
    assert not record.failed, record.by_outcome()
    changes = [change for change in stage.journal.changes() if change.what in (What.STARTED, What.STOPPING)]
    assert [change.what for change in changes] == [What.STARTED, What.STOPPING] * 2
    for started, stopping in zip(changes[::2], changes[1::2], strict=True):
        # Its /_status is bad for a second after READY=1.
        assert stopping.at - started.at > 0.9
    assert [ask(stage, number)["pid"] for number in stage.invocations()] == [
        ran.pid for ran in stage.invocations().values()
    ]


BAD: dict[str, tuple[str, dict[str, str], Mapping[str, object], str]] = {
    "unready": ("unready", {}, SHORT, "did not pass its probe within 3 s: GET /_status answered 503 instead of 200"),
    "wrong": (
        "good",
        {},
        {"timeout": "10min", "probe": {**HTTP, "expect": 201}},
        "failed its probe ",  # at least five times in a row
    ),
    "slow": ("slow-status", {}, SHORT, "did not pass its probe within 3 s: GET /_status did not answer within 0.5 s"),
    # The old instances pass, each on its own probe socket, and so does the main process of this one.
    "deaf": ("deaf", {}, SHORT, "did not pass its probe within 3 s: GET /_status was not read within 0.5 s: does"),
    "get-worse": (
        "unready-later",
        {"status_after": "2"},
        {"min_ready": "60s", "probe": HTTP},
        "failed its probe within min_ready: GET /_status answered 503 instead of 200",
    ),
    "crash": ("crash-idle", {"crash_after": "0"}, {"min_ready": "60s", "probe": HTTP}, "exited with status 5"),
}


@pytest.mark.sampled
@pytest.mark.parametrize(("mode", "files", "gate", "reason"), BAD.values(), ids=BAD)
def test_a_bad_answer_affects_no_running_instance(
    stage: Stage, mode: str, files: dict[str, str], gate: Mapping[str, object], reason: str
) -> None:
    stage.deploy("v1", gate={"probe": HTTP})
    stage.configure(gate=gate)
    before = stage.invocations()
    stage.journal.restart()
    with stage.load(rate=100) as load:
        ended = stage.rollout(stage.release("bad", mode, files=files))
        record = load.stop()
    assert (ended.status, ended.result) == (1, "rolled-back"), ended
    assert ended.reason.startswith(f"instance 5 {reason}")
    assert ended.reason in ended.stderr
    assert not record.failed, record.by_outcome()
    assert stage.invocations() == before
    assert min(capacity(stage.journal.changes(), ALL)) == INSTANCES
    failure = stage.history()[0]["failure"]
    assert (failure["instance"], failure["reason"]) == (5, ended.reason)
    if mode != "crash-idle":
        assert failure["gate"] == "probe"
        assert failure["waited_for"].startswith("GET /_status to answer 20")
    stage.configure(gate={"probe": HTTP})
    assert stage.rollout(stage.release("v2")).result == "succeeded"


@pytest.mark.thorough
def test_the_boot_may_be_extended_and_the_probe_has_its_own_time(stage: Stage) -> None:
    """EXTEND_TIMEOUT_USEC= extends the boot only; the time of the probe begins when the instance is ready."""
    stage.deploy("v1", instances=1, gate={"timeout": "2s", "probe": HTTP})
    stage.configure(exec=["/usr/bin/python3", "slow.py"])
    release = stage.release("v2", "warming", boot=3.0, files={"slow.py": SLOW, "status_after": "0.5"})
    ended = stage.rollout(release)
    assert (ended.status, ended.result) == (0, "succeeded"), ended


@pytest.mark.thorough
def test_a_restarted_daemon_probes_again(stage: Stage) -> None:
    """The time of the gate is over by then, and the instance had passed."""
    stage.deploy("v1", instances=1, gate={"probe": HTTP})
    stage.configure(gate={"timeout": "1s", "min_ready": "4s", "probe": HTTP})
    with stage.begin("rollout", "--release", stage.release("v2")) as begun:
        begun.until("instance", state="starting")
        stage.machine.wait_unit(f"{APP}@2.service")
        ready = float(stage.show(f"{APP}@2.service", "ActiveEnterTimestampMonotonic")["ActiveEnterTimestampMonotonic"])

        def later() -> bool:
            return float(stage.machine.read("/proc/uptime").split()[0]) > ready / 1e6 + 1.5

        stage.machine.wait_for(later, what="the end of the time of the gate")
        invocation = stage.show(f"{APP}@2.service", "InvocationID")["InvocationID"]
        kill_daemon(stage)
        ended = begun.end()
    assert ended.result == "succeeded", ended
    assert [ran.invocation for ran in stage.invocations().values()] == [invocation]


@pytest.mark.thorough
def test_instances_that_pass_another_probe_are_adopted(stage: Stage) -> None:
    stage.deploy("v1", instances=2, gate={"timeout": "1s", "probe": HTTP})
    before = {ran.pid for ran in stage.invocations().values()}
    stage.configure(gate={"timeout": "1s", "probe": {"http": "/other", "expect": 200}})
    ended = stage.change("apply")
    assert ended.result == "succeeded", ended
    assert sorted(ended.finished["adopted"]) == [1, 2]
    assert {ran.pid for ran in stage.invocations().values()} == before


def plain(stage: Stage, version: str, boot: float = 0.0) -> None:
    """Configure a release of a program that cannot notify systemd."""
    path = stage.release(version, files={"plain.py": PLAIN, "check.py": CHECK})
    stage.configure(release=path, exec=["/usr/bin/python3", "plain.py", version, str(boot)])


@pytest.mark.thorough
def test_a_program_that_cannot_notify_is_rolled_out_as_safely(stage: Stage) -> None:
    stage.machine.write("/run/up/.keep", "")
    plain(stage, "v1")
    probe = {"command": ["/usr/bin/python3", "check.py"], "interval": "100ms"}
    stage.configure(instances=2, gate={"type": "exec", "probe": probe})
    ended = stage.change("apply")
    assert ended.result == "succeeded", ended
    before = stage.invocations()
    stage.journal.restart()

    plain(stage, "v2", boot=1.0)
    ended = stage.rollout()
    assert ended.result == "succeeded", ended
    assert stage.get()["version"] == "v2"
    assert not set(stage.invocations().values()) & set(before.values())
    changes = [change for change in stage.journal.changes() if change.what in (What.STARTED, What.STOPPING)]
    assert [change.what for change in changes] == [What.STARTED, What.STOPPING] * 2
    assert all(stopping.at - started.at > 0.9 for started, stopping in zip(changes[::2], changes[1::2], strict=True))

    before = stage.invocations()
    plain(stage, "v3", boot=1000.0)
    stage.configure(gate={"type": "exec", "timeout": "2s", "probe": probe})
    ended = stage.rollout()
    assert (ended.status, ended.result) == (1, "rolled-back"), ended
    new = ended.instances("starting")[0][0]
    assert ended.reason.startswith(f"instance {new} did not pass its probe within 2 s: /usr/bin/python3 check.py ")
    assert ended.reason.endswith("exited with status 4")
    assert stage.invocations() == before
    assert stage.get()["version"] == "v2"


@pytest.mark.thorough
def test_an_exec_gate_without_a_probe_is_refused(stage: Stage) -> None:
    stage.configure(release=stage.release("v1"), gate={"type": "exec"})
    done = stage.deployd("apply", APP)
    assert done.returncode == 3
    assert 'gate.type: "exec" does not report readiness, so it needs a probe' in done.stderr
