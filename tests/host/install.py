"""Installs deployd into a host's root before it boots, as a distribution's package would.

The code stays in the checkout, visible at a fixed path; this puts the command, the units and the D-Bus and polkit files
in place. Copying is the job of packaging/install, so that the tests run what users install.
"""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

from tests.host.layer import write
from tests.host.root import IN_HOST
from tests.host.spec import Spec

PYTHON = Path("/usr/local/bin/deployd-python")
TIMEOUT = 60

WRAPPER = """\
#!/bin/sh
PYTHONPATH={path} exec {python}{isolated} "$@"
"""


def install(root: Path, spec: Spec) -> None:
    """Put deployd into the overlay mounted at `root`."""
    path = ":".join(map(str, spec.python_path))
    # If the packages are on the path, those of the interpreter itself are not wanted: .venv does not see them either,
    # and a .pth file of one is executed at each start.
    isolated = " -S" if any("site-packages" in found.parts for found in spec.python_path) else ""
    text = WRAPPER.format(path=shlex.quote(path), python=shlex.quote(str(spec.python)), isolated=isolated)
    write(root / PYTHON.relative_to("/"), text, 0o755)
    _let_everyone_reach(root, spec.python)
    command = [str(spec.checkout / "packaging/install"), "--root", str(root), "--command", f"{PYTHON} -m deployd_cli"]
    subprocess.run(command, check=True, timeout=TIMEOUT, stdout=subprocess.DEVNULL)
    if any((spec.checkout / "packaging/catalog").glob("*.catalog")):
        command = ["journalctl", "--update-catalog", f"--root={root}"]
        subprocess.run(command, check=True, timeout=TIMEOUT, stdout=subprocess.DEVNULL)
    if (root / "usr/lib/sysusers.d/deployd.conf").exists():
        command = ["systemd-sysusers", f"--root={root}", "deployd.conf"]
        subprocess.run(command, check=True, timeout=TIMEOUT, stderr=subprocess.DEVNULL)
    if (root / "usr/lib/systemd/system/deployd.service").exists():
        # Like a package; a unit without [Install] stays as it is.
        enable = ["systemctl", f"--root={root}", "enable", "--quiet", "deployd.service"]
        subprocess.run(enable, check=True, timeout=TIMEOUT, stderr=subprocess.DEVNULL)
    _compile(root, spec)


def _compile(root: Path, spec: Spec) -> None:
    """Write the bytecode that importing would write into the checkout, which the host sees read-only.

    Otherwise every command on the host would compile all of deployd again, if its Python has another version or
    PYTHONDONTWRITEBYTECODE is set. It is fast if the bytecode exists, and errors are ignored because they appear later.
    """
    inside = root / IN_HOST.relative_to("/")
    inside.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "--bind", spec.checkout, inside], check=True, timeout=TIMEOUT)
    try:
        sources = [str(path) for path in spec.python_path if "site-packages" not in path.parts]
        command = ["chroot", str(root), str(spec.python), "-S", "-m", "compileall", "-qq", *sources]
        subprocess.run(command, check=False, timeout=TIMEOUT, stdout=subprocess.DEVNULL)
    finally:
        subprocess.run(["umount", inside], check=True, timeout=TIMEOUT)


def _let_everyone_reach(root: Path, python: Path) -> None:
    """Let other users execute an interpreter below root's home."""
    for directory in python.parents:
        inside = root / directory.relative_to("/")
        mode = inside.stat().st_mode
        if not mode & 0o001:
            inside.chmod(mode | 0o011)
