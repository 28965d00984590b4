"""One tiny cell of the bench of routing, with real servers behind all methods on a host."""

from __future__ import annotations

import os

import pytest

from tests.bench import programs
from tests.bench.routing import measurements, openloop, sources, two_generations, variants
from tests.bench.routing.measurements import Choice
from tests.bench.routing.results import Place, Results
from tests.bench.routing.traffic import DIRECT, METHODS, TRAFFICS, Cell, Server
from tests.host.machine import Machine

SMALL = Server("event", "event loop: uvicorn", 2)


@pytest.fixture
def offline() -> None:
    """Provide the programs, which needs a network the first time."""
    try:
        programs.provide()
        sources.provide()
    except programs.ProgramsError as error:
        verdict = pytest.fail if os.environ.get("CI") else pytest.skip
        verdict(str(error))
    openloop.build()


@pytest.mark.thorough
def test_a_cell_is_measured_with_each_method(machine: Machine, offline: None) -> None:
    """And nothing of it is left on the host."""
    results = Results()
    cell = Cell(TRAFFICS["kept"], 30, SMALL)
    with variants.running(machine, SMALL, METHODS):
        measurements.of_cells(machine, Choice([cell], METHODS, scale=0.1), 1, results)
    measured = results.cells[Place("kept", 30, "event")]
    assert {method: len(waits) for method, waits in measured.waits.items()} == dict.fromkeys(METHODS, 1)
    assert measured.failed == 0
    assert {what for what in results.singles if what.startswith("SD")} == {
        f"SD of 400 kept connections, {method}, event" for method in DIRECT
    }
    units = ["bench-*", "steered*", "shared*"]
    left = machine.run(["systemctl", "list-units", "--plain", "--no-legend", "--state=active", *units]).stdout
    assert not left


@pytest.mark.thorough
def test_wake_ups_are_counted_while_two_generations_serve(machine: Machine, offline: None) -> None:
    results = Results()
    two_generations.measure(machine, 1, results, window=0.5)
    counted = [single.values for what, single in results.singles.items() if what.startswith("wake-ups in 0.5 s")]
    assert [len(values) for values in counted] == [1, 1]
    assert results.singles["failed requests with two generations"].values == [0]
