"""The Capistrano plugin on three hosts: what a deployment does, and what it takes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.capistrano.cap import Cap
from tests.host.root import HostRoot
from tests.host.stage import APP, Stage
from tests.host.steered import unharmed
from tests.sample_apps.release import app_file, make_release
from tests.servers.packages import debian_packages
from tests.ssh.client import proxy
from tests.ssh.fixtures import USER, prepare
from tests.ssh.sshd import SSHD, let_in

FIRST = "20200101000000"
HOME = f"/srv/{APP}"


def capistrano(hosts: dict[str, Stage], directory: Path) -> Cap:
    """Return Capistrano for hosts that run the first release."""
    made = Cap(directory, APP, USER, {name: proxy(stage.machine) for name, stage in hosts.items()})
    for stage in hosts.values():
        let_in(stage.machine, USER, made.client.public_key)
        source(stage, "v1", at=f"{HOME}/releases/{FIRST}")
        stage.machine.run(["ln", "-s", f"{HOME}/releases/{FIRST}", f"{HOME}/current"])
        stage.machine.run(["chown", "--no-dereference", "--recursive", USER, HOME])
        stage.configure(release=f"{HOME}/current", instances=2, user="www-data")
        assert stage.change("apply").status == 0
    return made


def source(stage: Stage, version: str, mode: str = "good", at: str = "") -> None:
    """Write what a deployment of this version copies."""
    make_release(stage.machine.path(at or f"/srv/src/{version}"), version, mode)


def served(web_hosts: dict[str, Stage]) -> list[str]:
    """Return the versions that the hosts serve, and check that `current` leads to what is live."""
    for name, stage in web_hosts.items():
        current = stage.machine.run(["readlink", f"{HOME}/current"]).stdout.strip()
        assert current == stage.status()["release"], name
    return [stage.get()["version"] for stage in web_hosts.values()]


@pytest.mark.timeout(600)  # six runs of cap
def test_a_deployment_goes_from_host_to_host_and_a_bad_one_comes_back(
    web_hosts: dict[str, Stage], tmp_path: Path
) -> None:
    cap = capistrano(web_hosts, tmp_path)
    web1, web2, web3 = web_hosts.values()
    loads = [stage.load(rate=50, keepalive=2) for stage in web_hosts.values()]
    for stage in web_hosts.values():
        source(stage, "v2")
        source(stage, "v3", "crash" if stage is web2 else "good")

    first = cap.run("deploy", VERSION="v2")
    assert (first.status, served(web_hosts)) == (0, ["v2"] * 3), first.out
    [fleet] = {str(stage.history()[0]["fleet"]) for stage in web_hosts.values()}
    assert "capistrano-" in fleet, "all hosts have the same"

    before = len(web3.history())
    failed = cap.run("deploy", VERSION="v3")
    assert (failed.status, served(web_hosts)) == (1, ["v2"] * 3), failed.out
    assert "generation 3 failed and was rolled back to 2" in failed.out
    assert web1.history()[0]["cause"] == "rollback", "what was done before is taken back"
    assert web2.history()[0]["result"] == "rolled-back"
    assert len(web3.history()) == before, "it stops at the first failure"

    bad = Path(web2.history()[0]["release"]).name
    refused = cap.run("deploy:rollback", ROLLBACK_RELEASE=bad)
    assert (refused.status, served(web_hosts)) == (1, ["v2"] * 3), refused.out
    assert f"{bad} was never live on web2" in refused.out
    nothing = cap.run("deploy:rollback")
    assert (nothing.status, served(web_hosts)) == (0, ["v2"] * 3), nothing.out
    back = cap.run("deploy:rollback", ROLLBACK_RELEASE=FIRST)
    assert (back.status, served(web_hosts)) == (0, ["v1"] * 3), back.out
    assert {stage.history()[0]["cause"] for stage in web_hosts.values()} == {"rollback"}
    for load in loads:
        unharmed(load.stop())

    shown = cap.run("deployd:status").out
    assert [line for line in shown.splitlines() if line in web_hosts] == list(web_hosts), shown


@pytest.mark.thorough
def test_root_installs_starts_and_stops_and_others_do_not(stage: Stage, host_root: HostRoot, tmp_path: Path) -> None:
    prepare(stage, debian_packages(host_root, SSHD))
    cap = capistrano({"web1": stage}, tmp_path)
    before = [stage.pid(1), stage.pid(2)]
    denied = cap.run("deployd:smart_restart")
    assert denied.status == 1, denied.out
    assert f"not allowed: restart needs root or the polkit action org.deployd1.restart for {APP}" in denied.out
    assert cap.run("deployd:stop").status == 1
    assert [stage.pid(1), stage.pid(2)] == before

    let_in(stage.machine, "root", cap.client.public_key)
    installed = cap.run("deployd:install", LOGIN="root", APP="other")
    file = "/etc/deployd/apps/other.toml"
    assert (installed.status, f'release = "{HOME}/current"' in stage.machine.read(file)) == (0, True), installed.out
    stage.machine.write(file, app_file("other", f"{HOME}/current", 8090, 1))
    again = cap.run("deployd:install", "deployd:start", LOGIN="root", APP="other")
    assert (again.status, f"{file} exists" in again.out) == (0, True), again.out
    assert stage.get(port=8090)["version"] == "v1"

    def state() -> str:
        return str(stage.json("status", "other")["health"])

    assert cap.run("deployd:stop", LOGIN="root", APP="other").status == 0
    assert state() == "stopped"
    assert cap.run("deployd:start", LOGIN="root", APP="other").status == 0
    assert stage.get(port=8090)["version"] == "v1"
    processes = stage.json("status", "other")["instances"][0]["main_pid"]
    restarted = cap.run("deployd:smart_restart", LOGIN="root", APP="other")
    assert restarted.status == 0, restarted.out
    assert stage.json("status", "other")["instances"][0]["main_pid"] != processes
