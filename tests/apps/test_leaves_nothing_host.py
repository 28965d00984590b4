"""An app that is removed, or whose first deployment fails, leaves the machine as it was."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from tests.host.eavesdropping import TO_SYSTEMD, heard
from tests.host.faults import kill_daemon
from tests.host.stage import APP, PORT, Ended, Stage
from tests.on_bus import run

ADDRESS = "/run/demo.sock"
PLACES = "/etc/systemd/system /run /var/lib/deployd/apps"


def traces(stage: Stage) -> str:
    """Return files, units and listening sockets that have to do with the app."""
    script = f"""
        find {PLACES} -xdev -path /run/systemd/units -prune -o -name '*{APP}*' -print | sort -u
        find /run/deployd -type s -o -name '.address-*' | sort -u
        systemctl list-units --all --plain --no-legend '{APP}[.@:]*'
        ss -Hltn 'sport = :{PORT} or sport = :{PORT + 1}'
    """
    return stage.machine.run(["sh", "-c", script]).stdout


def outdated(stage: Stage) -> str:
    """Return NeedDaemonReload= of a unit that has nothing to do with the app."""
    return stage.show("dbus.service", "NeedDaemonReload")["NeedDaemonReload"]


async def called(stage: Stage, verb: str) -> tuple[Counter[str], Ended | None]:
    """Return the calls of a command to systemd, by member, and its end."""
    async with heard(stage.machine.bus_address, TO_SYSTEMD) as counts:
        if verb == "remove":
            ended = None
            assert (await asyncio.to_thread(stage.deployd, verb, APP)).returncode == 0
        else:
            ended = await asyncio.to_thread(stage.change, verb)
        assert outdated(stage) == "no"
        return counts, ended


@pytest.mark.sampled
@pytest.mark.parametrize("routing", ["shared", "steered"])
def test_remove_leaves_nothing_and_no_unit_looks_changed(stage: Stage, routing: str) -> None:
    """systemd is reloaded once per change of unit files, after units are enabled or disabled.

    A changed shared address changes them three times: for the first pass, for the second, and when the old socket is
    closed.
    """
    before = traces(stage)
    stage.configure(release=stage.release("v1"), instances=1, routing=routing, listen=[f"127.0.0.1:{PORT}", ADDRESS])
    counts, ended = run(called(stage, "apply"))
    assert ended is not None
    assert ended.result == "succeeded"
    assert (counts["Reload"], counts["EnableUnitFiles"]) == (1, 1), counts
    stage.configure(listen=[f"127.0.0.1:{PORT + 1}", "/run/demo-2.sock"])
    counts, ended = run(called(stage, "apply"))
    assert ended is not None
    assert ended.result == "succeeded"
    assert counts["Reload"] == {"shared": 3, "steered": 1}[routing], counts
    assert not stage.machine.path("/run").joinpath("demo.sock").is_symlink()
    assert ADDRESS not in traces(stage)
    counts, _ = run(called(stage, "remove"))
    assert (counts["Reload"], counts["DisableUnitFiles"]) == (1, 1), counts
    assert traces(stage) == before


def fails(stage: Stage, before: str, result: str, why: str) -> None:
    """Check what a first deployment has left, and that status says how it ended."""
    assert traces(stage) == before
    status = stage.status()
    assert status["addresses"] == [], "nothing is to listen"
    last = status["last_failure"]
    assert (last["result"], why in last["reason"]) == (result, True), last
    shown = stage.deployd("status", APP)
    assert (shown.returncode, f"generation {last['generation']} {result}" in shown.stdout) == (0, True), shown


@pytest.mark.thorough
@pytest.mark.parametrize("routing", ["shared", "steered"])
def test_a_first_deployment_that_fails_leaves_nothing(stage: Stage, routing: str) -> None:
    clean, listen = set(traces(stage).splitlines()), [f"127.0.0.1:{PORT}", ADDRESS]
    stage.configure(release=stage.release("bad", "crash"), instances=2, routing=routing, listen=listen)
    hook = {"hooks": {"before": [["/bin/false"]]}}
    stage.configure(rollout=hook)
    assert stage.deployd("apply", APP).returncode == 3
    assert set(traces(stage).splitlines()) - clean <= {f"/var/lib/deployd/apps/{APP}"}
    stage.configure(rollout=None)
    ended = stage.change("apply")
    assert (ended.status, ended.result) == (1, "failed")
    fails(stage, traces(stage), "failed", "exited with status")
    assert "/etc/systemd" not in traces(stage)  # only what history and a later rollback need
    before = traces(stage)

    stage.configure(release=stage.release("hangs", "hang"), gate={"timeout": "10min"})
    with stage.begin("apply") as begun:
        begun.until("instance", state="starting")
        assert stage.deployd("abort", APP).returncode == 0
        assert begun.end().result == "aborted"
    fails(stage, before, "aborted", "")

    with stage.begin("apply") as begun:
        begun.until("instance", state="starting")
        kill_daemon(stage)
        begun.until("daemon-back")
        stage.machine.run(["systemctl", "stop", f"{APP}.service"])
        result = begun.end().result  # the instance that ends may be noticed before the stop of the app
        assert result in ("aborted", "failed")
    fails(stage, before, result, "")

    with stage.machine.popen(
        ["python3", "-c", f"import socket; s = socket.create_server(('127.0.0.1', {PORT})); input()"], stdin=-1
    ) as taken:
        stage.machine.wait_for(lambda: f":{PORT}" in traces(stage), what="the port to be in use")
        assert stage.change("apply").status == 1
        taken.kill()
    fails(stage, before, "failed", "")
    assert stage.deployd("apply", APP, "--no-start").returncode == 0
    assert stage.deployd("remove", APP).returncode == 0
    stage.deploy("v1", gate=None)
    assert stage.status()["last_failure"] is None
