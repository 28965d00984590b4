"""What the daemon keeps in the kernel across its own death."""

from __future__ import annotations

import os

from deployd.routing.kernel import Kernel


def test_what_was_left_waits_until_its_app_asks_for_it() -> None:
    """An app first looks some time after the daemon has begun: what is its own must still be there."""
    shop, gone = os.open("/dev/null", os.O_RDONLY), os.open("/dev/null", os.O_RDONLY)
    unstored: list[str] = []
    inherited = {"shop.tables-7": shop, "gone.tables-8": gone}
    kernel = Kernel("", lambda name, fd: None, unstored.append, inherited)
    kernel.drop_inherited(["shop"])
    assert kernel.inherited == {"shop.tables-7": shop}
    assert unstored == ["gone.tables-8"]
    os.fstat(shop)
    os.close(shop)
