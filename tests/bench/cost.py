"""What a rollout costs per instance beyond `systemctl restart` of the same unit, with 4, 16 and 100 instances."""

from __future__ import annotations

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
    figures, beyond = [], {}
    for instances, rounds in ROUNDS.items():
        found = _per_instance(machine, instances, rounds)
        beyond[instances] = found[0]
        kind = f"of {instances}"
        figures += [
            Figure(f"cost per instance {kind}, beyond RestartUnit", found[0], "ms", AIM),
            Figure(f"  of the rollout itself {kind}", found[1], "ms"),
            Figure(f"  of RestartUnit {kind}", found[2], "ms"),
            Figure(f"  of the command systemctl restart {kind}", found[3], "ms"),
        ]
    few, many = min(ROUNDS), max(ROUNDS)
    figures.append(Figure(f"cost per instance of {many} against {few}", beyond[many] / beyond[few], "times", FLAT))
    return figures


def _per_instance(machine: Machine, instances: int, rounds: int) -> tuple[float, float, float, float]:
    """Milliseconds: the difference, the rollout, RestartUnit, systemctl restart; medians of interleaved rounds."""
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
    beyond = median(a - b for a, b in zip(rollouts, direct, strict=True))
    return beyond * scale, median(rollouts) * scale, median(direct) * scale, median(commands) * scale
