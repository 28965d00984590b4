"""Where a release comes from. Each source is read as a tar archive, so that all are checked in the same way."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from deployd.errors import DeploydError, Refused

STANDARD_INPUT = "-"


@contextlib.contextmanager
def opened(source: str, revision: str) -> Iterator[IO[bytes]]:
    """Open a directory, an archive or standard input, or a git repository at a revision. Raises Refused and
    DeploydError."""
    path = Path(source)
    if revision:
        with _output(["git", "-C", source, "archive", "--format=tar", revision, "--"]) as stream:
            yield stream
    elif source == STANDARD_INPUT:
        if sys.stdin.isatty():
            raise Refused("standard input is a terminal; pipe an archive into the command, as in: git archive HEAD | …")
        yield sys.stdin.buffer
    elif path.is_dir():
        # Sorted and without times and owners, so that the same files are the same archive.
        options = ["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "--format=posix"]
        options += ["--pax-option=delete=atime,delete=ctime"]
        with _output(["tar", "--create", *options, "--directory", source, "."]) as stream:
            yield stream
    else:
        try:
            file = path.open("rb")
        except OSError as error:
            raise Refused(f"{source} cannot be read: {error.strerror}; name a directory or a tar archive") from None
        with file:
            yield file


def packed(directory: Path) -> contextlib.AbstractContextManager[IO[bytes]]:
    """Open a directory as an archive with the times of its files."""
    return _output(["tar", "--create", "--directory", str(directory), "."])


@contextlib.contextmanager
def _output(argv: list[str]) -> Iterator[IO[bytes]]:
    """Open what a command prints; its messages are shown as they are. Raises DeploydError if it fails."""
    try:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    except OSError as error:
        raise DeploydError(f"{argv[0]} cannot be run: {error.strerror}") from None
    with process, process.stdout or io.BytesIO() as stream:
        try:
            yield stream
        except BaseException:
            process.kill()
            raise
        stream.read()
    if process.returncode:
        raise DeploydError(f"{argv[0]} failed with exit status {process.returncode}")
