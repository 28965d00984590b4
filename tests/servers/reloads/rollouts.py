"""The same server under deployd."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from tests.host.stage import RELEASES, Stage
from tests.servers.proof import Pressure, Proof, merged
from tests.servers.reloads.way import Way
from tests.servers.server import Behaviour


@dataclass(slots=True)
class Rollouts:
    """The app of a way with the app file that `deployd init` writes for its server."""

    stage: Stage
    way: Way
    boot: float
    """Seconds that the app takes to load."""
    proof: Proof = field(init=False)

    def __post_init__(self) -> None:
        settings = merged(self.way.server.settings, {"environment": {"BOOT": f"{self.boot:g}"}})
        self.proof = Proof(self.stage, replace(self.way.server, settings=settings), "steered", Pressure())

    def prepare(self) -> str:
        """Deploy a good release; return the version of the server."""
        self.proof.prepare()
        return self.proof.version()

    def release(self, version: str, behaviour: Behaviour = Behaviour.GOOD) -> int:
        """Release a version; return the exit status of the command."""
        path = f"{RELEASES}/{version}"
        for name, text in self.way.server.release(behaviour).items():
            self.stage.machine.write(f"{path}/{name}", text.replace("@VERSION@", version))
        return self.stage.rollout(path).status

    def back(self, version: str, *, restart: bool) -> int:
        """Return to a version, unless deployd has; return the exit status."""
        path = f"{RELEASES}/{version}"
        return 0 if self.stage.status()["release"] == path else self.stage.rollout(path).status

    def settle(self, patience: float) -> bool:
        """Return true, because the command waits for the end of a rollout."""
        return True
