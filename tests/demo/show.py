"""The demonstration from curtain to curtain: each step told, carried out and looked at."""

from __future__ import annotations

import subprocess

from tests.demo import report
from tests.demo.evidence import Evidence, Run
from tests.demo.narrator import Narrator
from tests.demo.settings import Settings
from tests.demo.stage import APP_FILE, Stage
from tests.demo.story import APP, Step, first, steps
from tests.load.client import Load, LoadError

TICK = 0.2


class ShowError(Exception):
    """There is nothing to demonstrate, because the first deployment did not succeed."""


class Show:
    def __init__(self, stage: Stage, settings: Settings, narrator: Narrator) -> None:
        self.stage = stage
        self.settings = settings
        self.tell = narrator

    def perform(self) -> Evidence:
        """All steps, then what was seen."""
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

    # ---- the acts

    def _open(self, number: str) -> None:
        text = self.stage.prepare()
        step = first(self.settings)
        self.tell.heading(step.title, number)
        self.tell.prose(f"An app is described by one file, {APP_FILE}:")
        self.tell.say("")
        self.tell.quote(line for line in text.splitlines() if not line.startswith("#"))
        self.tell.say("")
        self.tell.prose(step.about)
        status = self._command(step)
        if status or len(self.stage.invocations()) != self.settings.instances:
            raise ShowError(f"the first deployment ended with status {status}")

    def _load_runs(self) -> None:
        self.tell.say("")
        clients = f"{self.settings.keepalive} clients that keep theirs"
        self.tell.prose(
            f"From now on a load generator opens {self.settings.rate:g} fresh connections a second, beside {clients}, "
            "and counts every outcome. It never tries anything twice."
        )

    def _step(self, load: Load, step: Step, number: str) -> Run:
        self.tell.heading(step.title, number)
        self.tell.prose(step.about)
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
        self.tell.command(step.command)
        return self.stage.perform(step.command, self.tell.stream)

    def _outcome(self, run: Run, load: Load, counted: dict[str, int]) -> None:
        """What can be said at once."""
        now = load.progress()
        requests, failed = (now[key] - counted[key] for key in ("requests", "failed"))
        self.tell.say("")
        self.tell.check(not failed, f"{requests:,} requests meanwhile, {failed:,} failed")
        expected = "as it should be" if run.status == run.step.status else f"not {run.step.status}"
        self.tell.check(run.status == run.step.status, f"exit status {run.status}, {expected}")
        if not run.step.good:
            self.tell.check(
                run.untouched >= self.settings.floor,
                f"{run.untouched} of {len(run.before)} instances are the processes of before (InvocationID)",
            )

    def _steady(self, load: Load) -> None:
        """A while in which nothing is changed. Ends at once if the load generator does."""
        end = self.stage.now() + self.settings.steady
        began = load.progress()
        while (left := end - self.stage.now()) > 0:
            try:
                load.process.wait(min(TICK, left))
            except subprocess.TimeoutExpired:
                now = load.progress()
                requests, failed = (now[key] - began[key] for key in ("requests", "failed"))
                self.tell.progress(f"steady state, {left:.0f} s to go: {requests:,} requests, {failed:,} failed")
            else:
                raise LoadError(f"the load generator ended with status {load.process.returncode}")
        self.tell.say()

    def _afterwards(self) -> None:
        self.tell.heading("What deployd says afterwards")
        argv = ("deployd", "status", APP, "--json")
        self.tell.say(self.tell.paint("strong", f"$ {' '.join(argv)}"))
        self.tell.folded(self.stage.machine.run(argv).stdout.strip())
        history = ("deployd", "history", APP)
        self.tell.command(history)
        self.stage.perform(history, self.tell.stream)

    def _close(self, evidence: Evidence) -> None:
        say, width, paint = self.tell.say, self.tell.width, self.tell.paint
        self.tell.heading("What was seen from outside")
        self.tell.prose(
            "By the load generator, in systemd's journal and in the kernel's counters. "
            "Only the last column of the second table is deployd's own word."
        )
        say("")
        say(*report.load_table(evidence, width, paint), "", *report.step_table(evidence, width, paint), "")
        for note in report.notes(evidence):
            self.tell.prose(note)
        say("")
        for check in evidence.checks():
            self.tell.check(check.holds, check.text)
        say("")
