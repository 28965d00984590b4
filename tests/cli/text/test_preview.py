"""The preview of a status, and what is printed of it."""

from __future__ import annotations

from typing import Any

from hypothesis import given

from deployd_cli.text.preview import preview_lines, preview_of
from tests.cli.text.any_json import odd

SOCKET = "/run/deployd/preview/shop.sock"


def status(preview: str | None) -> dict[str, Any]:
    rows = [
        {"instance": 1, "generation": 6, "release": "/srv/shop/v1", "ready": True},
        {"instance": 5, "generation": 7, "release": "/srv/shop/v2", "ready": True},
    ]
    return {"rollout": {"from": 6, "to": 7, "phase": "paused", "preview": preview}, "instances": rows}


def test_the_instance_and_how_to_reach_it() -> None:
    found = preview_of(status(SOCKET))
    assert found == {
        "generation": 7,
        "release": "/srv/shop/v2",
        "instance": 5,
        "ready": True,
        "socket": SOCKET,
        "paused": True,
    }
    assert preview_lines("shop", found) == [
        "shop: preview of generation 7: /srv/shop/v2",
        f"instance 5, at {SOCKET}",
        f"curl --unix-socket {SOCKET} http://shop/",
        "promote it with: deployd resume shop; take it away with: deployd abort shop",
    ]
    assert "which is not ready now" in "\n".join(preview_lines("shop", found | {"ready": False}))
    assert preview_lines("shop", found | {"paused": False})[-1].startswith("its smoke tests are running")


def test_without_a_preview_there_is_none() -> None:
    assert preview_of(status(None)) is None
    assert preview_of({"rollout": None, "instances": []}) is None


@given(odd)
def test_any_answer_is_read(answer: dict[str, Any]) -> None:
    found = preview_of(answer)
    if found is not None:
        preview_lines("shop", found)
