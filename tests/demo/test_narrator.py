"""What the demonstration says keeps to its columns, and has no colour where there is no terminal."""

from __future__ import annotations

import io
import json

import pytest

from tests.demo.narrator import WIDTH, Narrator

STATUS = json.dumps(
    {"app": "demo", "instances": [{"instance": n, "since": "2026-01-02T03:04:05+00:00"} for n in (1, 2)]}
)


@pytest.fixture
def told() -> io.StringIO:
    return io.StringIO()


def test_a_pipe_gets_plain_lines_and_no_progress(told: io.StringIO) -> None:
    narrator = Narrator(told)
    narrator.heading("A heading", "1/2")
    narrator.progress("10 requests")
    narrator.prose("word " * 60)
    narrator.command(["deployd", "rollout", "demo", "--release", "/srv/de mo"])
    narrator.check(False, "long " * 40)
    text = told.getvalue()
    assert "\x1b" not in text
    assert "\r" not in text
    assert "10 requests" not in text
    assert "$ deployd rollout demo --release '/srv/de mo'" in text
    assert all(len(line) <= WIDTH for line in text.splitlines())


def test_a_folded_line_is_still_the_json_it_was(told: io.StringIO) -> None:
    Narrator(told).folded(STATUS)
    assert json.loads(told.getvalue()) == json.loads(STATUS)
    lines = told.getvalue().splitlines()
    assert [line for line in lines if line.startswith('  {"instance"')] != []
    assert all(len(line) <= WIDTH for line in lines)
