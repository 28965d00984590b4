"""The policy of a steered app while generations change, as clients see it."""

from __future__ import annotations

import asyncio
import itertools
import time

import pytest

from deployd.bus import Bus
from tests.host.stage import APP, Stage
from tests.host.steered import BLOCKING, FIRST_ONLY, asked, fresh, generations, unharmed
from tests.load.client import Load
from tests.on_bus import run

FLIPS = 50


def begin_held(stage: Stage, release: str, *options: str) -> None:
    """Roll out up to the canary."""
    with stage.begin("rollout", "--release", release, *options) as begun:
        begun.until("paused")


def test_the_newest_generation_goes_first_as_long_as_it_is_idle(stage: Stage) -> None:
    """A client that has seen the new release does not get the old one again, although the old one still serves."""
    stage.deploy("v1", routing="steered")
    stage.configure(gate=FIRST_ONLY)
    with stage.begin("rollout", "--release", stage.release("v2")) as begun:
        begun.until("instance", state="starting")
        stage.machine.wait_for(lambda: asked(stage)[2], what="the new instance to serve")
        assert asked(stage) == {1: 80, 2: 20}  # if all were equally busy
        assert generations(stage, 20) == {2}
        seen = {share["generation"]: (share["asked"], share["connections"]) for share in stage.status()["shares"]}
        assert seen[1][0] is seen[2][0] is None
        assert seen[2][1] >= 20
        assert stage.deployd("abort", APP).returncode == 0
        assert begun.end().result == "aborted"
    assert generations(stage) == {1}


@pytest.mark.thorough
def test_a_busy_new_instance_leaves_connections_to_idle_old_ones(stage: Stage) -> None:
    """It serves at most 20 requests a second; nobody waits for it."""
    files = {"blocking": BLOCKING, "seconds": "0"}
    stage.release("v1", files=files)
    stage.configure(release="/srv/demo/v1", exec=["./blocking"], routing="steered")
    assert stage.change("apply").status == 0
    stage.configure(gate=FIRST_ONLY)
    slow = stage.release("v2", files=files | {"seconds": "0.05"})
    with stage.load(rate=100, keepalive=0) as load:
        with stage.begin("rollout", "--release", slow) as begun:
            begun.until("instance", state="starting")
            stage.machine.wait_for(lambda: asked(stage)[2], what="the new instance to serve")
            load.mark("mixed")
            time.sleep(2)
            queues = {item["generation"]: item["queue"] for item in stage.status()["instances"]}
            load.mark("over")
            assert stage.deployd("abort", APP).returncode == 0
            assert begun.end().result == "aborted"
        record = unharmed(load.stop())
    served = fresh(record.between("mixed", "over")).generations()
    assert served[2] > 10, served
    assert served[1] > served[2], served
    assert not queues.get(2), queues
    assert generations(stage) == {1}


@pytest.mark.thorough
def test_an_instance_warms_up(stage: Stage) -> None:
    stage.deploy("v1", routing="steered", warm_up="5s", rollout={"max_surge": 1})
    time.sleep(5)  # the old instances are warm, too
    stage.configure(gate=FIRST_ONLY)
    with stage.load(rate=100, keepalive=2) as load:
        with stage.begin("rollout", "--release", stage.release("v2")) as begun:
            begun.until("instance", state="starting")
            found = [0]
            while found[-1] < 20:  # one of five instances
                found.append(asked(stage)[2])
            assert stage.deployd("abort", APP).returncode == 0
            assert begun.end().result == "aborted"
        unharmed(load.stop())
    assert len(set(found)) > 4, found
    assert all(before <= after for before, after in itertools.pairwise(found)), str(found)


def test_weights_change_while_many_connect(stage: Stage) -> None:
    """Connections made before a change stay where they are, and later ones follow it."""
    stage.deploy("v1", routing="steered")
    begin_held(stage, stage.release("v2"), "--canary", "1")
    with stage.load(rate=300, keepalive=2) as load:
        run(flip(stage, load))
        assert stage.deployd("weight", APP, "2", "0%").returncode == 0
        load.mark("1-start")
        time.sleep(0.3)
        load.mark("1-end")
        record = unharmed(load.stop())
    for span in record.spans():
        window = fresh(record).where(lambda request, span=span: span.start < request.sent < span.end)  # type: ignore[misc]
        assert set(window.generations()) <= {int(span.name)}, (span, window.generations())
    assert min(fresh(record).generations()[number] for number in (1, 2)) > 50
    assert stage.deployd("abort", APP).returncode == 0


async def flip(stage: Stage, load: Load) -> None:
    """As `deployd weight` does, from one generation to the other and back."""
    bus = await Bus.connect(stage.machine.bus_address)
    try:
        for turn in range(FLIPS):
            share, serving = ((1.0, 2), (0.0, 1))[turn % 2]
            call = ("org.deployd1", f"/org/deployd1/app/{APP}", "org.deployd1.App", "SetWeight", "tda{sv}")
            await bus.call(*call, [2, share, {}])
            assert stage.get()["generation"] == serving  # immediately
            load.mark(f"{serving}-start")
            await asyncio.sleep(0.03)
            load.mark(f"{serving}-end")
    finally:
        await bus.close()
