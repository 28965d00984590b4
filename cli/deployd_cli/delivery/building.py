"""Has the daemon run the build of a release: it gets the release as an archive and returns the built one as another."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from deployd.errors import DeploydError
from deployd_cli.delivery import sources
from deployd_cli.delivery.unpacking import PIECE, unpack

LINES = 20
"""The last lines of the output that are kept."""

Run = Callable[[str, int, int, int], Mapping[str, Any]]
"""(release, stdin, stdout, stderr): have the daemon run the build with these descriptors, and return its answer."""
Show = Callable[[str], None]


class BuildFailed(DeploydError):
    """A command of the build of `release` has failed; `receipt` says how."""

    def __init__(self, release: Path, reason: object, receipt: Mapping[str, Any]) -> None:
        super().__init__(f"the build of {release} {reason}; nothing was rolled out")
        self.release = release
        self.receipt = receipt


class _Reading(threading.Thread):
    """Reads a pipe to its end with `work`, in a thread that ends with the process: a build that outlives the daemon has
    the other end open."""

    def __init__(self, work: Callable[[IO[bytes]], object]) -> None:
        super().__init__(daemon=True)
        reader, self.writer = os.pipe()
        self._reader = os.fdopen(reader, "rb")
        self._work = work
        self.error: DeploydError | None = None
        self.start()

    def run(self) -> None:
        with self._reader as stream:
            try:
                self._work(stream)
            except DeploydError as error:
                self.error = error
            while stream.read(PIECE):  # or the build would fail, too, by SIGPIPE
                pass

    @contextlib.contextmanager
    def written(self) -> Iterator[int]:
        """Have the end to write to within the context."""
        try:
            yield self.writer
        finally:
            os.close(self.writer)


def build(run: Run, show: Show, unpacked: Path, built: Path, release: Path) -> dict[str, Any]:
    """Build the release in `unpacked` into the empty directory `built`; return what the receipt has of that.

    `release` is the empty directory that it will have. `show` gets the output of the commands. Raises BuildFailed,
    Refused and DeploydError.
    """
    last: deque[str] = deque(maxlen=LINES)

    def read_output(stream: IO[bytes]) -> None:
        for line in stream:
            last.append(line.decode(errors="replace").rstrip("\n"))
            show(last[-1])

    with sources.packed(unpacked) as source:
        unpacking, output = _Reading(lambda stream: unpack(stream, built, built=True)), _Reading(read_output)
        with unpacking.written() as stdout, output.written() as stderr:
            answer = run(str(release), source.fileno(), stdout, stderr)
        unpacking.join()
        output.join()
    receipt = {key: answer.get(key) for key in ("succeeded", "reason", "exit_status", "signal", "duration")}
    receipt["lines"] = [] if answer.get("succeeded") else list(last)
    if not answer.get("succeeded"):
        raise BuildFailed(release, answer.get("reason"), receipt)
    if unpacking.error is not None:
        raise unpacking.error
    return receipt
