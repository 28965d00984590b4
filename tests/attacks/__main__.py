"""make attacks: carry out every attack on a disposable host and print what each achieved.

An attack is a function in the list ATTACKS of a module of this package. It acts as the user in question, on a host that
it sets up, and returns what it achieved, "" for nothing. The exit status is 1 if any attack achieved anything.
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
    """Yield all attacks with their areas, or those of the given areas."""
    for module in sorted(item.name for item in pkgutil.iter_modules(tests.attacks.__path__)):
        if module.startswith("_") or (areas and module not in areas):
            continue
        for attack in getattr(importlib.import_module(f"tests.attacks.{module}"), "ATTACKS", ()):
            yield module, attack


def carry_out(machine: Machine, attack: Attack) -> str:
    """Carry out an attack on a clean host; return what it achieved. A broken host is an achievement, too."""
    machine.clean()
    stage = Stage(machine)
    try:
        return attack(stage)
    except Exception as error:
        return f"the host broke: {type(error).__name__}: {error}"
    finally:
        stage.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.attacks", description=__doc__)
    parser.add_argument("areas", nargs="*", help="attacks of these areas only")
    achieved = count = 0
    began = time.monotonic()
    with Machine.boot("attacks") as machine:
        for area, attack in attacks(parser.parse_args().areas):
            what = carry_out(machine, attack)
            count += 1
            achieved += bool(what)
            title = (inspect.getdoc(attack) or attack.__name__.replace("_", " ")).splitlines()[0]
            print(f"{area:10} {title}\n{'':10}   -> {what or 'nothing'}", flush=True)
    print(f"{count} attacks in {time.monotonic() - began:.0f} s; {achieved} achieved something")
    return 1 if achieved else 0


if __name__ == "__main__":
    sys.exit(main())
