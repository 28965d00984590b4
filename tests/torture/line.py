"""The driver's end of the wire to the daemon under test: it arms a step, hears when that is reached, and says what
becomes of it."""

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
"""What asking deployd may raise while it, its bus or its machine is away."""


@dataclass(frozen=True, slots=True, order=True)
class Step:
    """The `nth` time that the daemon came to `label` since it was armed."""

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
    """Where the daemon of one host calls in. `open` it anew for each boot."""

    steps: list[Step] = field(default_factory=list)
    """What was passed while listing."""
    reached: asyncio.Future[Step] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    _settings: Json = field(default_factory=lambda: {"arm": None, "offset": 0.0, "listing": False})
    _writer: asyncio.StreamWriter | None = None
    _server: asyncio.Server | None = None

    async def open(self, path: Path) -> None:
        """Listen at `path`: SOCKET of the daemon in the host, as this process reaches it."""
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
        """From now on steps are counted anew, and the daemon stops at `step`."""
        self.steps = []
        self.reached = asyncio.get_running_loop().create_future()
        self._settings |= {"arm": [step.label, step.nth] if step else None, "listing": listing}
        await self._say(self._settings)

    def arm_next(self, step: Step) -> None:
        """The daemon that calls in next stops at `step`, counted from its start."""
        self.reached = asyncio.get_running_loop().create_future()
        self._settings |= {"arm": [step.label, step.nth], "listing": False}

    def disarm(self) -> None:
        """The daemon that calls in next does not stop anywhere."""
        self._settings["arm"] = None

    async def shift(self, offset: float) -> None:
        """Move the daemon's clock, for as long as nothing else is said."""
        self._settings["offset"] = offset
        await self._say({"offset": offset})

    async def answer(self, **verdict: object) -> None:
        """To the daemon that stands at the step reached; `offset` is kept for those to come."""
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
