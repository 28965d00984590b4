"""The kernel's counts of connections dropped because of a full accept queue, from /proc/net/netstat.

Such a connection is not refused: the client retries after a second and merely sees a slow response, so the load
generator cannot detect it. The counters are those of the reader's network namespace.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

NETSTAT = Path("/proc/net/netstat")


@dataclass(frozen=True, slots=True)
class Listen:
    overflows: int
    drops: int

    def __sub__(self, earlier: "Listen") -> "Listen":
        return Listen(self.overflows - earlier.overflows, self.drops - earlier.drops)


def parse(text: str) -> Listen:
    """Parse pairs of lines: `TcpExt: name name …`, then `TcpExt: value value …`."""
    lines = text.splitlines()
    for names, values in pairwise(lines):
        if not names.startswith("TcpExt: ") or not values.startswith("TcpExt: "):
            continue
        columns = names.split()[1:]
        if "ListenOverflows" in columns and "ListenDrops" in columns:
            table = dict(zip(columns, values.split()[1:], strict=True))
            return Listen(int(table["ListenOverflows"]), int(table["ListenDrops"]))
    raise ValueError("no ListenOverflows and ListenDrops in the TcpExt lines")


def read(path: Path = NETSTAT) -> Listen:
    return parse(path.read_text())
