"""The head start of a rollback: only where it leads is certain from the words alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.api import app_path
from deployd_cli.head_start import call


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_the_app_is_called_by_the_path_it_has_on_the_bus(name: str) -> None:
    found = call(["rollback", name, "--json"])
    if name.startswith("-"):
        assert found is None
    else:
        assert found is not None
        assert app_path(name) in found


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("rollback",),
        ("status", "demo"),
        ("rollback", "demo", "--to", "3"),
        ("rollback", "--help"),
        ("rollback", "demo", "--supersede"),
        ("rollback", "demo", "other"),
    ],
)
def test_nothing_else_has_one(words: tuple[str, ...]) -> None:
    assert call(words) is None
