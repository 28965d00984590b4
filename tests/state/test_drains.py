"""Records of instances that drain."""

from __future__ import annotations

from pathlib import Path

from deployd.state.drains import DrainRecord
from deployd.state.pins import Pins

FILES = {"run": ("exit\n", 0o644)}


def pins_of(tmp_path: Path) -> Pins:
    pins = Pins(tmp_path)
    pins.write_generation("shop", 1, FILES, "/srv/shop/v1")
    return pins


def test_a_record_lasts_until_the_pin_goes(tmp_path: Path) -> None:
    pins = pins_of(tmp_path)
    assert pins.drains.read("shop") == {}
    pins.pin("shop", 3, 1)
    pins.drains.begin("shop", 3, DrainRecord(5.0, 65.0))
    pins.drains.begin("shop", 3, DrainRecord(9.0, 69.0))
    assert pins.drains.read("shop") == {3: DrainRecord(5.0, 65.0)}, "when it began, not when it was asked again"
    assert pins.drains.read("shop") is pins.drains.read("shop")
    assert Pins(tmp_path).drains.read("shop") == {3: DrainRecord(5.0, 65.0)}, "for the next daemon"
    assert pins.held("shop") == {3: 1}, "its generation stays"
    pins.unpin("shop", 3)
    assert pins.drains.read("shop") == {}


def test_one_that_is_started_again_does_not_drain(tmp_path: Path) -> None:
    pins = pins_of(tmp_path)
    pins.drains.begin("shop", 3, DrainRecord(5.0, 65.0))
    pins.pin_all("shop", (2, 3), 1)
    assert pins.drains.read("shop") == {}


def test_a_damaged_record_still_counts(tmp_path: Path) -> None:
    pins = pins_of(tmp_path)
    pins.drains.begin("shop", 3, DrainRecord(5.0, 65.0))
    (pins.drains.directory("shop") / "3").write_text("?")
    assert Pins(tmp_path).drains.read("shop") == {3: DrainRecord(0.0, 0.0)}
    pins.remove("shop")
    assert pins.drains.read("shop") == {}
