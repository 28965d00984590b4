"""Steering on Debian 12's kernel with CAP_BPF alone, a sample of `make kernel`: all tests of reuseport there."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from tests.host import debian
from tests.kernel import guest, package
from tests.kernel.package import Kernel, KernelError, fetch

SAMPLE = [
    "tests/reuseport/test_listeners.py::test_this_machine_can_steer",
    "tests/reuseport/test_program.py::test_every_kind_of_address_is_steered[::]",
    "tests/reuseport/test_counting.py::test_a_request_is_in_flight_until_its_answer_is_acknowledged[127.0.0.1]",
    "tests/reuseport/test_counting.py::test_connections_that_migrate_take_their_counts_along[127.0.0.1]",
]
DEADLINE = 600.0
"""Seconds. A machine with nothing else to do needs 20."""
on_x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="kernels are booted on x86-64 only")


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    return fetch("6.1")


@pytest.mark.thorough
@on_x86
@pytest.mark.timeout(DEADLINE + 60)
def test_linux_6_1_steers_with_cap_bpf_alone(kernel: Kernel) -> None:
    outcome = guest.run(kernel, [*guest.PYTEST, "-q", *SAMPLE], DEADLINE)
    assert outcome.status == 0, outcome.output
    assert outcome.release.startswith("6.1."), outcome.output
    assert " passed" in outcome.output
    assert "skipped" not in outcome.output


@pytest.mark.thorough
@on_x86
@pytest.mark.timeout(DEADLINE + 60)
def test_what_fails_in_a_guest_fails_here(kernel: Kernel) -> None:
    """And the process there has no other capability."""
    script = "print(next(line for line in open('/proc/self/status') if line.startswith('CapEff'))); raise SystemExit(3)"
    outcome = guest.run(kernel, ["-c", script], DEADLINE)
    assert outcome.status == 3
    assert int(outcome.output.partition("CapEff:")[2].split()[0], 16) == 1 << 39


@pytest.mark.thorough
@on_x86
def test_a_guest_that_does_not_end_is_killed(kernel: Kernel) -> None:
    with pytest.raises(KernelError, match=r"did not end as it should: it was not done after 1 s"):
        guest.run(kernel, ["-c", "pass"], 1)


@on_x86
def test_without_packages_one_sentence_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = "Types: deb\nURIs: file:/nonexistent\nSuites: bookworm\nComponents: main\n"
    monkeypatch.setattr(package, "CACHE", tmp_path)
    monkeypatch.setattr(debian, "debian_sources", lambda suite: (sources, ""))
    with pytest.raises(KernelError, match=r"^cannot download Debian's kernel: apt-get .*\S$") as raised:
        fetch("6.1")
    assert "\n" not in str(raised.value)
    assert not [path for path in (tmp_path / "kernel").iterdir() if path.suffix != ".lock"]


def test_other_kernels_are_refused() -> None:
    with pytest.raises(KernelError, match=r"^KERNEL=5\.4: there are only 6\.1 and 6\.12$"):
        fetch("5.4")
