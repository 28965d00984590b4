"""The first process of a guest: prepares the machine, calls Python with CAP_BPF alone, and switches the machine off.

It runs from a file of its own, so it imports nothing of the checkout. What it and Python say goes to the second serial
port; kernel messages go to the first. The last line is "status N".
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import platform
import socket
import struct
import traceback
from pathlib import Path

CHECKOUT = "/usr/src/deployd"
PACKAGES = "/usr/src/packages"
ORDERS = "/orders"
OUTPUT = "/dev/ttyS1"
MOUNTS = {
    "proc": "/proc",
    "sysfs": "/sys",
    "devtmpfs": "/dev",
    "tmpfs": "/tmp",
    "cgroup2": "/sys/fs/cgroup",
}
TIME_WAITS = 65536
"""A small machine has room for 4,096. A segment of one that is not kept is handled like a new connection."""

FINIT_MODULE = 313
CAP_BPF, LAST_CAP = 39, 40
PR_CAPBSET_DROP = 24
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
POWER_OFF = 0x4321FEDC

_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    for kind, where in MOUNTS.items():
        _check(_libc.mount(kind.encode(), where.encode(), kind.encode(), 0, None), f"mount {where}")
    output = os.open(OUTPUT, os.O_WRONLY | os.O_NOCTTY)
    os.dup2(output, 1)
    os.dup2(output, 2)
    status = 255
    try:
        status = _run()
    except Exception:
        traceback.print_exc()
    print(f"status {status}", flush=True)
    _libc.tcdrain(1)
    os.sync()
    _libc.reboot(POWER_OFF)


def _run() -> int:
    orders = json.loads(Path(ORDERS).read_text())
    for path in orders["modules"]:
        _check(_libc.syscall(FINIT_MODULE, os.open(path, os.O_RDONLY), b"", 0), f"load {path}")
    with socket.socket() as one:
        fcntl.ioctl(one, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
    Path("/proc/sys/net/ipv4/tcp_max_tw_buckets").write_text(f"{TIME_WAITS}\n")
    Path(MOUNTS["cgroup2"]).chmod(0o755)  # root may make cgroups without CAP_DAC_OVERRIDE
    child = os.fork()
    if child == 0:
        try:
            _become(orders["python"], orders["arguments"])
        except BaseException:
            traceback.print_exc()
            os._exit(255)
    while True:
        pid, status = os.wait()
        if pid == child:
            return os.waitstatus_to_exitcode(status)


def _become(python: str, arguments: list[str]) -> None:
    """Become Python. Root gets the capabilities of the bounding set in execve(2)."""
    for capability in set(range(LAST_CAP + 1)) - {CAP_BPF}:
        _check(_libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0), f"drop capability {capability}")
    os.chdir(CHECKOUT)
    environment = {
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": f"{PACKAGES}:{CHECKOUT}:{CHECKOUT}/daemon",
        # pytest compiles each module of a plugin that it finds by itself, which takes minutes here.
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    print(f"Linux {platform.release()}", flush=True)
    os.execve(python, [python, *arguments], environment)


def _check(result: int, what: str) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"cannot {what}: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    main()
