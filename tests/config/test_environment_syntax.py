"""Lines of environment files that systemd ignores."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.config.environment_files import doubtful_lines
from deployd.config.environment_syntax import ignored
from tests.state.four_rollouts import SETTINGS

EXPORT = '"export" is not part of the syntax; remove the word'
NAME = "a name has letters, digits and _ only, and no digit first"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("# comment\n; comment\n\n  A=1\nB = 2\nC=\n_D=it's\n", []),
        ("A=\"two\nlines\"\nB='x\ny='\nC=1\\\n2\n", []),
        ('A="a \\" quote"\nB=x"y\n', []),
        ("export A=1\nB=2", [(1, EXPORT)]),
        ("A=1\nset -a\n", [(2, "it is no assignment")]),
        ("A-B=1\n1A=2\nA B=3\n", [(1, NAME), (2, NAME), (3, NAME)]),
        (
            'A=1\nB="open\nC=2\n',
            [(2, "its quote is not closed, so all lines after it are part of the value")],
        ),
    ],
)
def test_ignored_lines(text: str, expected: list[tuple[int, str]]) -> None:
    assert ignored(text) == expected


@given(st.text(alphabet="AB=\"'\\ \n#;x"))
def test_any_text(text: str) -> None:
    assert all(0 < number <= text.count("\n") + 1 for number, _ in ignored(text))


@pytest.mark.skipif(os.geteuid() != 0, reason="environment files must belong to root")
def test_check_names_the_file_and_the_line_but_not_its_text() -> None:
    with tempfile.TemporaryDirectory(dir="/root") as directory:
        path = Path(directory, "shop")
        path.write_text("A=1\nexport KEY=secret\n")
        app = replace(SETTINGS, environment_files=(str(path),))
        (said,) = doubtful_lines(app)
    assert said == f"environment_files: {path}, line 2: {EXPORT}"
