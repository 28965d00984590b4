"""`python -m tests.demo`: good and bad releases on a real systemd, under load. Exits 1 if anything was lost."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from tests.demo import report
from tests.demo.narrator import Narrator
from tests.demo.settings import STEERED, Settings, settings_of
from tests.demo.show import Show, ShowError
from tests.demo.stage import Stage
from tests.demo.steered import SteeredShow
from tests.demo.witness import WitnessError
from tests.host.machine import Machine, MachineError
from tests.host.root import HostRoot, RootError
from tests.host.sources import SourcesError
from tests.load.client import LoadError

INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def main(argv: Sequence[str]) -> int:
    """Returns the exit status."""
    settings = settings_of(argv)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # they are TextIOWrappers here
    narrator = Narrator(sys.stderr if settings.as_json else sys.stdout)
    try:
        return demonstrate(settings, narrator)
    except KeyboardInterrupt:
        narrator.interrupted("Interrupted. The machine is gone, and everything on it.")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has seen enough. Nothing must be left for Python to flush, and complain about, at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), narrator.stream.fileno())
        return 1
    except (MachineError, RootError, SourcesError, LoadError, ShowError, WitnessError) as error:
        narrator.say("")
        sys.stderr.write(f"demo: {error}\n")
        return 1


def demonstrate(settings: Settings, narrator: Narrator) -> int:
    narrator.heading("deployd: releases under load, and nothing fails")
    narrator.prose(
        "This boots a disposable machine with a systemd of its own. Nothing of yours is touched, "
        "nothing of it stays, and ^C ends it at any time."
    )
    narrator.progress("booting …")
    machine = Machine.boot("demo", HostRoot.from_environment())
    try:
        stage = Stage(machine, settings)
        narrator.say("")
        narrator.prose(f"It is up: systemd {stage.systemd}, deployd installed.")
        try:
            holds, told = perform(stage, settings, narrator)
        except (MachineError, LoadError, ShowError, WitnessError):
            narrator.quote(stage.journal().splitlines())
            raise
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is being removed already
        machine.remove()
    if settings.as_json:
        print(json.dumps(told))
    narrator.prose("The machine is removed." if holds else "The machine is removed. Not all went as it must.")
    return 0 if holds else 1


def perform(stage: Stage, settings: Settings, narrator: Narrator) -> tuple[bool, dict[str, Any]]:
    """Whether all went as it must, and what was seen, for --json."""
    if settings.routing == STEERED:
        verdict = SteeredShow(stage, settings, narrator).perform()
        return verdict.holds, verdict.as_json()
    evidence = Show(stage, settings, narrator).perform()
    return evidence.holds, report.as_json(evidence)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
