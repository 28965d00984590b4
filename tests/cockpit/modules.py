"""The modules of the page in Node: their functions, called from Python."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[2] / "packaging/cockpit"
HERE = Path(__file__).parent


class Failed(Exception):
    """A function has thrown."""


class Modules:
    """A Node that has loaded them from a copy in `directory`, where they are known as ES modules."""

    def __init__(self, directory: Path) -> None:
        for file in (*PAGE.glob("*.js"), HERE / "recorder.mjs"):
            shutil.copy(file, directory)
        (directory / "package.json").write_text('{"type": "module"}')
        self._node = subprocess.Popen(
            ["node", HERE / "evaluator.mjs", directory],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TZ": "UTC"},
        )

    def call(self, module: str, name: str, *values: Any) -> Any:
        """Return what a function returns, a promise awaited. Raises Failed."""
        assert self._node.stdin is not None
        assert self._node.stdout is not None
        self._node.stdin.write(json.dumps({"module": module, "name": name, "values": values}) + "\n")
        self._node.stdin.flush()
        answer = json.loads(self._node.stdout.readline())
        if "error" in answer:
            raise Failed(answer["error"])
        return answer["value"]

    def close(self) -> None:
        self._node.kill()
        self._node.communicate()
