"""The demonstration of a fleet: tells each step in plain sentences, carries it out, and counts every request."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.balancer.haproxy import DOWN, UP, Balancer
from tests.demo.page import Page
from tests.fleet.site import Site
from tests.host.begun import Begun
from tests.host.stage import APP, DEADLINE
from tests.load.client import Load
from tests.load.record import Record, Request

HOSTS = ("web1", "web2", "web3")
FIRST = "web2"
"""The host that begins: not that on which the commands are run, since its power is cut."""
SLOW = 6.0
"""Seconds until an instance of the last release is ready: time to cut the power of its host."""
ORDER = ("--canary", FIRST, "--batches", "1")


@dataclass(frozen=True, slots=True)
class Check:
    holds: bool
    text: str


@dataclass(slots=True)
class Outage:
    """The time from a power cut until the load balancer sends no request to that host any more."""

    start: float
    end: float

    def explains(self, request: Request) -> bool:
        """True if the request was under way in that time."""
        return request.start <= self.end and request.end >= self.start


@dataclass(slots=True)
class Show:
    """On three hosts with v1 of the app, behind a load balancer that runs."""

    site: Site
    balancer: Balancer
    page: Page
    rate: float
    keepalive: int
    checks: list[Check] = field(default_factory=list)

    def perform(self) -> dict[str, Any]:
        """Carry out all steps; return what was counted."""
        page = self.page
        page.prose(
            f"A load generator on the host of HAProxy opens {self.rate:g} new connections per second, alongside "
            f"{self.keepalive} clients with persistent ones. It never sends a request again, and neither does HAProxy."
        )
        with self.balancer.load(self.rate, self.keepalive) as load:
            self._good(load)
            self._bad(load)
            outage = self._power_cut(load)
            record = load.stop()
        return self._close(record, outage)

    # ---- the steps

    def _good(self, load: Load) -> None:
        self.page.heading("A good release", "1/3")
        self.page.prose(
            f"Each host takes its turn by a key in etcd. {FIRST} begins, because it is the canary; the next one "
            "follows when it has succeeded."
        )
        self.site.release("v2")
        before = load.progress()
        status = self._rollout("v2")
        self._check(status == 0, f"exit status {status}: the fleet is done")
        self._check(self.site.versions() == ["v2"] * 3, f"the hosts serve {', '.join(self.site.versions())}")
        self._requests(load, before)

    def _bad(self, load: Load) -> None:
        self.page.heading("A bad release", "2/3")
        self.page.prose(
            f"v3 exits at its start. {FIRST} finds that out before it stops anything, and rolls itself back. "
            "The others must not begin."
        )
        for stage in self.site.stages:
            stage.release("v3", "crash")
        before = load.progress()
        status = self._rollout("v3")
        self._check(status == 1, f"exit status {status}: the fleet has stopped")
        tried = [name for name in HOSTS if self._rollouts(name, "v3")]
        self._check(tried == [FIRST], f"v3 was tried on {', '.join(tried)} only")
        self._check(self.site.versions() == ["v2"] * 3, f"the hosts serve {', '.join(self.site.versions())}")
        self._requests(load, before)

    def _power_cut(self, load: Load) -> Outage:
        self.page.heading("A power cut in mid-rollout", "3/3")
        self.page.prose(
            f"v4 takes {SLOW:g} seconds to boot. Meanwhile {FIRST} loses its power: what it had not answered is lost, "
            "and HAProxy has to notice. Then it boots again, and the rollout is where it was."
        )
        for stage in self.site.stages:
            stage.release("v4", boot=SLOW)
        self.page.command(("deployd", "fleet", "rollout", APP, "--release", "v4", *ORDER))
        with self.site.begin("--release", "v4", *ORDER) as begun:
            first = self.site.stages[HOSTS.index(FIRST)]
            first.machine.wait_for(lambda: first.status()["rollout"] is not None, DEADLINE, f"the rollout on {FIRST}")
            self.page.prose(f"{FIRST} rolls. Its power is cut now.")
            start = load.mark("cut")
            with self.site.without_power(HOSTS.index(FIRST)):
                self.balancer.wait(**{FIRST: DOWN})
                outage = Outage(start, load.mark("noticed"))
                self.page.prose(f"HAProxy has noticed after {outage.end - start:.1f} s. Power again; {FIRST} boots.")
            self.balancer.wait(**{FIRST: UP})
            load.mark("back")
            self.page.prose(f"{FIRST} serves again, and its daemon continues the rollout.")
            self._tell(begun)
            ended = begun.end()
        self.page.say("")
        self._check(ended.status == 0, f"exit status {ended.status}: {ended.result}")
        self._check(self.site.versions() == ["v4"] * 3, f"the hosts serve {', '.join(self.site.versions())}")
        begun_there = self._rollouts(FIRST, "v4")
        self._check(begun_there == 1, f"{FIRST} has begun {begun_there} rollout of v4: it was continued after the boot")
        return outage

    def _rollouts(self, host: str, version: str) -> int:
        """Return how many rollouts of a release a host has begun."""
        history = self.site.stages[HOSTS.index(host)].history()
        return sum(item["release"].endswith(f"/{version}") and item["cause"] == "rollout" for item in history)

    def _rollout(self, version: str) -> int:
        """Run the command with its output on the page; return its exit status."""
        argv = ("deployd", "fleet", "rollout", APP, "--release", version, *ORDER)
        self.page.command(argv)
        done = self.site.stages[0].deployd(*argv[1:], timeout=120)
        self.page.say(*(done.stdout + done.stderr).splitlines(), "")
        return done.returncode

    def _tell(self, begun: Begun) -> None:
        """Print the further events of hosts until the fleet has ended."""
        self.page.say("")
        while (event := begun.next()) is not None and event["event"] != "finished":
            if event["event"] == "host":
                reason = f": {event['reason']}" if event.get("reason") else ""
                self.page.say(f"{APP}: {event['host']}: {event['state']}{reason}")

    # ---- what was counted

    def _requests(self, load: Load, before: dict[str, int]) -> None:
        now = load.progress()
        requests, failed = (now[key] - before[key] for key in ("requests", "failed"))
        self._check(not failed, f"{requests:,} requests meanwhile, {failed:,} failed")

    def _check(self, holds: bool, text: str) -> None:
        self.checks.append(Check(holds, text))
        self.page.check(holds, text)

    def _close(self, record: Record, outage: Outage) -> dict[str, Any]:
        lost = [item for item in record.failed if outage.explains(item)]
        failed = len(record.failed) - len(lost)
        self.page.heading("What was counted")
        self._check(
            not failed, f"{len(record):,} requests in all; of those that no power cut has killed, {failed:,} failed"
        )
        seconds = outage.end - outage.start
        self.page.prose(
            f"The power cut has killed {len(lost):,} requests: those under way on {FIRST}, and those that HAProxy sent "
            f"there in the {seconds:.1f} s until its checks had noticed. No software on {FIRST} could have saved them; "
            "a load balancer that sends a request again could."
        )
        self.page.say("")
        for item in (item for item in record.failed if not outage.explains(item)):
            self.page.say(f"  failed: {item}")
        holds = all(check.holds for check in self.checks)
        return {"ok": holds, "requests": len(record), "failed": failed, "killed_by_power_cut": len(lost)}
