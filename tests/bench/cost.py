"""Measures the time of a rollout per instance beyond `systemctl restart` of the same unit, for 4 to 100 instances."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.bench import restarts, rig
from tests.bench.figure import Figure
from tests.host.machine import Machine

AIM = 10.0
FLAT = 1.5
ROUNDS = {4: 7, 16: 5, 100: 3}


def measure(machine: Machine) -> list[Figure]:
    machine.clean()
    (machine.path("/srv") / "light").mkdir(parents=True, exist_ok=True)
    figures, whole = [], {}
    for instances, rounds in ROUNDS.items():
        found = _per_instance(machine, instances, rounds)
        whole[instances] = found.rollout
        kind = f"of {instances}"
        figures += [
            Figure(f"cost per instance {kind}, beyond systemctl restart", found.beyond_command, "ms", AIM),
            Figure(f"  beyond the bare D-Bus call RestartUnit {kind}", found.beyond_call, "ms"),
            Figure(f"  of the rollout itself {kind}", found.rollout, "ms"),
            Figure(f"  of the command systemctl restart {kind}", found.command, "ms"),
        ]
    few, many = min(ROUNDS), max(ROUNDS)
    figures.append(Figure(f"rollout per instance of {many} against {few}", whole[many] / whole[few], "times", FLAT))
    return figures


@dataclass(frozen=True, slots=True)
class Cost:
    """Milliseconds per instance: medians of interleaved rounds, with differences within each round."""

    beyond_command: float
    beyond_call: float
    rollout: float
    command: float


def _per_instance(machine: Machine, instances: int, rounds: int) -> Cost:
    name = f"light{instances}"
    rig.deploy(machine, name, instances, Path("/srv/light"), **rig.LIGHT, rollout=rig.IN_PLACE)
    units = [f"{name}@{number}.service" for number in range(1, instances + 1)]
    rollouts, direct, commands = [], [], []
    for _ in range(rounds):
        rollouts.append(rig.restart(machine, name).events)
        direct.append(restarts.over_bus(machine, units))
        commands.append(restarts.by_command(machine, units))
    rig.remove(machine, name)
    scale = 1000 / instances
    return Cost(
        beyond_command=median(a - b for a, b in zip(rollouts, commands, strict=True)) * scale,
        beyond_call=median(a - b for a, b in zip(rollouts, direct, strict=True)) * scale,
        rollout=median(rollouts) * scale,
        command=median(commands) * scale,
    )
