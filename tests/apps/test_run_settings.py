"""Which settings and which command `deployd run --process` has."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deployd.apps.run_settings import run_settings
from deployd.errors import InvalidRequest
from deployd.model.generation import Generation, Result
from deployd.model.timer import Timer
from tests.state.four_rollouts import generation

NIGHTLY = Timer(name="nightly", schedule=("daily",), exec=("bin/nightly", "-v"), user="reports", timeout=60.0)


def made() -> Generation:
    found = generation(7, Result.SUCCEEDED)
    worker = replace(found.settings, name=f"{found.app}.worker", process="worker", user="jobs")
    return replace(found, settings=replace(found.settings, timers=(NIGHTLY,), processes=(worker,)))


@pytest.mark.parametrize("process", ["", "web"])
def test_without_a_process_it_is_the_app(process: str) -> None:
    found = run_settings(made(), process, ["bin/console", "x"])
    assert (found.settings, found.argv) == (made().settings, ("bin/console", "x"))
    assert (found.environment, found.timer, found.timeout) == ("environment", "", float("inf"))


def test_a_process_type() -> None:
    found = run_settings(made(), "worker", ["rake", "x y"])
    assert (found.settings.user, found.settings.process) == ("jobs", "worker")
    assert found.argv == ("/bin/sh", "-c", 'exec "$@"', "sh", "rake", "x y")


def test_a_timer_and_its_own_command() -> None:
    found = run_settings(made(), "nightly", ["bin/other"])
    assert (found.settings.user, found.environment, found.argv) == ("reports", "environment.nightly", ("bin/other",))
    assert (found.timer, found.timeout) == ("", float("inf"))
    own = run_settings(made(), "nightly", [])
    assert (own.argv, own.timer, own.timeout) == (("bin/nightly", "-v"), "nightly", 60.0)


@pytest.mark.parametrize(
    ("process", "command", "sentence"),
    [
        ("", [], "the command is empty; name it after --"),
        ("", [""], "the command is empty; name it after --"),
        ("nightly", [""], "the command is empty; name it after --"),
        ("worker", [], "the command is empty; only a timer has one that can be run"),
        ("clock\n", ["x"], r'generation 7 of demo has no process "clock\n"; there are: web, worker, nightly'),
    ],
)
def test_what_is_refused(process: str, command: list[str], sentence: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        run_settings(made(), process, command)
    assert str(caught.value) == sentence
