"""`python -m tests.cockpit DIRECTORY`: the screenshots of docs/cockpit.md, taken in Debian's Cockpit on a host."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.cockpit.cockpit import ADMIN, Cockpit, install
from tests.host.machine import Machine, MachineError
from tests.host.root import HostRoot, RootError
from tests.host.sources import SourcesError
from tests.host.stage import APP, Stage
from tests.sample_apps.release import app_file, make_release
from tests.servers.packages import ServersError

DESKTOP, TALL, PHONE = (1280, 1000), (1280, 1560), (390, 1000)
OTHERS = {"blog": 8081, "shop": 8082}


def main(argv: list[str]) -> int:
    if len(argv) != 1 or not Path(argv[0]).is_dir():
        print("usage: python -m tests.cockpit DIRECTORY", file=sys.stderr)
        return 2
    try:
        with Machine.boot("web1", HostRoot.from_environment()) as machine:
            install(machine)
            stage = Stage(machine)
            try:
                prepare(stage)
                with Cockpit(machine) as cockpit:
                    cockpit.login(ADMIN, administrator=True)
                    take(cockpit, stage, Path(argv[0]))
            finally:
                stage.close()
    except (MachineError, RootError, SourcesError, ServersError) as error:
        print(f"cockpit: {error}", file=sys.stderr)
        return 1
    return 0


def prepare(stage: Stage) -> None:
    """Deploy three apps, and give one of them a history: a good release, one that crashes, and a canary."""
    for name, port in OTHERS.items():
        release = f"/srv/{name}/releases/2026-11-20"
        make_release(stage.machine.path(release), "1")
        stage.machine.write(f"/etc/deployd/apps/{name}.toml", app_file(name, release, port, instances=2))
    stage.deployd("apply", "shop")
    stage.deploy("v1", routing="steered", rollout={"watch": "5min"})
    assert stage.rollout(stage.release("v2")).result == "succeeded"
    broken = stage.release("v3")
    stage.machine.write(f"{broken}/app.py", "import no_such_module\n")
    assert stage.rollout(broken).result == "rolled-back"
    stage.release("v4")


def take(cockpit: Cockpit, stage: Stage, directory: Path) -> None:
    """Take all pictures: of the plan, of the canary with weights under load, and of the list."""
    browser = cockpit.browser
    browser.window(*DESKTOP)
    cockpit.show(APP)
    cockpit.click("#action-rollout")
    cockpit.fill("#release", "/srv/demo/v4")
    cockpit.fill("#canary", "1")
    cockpit.reads("#plan:not([aria-busy])", "Pause with 1 new instance")
    cockpit.picture(directory / "cockpit-plan.png")
    cockpit.click("#dialog-confirm")
    cockpit.reads("#rollout", "Paused")
    stage.deployd("weight", APP, "4", "20%")
    with stage.load(rate=100, keepalive=0) as load:
        cockpit.measure(r"Generation 4 20 % set, (19|20)\.\d % measured")
        for name, size, dark in (("light", TALL, False), ("dark", DESKTOP, True), ("phone", PHONE, False)):
            browser.window(*size, dark=dark, scale=2 if size == PHONE else 1)
            cockpit.show(APP)
            cockpit.reads("#history", "before it was ready")
            cockpit.picture(directory / f"cockpit-{name}.png")
        load.stop()
    browser.window(1280, 420)
    cockpit.show()
    cockpit.reads("#app-demo", "Paused")
    cockpit.picture(directory / "cockpit-apps.png")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
