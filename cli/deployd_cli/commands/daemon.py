"""deployd daemon: the daemon itself."""

from __future__ import annotations

import gc
import sys


def daemon() -> None:
    """Run the daemon; deployd.service does."""
    from deployd.main import run

    gc.enable()  # off until here, see main
    sys.exit(run())
