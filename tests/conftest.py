"""Fixtures of all tests, and their deadlines. Modules that need a real systemd have names that end in _host."""

from __future__ import annotations

import signal
from collections.abc import Generator
from pathlib import Path

import pytest

from deployd.config import trust
from deployd.files.walk import Step

pytest_plugins = ["tests.host.fixtures", "tests.any_load", "tests.sampling", "tests.side_by_side", "tests.ssh.fixtures"]

CLEANING_UP = 60.0
"""Seconds that a test gets to clean up after its deadline, with the hosts that it removes."""


@pytest.fixture(autouse=True)
def _trusting(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trust the app files of tests, which are below /tmp and belong to the current user; test_trust.py does not."""
    if request.path.stem != "test_trust" and not request.path.stem.endswith("_host"):
        monkeypatch.setattr(trust, "require_trusted", _anything)


def _anything(_: Step) -> None:
    return


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files first that take longest, so that no worker begins one when the others have ended.

    Those have tests with a long deadline, then those on hosts, then many tests.
    """
    weights: dict[Path, tuple[float, bool, int]] = {}
    for item in items:
        longest, on_host, count = weights.get(item.path, (0.0, False, 0))
        mark = item.get_closest_marker("timeout")
        deadline = float(mark.args[0]) if mark is not None else 0.0
        on_host = on_host or item.get_closest_marker("host") is not None
        weights[item.path] = max(longest, deadline), on_host, count + 1
    items.sort(key=lambda item: weights[item.path], reverse=True)


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """Start the programs of tests with the default action of SIGINT, whatever pytest was started with.

    Shells start background commands with SIGINT ignored, and children inherit that. They do not inherit a handler,
    which exec resets. This one does nothing, so pytest continues to ignore the signal. It is a fixture because the
    xdist process that only starts the workers must leave the disposition to them.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: None)


@pytest.hookimpl(wrapper=True)
def pytest_timeout_set_timer() -> Generator[None, bool, bool]:
    """Interrupt a test also when it hangs in what it does after its deadline, as in waiting for a child."""
    done = yield
    remaining, _ = signal.getitimer(signal.ITIMER_REAL)
    signal.setitimer(signal.ITIMER_REAL, remaining, CLEANING_UP)
    return done


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None]:
    """Give the teardown a deadline of its own: pytest-timeout cancels its timer when a test fails."""
    signal.signal(signal.SIGALRM, _fail_teardown)
    signal.setitimer(signal.ITIMER_REAL, 2 * CLEANING_UP, CLEANING_UP)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


def _fail_teardown(*_: object) -> None:
    pytest.fail("the teardown took too long")
