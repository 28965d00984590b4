"""The machinery of hosts: a real systemd, entered from outside, that leaves nothing behind."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host import cgroup, cleaning
from tests.host.fixtures import MachineFactory
from tests.host.machine import Machine, MachineError
from tests.host.process import pidfd
from tests.host.root import CHECKOUT, HostRoot
from tests.host.waiting import WaitError

DEADLINE = 30.0

OWNER = """
import os
from tests.host.machine import Machine
from tests.host.root import HostRoot
machine = Machine.boot(f"orphan-{os.getppid()}", HostRoot.from_environment(), install=False)
process = machine.popen(["sleep", "infinity"])
print(machine._link.supervisor.pid, machine.leader_pid, process.pid, machine.cgroup.path, flush=True)
process.wait()
"""


@pytest.fixture(scope="module")
def host(host_root: HostRoot) -> Iterator[Machine]:
    """One host for all tests of this module that leave it intact."""
    with Machine.boot("plain", host_root, install=False) as machine:
        yield machine


def namespaces_of(pid: int) -> dict[str, str]:
    return {
        name: str(Path(f"/proc/{pid}/ns/{name}").readlink()) for name in ("mnt", "pid", "net", "uts", "ipc", "cgroup")
    }


def test_systemd_is_running_without_failed_units(host: Machine, host_root: HostRoot) -> None:
    assert host.run(["systemctl", "is-system-running"]).stdout == "running\n"
    assert host.run(["hostname"]).stdout == "plain\n"
    version = host.run(["systemctl", "--version"]).stdout.split()[1]
    assert (version == "257") is (host_root.name == "trixie") or host_root.name == "native"


def test_journal_bus_polkit_and_logind_work(host: Machine) -> None:
    host.run(["systemd-cat", "--identifier=harness", "echo", "a line in the journal"])
    host.run(["journalctl", "--sync"])
    assert host.run(["journalctl", "--identifier=harness", "--output=cat"]).stdout == "a line in the journal\n"
    assert "org.freedesktop.systemd1.manage-units" in host.run(["pkaction"]).stdout
    names = host.run(["busctl", "list", "--no-legend"]).stdout
    assert "org.freedesktop.systemd1" in names
    assert "org.freedesktop.PolicyKit1" in names
    host.run(["loginctl", "list-users"])


def test_run_reports_status_streams_and_input(host: Machine) -> None:
    done = host.run(["sh", "-c", "cat; echo complaint >&2; exit 7"], check=False, input="fed in\n")
    assert (done.returncode, done.stdout, done.stderr) == (7, "fed in\n", "complaint\n")
    with pytest.raises(MachineError, match="exited with 7: complaint"):
        host.run(["sh", "-c", "echo complaint >&2; exit 7"])
    assert host.run(["sh", "-c", "kill -TERM $$"], check=False).returncode == -signal.SIGTERM


def test_run_has_a_clean_environment_and_its_own_user(host: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEAKED", "yes")
    done = host.run(["sh", "-c", "id -un; id -Gn; echo $HOME $EXTRA$LEAKED; pwd"], user="www-data", env={"EXTRA": "x"})
    assert done.stdout.split() == ["www-data", "www-data", "/var/www", "x", "/"]


def test_run_kills_a_command_after_its_timeout(host: Machine) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        host.run(["sh", "-c", "echo $$ > /run/slow; exec sleep infinity"], timeout=0.5)
    pid = int(host.read("/run/slow"))
    gone = host.run(["sh", "-c", f"while kill -0 {pid} 2>/dev/null; do :; done"], timeout=5)
    assert gone.returncode == 0


def test_signals_reach_the_program_on_the_host(host: Machine) -> None:
    script = "trap 'echo interrupted; exit 3' INT; echo ready; while :; do read -t 1 _ || :; done"
    with host.popen(["bash", "-c", script], stdout=subprocess.PIPE, stdin=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        host.signal(process, signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
        assert process.wait(DEADLINE) == 3


def test_programs_on_the_host_are_in_its_namespaces_and_cgroup(host: Machine) -> None:
    with host.popen(["sh", "-c", "echo up; exec cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        [inside] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert namespaces_of(int(inside)) == namespaces_of(host.leader_pid)
        assert not set(namespaces_of(int(inside)).values()) & set(namespaces_of(os.getpid()).values())
        assert int(inside) in host.cgroup.pids()
        process.kill()


def test_hosts_run_side_by_side(host: Machine, machine_factory: MachineFactory) -> None:
    other = machine_factory("other", install=False)
    serve = (
        "import socket; s = socket.create_server(('127.0.0.1', 80)); print('up', flush=True); s.accept()[0].send(b'%s')"
    )
    for machine in (host, other):
        with machine.popen(["/usr/bin/python3", "-c", serve % machine.name], stdout=subprocess.PIPE) as process:
            assert process.stdout
            process.stdout.readline()
            with machine.connect(("127.0.0.1", 80)) as connection:
                assert connection.recv(100).decode() == machine.name
            assert process.wait(DEADLINE) == 0
    other.run(["mkdir", "/var/lib/mine"])
    assert not host.path("/var/lib/mine").exists()


def test_files_are_reached_from_outside_without_leaving_the_host(host: Machine) -> None:
    host.write("/srv/app/releases/1/app.py", "one\n", 0o755)
    host.run(["ln", "-s", "/srv/app/releases/1", "/srv/app/current"])
    assert host.read("/srv/app/current/app.py") == "one\n"
    assert host.run(["stat", "--format=%a", "/srv/app/current/app.py"]).stdout == "755\n"
    assert not Path("/srv/app").exists()


def test_a_unit_is_waited_for(host: Machine) -> None:
    host.write("/etc/systemd/system/slow.service", "[Service]\nType=oneshot\nExecStart=sh -c 'read _ < /run/go'\n")
    host.run(["mkfifo", "/run/go"])
    host.run(["systemctl", "daemon-reload"])
    host.run(["systemctl", "start", "--no-block", "slow.service"])
    host.wait_unit("slow.service", "activating")
    with pytest.raises(WaitError, match=r"slow\.service is activating, not inactive"):
        host.wait_unit("slow.service", "inactive", timeout=0.2)
    host.write("/run/go", "go\n")
    host.wait_unit("slow.service", "inactive")


def test_a_condition_is_waited_for(host: Machine) -> None:
    with host.popen(["sh", "-c", "read _; touch /run/happened"], stdin=subprocess.PIPE) as process:
        with pytest.raises(WaitError, match=r"the touch did not happen within 0\.2 s"):
            host.wait_for(host.path("/run/happened").exists, timeout=0.2, what="the touch")
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
        assert host.wait_for(host.path("/run/happened").exists, what="the touch") is True


def test_a_directory_of_the_host_can_be_full_or_read_only(host: Machine) -> None:
    host.run(["mkdir", "-p", "/var/lib/small"])
    host.run(["mount", "-t", "tmpfs", "-o", "size=16k", "small", "/var/lib/small"])
    assert "No space left" in host.run(["sh", "-c", "head -c 1M /dev/zero > /var/lib/small/x"], check=False).stderr
    host.run(["mount", "-o", "remount,ro", "/var/lib/small"])
    assert "Read-only" in host.run(["touch", "/var/lib/small/y"], check=False).stderr
    host.run(["umount", "/var/lib/small"])


def test_the_checkout_is_shown_read_only(host: Machine) -> None:
    assert host.read("/usr/src/deployd/pyproject.toml") == (CHECKOUT / "pyproject.toml").read_text()
    assert "Read-only" in host.run(["touch", "/usr/src/deployd/x"], check=False).stderr


def test_kernel_settings_of_the_machine_are_out_of_reach(host: Machine) -> None:
    assert "Read-only" in host.run(["sh", "-c", "echo 1 > /proc/sys/vm/drop_caches"], check=False).stderr
    assert host.run(["date", "--set=@0"], check=False).returncode != 0
    host.run(["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])


@pytest.mark.parametrize("clean", [True, False], ids=["clean", "power-cut"])
def test_a_reboot_keeps_the_disk_and_loses_the_rest(machine_factory: MachineFactory, clean: bool) -> None:
    machine = machine_factory("again", install=False)
    before = machine.leader_pid, machine.cgroup.path
    boot_id = machine.run(["journalctl", "--list-boots", "--no-pager"]).stdout
    for directory in ("/etc", "/var/lib", "/usr/bin", "/run", "/tmp", "/dev/shm"):
        machine.write(f"{directory}/mark", "here")
    machine.reboot(clean=clean)
    kept = [
        d for d in ("/etc", "/var/lib", "/usr/bin", "/run", "/tmp", "/dev/shm") if machine.path(f"{d}/mark").exists()
    ]
    assert kept == ["/etc", "/var/lib", "/usr/bin"]
    assert (machine.leader_pid, machine.cgroup.path) != before
    assert not before[1].exists()
    assert machine.run(["systemctl", "is-system-running"]).stdout == "running\n"
    assert machine.run(["journalctl", "--list-boots", "--no-pager"]).stdout != boot_id


def test_a_machine_that_runs_systemd_itself_can_have_hosts(machine_factory: MachineFactory) -> None:
    outer = machine_factory("outer")
    shell = [outer.python, "-m", "tests.host.shell", "systemctl", "is-active", "multi-user.target"]
    env = {"PYTHONPATH": "/usr/src/deployd"}
    done = outer.run(["/usr/bin/env", "-C", "/usr/src/deployd", *shell], env=env, timeout=60)
    assert done.stdout == "active\n"
    assert list(outer.path("/sys/fs/cgroup").glob("deployd-host.*")) == []
    assert outer.run(["systemctl", "is-active", "multi-user.target"]).stdout == "active\n"


def test_commands_on_a_host_that_is_off_are_an_error(machine_factory: MachineFactory) -> None:
    machine = machine_factory("dark", install=False)
    machine.poweroff(clean=False)
    with pytest.raises(MachineError, match="dark is switched off"):
        machine.run(["true"])
    machine.start()
    machine.run(["true"])


def test_a_failed_boot_is_reported_with_its_reason(machine_factory: MachineFactory) -> None:
    machine = machine_factory("broken", install=False)
    machine.run(["rm", "/usr/lib/systemd/systemd"])
    machine.poweroff(clean=False)
    with pytest.raises(MachineError, match="PID 1 of the host ended with status 127"):
        machine.start()


def test_cleaning_removes_everything_a_test_left(machine_factory: MachineFactory) -> None:
    machine = machine_factory("dirty", install=False)
    machine.write("/var/lib/deployd/state.db", "")
    assert "/var/lib/deployd/state.db" not in cleaning.snapshot(machine)
    stubborn = "[Service]\nExecStart=bash -c 'trap : TERM; while :; do sleep 1; done'\nRestart=always\n"
    machine.write("/etc/systemd/system/app@.service", stubborn)
    machine.write("/etc/systemd/system/app.socket", "[Socket]\nListenStream=8080\nService=app@1.service\n")
    machine.write("/etc/deployd/apps/app.toml", "")
    machine.write("/var/lib/deployd/state.db", "")
    machine.run(["systemctl", "daemon-reload"])
    machine.run(["systemctl", "start", "app.socket"])
    machine.run(["systemctl", "start", "app@1", "app@2"])
    machine.clean()
    units = machine.run(["systemctl", "list-units", "--all", "--no-legend", "--plain", "app*"]).stdout
    assert units == ""
    for path in ("/etc/systemd/system/app.socket", "/etc/deployd/apps/app.toml", "/var/lib/deployd/state.db"):
        assert not machine.path(path).exists()
    assert machine.run(["systemctl", "is-system-running"]).stdout == "running\n"


@pytest.mark.parametrize("victim", ["owner", "supervisor"])
def test_a_killed_process_leaves_nothing(victim: str, tmp_path: Path) -> None:
    mounts, groups = Path("/proc/self/mountinfo").read_text(), cgroups()
    with subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True, cwd=CHECKOUT) as owner:
        assert owner.stdout
        supervisor, leader, entered, group = owner.stdout.readline().split()
        pids = [int(pid) for pid in (supervisor, leader, entered)]
        with pidfd(pids[0]) as first, pidfd(pids[1]) as second, pidfd(pids[2]) as third:
            os.kill(owner.pid if victim == "owner" else pids[0], signal.SIGKILL)
            for fd in (first, second, third):
                assert select.select([fd], [], [], DEADLINE)[0], "a process of the host is still there"
        owner.kill()
    if victim == "supervisor":  # the next boot removes the empty cgroup
        assert Path(group).exists()
        with Machine.boot(f"sweeper-{os.getpid()}", install=False):
            assert not Path(group).exists()
    assert cgroups() == groups
    assert Path("/proc/self/mountinfo").read_text() == mounts


def cgroups() -> set[Path]:
    """Return the cgroups of this run's hosts."""
    return {path for path in cgroup.mount_point().glob(f"{cgroup.PREFIX}.*") if f"-{os.getpid()}." in path.name}


def test_the_machine_is_not_changed(machine_factory: MachineFactory) -> None:
    before = listing()
    machine = machine_factory("trace", install=True)
    for directory in ("/etc", "/var/lib", "/usr/lib", "/root", "/run", "/tmp", "/dev", "/mnt"):
        machine.write(f"{directory}/trace-of-a-host", "x")
    machine.run(["systemd-tmpfiles", "--create", "--remove"], check=False)
    machine.reboot()
    machine.remove()
    assert listing() == before


def listing() -> dict[str, tuple[int, ...]]:
    """Return the entries of the machine's directories: inode, mode, owner, modification time."""
    found: dict[str, tuple[int, ...]] = {}
    for directory in (
        "/etc",
        "/etc/systemd",
        "/etc/systemd/system",
        "/run",
        "/dev",
        "/mnt",
        "/var/lib",
        "/usr/lib",
        "/root",
    ):
        for path in (Path(directory), *Path(directory).iterdir()):
            info = path.lstat()
            when = 0 if directory == "/dev" else info.st_mtime_ns
            found[str(path)] = (info.st_ino, info.st_mode, info.st_uid, info.st_gid, when)
    return found
