"""deployd daemon: the daemon itself."""

from __future__ import annotations

import gc


def daemon() -> None:
    """Run the daemon; deployd.service does."""
    from deployd.main import run

    gc.freeze()  # main switched it off for what ends soon
    gc.enable()
    run()
