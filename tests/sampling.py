"""What `make test` has a sample of, and `make thorough` has whole.

A test with the mark `thorough` repeats the proof of another one with other values, or takes long. Of one with the
mark `sampled`, the first case is in `make test`; the others become `thorough`.
"""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all but the first case of each sampled test, before pytest's -m chooses."""
    seen: set[tuple[Path, str]] = set()
    for item in items:
        if item.get_closest_marker("sampled") is not None:
            test = item.path, item.name.partition("[")[0]
            if test in seen:
                item.add_marker(pytest.mark.thorough)
            seen.add(test)
