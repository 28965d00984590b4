"""Counts what the daemon does, so that growth is noticed without a clock."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import FrameType

import deployd

DAEMON = str(Path(deployd.__file__).parent)


class Calls(Counter[str]):
    """Counts calls of functions of the daemon, by module and name, as the argument of sys.setprofile()."""

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(DAEMON):
            self[f"{Path(code.co_filename).stem}.{code.co_name}"] += 1
