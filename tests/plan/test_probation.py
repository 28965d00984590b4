"""Probation: what fails a generation that is live, and what it is taken back to."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.model.clock import Timestamp
from deployd.model.crashes import Crash
from deployd.model.failure import GateName
from deployd.model.generation import Cause, Entry, Generation, Result
from deployd.model.hang import Hang
from deployd.model.instance import Instance, State
from deployd.model.pace import OnFailure
from deployd.model.probation import Probation
from deployd.plan import probation as rules
from tests.state.four_rollouts import generation

NOW = Timestamp(1000.0, 50_000.0, "boot")
WATCH = 300.0
KNOWN = Probation("demo", 7, 6, "", since=690.0, began=1000.0, until=1300.0, boot="boot", ends=50_300.0)


def gone_live(number: int, origin: int | None, **more: object) -> Generation:
    return replace(generation(number, Result.SUCCEEDED), origin=origin, **more)  # type: ignore[arg-type]


def begun(target: Generation, *older: Entry, before: Probation | None = None) -> Probation | None:
    running = replace(target, result=Result.RUNNING)
    return rules.begun(running, [running, *older], before, 10.0, NOW)


def paused(target: Generation) -> Generation:
    pace = replace(target.settings.pace, on_failure=OnFailure.PAUSE)
    return replace(target, settings=replace(target.settings, pace=pace))


FIRST, SECOND = gone_live(6, None), gone_live(7, 6)


def test_a_new_release_returns_to_the_one_before() -> None:
    assert begun(SECOND, FIRST) == KNOWN


@pytest.mark.parametrize(
    ("target", "stays"),
    [
        (FIRST, "there is no generation before it"),
        (replace(SECOND, cause=Cause.ROLLBACK), "it is a rollback already"),
        (replace(SECOND, cause=Cause.WATCH), "it is a rollback already"),
        (replace(SECOND, cause=Cause.RESTART, fingerprint=FIRST.fingerprint), "generation 6 starts the same process"),
        (replace(SECOND, irreversible=True), "it is irreversible"),
        (paused(SECOND), 'on_failure is "pause"'),
    ],
)
def test_it_stays_where_nothing_better_is_known(target: Generation, stays: str) -> None:
    made = begun(target, *[item for item in (FIRST,) if item.number != target.number])
    assert made is not None
    assert (made.origin, made.stays) == (None, stays)


def test_it_returns_past_a_generation_that_is_known_to_be_bad() -> None:
    bad = replace(generation(8, Result.ROLLED_BACK), origin=7, fingerprint=SECOND.fingerprint)
    made = begun(gone_live(9, 7), bad, SECOND, FIRST)
    assert made is not None
    assert made.origin == 6


def test_watch_0_is_off() -> None:
    pace = replace(SECOND.settings.pace, watch=0.0)
    assert begun(replace(SECOND, settings=replace(SECOND.settings, pace=pace)), FIRST) is None


def test_scaling_and_restarting_during_the_probation_continue_it() -> None:
    earlier = replace(KNOWN, began=900.0, until=1200.0, ends=50_200.0)
    scaled = gone_live(8, 7, fingerprint=SECOND.fingerprint, cause=Cause.SCALE)
    made = begun(scaled, SECOND, FIRST, before=earlier)
    assert made is not None
    assert (made.generation, made.origin, made.until, made.ends) == (8, 6, 1200.0, 50_200.0)
    failed = begun(scaled, SECOND, FIRST, before=replace(earlier, failed="it crashed"))
    assert failed is not None
    assert (failed.origin, failed.until) == (None, 1300.0)


def test_another_release_during_the_probation_has_its_own() -> None:
    made = begun(gone_live(8, 7), SECOND, FIRST, before=KNOWN)
    assert made is not None
    assert (made.origin, made.until) == (7, 1300.0)


@given(
    boot=st.sampled_from(["boot", "another"]),
    monotonic=st.floats(0, 1e6),
    wall=st.floats(0, 1e9),
)
def test_a_clock_that_jumps_never_makes_it_longer(boot: str, monotonic: float, wall: float) -> None:
    made = rules.resumed(KNOWN, Timestamp(monotonic, wall, boot))
    assert made.until - made.began <= WATCH + 1e-6
    assert made.boot == boot
    if boot == "boot":
        assert made == KNOWN
    else:
        assert made.began <= made.until == pytest.approx(made.began + min(max(0.0, KNOWN.ends - wall), WATCH))


def crash(instance: int, at: float = 1010.0, number: int = 7) -> Crash:
    return Crash(instance, number, at, "exited with status 5 after it was ready", f"i{at:g}")


def judged(instances: int, crashes: list[Crash], others: dict[str, list[float]] | None = None) -> str:
    ours = rules.counted(KNOWN, crashes, others or {})
    failure = rules.crashed(KNOWN, instances, ours, crashes)
    return failure.reason if failure is not None else ""


def test_three_crashes_fail_a_single_instance() -> None:
    assert judged(1, [crash(1, 1005), crash(1, 1009)]) == ""
    assert judged(1, [crash(1, 1005), crash(1, 1009), crash(1, 1013)]) == (
        "instance 1 crashed 3 times within 13 s after the rollout: exited with status 5 after it was ready"
    )


def test_one_of_64_instances_may_crash_again_and_again() -> None:
    assert judged(64, [crash(5, 1000.0 + at) for at in range(40)]) == ""


def test_one_crash_of_each_of_several_instances_fails_64() -> None:
    assert judged(64, [crash(number) for number in range(1, 7)]) == ""
    assert judged(64, [crash(number) for number in range(1, 8)]).startswith(
        "instances 1, 2, 3, 4, 5, 6, 7 crashed 7 times"
    )


@given(st.integers(1, 500), st.lists(st.integers(1, 8), max_size=60))
def test_more_crashes_never_help_and_more_instances_never_harm(instances: int, crashed: list[int]) -> None:
    crashes = [crash(number) for number in crashed]
    if judged(instances, crashes):
        assert judged(instances, [*crashes, crash(1)])
        assert judged(max(1, instances - 1), crashes)
    if len(crashes) < rules.SEVERAL or len(crashes) < instances / rules.ONE_IN:
        assert not judged(instances, crashes)


def test_crashes_of_others_do_not_count() -> None:
    assert judged(1, [crash(1, 990.0)] * 9) == ""  # before the probation
    assert judged(1, [crash(1, number=5)] * 9) == ""


def test_a_generation_that_crashes_as_often_as_the_one_before_stays() -> None:
    before = [crash(1, at, number=6) for at in (700.0, 800.0, 900.0)]
    assert judged(1, [*before, *[crash(1, 1000.0 + at) for at in range(6)]]) == ""
    assert judged(1, [*before, *[crash(1, 1000.0 + at) for at in range(7)]])
    long_ago = [replace(item, at=item.at - 500.0) for item in before]
    assert judged(1, [*long_ago, *[crash(1)] * 3])


def test_trouble_of_the_machine_is_not_the_generations() -> None:
    ours = [crash(number) for number in (1, 2, 3)]
    assert judged(4, ours, {"other": [1012.0]}) == ""
    assert judged(4, ours, {"other": [1200.0]})
    # An app that crashes all the time proves nothing.
    assert judged(4, ours, {"other": [700.0, 1012.0]})


def live(number: int, failures: int, generation: int = 7) -> Instance:
    error = "answered 500 instead of 200" if failures else ""
    return Instance(number, generation, State.READY, ready_since=1.0, probe_failures=failures, probe_error=error)


@pytest.mark.parametrize(
    ("instances", "failing", "failures", "fails"),
    [(1, 1, 2, False), (1, 1, 3, True), (10, 1, 3, True), (11, 1, 9, False), (11, 2, 3, True), (4, 0, 0, False)],
)
def test_failing_probes_in_a_row_fail_it(instances: int, failing: int, failures: int, fails: bool) -> None:
    seen = [live(number, failures if number <= failing else 0) for number in range(1, instances + 1)]
    failure = rules.unanswered(KNOWN, instances, seen, "GET /_status to answer 200")
    assert (failure is not None) == fails
    if failure is not None:
        assert failure.reason.endswith(
            f"failed {failures} probes in a row after the rollout: answered 500 instead of 200"
        )
        assert failure.waited_for == "GET /_status to answer 200"
    old = [replace(item, generation=6) for item in seen]
    assert rules.unanswered(KNOWN, instances, old, "") is None


def test_probes_are_calm_but_several_fit_into_a_short_watch() -> None:
    assert rules.calm(300.0) == 10.0
    assert rules.calm(60.0) == 6.0


@pytest.mark.parametrize(("instances", "hanging", "fails"), [(1, 1, True), (4, 1, True), (11, 1, False), (11, 2, True)])
def test_instances_that_hang_fail_it(instances: int, hanging: int, fails: bool) -> None:
    hang = Hang(2, 950.0)
    seen = [replace(live(number, 0), hang=hang if number <= hanging else None) for number in range(1, instances + 1)]
    failure = rules.hung(KNOWN, instances, seen, 30.0, 1000.0)
    assert (failure is not None) == fails
    if failure is not None:
        assert failure.reason.endswith(
            " hung after the rollout: instance 1 has not answered any of its 2 requests for 50 s, and does not read"
            " what clients send"
        )
        assert (failure.gate, failure.waited) == (GateName.WATCH, 50.0)
    old = [replace(item, generation=6) for item in seen]
    assert rules.hung(KNOWN, instances, old, 30.0, 1000.0) is None
