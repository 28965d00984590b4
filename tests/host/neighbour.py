"""Another app alongside `demo`, which misbehaves."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from tests.host.stage import Begun, Json, Stage
from tests.sample_apps.release import app_file, make_release


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An app `name` on a port of its own, whose instances run as `www-data`."""

    stage: Stage
    name: str
    port: int

    def configure(self, mode: str = "good", *, version: str = "v1", instances: int = 4, **settings: object) -> None:
        release = f"/srv/{self.name}/{version}"
        make_release(self.stage.machine.path(release), version, mode)
        text = app_file(self.name, release, self.port, instances, user="www-data", **settings)
        self.stage.machine.write(f"/etc/deployd/apps/{self.name}.toml", text)

    def deploy(self, mode: str = "good", **settings: object) -> None:
        """Deploy a first release of this `mode`, which becomes ready."""
        self.configure(mode, **settings)  # type: ignore[arg-type]
        done = self.stage.deployd("apply", self.name)
        assert done.returncode == 0, done

    @contextlib.contextmanager
    def meanwhile(self, *argv: str) -> Iterator[Begun]:
        """Run `deployd VERB NAME …` during the block; kill it at the end."""
        verb, *rest = argv
        command = ["deployd", verb, self.name, *rest]
        with Begun(self.stage.machine.popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)) as begun:
            yield begun

    def status(self) -> Json:
        return self.stage.json("status", self.name)

    def units(self) -> list[str]:
        """Return its unit files, and the links that enable them."""
        return sorted(path.name for path in self.stage.machine.path("/etc/systemd/system").rglob(f"{self.name}[.@:]*"))
