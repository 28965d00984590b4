"""What stays live of process types, and whether a generation of several is bad."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from deployd.model.app import App, Applied, combined
from deployd.model.generation import Cause, Generation, Result
from deployd.plan import live
from deployd.plan.rollback import known_bad, rollback_target
from deployd.state.history import History
from tests.state.four_rollouts import SETTINGS, generation

DIRECTORY = "/srv/demo/1"


def app(**instances: int) -> App:
    """Return an app file with these process types and so many instances of each."""
    types = (
        replace(SETTINGS, name=f"demo.{name}", process=name, instances=count, after=("web",))
        for name, count in instances.items()
    )
    return replace(SETTINGS, processes=tuple(types))


def made(settings: App, number: int = 7) -> Generation:
    return replace(generation(number, Result.SUCCEEDED), settings=settings, release=DIRECTORY)


def counts(settings: App) -> dict[str, int]:
    return {item.process: item.instances for item in settings.processes}


def test_the_number_of_instances_stays_until_the_file_says_another_one() -> None:
    first, _ = live.choose(app(worker=2, clock=1), DIRECTORY, None, None)
    assert counts(first) == {"worker": 2, "clock": 1}
    scaled = made(
        replace(first, processes=tuple(replace(item, instances=item.instances + 3) for item in first.processes))
    )
    chosen, stays = live.choose(app(worker=2, clock=2, mailer=1), DIRECTORY, scaled, scaled)
    assert counts(chosen) == {"worker": 5, "clock": 2, "mailer": 1}
    assert stays == DIRECTORY
    assert {item.applied for item in chosen.processes} == {
        Applied(SETTINGS.release, DIRECTORY, 2),
        Applied(SETTINGS.release, DIRECTORY, 1),
    }


def test_a_rollback_keeps_what_the_file_said_last() -> None:
    old, _ = live.choose(app(worker=2), DIRECTORY, None, None)
    new, _ = live.choose(app(worker=4, clock=1), DIRECTORY, made(old), made(old))
    back = live.as_applied(old, made(new, 8))
    assert counts(back) == {"worker": 2}
    assert [item.applied for item in back.processes] == [Applied(SETTINGS.release, DIRECTORY, 4)]
    again, _ = live.choose(app(worker=4, clock=1), DIRECTORY, made(back, 9), made(back, 9))
    assert counts(again) == {"worker": 2, "clock": 1}, "the file says the same of workers as before"
    assert live.as_applied(old, None).applied is None


def test_a_generation_is_bad_as_a_whole_and_its_web_processes_are_adopted_alone(tmp_path: Path) -> None:
    """Only the worker differs between these generations, and that of the second one fails."""
    web = "a" * 32
    good, bad, better = (combined(web, [("worker", worker)]) for worker in ("1", "2", "3"))
    assert combined(web, []) == web
    assert combined(web, [("a", "1"), ("b", "2")]) == combined(web, [("b", "2"), ("a", "1")])
    rows = [
        replace(generation(1, Result.SUCCEEDED), fingerprint=good),
        replace(generation(2, Result.ROLLED_BACK), fingerprint=bad, origin=1),
        replace(generation(3, Result.SUCCEEDED), fingerprint=better, origin=1),
    ]
    assert known_bad(rows[:2]) == {bad}
    assert rollback_target(rows[::-1], 3).number == 1
    history = History(tmp_path)
    history.open()
    history.deployed(*rows)
    history.deployed(replace(generation(4, Result.SUCCEEDED), fingerprint="b" * 32, cause=Cause.SCALE))
    assert history.same("demo", better) == history.same("demo", web) == {1, 2, 3}
    assert history.same("demo", "b" * 32) == {4}
    history.close()
