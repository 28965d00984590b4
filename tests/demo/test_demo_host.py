"""A short `make demo`: no request fails, and the output of the commands is shown."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.host.root import CHECKOUT, HostRoot

SHORT = ["--rate", "60", "--keepalive", "4", "--boot", "0.1", "--gate", "1.5", "--steady", "0.5"]


def demonstrate(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.demo", "--json", *options],
        cwd=CHECKOUT,
        env={name: value for name, value in os.environ.items() if name != "NO_COLOR"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def test_the_demonstration_loses_no_request(host_root: HostRoot) -> None:
    shown = demonstrate(*SHORT)
    assert shown.returncode == 0, shown.stderr
    found = json.loads(shown.stdout)
    assert (found["ok"], found["failed"], found["floor"]) == (True, 0, 4)
    assert [(step["result"], step["exit_status"], step["untouched"]) for step in found["steps"]] == [
        ("succeeded", 0, 0),
        ("rolled-back", 1, 4),
        ("rolled-back", 1, 4),
        ("succeeded", 0, 0),
    ]
    lines = shown.stderr.splitlines()
    assert "\x1b" not in shown.stderr
    for command in (
        "deployd apply demo",
        "deployd rollout demo --release /srv/demo/v2",
        "deployd rollback demo --to 1",
    ):
        assert f"$ {command}" in lines
    [whole] = [line.split() for line in lines if line.strip().startswith("whole run")]
    assert whole[3] == "0", "failed in the table"
    assert whole[2] == f"{found['requests']:,}"


@pytest.mark.thorough
def test_the_steered_demonstration_reaches_the_requested_share(host_root: HostRoot, tmp_path: Path) -> None:
    """With fewer connections, and more time for the last bad response, for busy machines."""
    picture = tmp_path / "demo.svg"
    short = ["--rate", "150", "--connections", "600", "--tolerance", "1.5", "--late", "5", "--boot", "0.1"]
    shown = demonstrate("--routing", "steered", *short, "--gate", "5", "--steady", "0.5", "--svg", str(picture))
    assert shown.returncode == 0, shown.stdout + shown.stderr
    found = json.loads(shown.stdout)
    assert (found["ok"], found["lost"]) == (True, 0)
    assert found["canary"]["connections"] == 600
    assert found["canary"]["asked"] == 5.0
    lines = shown.stderr.splitlines()
    assert f"  The same as an image: {picture}" in lines
    [drawn] = [number for number, line in enumerate(lines) if "Shares of the generations" in line]
    assert max(len(line) for line in lines[drawn:] if str(picture) not in line) <= 80
    assert ET.parse(picture).getroot().tag == "{http://www.w3.org/2000/svg}svg"
