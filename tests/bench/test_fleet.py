"""The simulation of many hosts: what a host sends and receives does not grow with the fleet, but for the goal."""

from __future__ import annotations

import pytest

from tests.bench.fleet import Figures, Scenario, Simulation, main


@pytest.fixture(scope="module")
def small() -> Figures:
    return Simulation(30, Scenario()).run()


@pytest.fixture(scope="module")
def large() -> Figures:
    return Simulation(300, Scenario()).run()


def test_messages_of_a_host_do_not_grow(small: Figures, large: Figures) -> None:
    assert large.writes < small.writes < 3
    assert large.requests < small.requests < 5
    assert large.events < small.events * 1.2


def test_the_fleet_is_nearly_as_fast_as_its_slowest_hosts(small: Figures, large: Figures) -> None:
    for found in (small, large):
        assert 1 <= found.took / found.ideal < 1.01


def test_it_is_reproducible(small: Figures) -> None:
    assert Simulation(30, Scenario()).run() == small


def test_the_table_has_a_line_for_each_fleet(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["3", "6", "--batches", "1,50%", "--bake", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[2].startswith("| 3 | 3 | ")
    assert lines[3].startswith("| 6 | 3 | ")
