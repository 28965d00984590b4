"""Collection in workers side by side: each of them imports all tests, and compiling them takes most of that time."""

from __future__ import annotations

import contextlib
import importlib
import warnings
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


def pytest_sessionstart(session: pytest.Session) -> None:
    """Import all tests, each worker from another one on: it compiles its part, and finds the rest compiled.

    What cannot be imported is reported by the collection, which comes next.
    """
    worker: dict[str, object] | None = getattr(session.config, "workerinput", None)
    if worker is None or [Path(argument).name for argument in session.config.args] != [TESTS.name]:
        return
    files = sorted(TESTS.rglob("test_*.py"))
    first = len(files) * int(str(worker["workerid"]).removeprefix("gw")) // int(str(worker["workercount"]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for file in (*files[first:], *files[:first]):
            with contextlib.suppress(Exception, pytest.skip.Exception):
                importlib.import_module(".".join(file.relative_to(TESTS.parent).with_suffix("").parts))
