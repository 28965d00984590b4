"""`python -m tests.host.shell [COMMAND...]`: a shell, or one command, on a disposable host with deployd."""

from __future__ import annotations

import signal
import sys

from tests.docs import readme
from tests.host.machine import Machine, MachineError
from tests.host.root import HostRoot, RootError
from tests.host.sources import SourcesError

# The dotfiles of this machine are not read: prompt and completion are the same everywhere.
STARTUP_FILE = "/etc/shell.bashrc"
STARTUP = """\
PS1='\\u@\\h:\\w# '
. /usr/share/bash-completion/bash_completion
cd
"""

# A terminal of the host, for job control and for programs that open their tty.
SHELL = ["script", "--quiet", "--return", "--command", f"exec bash --rcfile {STARTUP_FILE} -i", "/dev/null"]

GREETING = """\
This is {name}, a disposable host: systemd {version}, deployd installed, the checkout read-only at /usr/src/deployd.
The app demo is ready to be deployed: see "A tour" in README.md, and man deployd.
Leave with ^D; nothing of this host stays.
"""

APP_FILE = """\
release = "/srv/demo/current"
exec = ["/usr/bin/python3", "app.py"]
listen = ["127.0.0.1:8080"]
instances = 4
"""
RELEASES = ("v1", "v2", "v3", "v4")
BROKEN = "v3"
DEFECT = "import no_such_module\n"


def prepare(machine: Machine) -> None:
    """Write what the tour of README.md uses: the app file of demo, and its releases, one of them broken."""
    program = readme.program("python")
    for version in RELEASES:
        machine.write(f"/srv/demo/{version}/app.py", (DEFECT if version == BROKEN else "") + program)
    machine.path("/srv/demo/current").symlink_to(RELEASES[0])
    machine.write("/etc/deployd/apps/demo.toml", APP_FILE)
    machine.write(STARTUP_FILE, STARTUP)


def main(argv: list[str]) -> int:
    """Boot, run, remove. The exit status is the command's."""
    try:
        with Machine.boot("deployd", HostRoot.from_environment()) as machine:
            prepare(machine)
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
