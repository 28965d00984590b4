"""In which order hosts roll, and how many at a time."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence

from deployd.errors import InvalidRequest
from deployd_cli.fleet.goal import Goal

ALLOWED = 'numbers of hosts and percentages with commas between them, such as "1,25%"'
NUMBER = re.compile(r"([1-9][0-9]{0,8})(%?)")


def ordered(machine_ids: Mapping[str, str], fleet: str, canaries: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the names of the hosts in order: `canaries` as they are named, then the others by a hash of machine-id and
    the ID of the goal. So another host comes first each time, and no host, rack or zone is always the last.

    `machine_ids` are by name of host. Raises InvalidRequest if a canary is no host of the fleet or is named twice.
    """
    for name in canaries:
        if name not in machine_ids:
            raise InvalidRequest(
                f"--canary {name}: there is no such host in the fleet; deployd fleet status lists its hosts"
            )
        if canaries.count(name) > 1:
            raise InvalidRequest(f"--canary {name}: the host is named twice; name each one once")
    others = (name for name in machine_ids if name not in set(canaries))
    return (*canaries, *sorted(others, key=lambda name: (_digest(machine_ids[name], fleet), name)))


def _digest(machine_id: str, fleet: str) -> bytes:
    return hashlib.sha256(f"{machine_id}\0{fleet}".encode()).digest()


def batches(text: str, hosts: int) -> tuple[int, ...]:
    """Return the sizes of the batches of so many hosts. The last one of `text` repeats, as with Ansible's `serial`.

    A percentage is of all hosts, rounded down, and at least one. Raises InvalidRequest.
    """
    return tuple(_sizes([_size(part, hosts) for part in text.split(",")], hosts))


def _size(part: str, hosts: int) -> int:
    match = NUMBER.fullmatch(part.strip())
    if match is None or (match[2] and int(match[1]) > 100):
        raise InvalidRequest(f"--batches: {part.strip()!r} is no size of a batch; allowed are {ALLOWED}")
    return max(1, hosts * int(match[1]) // 100) if match[2] else int(match[1])


def _sizes(sizes: Sequence[int], hosts: int) -> Iterator[int]:
    index, left = 0, hosts
    while left:
        size = min(sizes[min(index, len(sizes) - 1)], left)
        yield size
        index, left = index + 1, left - size


def reversed_to(goal: Goal, batch: int) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return hosts and batches that undo the batches up to `batch` of a goal, the last one first. -1: none was open.

    Only hosts of these batches can have moved. The sizes are the same ones, so no more hosts roll at a time than
    the goal allowed.
    """
    return goal.hosts[: goal.starts[batch + 1]][::-1], goal.batches[: batch + 1][::-1]
