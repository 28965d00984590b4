"""deployd --user on a real user manager: rollouts under load, crashes, restarts, lingering; root is not involved."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator

import pytest

from tests.host.machine import Machine
from tests.host.stage import APP, INSTANCES
from tests.rollout.test_process_types_host import TYPE, WORKER
from tests.user_mode.site import APPS, HOME, STATE, UNITS, USER, Site, of_roots, prepare, uid

COMPLETING = {"_DEPLOYD_COMPLETE": "complete_bash", "COMP_WORDS": "deployd --user status d", "COMP_CWORD": "3"}
NOT_STEERED = "deployd runs in user mode, and only root can attach the BPF program"


@pytest.fixture(scope="module")
def lingering(own_machine: Machine) -> Machine:
    """A host with the user, without the daemon of the system."""
    own_machine.run(["systemctl", "disable", "--now", "deployd.service"], check=False)
    prepare(own_machine)
    done = Site(own_machine).deployd("setup")
    assert done.returncode == 0, done.stderr
    assert "deployd.service is enabled" in done.stdout
    return own_machine


@pytest.fixture
def site(lingering: Machine) -> Iterator[Site]:
    site = Site(lingering)
    yield site
    site.close()
    site.deployd("remove", APP)
    site.run("rm", "-rf", f"{APPS}/{APP}.toml", f"{HOME}/{APP}")


def owners(site: Site, *places: str) -> set[int]:
    """Return the owners of all files below these directories."""
    return {path.lstat().st_uid for place in places for path in site.machine.path(place).rglob("*")}


def test_rollouts_under_load(site: Site) -> None:
    with of_roots(site.machine):
        site.deploy("v1")
        with site.load() as load:
            assert site.rollout(site.release("v2")).result == "succeeded"
            failed = site.rollout(site.release("v3", mode="crash"))
            assert failed.result == "rolled-back"
            assert site.change("restart").result == "succeeded"
            assert site.change("rollback").result == "succeeded"
            record = load.stop()
        assert len(record) > 0
        assert not record.failed, record.summary()
    status = site.status()
    assert (status["ready"], status["routing"], status["steering"]) == (INSTANCES, "shared", "none")
    assert status["steering_reason"] == NOT_STEERED
    assert failed.finished["reason"].startswith("instance 1 exited with status")
    assert owners(site, STATE, UNITS, APPS, f"{site.runtime}/deployd") == {uid(site.machine)}
    assert stat.S_IMODE(site.machine.path(STATE).stat().st_mode) == 0o700
    process = site.machine.path(f"/proc/{site.pid(status['instances'][0]['instance'])}")
    assert process.stat().st_uid == uid(site.machine)


@pytest.mark.thorough
def test_the_daemon_is_a_user_service(site: Site) -> None:
    site.deploy("v1")
    before = site.invocations()
    shown = site.systemctl("status", "deployd.service").stdout
    assert f"user@{uid(site.machine)}.service" in shown
    site.systemctl("kill", "--signal=KILL", "deployd.service")
    assert site.status()["ready"] == INSTANCES, "the bus starts it"
    assert site.invocations() == before
    site.systemctl("stop", "deployd.service")
    assert site.get()["version"] == "v1"
    assert site.rollout(site.release("v2")).result == "succeeded", "the bus starts it"
    assert site.show("deployd.service", "ActiveState")["ActiveState"] == "active"


@pytest.mark.thorough
def test_failures_show_what_the_journal_has(site: Site) -> None:
    site.deploy("v1")
    ended = site.rollout(site.release("v2", mode="crash"))
    assert ended.status == 1
    logs = site.deployd("logs", APP, "--output", "json").stdout
    fields = [json.loads(line) for line in logs.splitlines()]
    assert any(entry.get("DEPLOYD_APP") == APP for entry in fields)
    site.configure(release=site.release("v3"), exec=["/bin/sh", "-c", "echo going wrong >&2; exit 3"])
    # journald may read the line when the process has ended; each attempt has another outcome of that race.
    said = [site.rollout().stderr for _ in range(8)]
    assert all("going wrong" in text for text in said), "the last lines of the journal"
    lines = site.deployd("logs", APP).stdout
    assert "| going wrong" in lines
    ours = site.run("journalctl", "--user", "--unit", APP, "--output=cat").stdout
    assert "rolling out generation 2" in ours


@pytest.mark.thorough
def test_crashes_are_restarted(site: Site) -> None:
    site.deploy("v1")
    before = site.invocations()
    site.kill(1)
    site.machine.wait_for(lambda: site.status()["ready"] == INSTANCES and site.invocations() != before)
    assert site.status()["instances"][0]["restarts"] >= 1
    assert site.history()[0]["result"] == "succeeded"


@pytest.mark.thorough
def test_systemctl_acts_on_the_app(site: Site) -> None:
    site.deploy("v1")
    site.configure(release=site.release("v2"))
    site.systemctl("reload", APP)
    assert site.status()["release"] == f"{HOME}/{APP}/v2"
    site.systemctl("stop", APP)
    assert site.status()["ready"] == 0
    assert site.get()["version"] == "v2", "a connection starts it"


@pytest.mark.thorough
def test_probes_hooks_and_ports(site: Site) -> None:
    gate = {"probe": {"http": "/_status"}}
    hooks = {"before": [["/bin/sh", "-c", 'echo "$DEPLOYD_RELEASE" >> "$HOME/hooks"; id -u >> "$HOME/hooks"']]}
    site.deploy("v1", gate=gate, rollout={"hooks": hooks})
    with site.load() as load:
        assert site.rollout(site.release("v2")).result == "succeeded"
        assert not load.stop().failed
    assert f"{HOME}/{APP}/v2\n{uid(site.machine)}\n" in site.machine.read(f"{HOME}/hooks")
    site.deployd("remove", APP)
    site.settings.clear()
    server = 'exec python3 -m http.server --bind 127.0.0.1 "$PORT"'
    site.deploy("v1", mode="port", exec=["/bin/sh", "-c", server], gate={"type": "exec", "probe": {"http": "/VERSION"}})
    assert site.run("curl", "--silent", "http://127.0.0.1:8080/VERSION").stdout.strip() == "v1"


@pytest.mark.thorough
def test_a_command_runs_as_the_user_with_its_own_streams(site: Site) -> None:
    site.deploy("v1", instances=1, environment={"KEY": "value"})
    done = site.deployd("run", APP, "--", "sh", "-c", 'echo "$(id -un) $KEY"; exit 3')
    assert (done.returncode, done.stdout) == (3, f"{USER} value\n"), done


@pytest.mark.thorough
def test_credentials_analysis_and_unix_addresses(site: Site) -> None:
    site.write(f"{HOME}/token", "secret")
    address = f"{site.runtime}/{APP}.sock"
    analysis = {"command": ["/bin/sh", "-c", 'grep -q generations "$DEPLOYD_COMPARE"'], "interval": "1s"}
    site.deploy(
        "v1", listen=[address], service={"LoadCredential": f"token:{HOME}/token"}, rollout={"analysis": analysis}
    )
    assert site.rollout(site.release("v2")).result == "succeeded"
    _, environment = site.process(site.status()["instances"][0]["instance"])
    assert site.run("cat", f"{environment['CREDENTIALS_DIRECTORY']}/token").stdout == "secret"
    with site.machine.connect(address) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b'"version": "v2"' in b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.thorough
def test_an_app_that_is_down_is_named_as_failed(site: Site) -> None:
    site.deploy("v1")
    site.systemctl("stop", f"{APP}.service", f"{APP}.socket")
    assert site.deployd("health", APP).returncode != 0
    assert "demo" in site.deployd("metrics").stdout
    completed = site.machine.run(
        ["deployd"], user=USER, env={**site.environment, **COMPLETING}, check=False
    ).stdout.split()
    assert APP in completed


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"user": USER}, "user: must be left out in user mode"),
        ({"listen": ["127.0.0.1:80"]}, 'listen: "127.0.0.1:80" needs root'),
        ({"service": {"DynamicUser": True}}, "[service] DynamicUser: needs a service manager that runs as root"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_needs_root_is_refused(site: Site, settings: dict[str, object], sentence: str) -> None:
    site.configure(release=site.release("v1"), **settings)
    done = site.deployd("check", APP)
    assert done.returncode == 3
    assert sentence in done.stdout + done.stderr


@pytest.mark.thorough
def test_app_files_of_others_are_not_believed(site: Site) -> None:
    site.configure(release=site.release("v1"))
    site.machine.run(["chown", "nobody", f"{APPS}/{APP}.toml"])
    done = site.deployd("apply", APP)
    assert done.returncode == 3
    assert f"belongs to user nobody (mode 0644); chown {USER} and chmod go-w it" in done.stderr
    site.machine.run(["chown", USER, f"{APPS}/{APP}.toml"])
    site.machine.run(["chmod", "o+w", APPS])
    assert "everybody can write" in site.deployd("apply", APP).stderr
    site.machine.run(["chmod", "o-w", APPS])


@pytest.mark.sampled
@pytest.mark.parametrize("user", ["nobody", "root"])
def test_other_users_do_not_reach_the_daemon(site: Site, user: str) -> None:
    site.deploy("v1")
    command = ["deployd", "--user", "scale", APP, "2"]
    refused = site.machine.run(command, user=user, env=site.environment, check=False)
    assert refused.returncode == 5
    assert f"unix:path={site.runtime}/bus cannot be reached: " in refused.stderr
    assert site.status()["desired"] == INSTANCES


@pytest.mark.thorough
def test_setup_can_be_repeated_and_undone(site: Site) -> None:
    site.deploy("v1")
    before, unit = site.invocations(), site.machine.path(f"{HOME}/.local/share/systemd/user/deployd.service")
    assert json.loads(site.deployd("setup", "--json").stdout)["written"] == []
    removed = site.deployd("setup", "--remove")
    assert removed.returncode == 0, removed.stderr
    assert not unit.exists()
    assert site.get()["version"] == "v1", "apps keep running"
    assert site.deployd("setup").returncode == 0
    assert unit.exists()
    assert site.invocations() == before


@pytest.mark.thorough
def test_apps_outlive_logins_and_boots(site: Site) -> None:
    site.deploy("v1")
    assert site.rollout(site.release("v2")).result == "succeeded"
    site.machine.run(["loginctl", "terminate-user", USER], check=False)
    site.machine.reboot()
    site.machine.wait_unit(f"user@{uid(site.machine)}.service")
    site.machine.wait_for(lambda: site.deployd("status", APP).returncode == 0 and site.status()["ready"] == INSTANCES)
    assert site.get()["version"] == "v2"


@pytest.mark.thorough
def test_a_timer_runs_the_live_release(site: Site) -> None:
    script = f"#!/bin/sh\necho $DEPLOYD_GENERATION $DEPLOYD_PROCESS $(id -un) >> {HOME}/{APP}/lines\n"
    files = {"bin/record": script}
    site.configure(
        release=site.release("v1", files=files),
        process={"nightly": {"schedule": "*-01-01", "exec": ["bin/record"], "persistent": True}},
    )
    ended = site.change("apply")
    assert ended.result == "succeeded", ended
    assert site.show("demo:nightly.timer", "ActiveState")["ActiveState"] == "active"
    site.systemctl("start", "demo:nightly.service")
    assert site.rollout(site.release("v2", files=files)).result == "succeeded"
    site.systemctl("start", "demo:nightly.service")
    assert site.machine.read(f"{HOME}/{APP}/lines") == f"1 nightly {USER}\n2 nightly {USER}\n"
    assert site.status()["timers"][0]["generation"] == 2
    assert site.deployd("remove", APP).returncode == 0
    assert list(site.machine.path(UNITS).rglob("demo*")) == []


@pytest.mark.thorough
def test_a_release_is_built_and_rolled_out_without_root(site: Site) -> None:
    releases = f"{HOME}/{APP}/releases"
    build = '#!/bin/sh -e\necho "in $(pwd)" >built\n'
    source = site.release("source", files={"bin/build": build})
    site.run("mkdir", "-p", releases)
    table = {"build": [["bin/build"]], "keep": 2, "current": True}
    site.configure(release=f"{HOME}/{APP}/current", releases=releases, deploy=table)
    done = site.deployd("deploy", APP, source, "--id", "v1", "--json")
    assert done.returncode == 0, done
    receipt = json.loads(done.stdout)
    assert (receipt["result"], receipt["build"]["succeeded"]) == ("succeeded", True)
    assert site.machine.read(f"{releases}/v1/built") == f"in {releases}/v1\n"
    assert owners(site, releases) == {uid(site.machine)}


@pytest.mark.thorough
def test_process_types_and_smoke_tests_without_a_private_address(site: Site) -> None:
    files = {"worker.py": WORKER, "worker-mode": "good"}
    smoke = 'echo "$DEPLOYD_RELEASE ${DEPLOYD_PREVIEW-nowhere}" >>"$HOME/smoke"'
    site.configure(
        release=site.release("v1", files=files),
        instances=2,
        gate={"probe": {"http": "/_status"}, "smoke": [["/bin/sh", "-c", smoke]]},
        process={"worker": TYPE},
    )
    ended = site.change("apply")
    assert ended.result == "succeeded", ended
    with site.load() as load:
        assert site.rollout(site.release("v2", files=files)).result == "succeeded"
        record = load.stop()
    assert not record.failed, record.summary()
    assert site.machine.read(f"{HOME}/smoke").splitlines()[-1] == f"{HOME}/{APP}/v2 nowhere"
    worker = site.status()["processes"]["worker"]["instances"]
    assert [item["release"] for item in worker] == [f"{HOME}/{APP}/v2"] * 2
    process = site.machine.path(f"/proc/{worker[0]['main_pid']}")
    assert process.stat().st_uid == uid(site.machine)
    assert len(site.history()[0]["processes"]["worker"]["replaced"]) == 2
    [compared] = site.json("compare", APP)["processes"]["worker"]["generations"]
    assert (compared["instances"], compared["ready"]) == (2, 2)
    refused = site.deployd("rollout", APP, "--preview")
    assert (refused.returncode, "cannot be steered here" in refused.stderr) == (3, True), refused.stderr
