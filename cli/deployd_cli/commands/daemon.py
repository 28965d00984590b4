"""deployd daemon: run the daemon."""

from __future__ import annotations

import gc
import sys


def daemon() -> None:
    """Run the daemon; used by deployd.service."""
    from deployd.main import run
    from deployd_cli.chosen import Chosen

    gc.freeze()  # imported modules stay to the end, so no collection need search them
    gc.enable()  # off until here, see main
    sys.exit(run(Chosen.scope))
