"""Runs the command as a process of its own, against a fake daemon."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

from tests.cli.fake_daemon import FakeDaemon, environment

CHECKOUT = Path(__file__).resolve().parents[2]


class Done(NamedTuple):
    status: int
    out: str
    err: str


async def started(address: str, *arguments: str, **env: str) -> asyncio.subprocess.Process:
    environ = environment(address, PYTHONPATH=os.pathsep.join(map(str, (CHECKOUT / "daemon", CHECKOUT / "cli"))), **env)
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "deployd_cli",
        *arguments,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environ,
    )


async def ended(process: asyncio.subprocess.Process) -> Done:
    out, err = await process.communicate()
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())


async def deployd(address: str, *arguments: str, **env: str) -> Done:
    return await ended(await started(address, *arguments, **env))


def with_daemon(address: str, work: Callable[[FakeDaemon], Awaitable[None]]) -> None:
    async def together() -> None:
        async with asyncio.timeout(60), FakeDaemon.at(address) as daemon:
            await work(daemon)

    asyncio.run(together())


@contextlib.asynccontextmanager
async def rolling(address: str, daemon: FakeDaemon, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a command that has begun generation 8 and waits."""
    for member in ("Rollout", "Apply", "Rollback", "Restart", "Scale"):
        daemon.answers["demo", member] = 8
    process = await started(address, *arguments)
    try:
        await daemon.wait_for(arguments[0].title())
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
