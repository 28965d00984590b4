"""make attacks: carry out every attack on a disposable host, and print what each achieved.

An attack is a function of a module of this package, listed in its ATTACKS. It works as the real user that it is about,
on a host of its own making, and returns "" when it achieved nothing, else what. Exit status 1 if any achieved anything.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import pkgutil
import sys
import time
from collections.abc import Callable, Iterator

import tests.attacks
from tests.host.machine import Machine
from tests.host.stage import Stage

Attack = Callable[[Stage], str]


def attacks(areas: list[str]) -> Iterator[tuple[str, Attack]]:
    """All of them with their areas, or those of some areas."""
    for module in sorted(item.name for item in pkgutil.iter_modules(tests.attacks.__path__)):
        if module.startswith("_") or (areas and module not in areas):
            continue
        for attack in getattr(importlib.import_module(f"tests.attacks.{module}"), "ATTACKS", ()):
            yield module, attack


def carry_out(machine: Machine, attack: Attack) -> str:
    """What it achieved on a clean host; a host that breaks is an achievement, too."""
    machine.clean()
    stage = Stage(machine)
    try:
        return attack(stage)
    except Exception as error:
        return f"the host did not bear it: {type(error).__name__}: {error}"
    finally:
        stage.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.attacks", description=__doc__)
    parser.add_argument("areas", nargs="*", help="only these")
    achieved = count = 0
    began = time.monotonic()
    with Machine.boot("attacks") as machine:
        for area, attack in attacks(parser.parse_args().areas):
            what = carry_out(machine, attack)
            count += 1
            achieved += bool(what)
            told = (inspect.getdoc(attack) or attack.__name__.replace("_", " ")).splitlines()[0]
            print(f"{area:10} {told}\n{'':10}   -> {what or 'nothing'}", flush=True)
    print(f"{count} attacks in {time.monotonic() - began:.0f} s; {achieved} achieved something")
    return 1 if achieved else 0


if __name__ == "__main__":
    sys.exit(main())
