"""Drop-ins of the instances apply to hooks, command probes and analysis commands, too."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.host.stage import APP, Stage

SAID = "/dev/shm/said"
"""Writable in every sandbox, except one with a /dev/shm of its own."""

REPORT = """\
#!/usr/bin/python3
import json, os, resource, socket, sys
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
mounts = [line.split(" ") for line in open("/proc/self/mountinfo")]
(group,) = (line.strip().split("::")[1] for line in open("/proc/self/cgroup") if line.startswith("0::"))
credentials = os.environ.get("CREDENTIALS_DIRECTORY", "")

def attempt(call):
    try:
        call()
    except OSError as error:
        return error.errno
    return 0

def control(name):
    try:
        return open(f"/sys/fs/cgroup{group}/{name}").read()
    except OSError as error:
        return error.errno

seen = {
    "account": (os.getuid(), os.getgid(), sorted(os.getgroups()), os.umask(0o22)),
    "status": {key: status[key].strip() for key in ("NoNewPrivs", "Seccomp", "CapBnd", "CapEff", "CapAmb")},
    "mounts": sorted({
        (point, options) for _, _, _, _, point, options, *_ in mounts
        if not point.startswith(("/run/credentials", "/sys/fs/cgroup/"))
    }),
    "credentials": {
        name: open(f"{credentials}/{name}").read() for name in sorted(os.listdir(credentials)) if name != "compare"
    } if credentials else {},
    "environment": {key: value for key, value in os.environ.items() if key.startswith("OF_")},
    "files": resource.getrlimit(resource.RLIMIT_NOFILE),
    "nice": os.nice(0),
    "memory": control("memory.max"),
    "tasks": control("pids.max"),
    "slice": group.rpartition("/")[0],
    "packet": attempt(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)),
    "unshare": attempt(lambda: os.unshare(os.CLONE_NEWUTS) if hasattr(os, "unshare") else None),
    "chown": attempt(lambda: os.chown("app.py", 0, 0)),
    "write": attempt(lambda: open("/var/tmp/written", "w").close()),
    "kernel": attempt(lambda: open("/proc/sys/kernel/domainname", "a").close()),
    "others": os.path.exists("/proc/1/stat"),
}
with open(f"/dev/shm/said.{sys.argv[1]}.{os.getpid()}", "w") as file:
    json.dump(seen, file)
