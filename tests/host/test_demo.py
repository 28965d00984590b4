"""`make demo`, shortened: it says that nothing failed, and shows what the commands really print."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from tests.host.root import CHECKOUT, HostRoot

SHORT = ["--rate", "60", "--keepalive", "4", "--boot", "0.1", "--gate", "1.5", "--steady", "0.5"]


def test_the_demonstration_loses_nothing_and_says_so(host_root: HostRoot) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "tests.demo", "--json", *SHORT],
        cwd=CHECKOUT,
        env={name: value for name, value in os.environ.items() if name != "NO_COLOR"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
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
    for command in ("deployd apply demo", "deployd rollout demo --release /srv/demo/v2", "deployd rollback demo"):
        assert f"$ {command}" in lines
    [whole] = [line.split() for line in lines if line.strip().startswith("whole run")]
    assert whole[3] == "0", "failed in the table"
    assert whole[2] == f"{found['requests']:,}"
