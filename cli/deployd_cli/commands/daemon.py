"""deployd daemon: the daemon itself."""

from __future__ import annotations

import gc
import sys

from deployd_cli.startup import without


def daemon() -> None:
    """Run the daemon; deployd.service does."""
    with without("gi", "ssl", spare_daemon=False):  # 4 MB that nothing here uses
        from deployd.main import run

    # main switched the collector off for what ends soon; what the imports left behind is not to be kept for good.
    gc.collect()
    gc.freeze()
    gc.enable()
    sys.exit(run())
