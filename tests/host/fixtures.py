"""Fixtures of the tests that need a real systemd. The report of a failure has the journals of the hosts that ran."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest

from tests.host.machine import Machine, MachineError
from tests.host.root import HostRoot, RootError
from tests.host.sources import SourcesError
from tests.host.stage import Stage, stage  # noqa: F401 - a fixture

SUFFIX = "_host"
"""Suffix of modules that need a host."""
JOURNAL = ["journalctl", "--no-pager", "--output=short-precise", "--lines=200"]

MachineFactory = Callable[..., Machine]
_running: list[Machine] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the modules that need a host."""
    for item in items:
        if item.path.stem.endswith(SUFFIX):
            item.add_marker(pytest.mark.host)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the journals of the hosts to the report of a failure."""
    report = yield
    if report.failed and item.path.stem.endswith(SUFFIX):
        for machine in _running:
            report.sections.append((f"journal of {machine.name}", _journal(machine)))
    return report


def _journal(machine: Machine) -> str:
    try:
        return machine.run(JOURNAL, check=False).stdout
    except Exception as error:
        return f"not available: {error}"


def _boot(name: str, root: HostRoot, **options: Any) -> Machine:
    try:
        machine = Machine.boot(name, root, **options)
    except MachineError as error:
        pytest.fail(str(error), pytrace=False)
    _running.append(machine)
    return machine


def _remove(machine: Machine) -> None:
    _running.remove(machine)
    machine.remove()


@pytest.fixture(scope="session")
def host_root() -> HostRoot:
    """The root from which hosts are made: HOST=trixie, or the machine's own root."""
    try:
        return HostRoot.from_environment()
    except (RootError, SourcesError) as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def shared_machine(host_root: HostRoot) -> Iterator[Machine]:
    """One host for the whole run. Tests use `machine`, which is this host after cleaning."""
    machine = _boot("host", host_root)
    yield machine
    _remove(machine)


@pytest.fixture
def machine(shared_machine: Machine) -> Machine:
    """A host without applications, deployd freshly started."""
    shared_machine.clean()
    return shared_machine


@pytest.fixture(scope="module")
def own_machine(host_root: HostRoot) -> Iterator[Machine]:
    """A host for one module, for tests that reboot it."""
    machine = _boot("own", host_root)
    yield machine
    _remove(machine)


@pytest.fixture
def own_stage(own_machine: Machine) -> Iterator[Stage]:
    """A stage on a cleaned `own_machine`. Modules with only such tests call it `stage`."""
    own_machine.clean()
    own = Stage(own_machine)
    yield own
    own.close()


@pytest.fixture
def machine_factory(host_root: HostRoot) -> Iterator[MachineFactory]:
    """Boots hosts for one test: machine_factory("name", install=True). They are removed when the test ends."""
    made: list[Machine] = []

    def make(name: str = "own", **options: Any) -> Machine:
        made.append(_boot(name, options.pop("root", host_root), **options))
        return made[-1]

    yield make
    for machine in made:
        _remove(machine)
