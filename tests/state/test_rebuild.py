"""What a repair rebuilds from records, pins and the app file."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from deployd.model.generation import Cause, Result
from deployd.model.rollout import Hold, Pause, Phase, Rollout
from deployd.state.ends import Ending
from deployd.state.history import History
from deployd.state.rebuild import LOST
from tests.state.four_rollouts import at, generation
from tests.state.site import Site, stat_mode


def test_a_rollout_in_progress_is_paused_after_a_repair(site: Site) -> None:
    site.roll("demo", 4)
    site.pins.pin("demo", 1, 4)
    site.history.close()
    site.path.unlink()
    site.reopened()
    site.repair()
    rollout = site.history.rollout("demo")
    assert rollout is not None
    assert (rollout.origin, rollout.target, rollout.phase, rollout.pause) == (2, 4, Phase.PAUSED, Pause.BLOCKED)
    assert site.history.current("demo") == 2
    site.history.finish_together([Ending(rollout, Result.SUCCEEDED, "")], at(1.0))
    assert site.history.current("demo") == 4


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((Phase.PAUSED, Pause.HELD), Pause.BLOCKED),
        ((Phase.PAUSED, Pause.FAILED), Pause.FAILED),
        ((Phase.PAUSED, Pause.REQUESTED), Pause.REQUESTED),
        ((Phase.ROLLING_BACK, Pause.NONE), Pause.STRANDED),
        ((Phase.PAUSED, Pause.STRANDED), Pause.STRANDED),
    ],
)
def test_a_rollout_keeps_its_pause_and_weight(site: Site, before: tuple[Phase, Pause], after: Pause) -> None:
    rollout = site.roll("demo", 4)
    site.pins.pin("demo", 1, 4)
    phase, pause = before
    turned = replace(rollout, phase=phase, pause=pause, reason="why", holds=(Hold(1, True, 0.05),), weight=(4, 0.01))
    site.history.move(turned)
    site.history.close()
    site.path.unlink()
    site.reopened()
    assert site.history.rollout("demo") == replace(turned, phase=Phase.PAUSED, pause=after, reason=f"why; {LOST}")


def test_a_rollout_without_a_started_instance_is_ended_by_a_repair(site: Site) -> None:
    site.roll("demo", 4)
    site.history.close()
    site.path.unlink()
    site.reopened()
    site.repair()
    assert site.history.rollout("demo") is None
    assert site.history.past("demo")[0].result is Result.ABORTED
    assert site.history.next_number("demo") == 5


def test_without_a_record_the_settings_are_those_of_the_app_file(site: Site) -> None:
    settings = generation(2).settings
    site.history.close()
    site.path.unlink()
    for name in ("1", "2", "3"):
        (site.directory / "apps/demo/generations" / name / "generation.json").write_text("broken")
    (site.directory / "apps/demo/generations/2/environment-001").write_bytes(b"A=\xff\n")
    history = History(site.directory, site.pins, {"demo": settings}.get)
    history.open()
    history.source.repair({})
    assert history.source.trouble("demo") == ""
    settings = replace(settings, environment_contents=("A=\xff\n",))
    found = history.generation("demo", 2)
    assert found is not None
    assert (found.release, found.settings, found.cause) == ("/srv/demo/2", settings, Cause.APPLY)
    assert history.same("demo", found.fingerprint) == {2}
    assert (history.current("demo"), history.next_number("demo")) == (2, 4)
    history.close()


def test_an_app_that_cannot_be_rebuilt_stays_refused_and_affects_no_other(site: Site) -> None:
    site.history.close()
    site.path.unlink()
    (site.directory / "apps/demo/generations/2/generation.json").write_text("broken")
    site.reopened()
    site.repair()
    assert "lacks generation 2 of demo" in site.history.source.trouble("demo")
    assert site.history.source.trouble("other") == ""
    assert site.history.next_number("demo") == 4
    site.roll("other", 2)


def test_files_left_by_a_killed_daemon_are_no_damage(site: Site) -> None:
    """The files of a generation, its record and even a pin are written before the rows."""
    files = {"run": ("", 0o755)}
    site.pins.write_generation("demo", 4, files, "/srv/demo/4")
    site.history._records.write(generation(4), Rollout("demo", 2, 4))
    site.pins.write_generation("new", 1, files, "/srv/new/1")
    site.pins.pin("new", 1, 1)
    assert site.reopened() == ""
    assert (site.history.source.trouble("demo"), site.history.source.trouble("new")) == ("", "")
    assert (site.history.next_number("demo"), site.history.next_number("new")) == (4, 1)


def test_a_missing_record_is_written_when_the_history_is_opened(site: Site) -> None:
    record = site.directory / "apps/demo/generations/2/generation.json"
    record.write_text(json.dumps({}))
    site.reopened()
    assert json.loads(record.read_text())["generation"]["result"] == "succeeded"
    assert stat_mode(record) == 0o600


def test_numbers_of_pruned_generations_are_not_reused(site: Site) -> None:
    site.roll("demo", 4, Result.FAILED)
    site.history.saw("demo", 4, 1, "a" * 32, 0.5)
    site.history.prune("demo", {2}, "boot")
    assert [item.number for item in site.history.past("demo")] == [2]
    assert site.history.boots("demo") == []
    assert site.history.next_number("demo") == 5
    site.reopened()
    assert site.history.source.trouble("demo") == ""
    assert site.history.next_number("demo") == 5
