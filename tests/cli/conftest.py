"""The private bus of tests of the command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.fake_daemon import private_bus


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Return the address of a private bus."""
    with private_bus(tmp_path) as address:
        yield address
