"""Deadlines of tests, the disposition of SIGINT that their programs start with, and what is left out as thorough."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.host import cgroup
from tests.host.root import CHECKOUT

HANGS = """
import subprocess
import threading
import pytest

import tests.conftest

tests.conftest.CLEANING_UP = 0.5

@pytest.mark.timeout(0.5, func_only=True)
def test_waits_for_a_program():
    subprocess.run(["sleep", "infinity"])

@pytest.mark.timeout(0.5, func_only=True)
def test_waits_again_when_cleaning_up():
    try:
        threading.Event().wait()
    finally:
        threading.Event().wait()

def test_follows():
    pass
"""

TEARDOWN_HANGS = """
import threading
import pytest
import tests.conftest

tests.conftest.CLEANING_UP = 0.25

@pytest.fixture
def stuck():
    yield
    threading.Event().wait()

def test_fails(stuck):
    assert False

def test_follows():
    pass
"""

HOST_HANGS = """
import pytest

@pytest.fixture
def machine(machine_factory):
    return machine_factory("hangs", install=False)

@pytest.mark.timeout(0.5, func_only=True)
def test_waits_for_a_program(machine):
    machine.run(["sleep", "infinity"], timeout=600)

def test_the_same_worker_boots_another(machine):
    assert machine.run(["echo", "up"]).stdout == "up\\n"
"""

INTERRUPTED = """
import signal
import subprocess

def test_a_program_is_interrupted():
    assert subprocess.run(["sh", "-c", "kill -INT $$; echo alive"], stdout=-1).returncode == -2

def test_pytest_is_not():
    signal.raise_signal(signal.SIGINT)
"""


def outcome(directory: Path, text: str, *options: str, before: Callable[[], None] | None = None) -> tuple[str, str]:
    """Run a file of tests with the settings of this checkout. Return the counts of the last line, and all output."""
    file = directory / "test_inner.py"
    file.write_text(text)
    settings = ["-c", "pyproject.toml", f"--rootdir={directory}", "-o", f"cache_dir={directory}"]
    command = [sys.executable, "-m", "pytest", *settings, *options, str(file)]
    # The options of the run that this test belongs to are not for the inner one.
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    done = subprocess.run(
        command,
        cwd=CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
        preexec_fn=before,
    )
    return done.stdout.splitlines()[-1], done.stdout + done.stderr


def test_a_test_that_hangs_fails_and_the_next_one_runs(tmp_path: Path) -> None:
    counts, output = outcome(tmp_path, HANGS, "-p", "tests.conftest")
    assert " 2 failed, 1 passed " in counts, output
    assert "Failed: Timeout (>0.5s)" in output


def test_a_teardown_that_hangs_after_a_failure_ends(tmp_path: Path) -> None:
    counts, output = outcome(tmp_path, TEARDOWN_HANGS, "-p", "tests.conftest")
    assert " 1 failed, 1 passed, 1 error " in counts, output
    assert "the teardown took too long" in output


def test_every_test_has_a_deadline(request: pytest.FixtureRequest) -> None:
    assert float(request.config.getini("timeout")) > 0
    assert request.config.getini("timeout_method") == "signal", "a thread would end the whole worker"


@pytest.mark.host
def test_a_host_whose_test_hangs_is_removed(tmp_path: Path) -> None:
    """Under xdist, as `make test` runs it; the worker lives on."""
    before = {path.name for path in cgroup.mount_point().glob(f"{cgroup.PREFIX}.*.hangs")}
    counts, output = outcome(tmp_path, HOST_HANGS, "-p", "tests.conftest", "-n", "1")
    assert " 1 failed, 1 passed " in counts, output
    assert "crashed" not in output
    assert {path.name for path in cgroup.mount_point().glob(f"{cgroup.PREFIX}.*.hangs")} <= before


@pytest.mark.sampled
@pytest.mark.parametrize("options", [[], ["-n", "1"]], ids=["here", "workers"])
def test_programs_start_with_the_default_action_of_sigint(tmp_path: Path, options: list[str]) -> None:
    """Even if pytest was started with SIGINT ignored, as in the background of a script. Pytest itself ignores it."""
    counts, output = outcome(tmp_path, INTERRUPTED, "-p", "tests.conftest", *options, before=_ignore_interrupts)
    assert " 2 passed " in counts, output


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def test_files_with_long_deadlines_come_first(tmp_path: Path) -> None:
    """Then files on hosts, then those with many tests; the tests of a file stay together."""
    texts = {
        "test_few": "def test_one(): pass",
        "test_many": "def test_one(): pass\ndef test_two(): pass",
        "test_on": "import pytest\n@pytest.mark.host\ndef test_one(): pass",
        "test_long": "import pytest\ndef test_one(): pass\n@pytest.mark.timeout(999)\ndef test_two(): pass",
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.py").write_text(text)
    files = [str(tmp_path / f"{name}.py") for name in texts]
    _, output = outcome(tmp_path, "", "-p", "tests.conftest", "--collect-only", "-q", *files)
    found = [line.partition(".py::")[0] for line in output.splitlines() if "::" in line]
    assert found == ["test_long", "test_long", "test_on", "test_many", "test_many", "test_few"], output


SAMPLED = """
import pytest

@pytest.mark.sampled
@pytest.mark.parametrize("at", ["start", "end"])
@pytest.mark.parametrize("what", ["kill", "reboot"])
def test_cases(what, at):
    pass

@pytest.mark.thorough
def test_long():
    pass

def test_short():
    pass
"""


@pytest.mark.parametrize(
    ("mark", "tests"),
    [
        ("not thorough", ["test_cases[kill-start]", "test_short"]),
        ("thorough", ["test_cases[kill-end]", "test_cases[reboot-start]", "test_cases[reboot-end]", "test_long"]),
    ],
)
def test_the_first_case_of_a_sampled_test_is_not_thorough(tmp_path: Path, mark: str, tests: list[str]) -> None:
    _, output = outcome(tmp_path, SAMPLED, "-p", "tests.sampling", "--collect-only", "-q", "-m", mark)
    assert sorted(line.partition("::")[2] for line in output.splitlines() if "::" in line) == sorted(tests)
