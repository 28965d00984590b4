"""Journal lines are disclosed to callers that may read the journal; others get their number."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from deployd.errors import DeploydError, Refused
from deployd.replies import lacks_lines
from deployd.service.disclosure import disclosed, error, has_lines

SECRET = "postgres://root:secret@db"
JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["journal", "errors", "failure", "instances", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)
DOCUMENT = st.dictionaries(st.sampled_from(["journal", "errors", "failure", "instances", "x"]), JSON, max_size=4)


def test_an_answer_keeps_its_shape() -> None:
    status: dict[str, Any] = {
        "app": "demo",
        "instances": [{"instance": 1, "journal": [SECRET, "x"]}, {"instance": 2, "journal": []}],
        "rollout": {"failure": {"reason": "it exited", "journal": (SECRET,)}},
    }
    public = disclosed(status, reads_logs=False)
    assert SECRET not in json.dumps(public)
    assert [item["journal_lines"] for item in public["instances"]] == [2, 0]
    assert public["rollout"]["failure"] == {"reason": "it exited", "journal": [], "journal_lines": 1}
    whole = disclosed(status, reads_logs=True)
    assert whole["instances"][0] == {"instance": 1, "journal": [SECRET, "x"], "journal_lines": 2}
    assert disclosed(whole, reads_logs=False) == public
    assert lacks_lines(public)
    assert not lacks_lines(whole)
    assert "journal_lines" not in status["instances"][0], "the document itself is not changed"


def test_the_number_of_errors_in_a_comparison_is_kept() -> None:
    public = disclosed({"generations": [{"error_lines": 7, "errors": [SECRET]}]}, reads_logs=False)
    assert public == {"generations": [{"error_lines": 7, "errors": []}]}


@given(DOCUMENT)
def test_lines_are_removed_at_any_depth(document: dict[str, Any]) -> None:
    assert not has_lines(disclosed(document, reads_logs=False))
    assert has_lines(disclosed(document, reads_logs=True)) == has_lines(document)


def test_an_error_has_the_number_of_lines() -> None:
    refused = Refused("before hook bin/migrate exited with status 1", [SECRET, "\x1b[31mred"])
    public = error(refused, reads_logs=False)
    assert type(public) is Refused
    assert (
        str(public) == "before hook bin/migrate exited with status 1 (2 lines in the journal, which you may not read)"
    )
    whole = str(error(refused, reads_logs=True)).split("\n")
    assert whole == ["before hook bin/migrate exited with status 1", SECRET, "\\x1b[31mred"]


@given(st.text(), st.lists(st.text(), max_size=3))
def test_lines_of_errors_are_short_and_printable(sentence: str, lines: list[str]) -> None:
    for line in str(error(DeploydError(sentence * 300, lines), reads_logs=True)).split("\n"):
        assert line.isprintable()
        assert len(line) <= 1000
