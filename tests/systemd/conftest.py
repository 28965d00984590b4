"""A host for tests of systemd itself, booted once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.host.machine import Machine
from tests.host.root import HostRoot
from tests.systemd.bare import Bare


@pytest.fixture(scope="module")
def bare(host_root: HostRoot) -> Iterator[Bare]:
    with Machine.boot("bare", host_root, install=False) as machine:
        yield Bare(machine)
