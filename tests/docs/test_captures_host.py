"""The pictures of docs/views.md show what commands print today."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.captures import PICTURES, shown, take
from tests.docs.typed import normal

pytestmark = pytest.mark.thorough

CAPTURES = Path(__file__).resolve().parents[2] / "docs/captures"


def test_the_pictures_are_up_to_date(tmp_path: Path) -> None:
    """Their text is compared, numbers aside. Chance decides which of the first instances is ready last, and is replaced
    first; when a rollout is halfway; and what of several processes is first in the journal."""
    take(tmp_path)
    for name, _, wanted in PICTURES:
        before, now = (shown((place / f"{name}.svg").read_text(encoding="utf-8")) for place in (CAPTURES, tmp_path))
        if wanted or name == "logs":
            assert any((wanted or "gate failed") in line for line in now)
        else:
            assert numberless(now) == numberless(before), name


def numberless(lines: list[str]) -> list[str]:
    return [re.sub(r"\d+", "N", line) for line in normal(lines)]
