"""The output of the demonstration: its width, and no colours without a terminal."""

from __future__ import annotations

import io
import json

import pytest

from tests.demo.page import WIDTH, Page

STATUS = json.dumps(
    {"app": "demo", "instances": [{"instance": n, "since": "2026-01-02T03:04:05+00:00"} for n in (1, 2)]}
)


@pytest.fixture
def output() -> io.StringIO:
    return io.StringIO()


def test_a_pipe_gets_plain_lines_and_no_progress(output: io.StringIO) -> None:
    page = Page(output)
    page.heading("A heading", "1/2")
    page.progress("10 requests")
    page.prose("word " * 60)
    page.command(["deployd", "rollout", "demo", "--release", "/srv/de mo"])
    page.check(False, "long " * 40)
    text = output.getvalue()
    assert "\x1b" not in text
    assert "\r" not in text
    assert "10 requests" not in text
    assert "$ deployd rollout demo --release '/srv/de mo'" in text
    assert all(len(line) <= WIDTH for line in text.splitlines())


def test_a_folded_line_is_the_same_json(output: io.StringIO) -> None:
    Page(output).folded(STATUS)
    assert json.loads(output.getvalue()) == json.loads(STATUS)
    lines = output.getvalue().splitlines()
    assert [line for line in lines if line.startswith('  {"instance"')] != []
    assert all(len(line) <= WIDTH for line in lines)
