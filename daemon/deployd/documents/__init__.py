"""The JSON documents of the bus and of `--json` (contracts): status, history, plan, compare, releases. Pure.

May import rollout and what lies below it, for their types; apps gathers the data.
"""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]
"""One JSON object."""
