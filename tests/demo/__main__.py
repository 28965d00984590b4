"""`python -m tests.demo`: rolls out good and bad releases on a real systemd, under load. Exits with 1 on any loss."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from tests.demo import report
from tests.demo.bus_monitor import MonitorError
from tests.demo.page import Page
from tests.demo.settings import STEERED, Settings, settings_of
from tests.demo.show import Show, ShowError
from tests.demo.stage import Stage
from tests.demo.steered import SteeredShow
from tests.host.machine import Machine, MachineError
from tests.host.root import HostRoot, RootError
from tests.host.sources import SourcesError
from tests.load.client import LoadError

INTERRUPTED = 130  # 128 + SIGINT, as in shells


def main(argv: Sequence[str]) -> int:
    """Run the demonstration; return the exit status."""
    settings = settings_of(argv)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # they are TextIOWrappers here
    page = Page(sys.stderr if settings.as_json else sys.stdout)
    try:
        return demonstrate(settings, page)
    except KeyboardInterrupt:
        page.interrupted("Interrupted. The machine and everything on it have been removed.")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has closed the pipe. Python must not flush to it at exit, which would print an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), page.stream.fileno())
        return 1
    except (MachineError, RootError, SourcesError, LoadError, ShowError, MonitorError) as error:
        page.say("")
        sys.stderr.write(f"demo: {error}\n")
        return 1


def demonstrate(settings: Settings, page: Page) -> int:
    page.heading("deployd: releases under load without failed requests")
    page.prose(
        "This boots a disposable machine with a systemd of its own. Your system is not changed, nothing is left "
        "behind, and ^C ends it at any time."
    )
    page.progress("booting …")
    machine = Machine.boot("demo", HostRoot.from_environment())
    try:
        stage = Stage(machine, settings)
        page.say("")
        page.prose(f"The machine is running: systemd {stage.systemd}, deployd installed.")
        try:
            holds, found = perform(stage, settings, page)
        except (MachineError, LoadError, ShowError, MonitorError):
            page.quote(stage.journal().splitlines())
            raise
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the machine is being removed
        machine.remove()
    if settings.as_json:
        print(json.dumps(found))
    page.prose("The machine has been removed." if holds else "The machine has been removed. Some checks failed.")
    return 0 if holds else 1


def perform(stage: Stage, settings: Settings, page: Page) -> tuple[bool, dict[str, Any]]:
    """Return True if all checks passed, and the observations for --json."""
    if settings.routing == STEERED:
        verdict = SteeredShow(stage, settings, page).perform()
        return verdict.holds, verdict.as_json()
    evidence = Show(stage, settings, page).perform()
    return evidence.holds, report.as_json(evidence)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
