"""The first process of a host: mounts the kernel's file systems of its namespaces, enters the root, executes systemd.

Runs as `python -m tests.host.init ROOT` below `unshare`. ROOT is a mount point that has /run, /tmp and /dev already.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SYSTEMD = "/usr/lib/systemd/systemd"

# A host must not change the machine's clock, kernel modules and kernel log.
DROPPED = "-sys_time,-sys_module,-sys_rawio,-syslog"

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "container": "deployd-host",
    "NOTIFY_SOCKET": "/run/host/notify",
}


def mount(*arguments: str) -> None:
    """Run mount(8); print a failure on standard error."""
    subprocess.run(["mount", *arguments], check=True)


def enter(root: Path) -> None:
    """Mount the kernel's file systems for these namespaces and change into `root`."""
    mount("-t", "proc", "-o", "nosuid,nodev,noexec", "proc", f"{root}/proc")
    # Global kernel settings are read-only; network settings belong to the host's own namespace.
    mount("--bind", f"{root}/proc/sys", f"{root}/proc/sys")
    mount("--bind", f"{root}/proc/sys/net", f"{root}/proc/sys/net")
    mount("-o", "remount,bind,ro", f"{root}/proc/sys")
    mount("--bind", f"{root}/run/host/boot_id", f"{root}/proc/sys/kernel/random/boot_id")
    if (sysrq := root / "proc/sysrq-trigger").exists():
        mount("--bind", "-o", "ro", str(sysrq), str(sysrq))
    mount("-t", "sysfs", "-o", "ro,nosuid,nodev,noexec", "sysfs", f"{root}/sys")
    mount("-t", "cgroup2", "-o", "nosuid,nodev,noexec", "cgroup2", f"{root}/sys/fs/cgroup")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    os.chdir(root)
    subprocess.run(["pivot_root", ".", "."], check=True)
    subprocess.run(["umount", "-l", "."], check=True)
    os.chdir("/")
    mount("--make-rshared", "/")  # systemd does this on a machine, but leaves it to the manager in a container


def main() -> None:
    """Execute systemd as PID 1."""
    enter(Path(sys.argv[1]))
    argv = ["setpriv", f"--bounding-set={DROPPED}", f"--inh-caps={DROPPED}", "--"]
    argv += [SYSTEMD, "--system", "--unit=multi-user.target", "--show-status=no", "--log-target=journal-or-kmsg"]
    os.execvpe("setpriv", argv, ENVIRONMENT)


if __name__ == "__main__":
    main()
