"""The driver's end of the connection to the daemon under test: arms a step, learns when it is reached, and decides what
happens there."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deployd.bus import BusError
from deployd.errors import DeploydError
from tests.host.machine import MachineError

Json = dict[str, Any]

AWAY = (DeploydError, BusError, MachineError, OSError, EOFError)
"""What requests may raise while deployd, its bus or its machine is down."""


@dataclass(frozen=True, slots=True, order=True)
class Step:
    """The `nth` occurrence of `label` since the daemon was armed."""

    label: str
    nth: int

    def __str__(self) -> str:
        return f"{self.label} #{self.nth}"

    @classmethod
    def parse(cls, text: str) -> Step:
        """The inverse of str()."""
        label, _, nth = text.rpartition(" #")
        return cls(label, int(nth))


@dataclass(slots=True)
class Line:
    """The endpoint to which the daemon of a host connects. `open` it again after each boot."""

    steps: list[Step] = field(default_factory=list)
    """Steps that occurred while listing."""
    reached: asyncio.Future[Step] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    _settings: Json = field(default_factory=lambda: {"arm": None, "offset": 0.0, "listing": False})
    _writer: asyncio.StreamWriter | None = None
    _server: asyncio.Server | None = None

    async def open(self, path: Path) -> None:
        """Listen at `path`, the path of the daemon's SOCKET as seen by this process."""
        await self.close()
        path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, path)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    async def arm(self, step: Step | None, listing: bool = False) -> None:
        """Restart the count of steps, and block the daemon at `step`."""
        self.steps = []
        self.reached = asyncio.get_running_loop().create_future()
        self._settings |= {"arm": [step.label, step.nth] if step else None, "listing": listing}
        await self._say(self._settings)

    def arm_next(self, step: Step) -> None:
        """Block the next daemon that connects at `step`, counted from its start."""
        self.reached = asyncio.get_running_loop().create_future()
        self._settings |= {"arm": [step.label, step.nth], "listing": False}

    def disarm(self) -> None:
        """Do not block the next daemon that connects."""
        self._settings["arm"] = None

    async def shift(self, offset: float) -> None:
        """Shift the daemon's clock until further notice."""
        self._settings["offset"] = offset
        await self._say({"offset": offset})

    async def answer(self, **verdict: object) -> None:
        """Send the verdict to the daemon blocked at a step; `offset` also applies to later daemons."""
        self._settings["arm"] = None
        self._settings |= {key: value for key, value in verdict.items() if key == "offset"}
        await self._say(verdict)

    async def _say(self, message: Json) -> None:
        if self._writer is not None:
            with contextlib.suppress(ConnectionError):
                self._writer.write(json.dumps(message).encode() + b"\n")
                await self._writer.drain()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            while line := await reader.readline():
                said = json.loads(line)
                if "pid" in said:
                    await self._say(self._settings)
                elif "step" in said:
                    self.steps.append(Step(*said["step"]))
                elif not self.reached.done():
                    self.reached.set_result(Step(*said["at"]))
        writer.close()
