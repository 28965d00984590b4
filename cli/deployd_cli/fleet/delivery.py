"""Has a host deploy the archive of a release by `deployd deploy`: unpack, build and roll out."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
import tempfile
from collections.abc import AsyncGenerator
from typing import IO

import httpx

from deployd.errors import Refused
from deployd.model.fleet import FleetRequest
from deployd_cli.fleet.archive import Archive

SILENCE = 30.0
"""Seconds without a byte after which a server is given up."""
PIECE = 1 << 20


async def deploy(app: str, release: str, archive: Archive, request: FleetRequest) -> str:
    """Have the archive unpacked, built and rolled out as a part of the fleet by `deployd deploy` of the same user.

    Returns "" if that has succeeded, or what it said last: whether a rollout has begun, only the daemon knows. Raises
    Refused if the archive cannot be read, or is another one. Cancelling ends the command.
    """
    with tempfile.TemporaryFile() as file:
        await fetch(archive, file)
        file.seek(0)
        command = ["deploy", app, "-", "--id", release, "--fleet", request.fleet, "--token", str(request.token)]
        process = await asyncio.create_subprocess_exec(
            *_this_program(), *command, stdin=file, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        try:
            _, errors = await process.communicate()
        except asyncio.CancelledError:
            process.terminate()
            raise
    if process.returncode == os.EX_OK:
        return ""
    lines = errors.decode(errors="replace").splitlines()
    said = [line.removeprefix("deployd: ") for line in lines if line.startswith("deployd: ")]
    return (said or lines or [f"deployd deploy ended with exit status {process.returncode}"])[-1]


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
    # A redirection could lead anywhere, and not only to the places that fleet.toml allows.
    async with (
        httpx.AsyncClient(trust_env=False, timeout=SILENCE, follow_redirects=False) as client,
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
