"""The rollouts into which faults are injected: the request, the release and the pace."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from deployd.api import Client
from deployd.errors import Refused
from tests.host.stage import APP, PORT, RELEASES
from tests.torture.site import KEEPALIVE, Json, Site

STANDBY = "5min"
BAD = ("crash", "hang", "exit0")
GATE = "10s"
SHORT_GATE = "1s"
SECOND_PORT = 8081


@dataclass(frozen=True, slots=True)
class Carrier:
    """One rollout. The defaults make a plain one, which must succeed."""

    verb: str = "rollout"
    mode: str = "good"
    """Mode of the release, see tests/sample_apps/demo."""
    surge: int = 1
    boot: float = 0.05
    min_ready: str = "0s"
    nice: int = 0
    """Differs between generations if unit settings are to differ."""
    instances: int = 4
    resume: bool = True
    """True to resume a paused rollout, False to abort it."""
    canary: int = 0
    pause: bool = False
    """True to pause the rollout by request as soon as it has begun."""
    supersede: bool = False
    """True to supersede the rollout by one of a good release as soon as it has begun."""
    hooks: bool = False
    probe: bool = False
    ports: int = 1
    """Number of addresses; the second one is added and removed."""
    routing: str = "shared"
    standby: bool = False
    """True (steered only) to keep replaced instances in standby."""
    share: float = 0.0
    """Share of new connections (steered only) for a canary."""

    @property
    def steered(self) -> bool:
        return self.routing == "steered"

    @property
    def keepalive(self) -> int:
        """Persistent connections of the load. An instance that has some is stopped after a while instead of frozen."""
        return 0 if self.standby else KEEPALIVE

    @property
    def good(self) -> bool:
        return self.mode == "good" or self.stays

    @property
    def stays(self) -> bool:
        """True if the new generation has the release of an earlier one."""
        return self.verb in ("restart", "rollback", "scale")

    @classmethod
    def at_random(cls, rng: random.Random, routing: str = "shared", standby: bool = False) -> Carrier:
        verb = rng.choice(["rollout"] * 6 + ["restart", "rollback", "scale", "apply"])
        fresh, steered = verb in ("rollout", "apply"), routing == "steered"
        return cls(
            verb=verb,
            mode=rng.choice(BAD) if fresh and rng.random() < 0.3 else "good",
            surge=rng.choice([0, 1, 1, 2]),
            boot=rng.choice([0.0, 0.05, 0.2]),
            min_ready=rng.choice(["0s", "0s", "0s", "200ms"]),
            nice=rng.choice([0, 0, 1]),
            instances=rng.choice([3, 4, 5]) if verb == "scale" else 4,
            resume=rng.random() < 0.5,
            canary=rng.choice([1, 2]) if fresh and rng.random() < 0.15 else 0,
            pause=rng.random() < 0.1,
            supersede=fresh and rng.random() < 0.15,
            hooks=rng.random() < 0.15,
            probe=rng.random() < 0.2,
            ports=2 if rng.random() < 0.1 else 1,
            routing=routing,
            standby=standby,
            share=rng.choice([0.1, 0.5]) if steered and fresh and rng.random() < 0.25 else 0.0,
        )

    def prepare(self, site: Site, version: str) -> str:
        """Write the release and the app file; return the release directory."""
        release = f"{RELEASES}/{version}" if self.stays else site.stage.release(version, self.mode, self.boot)
        gate: Json = {"timeout": SHORT_GATE if self.mode == "hang" else GATE, "min_ready": self.min_ready}
        if self.probe:
            gate["probe"] = {"http": "/_status", "interval": "50ms"}
        rollout: Json = {"max_surge": self.surge} | ({"standby": STANDBY} if self.standby else {})
        if self.hooks:
            rollout["hooks"] = {"before": [["/bin/true"]], "after": [["/bin/true"]]}
        site.stage.configure(
            **({} if self.stays else {"release": release}),
            instances=self.instances,
            listen=[f"127.0.0.1:{port}" for port in (PORT, SECOND_PORT)[: self.ports]],
            rollout=rollout,
            gate=gate,
            routing=self.routing,
            service={"Nice": self.nice},
        )
        return release

    async def begin(self, client: Client) -> int:
        """Request the rollout; return the number of the generation. Raises the errors of the client."""
        match self.verb:
            case "rollout":
                return await client.rollout(APP, canary=self.share or self.canary)
            case "apply":
                return await client.apply(APP, canary=self.share or self.canary)
            case "restart":
                return await client.restart(APP)
            case "rollback":
                return await _rollback(client)
            case "scale":
                return await client.scale(APP, self.instances)
        raise ValueError(self.verb)

    async def follow(self, client: Client, site: Site, version: str) -> int:
        """Make the requests that follow at once; return the number of the superseding generation, 0 for none."""
        if self.pause:
            await client.pause(APP)
        if not self.supersede:
            return 0
        release = site.stage.release(version, "good", self.boot)
        return await client.rollout(APP, release=release, supersede=True)

    def __str__(self) -> str:
        pace = f"surge {self.surge}, boot {self.boot:g} s, min_ready {self.min_ready}, nice {self.nice}"
        more = [name for name in ("pause", "supersede", "hooks", "probe") if getattr(self, name)]
        more += [f"canary {self.canary}"] * bool(self.canary) + [f"{self.ports} ports"] * (self.ports > 1)
        more += [self.routing] * self.steered + ["standby"] * self.standby
        more += [f"canary {self.share:.0%}"] * bool(self.share)
        return f"{self.verb} of a {self.mode} release ({', '.join([pace, *more])}, {self.instances} instances)"


async def _rollback(client: Client) -> int:
    """Roll back, by number if the newest generation failed and has gone already."""
    try:
        return await client.rollback(APP)
    except Refused as refused:
        named = re.search(r"--to (\d+)$", str(refused))
        if named is None:
            raise
        return await client.rollback(APP, int(named[1]))
