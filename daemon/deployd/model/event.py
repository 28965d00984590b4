"""Events of a rollout: lines of progress that the daemon broadcasts and logs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Emit = Callable[[str, dict[str, Any]], None]
"""(event, fields): reports one event of an app, such as `started` or `instance`."""
