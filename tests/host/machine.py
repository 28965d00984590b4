"""A disposable host with a real systemd: booted in namespaces, entered with nsenter, removed without a trace.

This is the owner's side, used by tests, demo and benches. It holds the pipe to the supervisor: closed, the host ends.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from tests.host import cleaning, files, network, waiting
from tests.host.cgroup import Cgroup
from tests.host.install import PYTHON
from tests.host.process import wait_end
from tests.host.root import CHECKOUT, HostRoot
from tests.host.spec import Spec

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NAMESPACES = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup")
TIMEOUT = 30.0


class MachineError(Exception):
    """A host cannot be booted here, or does not do what it was told."""


class Machine:
    """One host. Make it with `Machine.boot`; it is a context manager that removes it."""

    def __init__(self, name: str, supervisor: subprocess.Popen[bytes], root: HostRoot) -> None:
        self.name = name
        self.root = root
        self.python = str(PYTHON)
        self._supervisor = supervisor
        self._leader = 0
        self._cgroup: Cgroup | None = None
        self._kept: frozenset[str] = frozenset()

    @classmethod
    def boot(
        cls, name: str = "host", root: HostRoot | None = None, timeout: float = TIMEOUT, install: bool = True
    ) -> Machine:
        """Boot a host called `name`, with deployd installed unless told otherwise."""
        _check_possible()
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", name):
            raise MachineError(f"{name!r} is no host name")
        root = root or HostRoot.from_environment()
        spec = Spec(name, os.getpid(), CHECKOUT, root.lower, root.python, root.python_path, install)
        command = ["unshare", "--mount", "--propagation", "private", "--"]
        command += [sys.executable, "-m", "tests.host.supervisor", spec.to_json()]
        supervisor = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=CHECKOUT, start_new_session=True
        )
        machine = cls(name, supervisor, root)
        try:
            machine._answer(timeout)
            machine.start(timeout)
            machine._kept = cleaning.snapshot(machine)
        except BaseException:
            machine.remove()
            raise
        return machine

    def __enter__(self) -> Machine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.remove()

    # ---- power

    def start(self, timeout: float = TIMEOUT) -> None:
        """Switch on what was powered off."""
        answer = self._ask("boot", timeout)
        self._leader, self._cgroup = answer["leader"], Cgroup(Path(answer["cgroup"]))

    def poweroff(self, clean: bool = True, timeout: float = TIMEOUT) -> None:
        """Shut down, or with clean=False cut the power. /etc, /var and the rest of the root are kept."""
        if clean:
            self.run(["systemctl", "--no-block", "poweroff"])
        self._ask("wait" if clean else "kill", timeout)
        self._leader, self._cgroup = 0, None

    def reboot(self, clean: bool = True, timeout: float = TIMEOUT) -> None:
        """Power off and on again. /run and /tmp are fresh afterwards."""
        self.poweroff(clean, timeout)
        self.start(timeout)

    def remove(self, timeout: float = TIMEOUT) -> None:
        """Take the host away with everything it wrote. Does nothing when that has happened."""
        self._leader, self._cgroup = 0, None
        with self._supervisor as supervisor:
            for pipe in (supervisor.stdin, supervisor.stdout):
                if pipe:
                    pipe.close()
            wait_end(supervisor, timeout)

    # ---- inside

    @property
    def leader_pid(self) -> int:
        """The host's PID 1 as this machine numbers it."""
        if not self._leader:
            raise MachineError(f"{self.name} is switched off")
        return self._leader

    @property
    def cgroup(self) -> Cgroup:
        """The cgroup that is the host's root cgroup."""
        if self._cgroup is None:
            raise MachineError(f"{self.name} is switched off")
        return self._cgroup

    def command(self, argv: Sequence[str], user: str | None = None) -> list[str]:
        """What to execute on this machine so that `argv` runs in the host, as a child of nobody the host knows."""
        enter = ["nsenter", f"--target={self.leader_pid}", *NAMESPACES, "--"]
        enter += ["setpriv", "--pdeathsig", "KILL"]  # killing nsenter kills what it runs
        if user is not None:
            _, _, uid, gid, *_ = files.account(self.path("/"), user)
            enter += [f"--reuid={uid}", f"--regid={gid}", "--init-groups"]
        return self.cgroup.join([*enter, "--", *argv], below="init.scope")

    def environment(self, user: str | None = None, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment of a command in the host: nothing of ours but the terminal."""
        name, *_, home, shell = files.account(self.path("/"), user or "root")
        own = {"PATH": PATH, "LANG": "C.UTF-8", "HOME": home, "USER": name, "LOGNAME": name, "SHELL": shell}
        return own | {"TERM": os.environ.get("TERM", "dumb")} | dict(extra or {})

    def run(
        self,
        argv: Sequence[str],
        *,
        check: bool = True,
        timeout: float = TIMEOUT,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        input: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the host and return what it said. With check, a failure tells its standard error."""
        stdin: dict[str, Any] = {"stdin": subprocess.DEVNULL} if input is None else {"input": input}
        done = subprocess.run(
            self.command(argv, user),
            env=self.environment(user, env),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            **stdin,
        )
        if check and done.returncode:
            said = (done.stdout + done.stderr).strip()
            raise MachineError(f"{self.name}: {' '.join(argv)} exited with {done.returncode}: {said}")
        return done

    def popen(
        self, argv: Sequence[str], *, user: str | None = None, env: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[str]:
        """Start a command in the host. `kill` ends it; other signals go through `Machine.signal`."""
        options = {"text": True, "stdin": subprocess.DEVNULL} | options
        return subprocess.Popen(self.command(argv, user), env=self.environment(user, env), **options)

    def signal(self, process: subprocess.Popen[str], number: signal.Signals) -> None:
        """Send a signal to what `popen` started, not to the nsenter in front of it."""
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        if not children:
            raise MachineError(f"process {process.pid} runs nothing in {self.name}")
        os.kill(int(children[0]), number)

    # ---- files, network, units

    def path(self, path: str | Path) -> Path:
        """A path of the host as this process reaches it: symlinks on the way stay inside the host."""
        return files.inside(Path(f"/proc/{self.leader_pid}/root"), Path(path))

    def read(self, path: str | Path) -> str:
        """The text of a file of the host."""
        return self.path(path).read_text()

    def write(self, path: str | Path, text: str, mode: int = 0o644) -> None:
        """Write a file of the host, and the directories above it."""
        target = self.path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)

    def connect(self, address: tuple[str, int] | str, timeout: float = TIMEOUT) -> network.Connection:
        """A socket of this process connected to a port (host, port) or a UNIX socket (path) of the host."""
        if isinstance(address, str):
            return network.connect_unix(self.path(address), timeout)
        return network.connect(Path(f"/proc/{self.leader_pid}/ns/net"), address, timeout)

    @property
    def bus_address(self) -> str:
        """The host's system bus for D-Bus clients in this process (they are root there)."""
        return f"unix:path=/proc/{self.leader_pid}/root/run/dbus/system_bus_socket"

    def wait_unit(self, unit: str, state: str = "active", timeout: float = TIMEOUT) -> None:
        """Wait until the ActiveState of `unit` is `state`; its changes wake us."""
        waiting.unit_state(self.bus_address, unit, state, timeout)

    def clean(self) -> None:
        """Bring the host back to where it was after its first boot, with deployd running if it has a unit."""
        cleaning.clean(self, self._kept)

    # ---- the supervisor

    def _ask(self, what: str, timeout: float) -> dict[str, Any]:
        pipe = self._pipe(self._supervisor.stdin)
        pipe.write(json.dumps({"do": what, "timeout": timeout}).encode() + b"\n")
        pipe.flush()
        return self._answer(timeout + TIMEOUT)

    def _answer(self, timeout: float) -> dict[str, Any]:
        pipe = self._pipe(self._supervisor.stdout)
        deadline = time.monotonic() + timeout
        line = b""
        while not line.endswith(b"\n"):
            if not select.select([pipe], [], [], max(0, deadline - time.monotonic()))[0]:
                raise MachineError(f"the supervisor of {self.name} did not answer within {timeout:g} s")
            data = os.read(pipe.fileno(), 65536)
            if not data:
                raise MachineError(f"the supervisor of {self.name} is gone")
            line += data
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise MachineError(f"{self.name}: {answer['error']}")
        return answer

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        if pipe is None or pipe.closed:
            raise MachineError("the host has been removed")
        return pipe


def _check_possible() -> None:
    if os.geteuid() != 0:
        raise MachineError("booting a systemd host needs root (namespaces, mounts, a cgroup)")
    tried = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "--net", "--cgroup", "--propagation", "private", "true"],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
    )
    if tried.returncode:
        raise MachineError(f"this machine allows no new namespaces, which a systemd host needs: {tried.stderr.strip()}")
