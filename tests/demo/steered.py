"""The steered demonstration: a canary with an exact share, and an instant rollback."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from shlex import join

from deployd_cli.text.event import event_lines
from deployd_cli.text.words import wrapped
from tests.demo.page import Page
from tests.demo.plot import plot
from tests.demo.scenario import APP, directory
from tests.demo.settings import Settings
from tests.demo.show import TICK, ShowError
from tests.demo.stage import APP_FILE, Stage
from tests.demo.svg import svg
from tests.demo.verdict import CANARY, Act, Canary, Verdict
from tests.host.begun import Begun
from tests.load.client import Load, LoadError

GOOD, NEXT, BAD = "v1", "v2", "v3"
RELEASES = {GOOD: "good", NEXT: "good", BAD: "error500"}
STANDBY = "10min"
SLACK = 1.02  # additional connections, because some are still pending when the count is read


class SteeredShow:
    def __init__(self, stage: Stage, settings: Settings, page: Page) -> None:
        self.stage = stage
        self.settings = settings
        self.page = page
        self.acts: list[Act] = []

    def perform(self) -> Verdict:
        """Carry out all acts; return the observations."""
        self._open()
        with self.stage.start_load() as load:
            self.page.say("")
            kept = (
                f", alongside {self.settings.keepalive} clients with persistent ones" if self.settings.keepalive else ""
            )
            self.page.prose(
                f"From now on a load generator opens {self.settings.rate:g} new connections per second{kept}, sends a "
                "request on each, and counts every response and its generation. It never retries."
            )
            self._watch(load, seconds=self.settings.steady)
            canary = self._canary(load)
            called = self._rollback(load)
            record = load.stop()
        verdict = Verdict(self.settings, record, self.stage.timeline(), tuple(self.acts), canary, BAD, called)
        self._close(verdict)
        return verdict

    # ---- the acts

    def _open(self) -> None:
        """Deploy the first release."""
        text = self.stage.prepare(RELEASES, {"standby": STANDBY}, routing="steered")
        self.page.heading("A socket for each instance", "1/4")
        self.page.prose(f"The app is steered, by a key in {APP_FILE}:")
        self.page.say("")
        self.page.quote(line for line in text.splitlines() if not line.startswith("#"))
        argv = ("deployd", "apply", APP)
        self.page.command(argv)
        status = self.stage.perform(argv, self.page.stream)
        if status or len(self.stage.invocations()) != self.settings.instances:
            raise ShowError(f"the first deployment ended with status {status}")
        self._status()
        current = self.stage.ask("deployd", "status", APP)
        if current["steering"] != "ebpf":
            raise ShowError(f"steering is not possible here ({current['steering']}): {current['steering_reason']}")
        self.page.say("")
        self.page.prose("An eBPF program in the kernel gives each instance its share of new connections.")

    def _canary(self, load: Load) -> Canary:
        self.page.heading(f"A canary of {CANARY:g} %", "2/4")
        self.page.prose(
            f"On a shared socket, one new instance alongside {self.settings.instances} old ones would get as many "
            f"connections as each of them. Here it gets {CANARY:g} %, and the rollout waits for a resume."
        )
        argv = ("deployd", "rollout", APP, "--release", directory(NEXT), "--canary", f"{CANARY:g}%")
        self.page.command(argv)
        before, start = self.stage.invocations(), load.mark("canary-start")
        with self.stage.begin(argv) as begun:
            event = self._echo(begun, "paused")
            if event != "paused":
                raise ShowError("the rollout did not pause at the canary")
            paused = load.mark("canary-paused")
            first = load.progress()["requests"]
            self._watch(load, until=lambda seen: seen - first >= self._needed())
            self._status()
            current = self.stage.ask("deployd", "status", APP)
            found = next(share for share in current["shares"] if share["generation"] == current["rollout"]["to"])
            canary = Canary(int(found["generation"]), paused, float(found["asked"]), found["seen"])
            self.acts.append(Act(join(argv), 0, start, load.mark("canary-end"), before, self.stage.invocations()))
            self._act(load, ("deployd", "resume", APP))
            self.page.say("", self.page.paint("dim", "  and the rollout that was paused:"))
            self._echo(begun)
            if status := begun.end().status:
                raise ShowError(f"the rollout of {NEXT} ended with status {status}")
        self._watch(load, seconds=self.settings.steady)
        return canary

    def _needed(self) -> float:
        """Return the number of responses that includes enough on new connections, besides those on persistent ones."""
        kept = self.settings.keepalive * 20  # per second: each client pauses for 50 ms between requests
        return self.settings.connections * SLACK * (1 + kept / self.settings.rate)

    def _rollback(self, load: Load) -> float | None:
        """Roll out a bad release and roll it back; return when the request of the rollback reached deployd."""
        self.page.heading("A bad release passes its gate", "3/4")
        self.page.prose(
            f"{BAD} boots, sends READY=1 and responds 500 to every request, which the gate does not check. The "
            f'instances it replaces are frozen instead of stopped, because of standby = "{STANDBY}".'
        )
        self._act(load, ("deployd", "rollout", APP, "--release", directory(BAD)))
        self._watch(load, seconds=min(self.settings.steady, 2.0))
        self.page.heading("The rollback", "4/4")
        self.page.prose("The frozen instances continue where they were; none has to boot.")
        with self.stage.monitor("Rollback") as monitor:
            self._act(load, ("deployd", "rollback", APP))
            called = monitor.called()
        self._status()
        self._watch(load, seconds=self.settings.steady)
        return called

    # ---- parts of the acts

    def _act(self, load: Load, argv: tuple[str, ...]) -> Act:
        """Run a command under load, and record it."""
        before = self.stage.invocations()
        self.page.command(argv)
        start = load.mark(f"{argv[1]}-start")
        status = self.stage.perform(argv, self.page.stream)
        act = Act(join(argv), status, start, load.mark(f"{argv[1]}-end"), before, self.stage.invocations())
        self.acts.append(act)
        return act

    def _echo(self, begun: Begun, wanted: str = "finished") -> str:
        """Print the events of a rollout like the command, up to the wanted one; return the name of the last."""
        name = ""
        while name != wanted and (event := begun.next()) is not None:
            name = event["event"]
            for line in event_lines(event):
                self.page.say(*wrapped(line, self.page.width))
        return name

    def _status(self) -> None:
        argv = ("deployd", "status", APP)
        self.page.command(argv)
        self.stage.perform(argv, self.page.stream)

    def _watch(self, load: Load, seconds: float = 0.0, until: Callable[[int], bool] = lambda _: True) -> None:
        """Wait without changes for `seconds`, and until the number of responses satisfies `until`.

        Raises LoadError if the load generator ends.
        """
        end, began = self.stage.now() + seconds, load.progress()["requests"]
        while True:
            now = load.progress()["requests"]
            left = end - self.stage.now()
            if left <= 0 and until(now):
                break
            try:
                load.process.wait(min(TICK, left) if left > 0 else TICK)
            except subprocess.TimeoutExpired:
                self.page.progress(f"no changes: {now - began:,} requests so far")
            else:
                raise LoadError(f"the load generator ended with status {load.process.returncode}")
        self.page.say()

    def _close(self, verdict: Verdict) -> None:
        self.page.heading("Shares of the generations")
        samples, moments, series = verdict.samples(), verdict.moments(), verdict.series()
        self.page.say(*plot(samples, moments, series, self.page.width, self.page.paint), "")
        target: Path = self.settings.svg
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(svg("Generations that served new connections", samples, moments, series))
        self.page.say(f"  The same as an image: {target}")  # not wrapped, however long
        self.page.say("")
        for check in verdict.checks():
            self.page.check(check.holds, check.text)
        self.page.say("")
