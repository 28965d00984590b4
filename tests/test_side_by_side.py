"""Tests are imported before their collection, by each worker from another one on."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests import side_by_side

NAMES = [f"test_{letter}" for letter in "abcd"]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A directory with four modules, the second of which cannot be imported."""
    directory = tmp_path / f"package_{tmp_path.name.replace('-', '_')}"
    directory.mkdir()
    (directory / "__init__.py").touch()
    for name in NAMES:
        (directory / f"{name}.py").write_text("1 / 0" if name == NAMES[1] else "")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(side_by_side, "TESTS", directory)
    return directory.name


@pytest.mark.parametrize(("worker", "order"), [("gw0", "acd"), ("gw1", "cda")])
def test_each_worker_begins_with_another_test(package: str, worker: str, order: str) -> None:
    given = {"workerid": worker, "workercount": 2}
    config = SimpleNamespace(workerinput=given, args=[package])
    side_by_side.pytest_sessionstart(SimpleNamespace(config=config))  # type: ignore[arg-type]
    imported = [name for name in sys.modules if name.startswith(f"{package}.")]
    assert imported == [f"{package}.test_{letter}" for letter in order]


@pytest.mark.parametrize("given", [{"workerid": "gw0", "workercount": 2}, None])
def test_chosen_tests_and_a_single_process_need_no_others(package: str, given: dict[str, object] | None) -> None:
    config = SimpleNamespace(args=[f"{package}/test_a.py"] if given else [package])
    if given:
        config.workerinput = given
    side_by_side.pytest_sessionstart(SimpleNamespace(config=config))  # type: ignore[arg-type]
    assert not [name for name in sys.modules if name.startswith(f"{package}.")]
