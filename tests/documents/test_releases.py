"""The document of `deployd releases`, and how the command shows it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.documents.releases import Found, Needs, releases
from deployd.model.generation import Cause, Generation, Result
from deployd.model.rollout import Rollout
from deployd_cli.text.paint import PLAIN
from deployd_cli.text.releases import releases_lines
from deployd_cli.text.words import columns
from tests.state.four_rollouts import generation

HOME = "/srv/demo"


def made(number: int, result: Result = Result.SUCCEEDED, release: str | None = None, **more: Any) -> Generation:
    row = generation(number, result)
    return replace(row, release=release or f"{HOME}/v{number}", origin=number - 1 or None, **more)


def needs(*generations: Generation, current: int, pins: dict[int, int] | None = None, kept: int = 3) -> Needs:
    newest_first = sorted(generations, key=lambda item: -item.number)
    return Needs("demo", newest_first, current, None, {1: current, 2: current} if pins is None else pins, kept)


def found(needs: Needs, **more: Any) -> Found:
    return Found(**{"present": frozenset(item.release for item in needs.generations), **more})


def answer(needs: Needs, found_: Found | None = None) -> dict[str, dict[str, Any]]:
    rows = releases(needs, found(needs) if found_ is None else found_)
    assert rows["app"] == "demo"
    for item in rows["releases"]:
        assert item["deletable"] == (item["state"] == "free")
        assert item["why"]
    return {item.pop("release").removeprefix(f"{HOME}/"): item for item in rows["releases"]}


def whys(rows: dict[str, dict[str, Any]]) -> dict[str, tuple[str, str]]:
    return {release: (item["state"], item["why"]) for release, item in rows.items()}


def test_running_kept_and_free_releases() -> None:
    rows = answer(needs(*map(made, range(1, 7)), current=6))
    assert list(rows) == ["v6", "v5", "v4", "v3", "v2", "v1"]
    assert whys(rows) == {
        "v6": ("running", "instances 1-2 start from it"),
        "v5": ("kept", "deployd rollback demo returns to generation 5"),
        "v4": ("kept", "deployd rollback demo --to 4 is possible"),
        **dict.fromkeys(("v3", "v2", "v1"), ("free", "no instance runs it, and no generation of the last 3 needs it")),
    }
    assert rows["v6"] == {
        "generations": [6], "instances": [1, 2], "state": "running", "deletable": False,
        "why": "instances 1-2 start from it", "changed": False,
    }  # fmt: skip


def test_failures_that_fill_the_kept_history_do_not_prevent_a_rollback() -> None:
    bad = [made(number, Result.ROLLED_BACK) for number in range(3, 7)]
    rows = whys(answer(needs(made(1), made(2), *bad, current=2)))
    assert rows["v1"] == ("kept", "deployd rollback demo --to 1 is possible")
    assert rows["v2"] == ("running", "instances 1-2 start from it")
    assert rows["v3"][0] == "free"
    assert rows["v6"] == ("kept", "generation 6 is among the last 3, although a rollback to it is not possible")


def test_a_stopped_app_keeps_its_release() -> None:
    rows = whys(answer(needs(made(1), made(2, Result.FAILED), current=1, pins={})))
    assert rows["v1"] == ("kept", "generation 1 is the current one")


def test_a_rollout_under_way_needs_origin_and_target() -> None:
    generations = [made(1), made(2, Result.RUNNING)]
    rolling = replace(needs(*generations, current=1, pins={3: 2}, kept=1), rollout=Rollout("demo", 1, 2))
    rows = whys(answer(rolling))
    assert rows["v2"] == ("running", "instance 3 starts from it")
    assert rows["v1"][0] == "kept"
    assert rows["v1"][1].startswith("the rollout under way may roll back to generation 1")


def test_an_instance_left_on_an_old_generation_keeps_it() -> None:
    rows = whys(answer(needs(*map(made, range(1, 7)), current=6, pins={1: 6, 2: 6, 3: 6, 7: 1})))
    assert rows["v1"] == ("running", "instance 7 starts from it")


def test_instances_in_standby_keep_the_release_that_they_would_be_woken_in() -> None:
    history = replace(needs(*map(made, range(1, 7)), current=6), standby=frozenset({1}))
    state, why = whys(answer(history))["v1"]
    assert (state, why.startswith("instances of generation 1 stand by")) == ("kept", True)


def test_a_changed_release_cannot_be_rolled_back_to() -> None:
    history = needs(*map(made, range(1, 4)), current=3)
    rows = answer(
        history, found(history, changed={2: "app.py was changed on Monday", 3: "it has 3 files instead of 4"})
    )
    assert whys(rows) == {
        "v3": ("running", "instances 1-2 start from it; changed since generation 3: it has 3 files instead of 4"),
        "v2": ("kept", "changed since generation 2: app.py was changed on Monday"),
        "v1": ("kept", "deployd rollback demo --to 1 is possible"),
    }
    assert [item["changed"] for item in rows.values()] == [True, True, False]


def test_a_change_counts_from_the_newest_generation_of_a_directory() -> None:
    history = needs(made(1, release=f"{HOME}/live"), made(2, release=f"{HOME}/live"), current=2)
    rows = answer(history, found(history, changed={1: "app.py was changed on Monday"}))
    assert rows["live"]["generations"] == [2, 1]
    assert rows["live"]["changed"] is False


def test_missing_releases_are_needed_or_not() -> None:
    history = needs(*map(made, range(1, 7)), current=6)
    rows = answer(history, found(history, present=frozenset()))
    assert {item["state"] for item in rows.values()} == {"missing"}
    assert rows["v6"]["why"] == "instances 1-2 cannot start again; put it back, or roll out another release"
    assert rows["v5"]["why"] == "cannot roll back to generation 5; put it back to allow that"
    assert rows["v1"]["why"] == "nothing needs it"


def test_sibling_directories_are_not_free() -> None:
    history = needs(made(1), made(2), current=2)
    siblings = tuple(f"{HOME}/{name}" for name in ("next", "shared", "v1", "v2"))
    rows = whys(answer(history, found(history, siblings=siblings, named=f"{HOME}/next")))
    assert list(rows) == ["v2", "v1", "next", "shared"]
    assert rows["next"] == ("kept", "the app file names it")
    assert rows["shared"] == (
        "unknown",
        "no generation of demo was made from it; it may be a new release, or no release at all",
    )


def test_other_apps_may_need_a_release() -> None:
    history = needs(*map(made, range(1, 7)), current=6)
    others = {"api": frozenset({f"{HOME}/v2/api"}), "worker": frozenset({f"{HOME}/v1", f"{HOME}/v22"})}
    rows = whys(answer(history, found(history, others=others)))
    assert rows["v1"] == ("kept", "worker needs it")
    assert rows["v2"] == ("kept", "api needs it")
    assert rows["v3"][0] == "free"


def test_a_release_within_another_keeps_it() -> None:
    generations = [made(number) for number in range(1, 6)]
    history = needs(*generations, made(6, release=f"{HOME}/v1/build"), current=6)
    assert whys(answer(history))["v1"] == ("kept", "another release of demo lies in it")


def test_the_app_file_may_say_how_many_releases_to_keep() -> None:
    generations = [made(number, release=f"{HOME}/v{(number + 1) // 2}") for number in range(1, 9)]
    rows = whys(answer(replace(needs(*generations, current=8), keep=2)))
    assert {path: state for path, (state, _) in rows.items()} == {
        "v4": "running", "v3": "kept", "v2": "free", "v1": "free"
    }  # fmt: skip
    assert rows["v1"][1] == "no instance runs it, and it is not among the newest 2 (keep in [deploy])"
    rows = whys(answer(replace(needs(*generations, current=8), keep=3)))
    assert [path for path, (state, _) in rows.items() if state == "free"] == ["v1"]


def test_a_release_known_to_be_bad_is_kept_for_a_while() -> None:
    generations = [made(1), made(2), replace(made(3, release=f"{HOME}/v1"), cause=Cause.ROLLBACK, fingerprint="1" * 32)]
    rows = whys(answer(needs(*generations, current=3)))
    assert rows["v2"] == ("kept", "generation 2 is among the last 3, although a rollback to it is not possible")


def test_nothing_deployed_yet() -> None:
    assert releases(needs(current=0, pins={}), Found(frozenset())) == {"app": "demo", "releases": []}


@pytest.mark.parametrize(("width", "longest"), [(None, 200), (60, 60), (30, 30)])
def test_the_command_shows_each_release_and_the_reason(width: int | None, longest: int) -> None:
    history = needs(*map(made, range(1, 7)), made(7, Result.FAILED, f"{HOME}/v6"), current=6, kept=4)
    present = frozenset(item.release for item in history.generations) - {f"{HOME}/v1", f"{HOME}/v4"}
    lines = releases_lines(
        releases(history, found(history, present=present, changed={7: "app.py was changed on Monday"})),
        width=width,
        paint=PLAIN,
    )
    assert max(map(len, lines)) <= longest
    text = "\n".join(lines)
    assert "running, changed" in text
    if width is None:
        assert lines == [
            "STATE             GENERATIONS  RELEASE",
            "running, changed  7, 6         /srv/demo/v6",
            "     instances 1-2 start from it; changed since generation 7: app.py was changed on Monday",
            "kept              5            /srv/demo/v5",
            "     deployd rollback demo --to 5 is possible",
            "missing           4            /srv/demo/v4",
            "     cannot roll back to generation 4; put it back to allow that",
            "free              3            /srv/demo/v3",
            "     no instance runs it, and no generation of the last 4 needs it",
            "free              2            /srv/demo/v2",
            "     no instance runs it, and no generation of the last 4 needs it",
            "1 more release missing and not needed",
        ]


values = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers() | st.text())
keys = st.sampled_from(["release", "generations", "instances", "state", "deletable", "why", "changed"])


@given(st.lists(st.dictionaries(keys, values), max_size=4), st.integers(min_value=12, max_value=120))
def test_any_answer_of_a_daemon_can_be_shown(items: list[dict[str, Any]], width: int) -> None:
    for line in releases_lines({"releases": items}, width=width, paint=PLAIN):
        assert columns(line) <= max(width, 15)
        assert line.isprintable()
    releases_lines({"releases": items}, width=None, paint=PLAIN)


def test_no_releases_are_shown_as_nothing() -> None:
    assert releases_lines({"app": "demo", "releases": []}, width=80, paint=PLAIN) == []


def test_the_release_of_a_run_under_way_stays() -> None:
    history = replace(needs(*map(made, range(1, 7)), current=6), runs={"nightly": 1})
    state, why = whys(answer(history))["v1"]
    assert (state, why.startswith("a run of nightly is under way")) == ("kept", True)
