"""A disposable host with a real systemd: booted in namespaces, entered with nsenter, removed completely.

This is the owner's side, used by tests, demo and benches. It has the pipe to the supervisor; closing it ends the host.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from tests.host import cleaning, files, network, waiting
from tests.host.cgroup import Cgroup
from tests.host.install import PYTHON
from tests.host.link import Link, MachineError
from tests.host.root import CHECKOUT, HostRoot
from tests.host.spec import Spec

__all__ = ["Machine", "MachineError"]

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NAMESPACES = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup")
TIMEOUT = 30.0

T = TypeVar("T")


class Machine:
    """One host. Create it with `Machine.boot`; it is a context manager that removes it."""

    def __init__(self, name: str, link: Link, root: HostRoot) -> None:
        self.name = name
        self.root = root
        self.python = str(PYTHON)
        self._link = link
        self._leader = 0
        self._cgroup: Cgroup | None = None
        self._kept: frozenset[str] = frozenset()

    @classmethod
    def boot(
        cls, name: str = "host", root: HostRoot | None = None, timeout: float = TIMEOUT, install: bool = True
    ) -> Machine:
        """Boot a host called `name`, by default with deployd installed."""
        _check_possible()
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", name):
            raise MachineError(f"{name!r} is not a host name")
        root = root or HostRoot.from_environment()
        spec = Spec(name, os.getpid(), CHECKOUT, root.lower, root.python, root.python_path, install)
        machine = cls(name, Link(spec), root)
        try:
            machine._link.answer(timeout)
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
        """Switch on the host after a power-off."""
        answer = self._link.ask("boot", timeout)
        self._leader, self._cgroup = answer["leader"], Cgroup(Path(answer["cgroup"]))

    def poweroff(self, clean: bool = True, timeout: float = TIMEOUT) -> None:
        """Shut down, or cut the power with clean=False. /etc, /var and the rest of the root are kept."""
        if clean:
            self.run(["systemctl", "--no-block", "poweroff"])
        self._link.ask("wait" if clean else "kill", timeout)
        self._leader, self._cgroup = 0, None

    def reboot(self, clean: bool = True, timeout: float = TIMEOUT) -> None:
        """Power off and on again. /run and /tmp are empty afterwards."""
        self.poweroff(clean, timeout)
        self.start(timeout)

    def remove(self, timeout: float = TIMEOUT) -> None:
        """Remove the host with everything it wrote; do nothing if it has been removed."""
        self._leader, self._cgroup = 0, None
        self._link.close(timeout)

    # ---- inside

    @property
    def leader_pid(self) -> int:
        """The PID of the host's PID 1 on this machine."""
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
        """Return the command for this machine that runs `argv` on the host, outside of its process tree."""
        enter = ["nsenter", f"--target={self.leader_pid}", *NAMESPACES, "--"]
        become = ["setpriv", "--pdeathsig", "KILL"]  # killing nsenter kills what it runs
        if user is not None:
            _, _, uid, gid, *_ = files.account(self.path("/"), user)
            become += [f"--reuid={uid}", f"--regid={gid}", "--init-groups"]
        return self.cgroup.join_after(enter, [*become, "--", *argv], below="init.scope")

    def environment(self, user: str | None = None, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment of a command on the host, which inherits only the terminal's settings."""
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
        """Run a command on the host and return its output. With check, a failure raises its standard error."""
        # kill(1) of 0 signals the whole process group, which also has processes outside of the host.
        assert argv[0] != "kill" or "0" not in argv, argv
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
        """Start a command on the host. `kill` ends it; use `Machine.signal` for other signals."""
        options = {"text": True, "stdin": subprocess.DEVNULL} | options
        return subprocess.Popen(self.command(argv, user), env=self.environment(user, env), **options)

    def signal(self, process: subprocess.Popen[str], number: signal.Signals) -> None:
        """Send a signal to the program that `popen` started, not to its nsenter."""
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        if not children:
            raise MachineError(f"process {process.pid} runs no program on {self.name}")
        os.kill(int(children[0]), number)

    # ---- files, network, units

    def path(self, path: str | Path) -> Path:
        """Return a path of the host as a path for this process; symlinks on the way stay inside the host."""
        return files.inside(Path(f"/proc/{self.leader_pid}/root"), Path(path))

    def read(self, path: str | Path) -> str:
        """Return the text of a file of the host."""
        return self.path(path).read_text()

    def write(self, path: str | Path, text: str, mode: int = 0o644) -> None:
        """Write a file of the host, and create its parent directories."""
        target = self.path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)

    def connect(self, address: tuple[str, int] | str, timeout: float = TIMEOUT) -> network.Connection:
        """Return a socket connected to a port (host, port) or a UNIX socket (path) of the host."""
        if isinstance(address, str):
            return network.connect_unix(self.path(address), timeout)
        return network.connect(self.network_namespace, address, timeout)

    @property
    def network_namespace(self) -> Path:
        return Path(f"/proc/{self.leader_pid}/ns/net")

    @property
    def bus_address(self) -> str:
        """The address of the host's system bus for this process (which is root there)."""
        return f"unix:path=/proc/{self.leader_pid}/root/run/dbus/system_bus_socket"

    def wait_unit(self, unit: str, state: str = "active", timeout: float = TIMEOUT) -> None:
        """Wait until the ActiveState of `unit` is `state`."""
        waiting.unit_state(self.bus_address, unit, state, timeout)

    def wait_for(self, holds: Callable[[], T], timeout: float = TIMEOUT, what: str = "the condition") -> T:
        """Wait until `holds()` is true; return its value. It is called at every signal on the bus, and periodically."""
        return waiting.condition(self.bus_address, holds, timeout, what)

    def clean(self) -> None:
        """Reset the host to its state after the first boot, with deployd running if it has a unit."""
        cleaning.clean(self, self._kept)


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
