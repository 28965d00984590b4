"""A command in a session without a desktop: polkit asks for a password on its terminal, in words that say what for."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import termios
from collections.abc import Iterator

import pytest

from tests.host.machine import Machine
from tests.host.stage import APP, DEADLINE, INSTANCES, RELEASES, Stage

USER = "carol"
PASSWORD = "correct horse battery staple"


PACKET_MODE = struct.pack("i", 1)
"""Each read begins with a byte that tells output from changes of the terminal, ioctl_tty(2)."""
FLUSHED = 1
"""TIOCPKT_FLUSHREAD: what was typed is discarded, which the agent does as it stops the echo."""


class Terminal:
    """A command of an unprivileged user that has logged in, on a terminal of its own."""

    def __init__(self, machine: Machine, command: str) -> None:
        self._master, slave = os.openpty()
        fcntl.ioctl(self._master, termios.TIOCPKT, PACKET_MODE)
        # polkit uses the agent of a terminal only for processes in a session of logind; su -c would leave the terminal.
        argv = ["setsid", "--wait", "--ctty", "su", "--login", USER, "--session-command", command]
        self.process = machine.popen(argv, stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        self.text = ""
        self._flushed = False

    def type(self, line: str) -> None:
        os.write(self._master, f"{line}\n".encode())

    def read_until(self, text: str) -> str:
        """Return what was written so far, once `text` was; for "", once nothing has the terminal open any longer."""
        with contextlib.suppress(OSError):  # EIO
            while not text or text not in self.text:
                self._read()
        return self.text

    def read_until_asked(self) -> str:
        """Return all that was written so far, once a password is asked for. What is typed before that is discarded."""
        while "Password:" not in self.text or not self._flushed:
            self._read()
        return self.text

    def _read(self) -> None:
        found = os.read(self._master, 4096)
        self._flushed |= bool(found[0] & FLUSHED)
        self.text += "" if found[0] else found[1:].decode()

    def status(self) -> int:
        return self.process.wait(DEADLINE)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)


@pytest.fixture
def session(stage: Stage) -> Iterator[Stage]:
    """A deployed app, a user without privileges, and a password of root."""
    machine = stage.machine
    machine.run(["sh", "-c", f"id {USER} || useradd --create-home {USER}"])
    (before,) = (line.split(":")[1] for line in machine.read("/etc/shadow").splitlines() if line.startswith("root:"))
    machine.run(["sh", "-c", f"echo 'root:{PASSWORD}' | chpasswd"])
    stage.deploy("v1")
    yield stage
    machine.run(["usermod", "--password", before, "root"])


def test_the_right_password_allows_the_change(session: Stage) -> None:
    with Terminal(session.machine, f"deployd scale {APP} 2") as terminal:
        asked = terminal.read_until_asked()
        assert "AUTHENTICATING FOR org.deployd1.scale" in asked
        assert f"to change the number of instances of {APP}, which runs {RELEASES}/v1." in asked
        terminal.type(PASSWORD)
        terminal.read_until("")
        assert terminal.status() == 0, terminal.text
    assert session.status()["desired"] == 2
    assert session.machine.run(["pgrep", "pkttyagent"], check=False).stdout == "", "the agent ends with the command"


@pytest.mark.thorough
def test_interrupting_the_prompt_leaves_neither_change_nor_agent(session: Stage) -> None:
    with Terminal(session.machine, f"deployd scale {APP} 2") as terminal:
        terminal.read_until_asked()
        terminal.type("\x03")
        assert "interrupted before deployd answered" in terminal.read_until("")
    assert session.status()["desired"] == INSTANCES
    assert session.machine.run(["pgrep", "pkttyagent"], check=False).stdout == ""


@pytest.mark.thorough
@pytest.mark.parametrize("command", [f"--no-ask-password scale {APP} 2", f"scale {APP} 2 --no-ask-password"])
def test_no_password_is_asked_for_if_that_is_not_wanted(session: Stage, command: str) -> None:
    with Terminal(session.machine, f"deployd {command}") as terminal:
        said = terminal.read_until("")
        assert (terminal.status(), "AUTHENTICATING" in said) == (3, False), said
    assert "not allowed: scale needs root or the polkit action org.deployd1.scale" in said
