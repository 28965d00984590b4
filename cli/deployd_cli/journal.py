"""Reads entries from journalctl(1)."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from deployd.errors import DeploydError

CHUNK = 1 << 20
"""Bytes that are read at a time, at most."""


class Journal:
    """A run of journalctl, whose output is JSON. A context manager, which ends it."""

    def __init__(self, arguments: Sequence[str]) -> None:
        try:
            self._process = subprocess.Popen(
                ["journalctl", "--output=json", "--all", *arguments], stdout=subprocess.PIPE
            )
        except OSError as error:
            raise DeploydError(f"journalctl cannot be run: {error.strerror}") from error
        self.failed = False
        """True if it has ended with a failure, after its message."""

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.stdout is not None:
            self._process.stdout.close()
        with suppress(ProcessLookupError):
            self._process.terminate()
        self._process.wait()

    def batches(self) -> Iterator[list[dict[str, Any]]]:
        """Yield the entries that have arrived meanwhile, oldest first unless they are asked for in reverse."""
        rest, output = b"", self._process.stdout
        while output is not None and (chunk := output.read1(CHUNK)):  # type: ignore[attr-defined]
            *lines, rest = (rest + chunk).split(b"\n")
            if found := [entry for line in lines if (entry := _parsed(line)) is not None]:
                yield found
        self.failed = self._process.wait() != 0


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None
