"""A fleet of three hosts: good and bad releases, and what happens without etcd, agents, cables and power.

The tests share the hosts. Each begins with all of them at one release, in whatever generation.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.fleet import wall_clock
from tests.fleet.site import UNIT, Site
from tests.host.archive import packed
from tests.host.machine import Machine
from tests.host.root import HostRoot
from tests.host.stage import APP, RELEASES
from tests.host.steered import unharmed
from tests.host.subnet import ADDRESS

NAMES = ("web1", "web2", "web3")
SLOW = 3.0
"""Seconds until an instance is ready: time to cut the power of its host. A barrier would hold up the boot, too."""
IN_ORDER = [word for name in NAMES for word in ("--canary", name)]


@pytest.fixture(scope="module")
def site(host_root: HostRoot) -> Iterator[Site]:
    with ExitStack() as stack:
        machines = [stack.enter_context(Machine.boot(name, host_root)) for name in NAMES]
        with Site(machines, members=3) as found:
            yield found


@pytest.fixture(autouse=True)
def journals(site: Site, request: pytest.FixtureRequest) -> Iterator[None]:
    """Print what agents and etcd wrote, which pytest shows after a failure."""
    yield
    print(site.logs())


def most_rolling(events: list[dict[str, object]]) -> int:
    """Return how many hosts rolled at the same time, at most."""
    rolling: set[object] = set()
    most = 0
    for event in events:
        if event["event"] == "host":
            rolling = rolling | {event["host"]} if event["state"] == "rolling" else rolling - {event["host"]}
            most = max(most, len(rolling))
    return most


def test_a_release_goes_from_host_to_host_and_a_bad_one_stops_and_is_taken_back(site: Site) -> None:
    loads = [stage.load(rate=50, keepalive=2) for stage in site.stages]
    site.release("v2")
    good = site.begin("--release", "v2", "--batches", "1", *IN_ORDER).end()
    assert (good.status, good.result, site.versions()) == (0, "succeeded", ["v2"] * 3), good
    assert most_rolling(good.events) == 1

    site.release("v3")
    site.stages[1].release("v3", "crash")
    bad = site.begin("--release", "v3", "--batches", "1", *IN_ORDER).end()
    assert (bad.status, bad.result, site.versions()) == (1, "failed", ["v3", "v2", "v2"]), bad
    assert "web2 failed, 1 of 3 hosts are done" in bad.reason
    assert site.states() == {"web1": "new", "web2": "failed", "web3": "old"}
    assert site.stages[1].history()[0]["result"] == "rolled-back"

    back = site.fleet("rollback")
    assert back.stdout.splitlines()[-1] == "demo: done"
    assert back.stdout.count("demo: done") == 1
    assert site.versions() == ["v2"] * 3
    assert site.stages[0].history()[0]["cause"] == "rollback", "settings come back, too"
    for load in loads:
        unharmed(load.stop())
    outcomes = [item["outcome"] for item in site.json("history")["goals"]]
    assert outcomes == [None, "halted", "done"]


@pytest.mark.thorough
def test_the_fleet_takes_itself_back_and_a_missing_release_is_named(site: Site) -> None:
    before = site.versions()
    site.release("v4")
    site.stages[1].machine.run(["rm", "-r", "/srv/demo/v4"])
    ended = site.begin("--release", "v4", "--batches", "1", "--on-failure", "rollback", *IN_ORDER).end()
    assert (ended.status, ended.result) == (1, "rolled-back"), ended
    reasons = [event["reason"] for event in ended.events if event["event"] == "host" and event["state"] == "failed"]
    assert reasons == ["release v4 is not in /srv/demo"]
    assert site.versions() == before


def test_hosts_unpack_an_archive_whose_sha256_and_place_are_right(site: Site, tmp_path: Path) -> None:
    before = site.versions()
    archive = tmp_path / "v9.tar.gz"
    archive.write_bytes(packed(site.stages[0], "v9"))
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    serve = [sys.executable, "-u", "-m", "http.server", "8000", "--bind", ADDRESS, "--directory", str(tmp_path)]
    with site.subnet.popen(serve, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdout is not None
        assert server.stdout.readline().startswith("Serving")
        options = ["--release", "v9", "--archive", f"http://{ADDRESS}:8000/v9.tar.gz", "--sha256", sha256, *IN_ORDER]
        refused = site.begin(*options).end()
        assert (refused.status, site.versions()) == (1, before), refused
        assert "archives in /etc/deployd/fleet.toml has no place of http://" in refused.reason

        site.take_archives(f"http://{ADDRESS}:8000")
        options[5] = "0" * 64
        other = site.begin(*options).end()
        assert (other.status, site.versions()) == (1, before), other
        assert f"is another archive: its SHA-256 is {sha256}" in other.reason

        options[5] = sha256
        good = site.begin(*options, "--batches", "1,2").end()
        server.terminate()
    assert (good.status, good.result, site.versions()) == (0, "succeeded", ["v9"] * 3), good
    for stage in site.stages:
        assert stage.machine.run(["stat", "--format=%U", f"{RELEASES}/v9"]).stdout == "deployd-fleet\n"
        assert not [path for path in stage.machine.path(RELEASES).iterdir() if path.name.startswith(".")]


def test_a_host_finishes_without_etcd_and_none_begins(site: Site) -> None:
    before = site.versions()
    site.hold("v5")
    begun = site.begin("--release", "v5", "--batches", "1", *IN_ORDER)
    begun.until(event="host", host="web1", state="rolling")
    refused = site.fleet("rollout", "--release", "v5", check=False)
    assert refused.returncode == 3, refused
    assert "wait for its end, abort it, or replace it with --supersede" in refused.stderr
    for member in site.etcd.members:
        member.stop()
    site.admit()
    site.wait_for_result(0, "succeeded")
    assert site.versions() == ["v5", *before[1:]]
    site.etcd.start(*site.etcd.members)
    ended = begun.end()
    assert (ended.status, site.versions()) == (0, ["v5"] * 3), ended
    assert most_rolling(ended.events) == 1


@pytest.mark.thorough
def test_a_release_that_was_rolled_out_on_a_host_itself_is_named(site: Site) -> None:
    site.release("v20")
    assert site.begin("--release", "v20", "--batches", "3", *IN_ORDER).end().status == 0
    stage = site.stages[0]
    assert stage.rollout(stage.release("v21")).result == "succeeded"
    site.wait_for(lambda found: {item["host"]: item["live"] for item in found["hosts"]}["web1"] == "v21")
    assert "v21 is live there instead of v20" in site.fleet("status").stdout
    assert stage.deployd("rollback", APP).returncode == 0
    site.wait_for(lambda found: not any(item["live"] for item in found["hosts"]))


@pytest.mark.thorough
def test_a_killed_agent_and_a_cut_cable_change_nothing(site: Site) -> None:
    site.hold("v6")
    begun = site.begin("--release", "v6", "--batches", "1,2", *IN_ORDER)
    begun.until(event="host", host="web1", state="rolling")
    site.stages[0].systemctl("kill", "--signal=KILL", "--kill-whom=main", UNIT)
    site.stages[0].admit()
    begun.until(event="host", host="web2", state="rolling")
    site.subnet.cut(site.stages[1].machine)
    site.admit()
    site.wait_for_result(1, "succeeded")
    site.subnet.mend(site.stages[1].machine)
    ended = begun.end()
    assert (ended.status, site.versions()) == (0, ["v6"] * 3), ended
    assert most_rolling(ended.events) <= 2
    assert [len([row for row in stage.history() if row["release"].endswith("/v6")]) for stage in site.stages] == [1] * 3


@pytest.mark.thorough
def test_a_host_that_loses_power_holds_up_the_fleet_until_it_is_back(site: Site) -> None:
    site.release("v7")
    site.stages[1].release("v7", boot=SLOW)
    begun = site.begin("--release", "v7", "--batches", "1", "--canary", "web2", "--canary", "web1")
    begun.until(event="host", host="web2", state="rolling")
    with site.without_power(1):
        assert site.status()["waiting_for"] == ["web2"]
        assert site.states() == {"web2": "rolling", "web1": "old", "web3": "old"}
    ended = begun.end()
    assert (ended.status, site.versions()) == (0, ["v7"] * 3), ended


@pytest.mark.thorough
@pytest.mark.parametrize(("version", "by", "hours"), [("v18", "+1h", 1), ("v19", "-1h", -1)])
def test_a_host_may_return_with_another_clock(site: Site, version: str, by: str, hours: int) -> None:
    site.release(version)
    site.stages[1].release(version, boot=SLOW)
    wall_clock.move(site.stages[1].machine, by)
    begun = site.begin("--release", version, "--batches", "1", "--bake", "1s", "--canary", "web2", "--canary", "web1")
    begun.until(event="host", host="web2", state="rolling")
    with site.without_power(1):
        assert site.states()["web2"] == "rolling"
    ended = begun.end()
    assert (ended.status, site.versions()) == (0, [version] * 3), ended
    assert most_rolling(ended.events) == 1
    moved, right = (datetime.fromisoformat(site.stages[index].history()[0]["finished"]) for index in (1, 0))
    assert round((moved - right) / timedelta(hours=1)) == hours


@pytest.mark.thorough
def test_the_fleet_continues_without_a_host_whose_slot_is_released(site: Site) -> None:
    site.release("v8")
    site.stages[2].release("v8", boot=SLOW)
    begun = site.begin("--release", "v8", "--batches", "1", "--canary", "web3", "--canary", "web2")
    site.wait_for_result(2, "running")
    with site.without_power(2):
        assert "it may still be rolling" in site.fleet("release-slot", "web3").stderr
        ended = begun.end()
        assert (ended.status, site.states()) == (0, {"web3": "unknown", "web2": "new", "web1": "new"}), ended
    site.wait_for(lambda found: {item["state"] for item in found["hosts"]} == {"new"})
    assert site.versions() == ["v8"] * 3


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("version", "step"), [("v10", "take a slot"), ("v11", "roll out"), ("v12", "report success"), ("v13", "open batch")]
)
def test_an_agent_that_is_killed_at_a_step_takes_it_once(site: Site, version: str, step: str) -> None:
    site.release(version)
    with site.killing_agents(step):
        ended = site.begin("--release", version, "--batches", "1", *IN_ORDER).end()
        assert (ended.status, site.versions()) == (0, [version] * 3), ended
    assert most_rolling(ended.events) == 1
    for stage in site.stages:
        assert len([row for row in stage.history() if row["release"].endswith(f"/{version}")]) == 1


@pytest.mark.thorough
def test_a_slow_etcd_slows_the_fleet_down_and_changes_nothing(site: Site) -> None:
    loads = [stage.load(rate=50, keepalive=2) for stage in site.stages]
    site.release("v14")
    with site.slow_etcd():
        ended = site.begin("--release", "v14", "--batches", "1", *IN_ORDER).end()
    assert (ended.status, site.versions()) == (0, ["v14"] * 3), ended
    assert most_rolling(ended.events) == 1
    for load in loads:
        unharmed(load.stop())


@pytest.mark.thorough
def test_a_host_that_never_comes_is_left_out_until_it_is_back(site: Site) -> None:
    site.release("v15")
    with site.without_power(2):
        site.wait_for(lambda found: not found["hosts"][-1]["alive"] if found["hosts"][-1]["host"] == "web3" else False)
        begun = site.begin("--release", "v15", "--batches", "1", *IN_ORDER)
        site.wait_for(lambda found: found["waiting_for"] == ["web3"])
        assert "the fleet waits for it" in site.fleet("forget", "web3", check=False).stderr
        site.fleet("release-slot", "web3")
        assert begun.end().status == 0
        site.fleet("forget", "web3")
        for stage in site.stages[:2]:
            stage.release("v16")
        without = site.begin("--release", "v16", "--batches", "1", "--canary", "web1").end()
        assert (without.status, site.states()) == (0, {"web1": "new", "web2": "new"}), without
    site.wait_for(lambda found: "web3" in [host["host"] for host in found["hosts"]])
    site.release("v17")
    ended = site.begin("--release", "v17", "--batches", "1", *IN_ORDER).end()
    assert (ended.status, site.versions()) == (0, ["v17"] * 3), ended
