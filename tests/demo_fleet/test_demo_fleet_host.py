"""A `make demo-fleet` with few requests: none fails but those that the power cut has killed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.host.root import CHECKOUT, HostRoot

FEW = ("--rate", "30", "--keepalive", "3")


@pytest.mark.timeout(300)
def test_the_demonstration_of_a_fleet_loses_no_request(host_root: HostRoot) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "tests.demo_fleet", "--json", *FEW],
        cwd=CHECKOUT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    found = json.loads(shown.stdout)
    assert (found["ok"], found["failed"]) == (True, 0)
    assert found["requests"] > found["killed_by_power_cut"]
    assert "\x1b" not in shown.stderr
