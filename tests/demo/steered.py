"""The steered demonstration from curtain to curtain: a canary of an exact share, and a way back at once."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from shlex import join

from deployd_cli.text.event import event_lines
from deployd_cli.text.words import wrapped
from tests.demo.narrator import Narrator
from tests.demo.plot import plot
from tests.demo.settings import Settings
from tests.demo.show import TICK, ShowError
from tests.demo.stage import APP_FILE, Stage
from tests.demo.story import APP, directory
from tests.demo.svg import svg
from tests.demo.verdict import CANARY, Act, Canary, Verdict
from tests.host.begun import Begun
from tests.load.client import Load, LoadError

GOOD, NEXT, BAD = "v1", "v2", "v3"
RELEASES = {GOOD: "good", NEXT: "good", BAD: "error500"}
STANDBY = "10min"
SLACK = 1.02  # connections more than are counted: some are not answered yet when the count is looked at


class SteeredShow:
    def __init__(self, stage: Stage, settings: Settings, narrator: Narrator) -> None:
        self.stage = stage
        self.settings = settings
        self.tell = narrator
        self.acts: list[Act] = []

    def perform(self) -> Verdict:
        """All acts, then what was seen."""
        self._open()
        with self.stage.start_load() as load:
            self.tell.say("")
            kept = f", beside {self.settings.keepalive} clients that keep theirs" if self.settings.keepalive else ""
            self.tell.prose(
                f"From now on a load generator opens {self.settings.rate:g} fresh connections a second{kept}, sends a "
                "request on each, and counts every answer and who gave it. It never tries anything twice."
            )
            self._watch(load, seconds=self.settings.steady)
            canary = self._canary(load)
            called = self._way_back(load)
            record = load.stop()
        verdict = Verdict(self.settings, record, self.stage.timeline(), tuple(self.acts), canary, BAD, called)
        self._close(verdict)
        return verdict

    # ---- the acts

    def _open(self) -> None:
        """Deploy."""
        text = self.stage.prepare(RELEASES, {"standby": STANDBY}, routing="steered")
        self.tell.heading("A socket for each instance", "1/4")
        self.tell.prose(f"The app is steered, and says so in {APP_FILE}:")
        self.tell.say("")
        self.tell.quote(line for line in text.splitlines() if not line.startswith("#"))
        argv = ("deployd", "apply", APP)
        self.tell.command(argv)
        status = self.stage.perform(argv, self.tell.stream)
        if status or len(self.stage.invocations()) != self.settings.instances:
            raise ShowError(f"the first deployment ended with status {status}")
        self._status()
        told = self.stage.ask("deployd", "status", APP)
        if told["steering"] != "ebpf":
            raise ShowError(f"nothing is steered here ({told['steering']}): {told['steering_reason']}")
        self.tell.say("")
        self.tell.prose("The kernel gives each its share of new connections, by an eBPF program.")

    def _canary(self, load: Load) -> Canary:
        self.tell.heading(f"A canary of {CANARY:g} %", "2/4")
        self.tell.prose(
            f"One new instance beside the {self.settings.instances} old ones would get as much as each of them from a "
            f"shared socket. Here it gets {CANARY:g} % of the connections, and the rollout waits for us."
        )
        argv = ("deployd", "rollout", APP, "--release", directory(NEXT), "--canary", f"{CANARY:g}%")
        self.tell.command(argv)
        before, start = self.stage.invocations(), load.mark("canary-start")
        with self.stage.begin(argv) as begun:
            event = self._echo(begun, "paused")
            if event != "paused":
                raise ShowError("the canary did not come to stand")
            stood = load.mark("canary-stands")
            first = load.progress()["requests"]
            self._watch(load, until=lambda seen: seen - first >= self._needed())
            self._status()
            told = self.stage.ask("deployd", "status", APP)
            found = next(share for share in told["shares"] if share["generation"] == told["rollout"]["to"])
            canary = Canary(int(found["generation"]), stood, float(found["asked"]), found["seen"])
            self.acts.append(Act(join(argv), 0, start, load.mark("canary-end"), before, self.stage.invocations()))
            self._act(load, ("deployd", "resume", APP))
            self.tell.say("", self.tell.paint("dim", "  and the rollout that waited:"))
            self._echo(begun)
            if status := begun.end().status:
                raise ShowError(f"the rollout of {NEXT} ended with status {status}")
        self._watch(load, seconds=self.settings.steady)
        return canary

    def _needed(self) -> float:
        """Answers until enough were on new connections, whatever the clients that keep theirs add."""
        kept = self.settings.keepalive * 20  # a second: each thinks for 50 ms, and the answer takes a while as well
        return self.settings.connections * SLACK * (1 + kept / self.settings.rate)

    def _way_back(self, load: Load) -> float | None:
        """When deployd took the rollback."""
        self.tell.heading("A bad release goes all the way", "3/4")
        self.tell.prose(
            f"{BAD} boots, says READY=1 and answers 500 to everybody: no gate can tell. Whom it replaces is not "
            f'ended but frozen, for standby = "{STANDBY}".'
        )
        self._act(load, ("deployd", "rollout", APP, "--release", directory(BAD)))
        self._watch(load, seconds=min(self.settings.steady, 2.0))
        self.tell.heading("The way back", "4/4")
        self.tell.prose("They go on where they were; nothing boots.")
        with self.stage.witness("Rollback") as witness:
            self._act(load, ("deployd", "rollback", APP))
            called = witness.called()
        self._status()
        self._watch(load, seconds=self.settings.steady)
        return called

    # ---- what they are made of

    def _act(self, load: Load, argv: tuple[str, ...]) -> Act:
        """A command to its end, under load."""
        before = self.stage.invocations()
        self.tell.command(argv)
        start = load.mark(f"{argv[1]}-start")
        status = self.stage.perform(argv, self.tell.stream)
        act = Act(join(argv), status, start, load.mark(f"{argv[1]}-end"), before, self.stage.invocations())
        self.acts.append(act)
        return act

    def _echo(self, begun: Begun, wanted: str = "finished") -> str:
        """Tell a rollout's events, in the command's own words, up to the wanted one; the name of the last."""
        name = ""
        while name != wanted and (event := begun.next()) is not None:
            name = event["event"]
            for line in event_lines(event):
                self.tell.say(*wrapped(line, self.tell.width))
        return name

    def _status(self) -> None:
        argv = ("deployd", "status", APP)
        self.tell.command(argv)
        self.stage.perform(argv, self.tell.stream)

    def _watch(self, load: Load, seconds: float = 0.0, until: Callable[[int], bool] = lambda _: True) -> None:
        """So many seconds, and until so many answers have come, in which nothing is changed. Ends at once if the load
        generator does."""
        end, began = self.stage.now() + seconds, load.progress()["requests"]
        while True:
            now = load.progress()["requests"]
            left = end - self.stage.now()
            if left <= 0 and until(now):
                break
            try:
                load.process.wait(min(TICK, left) if left > 0 else TICK)
            except subprocess.TimeoutExpired:
                self.tell.progress(f"nothing is changed: {now - began:,} requests so far")
            else:
                raise LoadError(f"the load generator ended with status {load.process.returncode}")
        self.tell.say()

    def _close(self, verdict: Verdict) -> None:
        self.tell.heading("Who answered")
        samples, moments, series = verdict.samples(), verdict.moments(), verdict.series()
        self.tell.say(*plot(samples, moments, series, self.tell.width, self.tell.paint), "")
        target: Path = self.settings.svg
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(svg("Who answered new connections", samples, moments, series))
        self.tell.say(f"  The same as a picture: {target}")  # which is not broken, however long
        self.tell.say("")
        for check in verdict.checks():
            self.tell.check(check.holds, check.text)
        self.tell.say("")
