"""The demonstration: describes each step, carries it out and observes it."""

from __future__ import annotations

import subprocess

from tests.demo import report
from tests.demo.evidence import Evidence, Run
from tests.demo.page import Page
from tests.demo.scenario import APP, Step, first, steps
from tests.demo.settings import Settings
from tests.demo.stage import APP_FILE, Stage
from tests.load.client import Load, LoadError

TICK = 0.2


class ShowError(Exception):
    """The demonstration cannot continue, for example because the first deployment failed."""


class Show:
    def __init__(self, stage: Stage, settings: Settings, page: Page) -> None:
        self.stage = stage
        self.settings = settings
        self.page = page

    def perform(self) -> Evidence:
        """Carry out all steps; return the observations."""
        rollouts = steps(self.settings)
        self._open(f"1/{len(rollouts) + 1}")
        listen = self.stage.listen()
        with self.stage.start_load() as load:
            self._load_runs()
            self._steady(load)
            runs = tuple(
                self._step(load, step, f"{number}/{len(rollouts) + 1}") for number, step in enumerate(rollouts, 2)
            )
            self._afterwards()
            record = load.stop()
        history = self.stage.ask("deployd", "history", APP)["generations"][::-1]
        evidence = Evidence(
            self.settings, runs, record, self.stage.timeline(), history[1:], (listen, self.stage.listen())
        )
        self._close(evidence)
        return evidence

    # ---- the steps

    def _open(self, number: str) -> None:
        text = self.stage.prepare()
        step = first(self.settings)
        self.page.heading(step.title, number)
        self.page.prose(f"An app is described by one file, {APP_FILE}:")
        self.page.say("")
        self.page.quote(line for line in text.splitlines() if not line.startswith("#"))
        self.page.say("")
        self.page.prose(step.about)
        status = self._command(step)
        if status or len(self.stage.invocations()) != self.settings.instances:
            raise ShowError(f"the first deployment ended with status {status}")

    def _load_runs(self) -> None:
        self.page.say("")
        clients = f"{self.settings.keepalive} clients with persistent ones"
        self.page.prose(
            f"From now on a load generator opens {self.settings.rate:g} new connections per second, alongside "
            f"{clients}, and counts every outcome. It never retries."
        )

    def _step(self, load: Load, step: Step, number: str) -> Run:
        self.page.heading(step.title, number)
        self.page.prose(step.about)
        before = self.stage.invocations()
        counted = load.progress()
        start = load.mark(f"{step.name}-start")
        status = self._command(step)
        end = load.mark(f"{step.name}-end")
        run = Run(step, status, start, end, before, self.stage.invocations())
        self._outcome(run, load, counted)
        self._steady(load)
        return run

    def _command(self, step: Step) -> int:
        self.page.command(step.command)
        return self.stage.perform(step.command, self.page.stream)

    def _outcome(self, run: Run, load: Load, counted: dict[str, int]) -> None:
        """Print the checks that are possible at once."""
        now = load.progress()
        requests, failed = (now[key] - counted[key] for key in ("requests", "failed"))
        self.page.say("")
        self.page.check(not failed, f"{requests:,} requests meanwhile, {failed:,} failed")
        expected = "as expected" if run.status == run.step.status else f"not {run.step.status}"
        self.page.check(run.status == run.step.status, f"exit status {run.status}, {expected}")
        if not run.step.good:
            self.page.check(
                run.untouched >= self.settings.floor,
                f"{run.untouched} of {len(run.before)} instances are the same processes as before (InvocationID)",
            )

    def _steady(self, load: Load) -> None:
        """Wait without changes. Raises LoadError if the load generator ends."""
        end = self.stage.now() + self.settings.steady
        began = load.progress()
        while (left := end - self.stage.now()) > 0:
            try:
                load.process.wait(min(TICK, left))
            except subprocess.TimeoutExpired:
                now = load.progress()
                requests, failed = (now[key] - began[key] for key in ("requests", "failed"))
                self.page.progress(f"steady state, {left:.0f} s to go: {requests:,} requests, {failed:,} failed")
            else:
                raise LoadError(f"the load generator ended with status {load.process.returncode}")
        self.page.say()

    def _afterwards(self) -> None:
        self.page.heading("Status and history afterwards")
        argv = ("deployd", "status", APP, "--json")
        self.page.say(self.page.paint("strong", f"$ {' '.join(argv)}"))
        self.page.folded(self.stage.machine.run(argv).stdout.strip())
        history = ("deployd", "history", APP)
        self.page.command(history)
        self.stage.perform(history, self.page.stream)

    def _close(self, evidence: Evidence) -> None:
        say, width, paint = self.page.say, self.page.width, self.page.paint
        self.page.heading("Observations from outside")
        self.page.prose(
            "These come from the load generator, systemd's journal and the kernel's counters. "
            "Only the last column of the second table is reported by deployd itself."
        )
        say("")
        say(*report.load_table(evidence, width, paint), "", *report.step_table(evidence, width, paint), "")
        for note in report.notes(evidence):
            self.page.prose(note)
        say("")
        for check in evidence.checks():
            self.page.check(check.holds, check.text)
        say("")
