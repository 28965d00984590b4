"""Links to the generations of runs, as systemd makes them."""

from __future__ import annotations

from pathlib import Path

from deployd.state.runs import Runs


def test_links_are_read_and_forgotten(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    assert runs.read("shop") == {}
    runs.prepare("shop")
    runs.prepare("shop")
    directory = tmp_path / "apps" / "shop" / "runs"
    (directory / "nightly").symlink_to("../generations/7")
    (directory / "odd").symlink_to("/etc")
    (directory / "zero").symlink_to("../generations/0")
    (directory / "file").touch()
    assert runs.read("shop") == {"nightly": 7}
    runs.forget("shop", ["nightly", "other"])
    assert runs.read("shop") == {}
    assert (directory / "odd").is_symlink()
