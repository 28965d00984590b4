"""`python -m tests.host.shell [COMMAND...]`: a shell, or one command, on a disposable host with deployd."""

from __future__ import annotations

import signal
import sys

from tests.host.machine import Machine, MachineError
from tests.host.root import HostRoot, RootError
from tests.host.sources import SourcesError

# a terminal of the host's own, so that job control and programs that look for their tty work
SHELL = ["script", "--quiet", "--return", "--command", "exec bash -l", "/dev/null"]

GREETING = """\
This is {name}, a disposable host: systemd {version}, deployd installed, the checkout read-only at /usr/src/deployd.
Leave it with ^D; nothing of it stays.
"""


def main(argv: list[str]) -> int:
    """Boot, run, remove. The exit status is the command's."""
    try:
        with Machine.boot("deployd", HostRoot.from_environment()) as machine:
            if not argv and sys.stdin.isatty():
                version = machine.run(["systemctl", "--version"]).stdout.split()[1]
                sys.stderr.write(GREETING.format(name=machine.name, version=version))
                argv = SHELL
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^C is for the command
            process = machine.popen(argv or ["bash", "-l"], stdin=None, preexec_fn=_default_interrupt)
            return process.wait()
    except (MachineError, RootError, SourcesError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _default_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.exit(status if status >= 0 else 128 - status)
