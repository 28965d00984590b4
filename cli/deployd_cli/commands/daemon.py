"""deployd daemon: run the daemon."""

from __future__ import annotations

import gc
import sys


def daemon() -> None:
    """Run the daemon; used by deployd.service."""
    from deployd.main import run

    gc.enable()  # off until here, see main
    sys.exit(run())
