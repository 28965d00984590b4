"""Hosts that take part in the rollouts of APP, joined by a network in which their etcd is, too."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from tests.attacks.service import read_rules
from tests.fleet.cluster import Cluster
from tests.host.begun import Begun
from tests.host.machine import Machine, MachineError
from tests.host.stage import APP, BARRIER, DEADLINE, RELEASES, Stage
from tests.host.subnet import ADDRESS, Subnet

SETTINGS = "/etc/deployd/fleet.toml"
UNIT = "deployd-fleet.service"
RUNS, STANDS = 0.1, 0.5
"""Seconds for which a slow etcd runs and stands, in turn: shorter than its election timeout."""
RULES = "/etc/polkit-1/rules.d/50-deployd-fleet.rules"


class Site:
    """`machines` with v1 of APP, and an etcd of so many members. A context manager; the hosts are not removed."""

    def __init__(self, machines: Sequence[Machine], members: int = 1) -> None:
        self.subnet = Subnet.of(machines)
        self.etcd = Cluster(members, ADDRESS, ["nsenter", f"--net={self.subnet.namespace}", "--"])
        self.stages = [Stage(machine) for machine in machines]

    def __enter__(self) -> Self:
        self.etcd.__enter__()
        for stage in self.stages:
            stage.deploy("v1", instances=1, releases=RELEASES)
            self._configure(stage)
        for stage in self.stages:
            stage.systemctl("enable", "--now", UNIT)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        for stage in self.stages:
            stage.close()
        self.etcd.close()
        self.subnet.remove()

    def _configure(self, stage: Stage) -> None:
        settings = f'endpoints = {json.dumps(self.etcd.endpoints)}\napps = ["{APP}"]\nname = "{stage.machine.name}"\n'
        stage.machine.write(SETTINGS, settings)
        rule = f"sed 's/shop/{APP}/g' /usr/share/deployd/examples/fleet.rules >{RULES}"
        stage.machine.run(["sh", "-c", rule])
        read_rules(stage)

    @contextmanager
    def killing_agents(self, step: str) -> Iterator[None]:
        """In the context, kill the first agent of each host whose journal says that it takes a step."""
        follow = f"journalctl --follow --lines=0 --output=cat --unit={UNIT}"
        kill = f"systemctl kill --signal=KILL --kill-whom=main {UNIT}"
        script = f"exec 3< <({follow}); echo; grep --max-count=1 '{step}' <&3 && {kill}"
        killers = [
            stage.machine.popen(["bash", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            for stage in self.stages
        ]
        try:
            for killer in killers:
                assert killer.stdout is not None
                killer.stdout.readline()
            yield
            assert any(killer.poll() == 0 for killer in killers), f"no agent was killed at: {step}"
        finally:
            for killer in killers:
                with killer:
                    killer.kill()

    @contextmanager
    def slow_etcd(self) -> Iterator[None]:
        """In the context, stop all members of etcd for most of the time: each answer takes long."""
        ended = threading.Event()

        def slow_down() -> None:
            while not ended.wait(RUNS):
                for member in self.etcd.members:
                    member.signal(signal.SIGSTOP)
                ended.wait(STANDS)
                for member in self.etcd.members:
                    member.signal(signal.SIGCONT)

        thread = threading.Thread(target=slow_down)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def take_archives(self, place: str) -> None:
        """Allow archives below a URL or a directory, and let the agents write the releases."""
        for stage in self.stages:
            stage.machine.run(["chown", "deployd-fleet:", RELEASES])
            stage.machine.write(
                f"/etc/systemd/system/{UNIT}.d/releases.conf", f"[Service]\nReadWritePaths={RELEASES}\n"
            )
            settings = stage.machine.read(SETTINGS)
            stage.machine.write(SETTINGS, f'{settings}archives = ["{place}"]\n')
            stage.systemctl("daemon-reload")
            stage.systemctl("restart", UNIT)

    def release(self, version: str) -> None:
        """Write a good release on all hosts."""
        for stage in self.stages:
            stage.release(version)

    @contextmanager
    def without_power(self, index: int) -> Iterator[None]:
        """Cut the power of a host until the context ends."""
        machine = self.stages[index].machine
        machine.poweroff(clean=False)
        try:
            yield
        finally:  # the hosts are those of the next test, too
            machine.start()
            self.subnet.attach(machine)

    def hold(self, version: str) -> None:
        """Write a release on all hosts whose instances are ready when they are admitted."""
        for stage in self.stages:
            stage.machine.run(["rm", "-rf", BARRIER])
            stage.release(version, barrier=True)

    def admit(self) -> None:
        for stage in self.stages:
            stage.admit()

    def versions(self) -> list[str]:
        """Return what each host serves."""
        return [str(stage.get()["version"]) for stage in self.stages]

    def fleet(self, verb: str, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `deployd fleet VERB demo …` on the first host."""
        done = self.stages[0].deployd("fleet", verb, APP, *argv)
        assert not check or done.returncode == 0, done.stderr
        return done

    def begin(self, *argv: str) -> Begun:
        """Start `deployd fleet rollout demo … --json` on the first host."""
        command = ["deployd", "fleet", "rollout", APP, *argv, "--json"]
        return Begun(self.stages[0].machine.popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE))

    def status(self) -> dict[str, Any]:
        return self.json("status")

    def json(self, verb: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.fleet(verb, "--json").stdout)
        return found

    def states(self) -> dict[str, str]:
        """Return the state of each host, by name."""
        return {item["host"]: item["state"] for item in self.status()["hosts"]}

    def wait_for(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until something holds for the status of the fleet; return that."""
        command = ["deployd", "fleet", "status", APP, "--watch", "--json"]
        with self.stages[0].machine.popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as watch:
            timer = threading.Timer(DEADLINE, watch.kill)
            timer.start()
            try:
                assert watch.stdout is not None
                for line in watch.stdout:
                    found: dict[str, Any] = json.loads(line)
                    if holds(found):
                        return found
            finally:
                timer.cancel()
                watch.kill()
        raise AssertionError(f"it never held; the last status is {found}")

    def wait_for_result(self, index: int, result: str) -> None:
        """Wait until the newest rollout of a host has ended with a result, as its daemon knows it."""
        stage = self.stages[index]
        stage.machine.wait_for(lambda: stage.history()[0]["result"] == result, DEADLINE, f"{result} on {index}")

    def logs(self) -> str:
        """Return what the agents and the members of etcd wrote."""
        argv = ["journalctl", "--no-pager", "--unit=deployd-fleet", "--lines=50", "--output=short-precise"]
        agents = []
        for stage in self.stages:
            try:
                agents.append(stage.machine.run(argv, check=False).stdout)
            except MachineError as error:
                agents.append(str(error))
        return "\n".join([*agents, *(member.log() for member in self.etcd.members)])
