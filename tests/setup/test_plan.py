"""After a plan exactly the wanted files are there, and no file is touched that deployd has not written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.errors import Refused
from deployd_cli.setup.contents import File
from deployd_cli.setup.plan import Action, Present, Step, plan

PATHS = st.sampled_from([f"/usr/{letter}" for letter in "abcdef"])
TEXTS = st.sampled_from([b"1", b"2"])
MODES = st.sampled_from([0o644, 0o755])
WANTED = st.dictionaries(PATHS, st.tuples(TEXTS, MODES))
PRESENT = st.dictionaries(PATHS, st.builds(Present, TEXTS, MODES))


def files(wanted: dict[str, tuple[bytes, int]]) -> list[File]:
    return [File("", path, contents, mode) for path, (contents, mode) in wanted.items()]


def carried_out(steps: tuple[Step, ...], present: dict[str, Present]) -> dict[str, Present]:
    """Return what exists after the steps."""
    after = dict(present)
    for step in steps:
        match step.action:
            case Action.CREATE:
                assert step.destination not in after
                after[step.destination] = Present(step.contents, step.mode)
            case Action.UPDATE:
                assert step.destination in after
                after[step.destination] = Present(step.contents, step.mode)
            case Action.REMOVE:
                del after[step.destination]
    return after


@given(WANTED, PRESENT, st.frozensets(PATHS))
def test_a_plan_leads_to_the_wanted_files(
    wanted: dict[str, tuple[bytes, int]], present: dict[str, Present], installed: frozenset[str]
) -> None:
    there = {path: Present(*found) for path, found in wanted.items()}
    conflicts = [path for path in wanted if path in present.keys() - installed and present[path] != there[path]]
    if conflicts:
        with pytest.raises(Refused, match=rf"^{conflicts[0]} exists"):
            plan(files(wanted), present, installed)
        return
    steps = plan(files(wanted), present, installed)
    after = carried_out(steps, present)
    assert after == {path: found for path, found in present.items() if path not in installed} | there
    # A second run has nothing to do.
    assert {step.action for step in plan(files(wanted), after, frozenset(wanted))} <= {Action.KEEP}


@given(PRESENT, st.frozensets(PATHS))
def test_a_removal_removes_what_was_installed(present: dict[str, Present], installed: frozenset[str]) -> None:
    after = carried_out(plan((), present, installed), present)
    assert after == {path: found for path, found in present.items() if path not in installed}


def test_a_file_of_others_is_not_replaced() -> None:
    with pytest.raises(Refused, match=r"^/usr/a exists, and deployd setup has not written it; move it away first$"):
        plan([File("", "/usr/a", b"1")], {"/usr/a": Present(b"2", 0o644)}, frozenset())
