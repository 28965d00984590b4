"""Goals, records and views are what was written, and a bad value is refused with a sentence, never with a traceback."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.errors import InvalidRequest, Refused
from deployd_cli.fleet import keys, order
from deployd_cli.fleet.goal import Goal, Kind, OnFailure
from deployd_cli.fleet.record import Failure, HostRecord, Progress, Result, Slot
from deployd_cli.fleet.view import Change, View

HOSTS = st.lists(st.text("ab1._-", max_size=5).map(lambda name: f"w{name}"), unique=True, max_size=20)
SIZES = st.lists(st.one_of(st.integers(1, 30).map(str), st.integers(1, 100).map("{}%".format)), min_size=1, max_size=4)
NUMBERS = st.integers(1, 2**63 - 1)
TEXT = st.text(max_size=30)
GOOD = {"id": "a", "kind": "rollout", "hosts": ["web1", "web2"], "batches": [1, 1], "release": "v2"}


@st.composite
def goals(draw: st.DrawFn) -> Goal:
    hosts = tuple(draw(HOSTS))
    kind = draw(st.sampled_from(Kind))
    rollout = kind is Kind.ROLLOUT
    return Goal(
        "1" + draw(st.text("ab._:/@+-", max_size=5)),
        kind,
        hosts,
        order.batches(",".join(draw(SIZES)), len(hosts)),
        "v2" if rollout else "",
        0 if rollout else draw(NUMBERS),
        draw(st.integers(0, 5)),
        draw(st.floats(0, 1e6)),
        draw(st.sampled_from(OnFailure)),
        **({"archive": "/v2.tar", "sha256": "0" * 64} if rollout and draw(st.booleans()) else {}),
    )


@given(goals())
def test_a_goal_is_read_as_it_was_written(goal: Goal) -> None:
    assert Goal.parse(goal.text()) == goal


@given(
    st.one_of(
        st.builds(Progress, NUMBERS, st.integers(0, 100)),
        st.builds(Failure, NUMBERS, TEXT, st.booleans()),
        st.builds(Slot, NUMBERS, TEXT, TEXT, TEXT, TEXT, TEXT, st.booleans()),
        st.builds(HostRecord, TEXT, NUMBERS, TEXT, TEXT, st.sampled_from(Result), TEXT, TEXT),
    )
)
def test_a_record_is_read_as_it_was_written(record: Progress | Failure | Slot | HostRecord) -> None:
    assert type(record).parse(record.text(), "key") == record


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"hosts": ["web1"]}, "batches must be a list of numbers whose sum is 1"),
        ({"hosts": ["web1", "web1"]}, "hosts must be a list without a name that is there twice"),
        ({"hosts": ["web1", "../web2"]}, "hosts must be a list of names of hosts"),
        ({"batches": [2, 0]}, "batches must be a list of whole numbers of at least 1"),
        ({"kind": "retreat"}, "kind must be one of 'rollout', 'rollback', 'abort'"),
        ({"kind": "rollback"}, "release must be the ID of a release for a rollout"),
        ({"max_failures": True}, "max_failures must be a whole number of at least 0"),
        ({"bake": "5min"}, "bake must be a number of seconds"),
        ({"id": "a b"}, "id must be 1 to 128 letters"),
        ({"archive": "/v2.tar"}, "archive must be there with its sha256 (the SHA-256 of an archive must be 64 digits"),
        ({"archive": "v2.tar", "sha256": "0" * 64}, "archive must be there with its sha256 (the archive must be an"),
        ({"kind": "abort", "release": "", "of": 1, "archive": "/v2.tar"}, "archive must be empty for a rollback"),
        ({"of": 7}, "of must be the token of a goal"),
    ],
)
def test_a_bad_goal_is_refused_with_key_and_field(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(Refused, match=r"^control/goal: ") as problem:
        Goal.parse(json.dumps(GOOD | change))
    assert sentence in str(problem.value)


@given(
    st.one_of(
        st.text(),
        st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.dictionaries(st.text(), inner)).map(
            json.dumps
        ),
        st.dictionaries(
            st.sampled_from([*GOOD, "of", "bake", "max_failures", "token", "batch", "reason", "result", "machine_id"]),
            st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.lists(st.integers() | TEXT),
        ).map(lambda value: json.dumps(GOOD | value)),
    )
)
def test_no_text_is_a_traceback(text: str) -> None:
    for parse in (Goal.parse, Progress.parse, Failure.parse, Slot.parse, HostRecord.parse):
        try:
            parse(text, "key")
        except Refused as problem:
            assert str(problem).startswith("key: ")  # noqa: PT017 - most texts are refused, some are not


@given(SIZES, st.integers(0, 300))
def test_batches_are_all_hosts(sizes: list[str], hosts: int) -> None:
    resolved = order.batches(",".join(sizes), hosts)
    assert sum(resolved) == hosts
    assert all(size >= 1 for size in resolved)


def test_the_last_size_repeats() -> None:
    assert order.batches("1,25%", 10) == (1, 2, 2, 2, 2, 1)
    assert order.batches(" 3 ", 7) == (3, 3, 1)
    assert order.batches("1%", 3) == (1, 1, 1)


@pytest.mark.parametrize("text", ["", "0", "-1", "101%", "1,,2", "half", "1.5", "٣"])
def test_a_bad_size_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match=r'^--batches: .* allowed are numbers of hosts .*"1,25%"'):
        order.batches(text, 10)


def test_canaries_come_first_and_the_others_in_another_order_each_time() -> None:
    machines = {f"web{number}": f"{number:032x}" for number in range(20)}
    first, second = (order.ordered(machines, fleet, ["web7", "web3"]) for fleet in ("a", "b"))
    assert first[:2] == second[:2] == ("web7", "web3")
    assert set(first) == set(second) == set(machines)
    assert first[2:] != second[2:]
    for canaries in (["web99"], ["web1", "web1"]):
        with pytest.raises(InvalidRequest, match=f"^--canary {canaries[0]}: "):
            order.ordered(machines, "a", canaries)


@given(goals())
def test_each_host_is_in_the_batch_that_names_it(goal: Goal) -> None:
    for index in range(len(goal.batches)):
        assert {goal.batch_of(host) for host in goal.batch(index)} == {index}
        hosts, batches = order.reversed_to(goal, index)
        assert sum(batches) == len(hosts)
        assert hosts[: batches[0]] == goal.batch(index)[::-1]
    assert goal.batch_of("!") is None
    assert order.reversed_to(goal, -1) == ((), ())


def test_a_view_follows_the_changes() -> None:
    goal = Goal.parse(json.dumps(GOOD))
    first = View().after(
        [
            Change(keys.GOAL, goal.text(), 5),
            Change(keys.PROGRESS, Progress(5, 1).text(), 6),
            Change(keys.failure("web1"), Failure(5, "no").text(), 7),
            Change(keys.slot("web1"), "{}", 7),
            Change(keys.PAUSED, "root", 8),
            Change(keys.alive("web1"), "", 9),
        ],
        9,
    )
    assert (first.token, first.open_batch, first.paused, first.revision) == (5, 1, 8, 9)
    assert first.halted
    assert first.alive == {"web1"}
    assert first.problems == {
        "slots/web1": "slots/web1: token must be a whole number of at least 1; only deployd may write this key"
    }
    second = first.after([Change(keys.PAUSED, None, 10), Change(keys.alive("web1"), None, 11)], 11)
    assert (second.paused, second.alive, first.paused) == (0, frozenset(), 8)
    third = second.after([Change(keys.GOAL, goal.text(), 12), Change(keys.slot("web1"), None, 12)], 12)
    assert (third.open_batch, third.halted, dict(third.problems)) == (-1, False, {})