"""

DROP_INS = {
    "nothing": "",
    "account": "User=www-data\nGroup=adm\nSupplementaryGroups=daemon\nUMask=0027\nNice=3\nLimitNOFILE=512:1024\n"
    "MemoryMax=300M\nTasksMax=77\n",
    "root": "User=\nGroup=\nNoNewPrivileges=no\nCapabilityBoundingSet=~CAP_CHOWN CAP_NET_RAW\n",
    "dynamic": "User=\nDynamicUser=yes\n",
    "sandbox": "User=daemon\nNoNewPrivileges=yes\nProtectSystem=strict\nPrivateTmp=yes\nProtectHome=yes\n"
    "ReadOnlyPaths=/opt\nInaccessiblePaths=-/mnt\nTemporaryFileSystem=/media:ro\nBindReadOnlyPaths=/etc:/home\n"
    "RestrictAddressFamilies=AF_UNIX AF_INET\nRestrictNamespaces=yes\nSystemCallFilter=@system-service\n"
    "SystemCallErrorNumber=EPERM\nMemoryDenyWriteExecute=yes\nPrivateUsers=yes\nProcSubset=all\n",
    "capabilities": "User=www-data\nAmbientCapabilities=CAP_NET_RAW\nCapabilityBoundingSet=CAP_NET_RAW CAP_KILL\n",
    "credentials": "LoadCredential=token:/etc/token\nSetCredential=other:something\nEnvironment=OF_DROP_IN=1\n"
    "EnvironmentFile=/etc/of\n",
}


EXECUTABLE = {"NoExecPaths": "/", "ExecPaths": "/usr /lib /lib64 -/srv", "ExecStartPre": "/bin/true"}
"""With settings whose names resemble commands, and with a command, which applies to instances only."""


def reports(stage: Stage) -> dict[str, Any]:
    """Return the report of the last process of each kind."""
    paths = stage.machine.path("/dev/shm").glob("said.*")
    ordered = sorted(paths, key=lambda path: path.stat().st_mtime_ns)
    return {path.name.split(".")[1]: json.loads(path.read_text()) for path in ordered}


def clear(stage: Stage) -> None:
    for path in stage.machine.path("/dev/shm").glob("said.*"):
        path.unlink()


def reporting(stage: Stage, version: str, **settings: object) -> None:
    """Return the app file of a release in which every process of the app writes a report."""
    stage.machine.write("/etc/token", "s3cret", 0o600)
    stage.machine.write("/etc/of", "OF_FILE=2\n", 0o600)
    stage.configure(
        **{
            "release": stage.release(version, files={"bin/report": REPORT}),
            "exec": ["/bin/sh", "-c", "./bin/report instance; exec /usr/bin/python3 app.py"],
            "instances": 1,
            "gate": {"probe": {"command": ["./bin/report", "probe"], "expect": 0}},
            "rollout": {
                "hooks": {"before": [["./bin/report", "before"]], "after": [["./bin/report", "after"]]},
                "analysis": {"command": ["./bin/report", "analysis"], "interval": "0.2s"},
            },
            **settings,
        }
    )


def drop_in(stage: Stage, text: str, of: str = "@") -> None:
    stage.machine.write(f"/etc/systemd/system/{APP}{of}.service.d/x.conf", f"[Service]\n{text}")


@pytest.mark.sampled
@pytest.mark.parametrize("text", DROP_INS.values(), ids=DROP_INS)
def test_all_commands_get_the_settings_of_an_instance(stage: Stage, text: str) -> None:
    """Also in a first deployment, when only the drop-in is installed."""
    clear(stage)
    drop_in(stage, text)
    reporting(stage, "v1")
    assert stage.change("apply").result == "succeeded"
    first = reports(stage)
    assert first.keys() == {"before", "instance", "probe", "after"} - ({"before"} if "Dynamic" in text else set())
    clear(stage)
    reporting(stage, "v2")
    assert stage.change("rollout").result == "succeeded"
    later = reports(stage)
    assert later.keys() == {"before", "instance", "probe", "after", "analysis"}
    for seen in (first, later):
        for kind in seen:
            assert seen[kind] == seen["instance"], kind
    if "User=www-data" in text:
        assert later["instance"]["account"][0] == 33
    if text.startswith("LoadCredential"):
        assert later["before"]["credentials"] == {"token": "s3cret", "other": "something"}
        assert later["before"]["environment"] == {"OF_DROP_IN": "1", "OF_FILE": "2"}


@pytest.mark.thorough
def test_a_changed_app_file_applies_to_its_own_hooks(stage: Stage) -> None:
    """The settings are those of the new generation, although its units are not installed yet."""
    reporting(stage, "v1", user="www-data", group="adm")
    assert stage.change("apply").result == "succeeded"
    clear(stage)
    reporting(stage, "v2", user="daemon", group=None, service={"LimitNOFILE": 1000, "PrivateTmp": True} | EXECUTABLE)
    assert stage.change("rollout").result == "succeeded"
    seen = reports(stage)
    assert seen["instance"]["account"][0] == 1
    assert all(seen[kind] == seen["instance"] for kind in ("before", "after", "analysis", "probe"))
    clear(stage)
    assert stage.change("rollback").result == "succeeded"
    seen = reports(stage)
    assert seen["before"] == seen["instance"]
    assert seen["before"]["account"][0] == 33


@pytest.mark.thorough
def test_a_probe_runs_with_the_drop_ins_of_its_own_instance(stage: Stage) -> None:
    clear(stage)
    drop_in(stage, "User=www-data\n")
    drop_in(stage, "User=daemon\n", "@1")
    reporting(stage, "v1")
    assert stage.change("apply").result == "succeeded"
    seen = reports(stage)
    assert seen["probe"] == seen["instance"]
    assert [seen[kind]["account"][0] for kind in ("before", "probe")] == [33, 1]


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("User=nobody-of-that-name\n", "its user is not known (status 217)"),
        ("LoadCredential=token:/etc/missing\n", "its credentials cannot be set up (status 243)"),
        ("Type=oneshot\nRestart=always\n", "demo@.service.d/x.conf sets Type=: the gate depends on it"),
    ],
)
def test_settings_that_cannot_be_applied_are_refused(stage: Stage, text: str, sentence: str) -> None:
    stage.deploy("v1", instances=1)
    before = stage.invocations()
    drop_in(stage, text)
    reporting(stage, "v2", gate={})
    clear(stage)
    ended = stage.rollout()
    assert ended.status != 0
    assert sentence in ended.stderr, ended
    assert "before" not in reports(stage)
    assert stage.invocations() == before
    assert [row["generation"] for row in stage.history()] == [1]
