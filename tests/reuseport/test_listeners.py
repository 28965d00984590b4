"""Listeners are found by their cgroup and duplicated from another process, and the probe says what a machine allows."""

from __future__ import annotations

import ctypes
import errno
import os
import select
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from deployd.errors import SteeringError
from deployd.reuseport import support, syscalls
from deployd.reuseport.listeners import borrowed, by_instance, cgroup_id, cgroup_root
from deployd.reuseport.support import probe
from deployd.sockdiag.inet_diag import Diag
from tests.reuseport.sockets import TIMEOUT, ground, open_files

CHECKOUT = Path(__file__).resolve().parents[2]

# Joins the cgroup, listens, prints its port, and accepts, shuts down or closes a connection for each line on stdin.
SERVER = """
import socket, sys, threading
with open(sys.argv[1] + "/cgroup.procs", "w") as file:
    file.write("0")
listener = socket.socket(socket.AF_INET6 if ":" in sys.argv[3] else socket.AF_INET)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
listener.bind((sys.argv[3], 0))
listener.listen()
with open(sys.argv[2] + "/cgroup.procs", "w") as file:
    file.write("0")
print(listener.getsockname()[1], flush=True)
accepted = []
for line in sys.stdin:
    if line == "accept\\n":
        accepted.append(listener.accept()[0])
    elif line == "shut\\n":
        accepted[-1].shutdown(socket.SHUT_WR)
    else:
        accepted.pop().close()
    print(flush=True)
"""


@dataclass(frozen=True)
class Server:
    """A process with a listener that was created in a cgroup of its own, as systemd creates them."""

    process: subprocess.Popen[str]
    cgroup: Path
    port: int

    def do(self, what: str) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        assert select.select([self.process.stdout], [], [], TIMEOUT)[0]
        self.process.stdout.readline()

    def connections(self) -> int:
        cgroup = cgroup_id(self.cgroup)
        assert cgroup
        return Diag().connections([cgroup])[cgroup]


@contextmanager
def server(name: str, host: str = "127.0.0.1") -> Iterator[Server]:
    root = cgroup_root()
    assert root, "no cgroup v2 hierarchy is mounted here"
    born, home = (root / f"deployd-unit.{os.getpid()}.{name}.{part}" for part in ("socket", "service"))
    born.mkdir()
    home.mkdir()
    argv = [sys.executable, "-c", SERVER, str(born), str(home), host]
    try:
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout
                yield Server(process, born, int(process.stdout.readline()))
            finally:
                process.kill()
                process.wait(TIMEOUT)
    finally:
        home.rmdir()
        born.rmdir()


def test_listeners_are_found_by_the_cgroup_in_which_they_were_created() -> None:
    with server("one") as one, server("two") as two:
        gone = one.cgroup / "gone"
        found = by_instance(Diag(), {3: one.cgroup, 4: two.cgroup, 5: gone})
        assert {number: [item.port for item in items] for number, items in found.items()} == {
            3: [one.port],
            4: [two.port],
            5: [],
        }


def test_a_listener_is_duplicated_for_a_moment() -> None:
    with server("lender") as lender:
        [listener] = by_instance(Diag(), {1: lender.cgroup})[1]
        with borrowed([listener.inode, 1], lender.process.pid) as fds:
            assert fds.keys() == {listener.inode}
            with socket.socket(fileno=os.dup(fds[listener.inode])) as duplicate:
                assert duplicate.getsockname() == ("127.0.0.1", lender.port)
            lender.process.kill()
            lender.process.wait(TIMEOUT)
            assert Diag().listeners(lender.port)
        assert not Diag().listeners(lender.port)


def test_nothing_is_duplicated_from_a_process_that_has_ended() -> None:
    with server("gone") as gone:
        gone.process.kill()
        gone.process.wait(TIMEOUT)
        with pytest.raises(SteeringError, match="cannot take a socket from process"), borrowed([1], gone.process.pid):
            pass
        with borrowed([], gone.process.pid) as nothing:
            assert nothing == {}


