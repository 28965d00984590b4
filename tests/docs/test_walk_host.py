"""Pages in docs/ that a reader types from the beginning to the end print what stands there."""

from __future__ import annotations

import pytest

from tests.docs.terminal import Terminal
from tests.docs.typed import normal
from tests.docs.walk import SAVE, Saved, steps


@pytest.mark.sampled
@pytest.mark.parametrize("page", ["tutorial.md", "application.md", "credentials.md"])
def test_the_page_prints_what_it_says(page: str) -> None:
    """All but times, dates and process IDs is compared, blanks between columns aside."""
    with Terminal() as terminal:
        assert terminal.type(SAVE) == []
        for step in steps(page):
            if isinstance(step, Saved):
                assert terminal.type(f"save {page} {step.path}") == []
            else:
                shown = list(normal(terminal.type(step.command)))
                assert shown == list(normal(step.output.splitlines())), step.command
