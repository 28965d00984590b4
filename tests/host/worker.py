"""The worker of tests/sample_apps on a stage: an app without `listen`."""

from __future__ import annotations

from pathlib import Path

from tests.host.begun import DEADLINE
from tests.host.stage import Stage

WORKER = Path(__file__).parents[1] / "sample_apps/worker.py"
LOG = "/srv/jobs.log"
SETTINGS = {"listen": None, "routing": None, "exec": ["/usr/bin/python3", "worker.py"], "instances": 2}


def release(stage: Stage, version: str, mode: str = "good", job: str = "0.05") -> str:
    """Write a release of the worker. `job`: how long each job takes, as worker.py says."""
    return stage.release(version, mode, files={"worker.py": WORKER.read_text(), "job": job})


class Blocked:
    """A FIFO on which the jobs of releases wait whose `job` is its path."""

    def __init__(self, stage: Stage, name: str = "blocked") -> None:
        self._stage = stage
        self.path = f"/srv/{name}"
        stage.machine.run(["rm", "-f", self.path])
        stage.machine.run(["mkfifo", "-m", "666", self.path])

    def end(self) -> None:
        """End the jobs that wait now."""
        self._stage.machine.run(["sh", "-c", f"echo > {self.path}"], timeout=DEADLINE)


def jobs(stage: Stage) -> list[list[str]]:
    """Return the lines that workers have written: what, instance, generation and job."""
    return [line.split() for line in stage.machine.read(LOG).splitlines()]


def has_begun(stage: Stage, generation: int) -> bool:
    """True once a worker of the generation has begun a job."""
    return any(line[0] == "begin" and line[2] == str(generation) for line in jobs(stage))