@pytest.mark.parametrize("host", ["127.0.0.1", "::"])  # an IPv4 connection of [::] is reported as IPv6
def test_connections_count_from_the_handshake_until_the_application_closes(host: str) -> None:
    with server("busy", host) as busy, server("idle") as idle:
        assert busy.connections() == 0
        with socket.create_connection(("127.0.0.1", busy.port)) as first:
            assert busy.connections() == 1  # it is not accepted
            busy.do("accept")
            assert busy.connections() == 1
            with socket.create_connection(("127.0.0.1", busy.port)):
                busy.do("accept")
                busy.do("shut")  # FIN_WAIT2, and open: it may still read
                assert busy.connections() == 2
                both = [cgroup_id(one.cgroup) or 0 for one in (busy, idle)]
                assert Diag().connections([*both, 2**63]) == {both[0]: 2, both[1]: 0, 2**63: 0}
                busy.do("close")  # FIN_WAIT2, and closed
                assert busy.connections() == 1
            first.shutdown(socket.SHUT_WR)  # CLOSE_WAIT
            assert busy.connections() == 1
            busy.do("close")  # TIME_WAIT is the client's
            assert busy.connections() == 0


def test_without_cgroup_v2_there_is_no_root(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text("proc /proc proc rw 0 0\n")
    assert cgroup_root(mounts) is None
    mounts.write_text("proc /proc proc rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n")
    assert cgroup_root(mounts) == Path("/sys/fs/cgroup")


def test_this_machine_can_steer() -> None:
    assert probe(os.getpid()) == ""


CAP_BPF = 39
PR_SET_NO_NEW_PRIVS = 38


def probed_with(capabilities: set[int]) -> str:
    """Return the outcome of the probe in a process with no other capabilities."""

    def drop() -> None:
        # Dropping from the bounding set would take CAP_SETPCAP. No new privileges: execve(2) gives root none back.
        low, high = (sum(1 << one % 32 for one in capabilities if one // 32 == word) for word in (0, 1))
        header = struct.pack("=Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this thread
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.capset(header, struct.pack("=6I", low, low, 0, high, high, 0)) or libc.prctl(
            PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0
        ):
            raise OSError(ctypes.get_errno(), "cannot drop capabilities")

    script = "import os; from deployd.reuseport.support import probe; print(probe(os.getpid()))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT / "daemon")},
        preexec_fn=drop,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_cap_bpf_is_enough_to_steer_to_sockets_of_the_same_process() -> None:
    assert probed_with({CAP_BPF}) == ""


def test_without_cap_bpf_nothing_is_steered() -> None:
    assert probed_with(set()) == "cannot create BPF maps, which needs CAP_BPF: Operation not permitted"


def test_a_kernel_that_does_not_report_cgroups_cannot_steer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux before 5.8 has no INET_DIAG_CGROUP_ID."""
    listeners = Diag.listeners
    monkeypatch.setattr(Diag, "listeners", lambda diag, port: [replace(one, cgroup=0) for one in listeners(diag, port)])
    assert probe(os.getpid()) == "cannot find the unit of a socket, because the kernel is older than Linux 5.8"


def test_a_kernel_without_bpf_cannot_steer(monkeypatch: pytest.MonkeyPatch) -> None:
    def bpf(*_: object) -> int:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(syscalls, "bpf", bpf)
    assert probe(os.getpid()) == "cannot create BPF maps, which needs CAP_BPF: Function not implemented"


def test_a_machine_without_cgroup_v2_cannot_steer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(support, "cgroup_root", lambda: None)
    assert probe(os.getpid()) == "cannot find the unit of a socket, because no cgroup v2 hierarchy is mounted"


def test_without_the_process_that_has_the_sockets_nothing_is_steered() -> None:
    with server("ended") as ended:
        ended.process.kill()
        ended.process.wait(TIMEOUT)
        found = probe(ended.process.pid)
    assert found.startswith(f"cannot take a file descriptor from process {ended.process.pid}, which needs")


def test_a_probe_leaves_no_descriptor_open() -> None:
    with ground("127.0.0.1", [1]):
        before = open_files()
        probe(os.getpid())
        assert open_files() == before
