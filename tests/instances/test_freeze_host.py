"""The behaviour of systemd that standby relies on: SIGSTOP to a whole unit, and why FreezeUnit is not used."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.host.machine import Machine
from tests.host.root import HostRoot

PROGRAM = """
import os, signal, socket, sys, time
children = int(sys.argv[1])
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
for _ in range(children):
    if not os.fork():
        time.sleep(10**6)
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
    address = os.environ["NOTIFY_SOCKET"]
    notify.sendto(b"READY=1", chr(0) + address[1:] if address.startswith("@") else address)
last = time.monotonic()
while True:
    time.sleep(0.05)
    now = time.monotonic()
    if now - last > 1:
        print("slept", flush=True)
    last = now
"""
UNIT = """
[Unit]
PartOf=all.service
ConditionPathExists=/run/pins/%i
StartLimitIntervalSec=0
[Service]
Type=notify
KillMode=mixed
Restart=always
RestartSec=100ms
TimeoutStopSec=20s
WorkingDirectory=/run/pins/%i
ExecStart=/usr/bin/python3 /opt/program.py CHILDREN
"""
SOON = 10.0
"""Well below the stop time-outs, which are 20 s and more."""


@pytest.fixture(scope="module")
def host(host_root: HostRoot) -> Iterator[Machine]:
    with Machine.boot("freezer", host_root, install=False) as machine:
        machine.write("/opt/program.py", PROGRAM)
        machine.write(
            "/etc/systemd/system/all.service", "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=true\n"
        )
        machine.write("/etc/systemd/system/one@.service", UNIT.replace("CHILDREN", "0"))
        machine.write("/etc/systemd/system/many@.service", UNIT.replace("CHILDREN", "2"))
        machine.run(["systemctl", "daemon-reload"])
        yield machine


def version(host: Machine) -> int:
    return int(host.run(["systemctl", "--version"]).stdout.split()[1].partition(".")[0])


def start(host: Machine, unit: str) -> None:
    number = unit.partition("@")[2].partition(".")[0]
    host.run(["mkdir", "-p", f"/run/pins/{number}"])
    host.run(["systemctl", "start", "all.service", unit])


def kill(host: Machine, unit: str, name: str) -> None:
    """Send a signal to all processes of a unit, as the daemon does."""
    host.run(["systemctl", "kill", f"--signal={name}", unit])


def show(host: Machine, unit: str, name: str) -> str:
    return host.run(["systemctl", "show", "--property", name, "--value", unit]).stdout.strip()


def states(host: Machine, unit: str) -> list[str]:
    """Return the states of the processes of a unit in the kernel; T is stopped."""
    # Read in the host, because the kernel shows each reader the numbers of its own PID namespace.
    listing = f"cat $(find /sys/fs/cgroup -path '*/{unit}/cgroup.procs')"
    pids = host.run(["sh", "-c", listing]).stdout.split()
    return sorted(host.read(f"/proc/{pid}/stat").rpartition(") ")[2][0] for pid in pids)


def test_stopped_processes_leave_the_unit_active_and_a_stop_ends_it(host: Machine) -> None:
    start(host, "one@1.service")
    kill(host, "one@1.service", "SIGSTOP")
    assert (show(host, "one@1.service", "ActiveState"), states(host, "one@1.service")) == ("active", ["T"])
    host.run(["systemctl", "daemon-reload"])
    host.run(["systemctl", "daemon-reexec"])
    assert (show(host, "one@1.service", "ActiveState"), states(host, "one@1.service")) == ("active", ["T"])
    began = time.monotonic()
    host.run(["systemctl", "stop", "one@1.service"])
    assert time.monotonic() - began < SOON


def test_a_thawed_process_is_the_same_and_sees_its_clock_jump(host: Machine) -> None:
    start(host, "many@1.service")
    pid = show(host, "many@1.service", "MainPID")
    kill(host, "many@1.service", "SIGSTOP")
    assert states(host, "many@1.service") == ["T", "T", "T"]
    stopped = time.monotonic()
    host.wait_for(lambda: time.monotonic() - stopped > 1.2, what="1.2 s to pass")
    kill(host, "many@1.service", "SIGCONT")
    assert "T" not in states(host, "many@1.service")
    assert show(host, "many@1.service", "MainPID") == pid
    host.wait_for(
        lambda: "slept" in host.run(["journalctl", "--unit=many@1.service", "--output=cat"]).stdout, what="the jump"
    )
    host.run(["systemctl", "stop", "many@1.service"])


def test_a_stop_with_kill_mode_mixed_thaws_only_the_main_process(host: Machine) -> None:
    """So the daemon thaws all processes before a stop. The rest is killed when the main process has ended."""
    start(host, "many@2.service")
    kill(host, "many@2.service", "SIGSTOP")
    host.run(["systemctl", "kill", "--kill-whom=main", "--signal=SIGCONT", "many@2.service"])
    assert states(host, "many@2.service").count("T") == 2
    host.run(["systemctl", "stop", "many@2.service"])


@pytest.mark.parametrize("unit", ["one@3.service", "many@3.service"])
def test_stopping_the_app_unit_stops_frozen_instances(host: Machine, unit: str) -> None:
    start(host, unit)
    kill(host, unit, "SIGSTOP")
    began = time.monotonic()
    host.run(["systemctl", "stop", "all.service"])
    host.wait_unit(unit, "inactive", timeout=SOON)
    assert time.monotonic() - began < SOON


def test_a_killed_instance_does_not_restart_without_its_pin(host: Machine) -> None:
    """systemd 252 checks the condition again; 254 and later do not in an automatic restart, and fail repeatedly."""
    start(host, "one@4.service")
    host.run(["rmdir", "/run/pins/4"])
    kill(host, "one@4.service", "SIGSTOP")
    host.run(["kill", "-KILL", show(host, "one@4.service", "MainPID")])
    host.wait_for(
        lambda: (
            show(host, "one@4.service", "ActiveState") == "inactive"
            or int(show(host, "one@4.service", "NRestarts")) > 1
        ),
        what="the instance to stay down",
    )
    assert show(host, "one@4.service", "ActiveState") != "active"
    host.run(["systemctl", "stop", "one@4.service"])
    host.wait_unit("one@4.service", "inactive")


def test_freeze_unit_is_not_usable(host: Machine) -> None:
    """If this fails, systemd was fixed, and FreezeUnit may be reconsidered."""
    start(host, "one@5.service")
    host.run(["systemctl", "freeze", "one@5.service"])
    assert show(host, "one@5.service", "FreezerState") == "frozen"
    if version(host) >= 257:
        assert "frozen unit" in host.run(["systemctl", "stop", "one@5.service"], check=False).stderr
    pid = show(host, "one@5.service", "MainPID")
    host.run(["kill", "-KILL", pid])
    host.wait_for(lambda: show(host, "one@5.service", "NRestarts") == "1", what="the restart")
    if version(host) >= 257:
        for verb in ("thaw", "stop", "restart"):
            assert host.run(["systemctl", verb, "one@5.service"], check=False).returncode, "no job changes it"
    else:
        host.wait_unit("one@5.service", "active")
        assert show(host, "one@5.service", "FreezerState") == "frozen", "although it runs"
        host.run(["systemctl", "thaw", "one@5.service"])
        host.run(["systemctl", "stop", "one@5.service"])


def test_the_machine_shuts_down_without_delay(host_root: HostRoot) -> None:
    """With a unit frozen by FreezeUnit, systemd 257 takes another 90 s."""
    with Machine.boot("down", host_root, install=False) as host:
        host.write("/opt/program.py", PROGRAM)
        host.write("/etc/systemd/system/all.service", "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=true\n")
        host.write("/etc/systemd/system/many@.service", UNIT.replace("CHILDREN", "2"))
        host.run(["systemctl", "daemon-reload"])
        start(host, "many@1.service")
        kill(host, "many@1.service", "SIGSTOP")
        host.poweroff(timeout=SOON)
