"""The specification of a host that its owner passes to the supervisor: plain data, as JSON between processes."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Spec:
    """The specification of one host."""

    name: str
    owner: int  # the process whose end ends the host
    checkout: Path
    lower: Path
    python: Path
    python_path: tuple[Path, ...]
    install: bool

    def to_json(self) -> str:
        """Return JSON for the supervisor's command line."""
        return json.dumps(dataclasses.asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Spec:
        """The inverse of to_json."""
        values = json.loads(text)
        values |= {key: Path(values[key]) for key in ("checkout", "lower", "python")}
        return cls(**values | {"python_path": tuple(map(Path, values["python_path"]))})
