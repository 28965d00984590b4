"""The rollouts that faults happen to: what is asked of deployd, of which release, at what pace."""

from __future__ import annotations

import random
from dataclasses import dataclass

from deployd.api import Client
from tests.host.stage import APP, RELEASES
from tests.torture.site import Site

BAD = ("crash", "hang", "exit0")
GATE = "10s"
SHORT_GATE = "1s"


@dataclass(frozen=True, slots=True)
class Carrier:
    """One rollout. With the defaults: the plain one, which has to succeed."""

    verb: str = "rollout"
    mode: str = "good"
    """Of the release, see tests/apps/demo."""
    surge: int = 1
    boot: float = 0.05
    min_ready: str = "0s"
    nice: int = 0
    """Differs between generations where unit settings are to differ."""
    instances: int = 4
    resume: bool = True
    """What a paused rollout is told: to go on, or to go back."""

    @property
    def good(self) -> bool:
        return self.mode == "good" or self.verb in ("restart", "rollback", "scale")

    @property
    def stays(self) -> bool:
        """Whether the new generation has the release of the one before, or of an earlier one."""
        return self.verb in ("restart", "rollback", "scale")

    @classmethod
    def at_random(cls, rng: random.Random) -> Carrier:
        verb = rng.choice(["rollout"] * 6 + ["restart", "rollback", "scale", "apply"])
        return cls(
            verb=verb,
            mode=rng.choice(["good", *BAD[:2], rng.choice(BAD)]) if rng.random() < 0.4 else "good",
            surge=rng.choice([0, 1, 1, 2]),
            boot=rng.choice([0.0, 0.05, 0.2]),
            min_ready=rng.choice(["0s", "0s", "0s", "200ms"]),
            nice=rng.choice([0, 0, 1]),
            instances=rng.choice([3, 4, 5]) if verb == "scale" else 4,
            resume=rng.random() < 0.5,
        )

    def prepare(self, site: Site, version: str) -> str:
        """Write the release and the app file; returns the release directory."""
        release = f"{RELEASES}/{version}" if self.stays else site.stage.release(version, self.mode, self.boot)
        site.stage.configure(
            **({} if self.stays else {"release": release}),
            instances=self.instances,
            rollout={"max_surge": self.surge},
            gate={"timeout": SHORT_GATE if self.mode == "hang" else GATE, "min_ready": self.min_ready},
            service={"Nice": self.nice},
        )
        return release

    async def begin(self, client: Client) -> int:
        """Ask for it; the number of the generation. Raises the errors of the client."""
        match self.verb:
            case "rollout":
                return await client.rollout(APP)
            case "apply":
                return await client.apply(APP)
            case "restart":
                return await client.restart(APP)
            case "rollback":
                return await client.rollback(APP)
            case "scale":
                return await client.scale(APP, self.instances)
        raise ValueError(self.verb)

    def __str__(self) -> str:
        pace = f"surge {self.surge}, boot {self.boot:g} s, min_ready {self.min_ready}, nice {self.nice}"
        return f"{self.verb} of a {self.mode} release ({pace}, {self.instances} instances)"
