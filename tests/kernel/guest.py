"""Boots a kernel with Python and this checkout in qemu, and returns what the tests say.

The processor is emulated: /dev/kvm is missing on most virtual machines. The guest's clock counts instructions, so its
deadlines do not depend on how busy this machine is; that takes a guest with one processor.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.kernel import contents
from tests.kernel.package import Kernel, KernelError

QEMU = "qemu-system-x86_64"
MEMORY = 1024
"""In MiB: enough for the archive twice, as the kernel gets it and unpacked, and for the tests."""
PYTEST = (
    *("-m", "pytest", "--noconftest", "-p", "tests.any_load", "-p", "tests.reuseport.conftest"),
    *("-p", "pytest_timeout", "--timeout=3000"),
    "--color=no",
)
"""tests/conftest.py needs the daemon's own dependencies. An emulated processor is slow, so tests get more time."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a guest has done."""

    status: int
    output: str

    @property
    def release(self) -> str:
        """Return the kernel's name, as uname(1) has it."""
        found = re.search(r"^Linux (\S+)$", self.output, re.MULTILINE)
        return found[1] if found else ""


def run(kernel: Kernel, arguments: Sequence[str], deadline: float, *, echo: bool = False) -> Outcome:
    """Call Python with these arguments. `deadline`: in seconds of this machine. `echo`: print each line of output at
    once. Raises KernelError."""
    if not shutil.which(QEMU):
        raise KernelError(f"there is no {QEMU} (packaging/bootstrap installs it)")
    with tempfile.TemporaryDirectory(dir=kernel.directory.parent, prefix="guest.") as temporary:
        root, console = Path(temporary, "root"), Path(temporary, "console")
        with root.open("wb") as file:
            contents.write(file, kernel, arguments)
        command = ["setpriv", "--pdeathsig", "KILL", QEMU, "-nodefaults", "-display", "none", "-no-reboot"]
        command += ["-machine", "q35", "-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", str(MEMORY)]
        command += ["-icount", "shift=2,sleep=off"]
        command += ["-kernel", str(kernel.image), "-initrd", str(root), "-append", "console=ttyS0 quiet panic=-1"]
        command += ["-serial", f"file:{console}", "-chardev", "stdio,id=output,signal=off", "-serial", "chardev:output"]
        said, ended = _output(command, deadline, echo)
        messages = console.read_text(errors="replace") if console.exists() else ""
    found = re.search(r"^status (\d+)\n\Z", said, re.MULTILINE)
    if not found:
        raise KernelError(f"the guest with Linux {kernel.version} did not end as it should: {ended}\n{messages}{said}")
    return Outcome(int(found[1]), said)


def _output(command: Sequence[str], deadline: float, echo: bool) -> tuple[str, str]:
    """Return what a program has written, and how it has ended."""
    late = threading.Event()
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:

        def end() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(deadline, end)
        timer.start()
        lines = []
        try:
            assert process.stdout
            for line in process.stdout:
                lines.append(line)
                if echo:
                    print(line, end="", flush=True)
        finally:
            timer.cancel()
            process.kill()
    ended = f"it was not done after {deadline:.0f} s" if late.is_set() else f"qemu ended with {process.returncode}"
    return "".join(lines), ended
