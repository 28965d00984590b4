"""Has a host deploy the archive of a release by `deployd deploy`: unpack, build and roll out."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import tempfile
from collections.abc import AsyncGenerator
from typing import IO

import httpx

from deployd.errors import BY_DBUS_NAME, PREFIX, DeploydError, Refused
from deployd.model.fleet import FleetRequest
from deployd_cli.fleet.archive import Archive

SILENCE = 30.0
"""Seconds without a byte after which a server is given up."""
PIECE = 1 << 20


async def deploy(app: str, release: str, archive: Archive, request: FleetRequest) -> None:
    """Have the archive unpacked, built and rolled out as a part of the fleet, and wait for the end of the rollout.

    Whether the rollout succeeds, the daemon knows. Raises Refused if the archive cannot be read or is another one, and
    what `deployd deploy` raises. Cancelling ends that command.
    """
    with tempfile.TemporaryFile() as file:
        await fetch(archive, file)
        file.seek(0)
        options = ["--id", release, "--fleet", request.fleet, "--token", str(request.token), "--json"]
        process = await asyncio.create_subprocess_exec(
            *_this_program(), "deploy", app, "-", *options, stdin=file, stdout=asyncio.subprocess.PIPE
        )
        try:
            output, _ = await process.communicate()
        except asyncio.CancelledError:
            process.terminate()
            raise
    if problem := problem_of(output.decode(errors="replace")):
        raise problem


def problem_of(output: str) -> DeploydError | None:
    """Return the error that `deployd deploy --json` has printed last, None if a rollout has ended."""
    try:
        last = json.loads(output.strip().rpartition("\n")[2])
        if last.get("event") != "error":
            return None
        return BY_DBUS_NAME.get(f"{PREFIX}{last['error']}", DeploydError)(str(last["message"]))
    except (ValueError, KeyError, AttributeError):
        return DeploydError("deployd deploy was ended before it said how the rollout has ended")


async def fetch(archive: Archive, file: IO[bytes]) -> None:
    """Copy an archive into a file. Raises Refused if it cannot be read or has another SHA-256."""
    digest = hashlib.sha256()
    pieces = _downloaded(archive.source) if "://" in archive.source else _read(archive.source)
    try:
        async for piece in pieces:
            digest.update(piece)
            await asyncio.to_thread(file.write, piece)
    except httpx.HTTPError as error:
        reason = str(error) or ("no answer in time" if isinstance(error, httpx.TimeoutException) else "no answer")
        raise Refused(f"{archive.source} cannot be read: {reason}") from None
    except OSError as error:
        raise Refused(f"{archive.source} cannot be read: {error.strerror or error}") from None
    finally:
        await pieces.aclose()
    if (found := digest.hexdigest()) != archive.sha256:
        raise Refused(f"{archive.source} is another archive: its SHA-256 is {found}, not {archive.sha256}")


async def _downloaded(url: str) -> AsyncGenerator[bytes, None]:
    # A redirection could lead anywhere, and not only to the places that fleet.toml allows. What a server compresses on
    # its way has another SHA-256.
    headers = {"Accept-Encoding": "identity"}
    async with (
        httpx.AsyncClient(trust_env=False, timeout=SILENCE, follow_redirects=False, headers=headers) as client,
        client.stream("GET", url) as response,
    ):
        if response.status_code != httpx.codes.OK:
            raise Refused(f"{url} cannot be read: the server answers HTTP {response.status_code}")
        async for piece in response.aiter_raw(PIECE):
            yield piece


async def _read(path: str) -> AsyncGenerator[bytes, None]:
    """A file of a network file system may take long: it is read by another thread."""
    file = await asyncio.to_thread(open, path, "rb")
    with file:
        while piece := await asyncio.to_thread(file.read, PIECE):
            yield piece


def _this_program() -> list[str]:
    """Return interpreter and script, or module, that this process was started with."""
    return sys.orig_argv[: len(sys.orig_argv) - len(sys.argv) + 1]
