"""The address that init proposes."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from deployd_cli.presets import addresses


def test_ports_of_other_apps_are_left_out(tmp_path: Path) -> None:
    for name, listen in (
        ("a", '["127.0.0.1:8080", "[::1]:80"]'),
        ("b", "[8081]"),
        ("c", '["/run/c.sock"]'),
        ("me", "[8082]"),
    ):
        (tmp_path / f"{name}.toml").write_text(f"listen = {listen}")
    (tmp_path / "bad.toml").write_bytes(b"listen = [\xff")
    (tmp_path / "dir.toml").mkdir()
    assert addresses.used(tmp_path, "me") == {8080, 80, 8081}
    assert addresses.free(addresses.used(tmp_path, "me")) == "127.0.0.1:8082"
    assert addresses.used(tmp_path / "none", "me") == frozenset()


@given(st.text(max_size=50) | st.text(max_size=20).map(lambda text: f"listen = [{text}]"))
def test_any_text_has_ports_or_none(text: str) -> None:
    assert all(0 <= port < 100_000 for port in addresses.ports_of(text))


@given(st.sets(st.integers(8070, 8100)))
def test_the_address_is_free(ports: set[int]) -> None:
    assert int(addresses.free(ports).rpartition(":")[2]) not in ports
