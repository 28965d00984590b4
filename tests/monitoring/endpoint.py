"""The endpoints that are off by default: deployd-metrics and deployd-health."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tests.host.stage import Stage


@contextlib.contextmanager
def started(stage: Stage, name: str) -> Iterator[None]:
    """Start the socket NAME, as an administrator does, for a while."""
    states = stage.machine.run(["systemctl", "is-enabled", f"{name}.socket"], check=False).stdout
    assert states == "disabled\n", "off by default"
    stage.machine.run(["systemctl", "start", f"{name}.socket"])
    yield
    stage.machine.run(["systemctl", "stop", f"{name}.socket", f"{name}.service"])
