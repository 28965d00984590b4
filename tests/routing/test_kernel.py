"""Maps that an earlier daemon stored."""

from __future__ import annotations

import os

from deployd.routing.kernel import Kernel


def test_stored_maps_are_kept_until_their_app_uses_them() -> None:
    """An app is taken up some time after the daemon has started: its maps must still be there."""
    shop, gone = os.open("/dev/null", os.O_RDONLY), os.open("/dev/null", os.O_RDONLY)
    unstored: list[str] = []
    inherited = {"shop.tables-7": shop, "gone.tables-8": gone}
    kernel = Kernel("", lambda name, fd: None, unstored.append, inherited)
    kernel.drop_inherited(["shop"])
    assert kernel.inherited == {"shop.tables-7": shop}
    assert unstored == ["gone.tables-8"]
    os.fstat(shop)
    os.close(shop)
