"""[deploy] build: a release is completed as the user of the app, who owns nothing of it afterwards."""

from __future__ import annotations

import json
import signal

import pytest

from tests.attacks.service import allow
from tests.host.archive import packed
from tests.host.begun import DEADLINE, Json
from tests.host.stage import APP, Stage

HOME = f"/srv/{APP}"
RELEASES = f"{HOME}/releases"
BUILD = """\
#!/bin/sh -e
echo "$(id -un) builds $DEPLOYD_RELEASE in $(pwd) with $KEY and $SECRET"
[ "$(cat key)" = key ]
[ ! -e fail ] || exit 7
if [ -e wait ]; then touch /tmp/builds; sleep 1000; fi
mkdir made
echo "$1" >made/file
date +%s%N >made/when
ln -s /usr/bin/python3 made/python
printf '#!%s/made/python\\n' "$(pwd)" >made/script
chmod +x made/script
"""


def prepare(stage: Stage, **settings: object) -> None:
    stage.machine.run(["install", "-d", RELEASES, f"{HOME}/shared"])
    stage.machine.write(f"{HOME}/shared/key", "key")
    stage.machine.write("/etc/demo.env", "SECRET=secret\n")
    table = {"build": [["bin/build", "a  b"], ["test", "-e", "made/file"]], "shared": ["key"]}
    wanted = {"user": "www-data", "environment": {"KEY": "value"}, "environment_files": ["/etc/demo.env"]}
    stage.configure(release=f"{RELEASES}/v1", releases=RELEASES, deploy=table, instances=2, **wanted, **settings)


def archive(stage: Stage, version: str, *files: str) -> str:
    path = f"/srv/{version}.tar.gz"
    stage.machine.path(path).write_bytes(packed(stage, version, files={"bin/build": BUILD, **dict.fromkeys(files, "")}))
    return path


def deploy(stage: Stage, version: str, *files: str, user: str | None = None) -> tuple[int, Json, str]:
    command = f"deployd deploy {APP} - --id {version} --json <{archive(stage, version, *files)}"
    done = stage.machine.run(["sh", "-c", command], check=False, user=user)
    return done.returncode, json.loads(done.stdout.splitlines()[0]), done.stderr


def left(stage: Stage) -> list[str]:
    found = [path.name for path in stage.machine.path(RELEASES).iterdir()]
    cache = stage.machine.path("/var/cache/deployd-build")
    found += [f"cache {path.name}" for path in cache.iterdir()] if cache.exists() else []
    runtime = stage.machine.path("/run/deployd/build")
    return sorted(found + [f"run {path.name}" for path in runtime.iterdir()] if runtime.exists() else found)


def test_a_build_runs_as_the_user_of_the_app_who_owns_nothing_of_it(stage: Stage) -> None:
    prepare(stage)
    status, receipt, shown = deploy(stage, "v1")
    assert (status, receipt["result"], receipt["new"]) == (0, "succeeded", True), shown
    assert f"www-data builds {RELEASES}/v1 in {RELEASES}/v1 with value and secret" in shown
    assert (receipt["build"]["succeeded"], receipt["build"]["exit_status"]) == (True, 0)
    assert left(stage) == ["v1"]
    owners = stage.machine.run(["find", f"{RELEASES}/v1", "-printf", "%u %m\n"]).stdout.split("\n")
    assert {line.split()[0] for line in owners if line} == {"root"}
    assert stage.machine.run(["cat", f"{RELEASES}/v1/made/file"]).stdout == "a  b\n"
    assert stage.machine.run(["readlink", f"{RELEASES}/v1/key"]).stdout == f"{HOME}/shared/key\n"
    assert stage.machine.run([f"{RELEASES}/v1/made/script", "-c", "print(1)"]).returncode == 0
    assert stage.get()["version"] == "v1"
    when = stage.machine.run(["cat", f"{RELEASES}/v1/made/when"]).stdout
    status, receipt, shown = deploy(stage, "v1")
    assert (status, receipt["new"], receipt["build"]) == (0, False, None)
    assert stage.machine.run(["cat", f"{RELEASES}/v1/made/when"]).stdout == when
    assert len(stage.history()[0]["adopted"]) == 2


def test_a_build_that_fails_leaves_nothing_and_is_tried_anew(stage: Stage) -> None:
    prepare(stage)
    deploy(stage, "v1")
    status, receipt, shown = deploy(stage, "v2", "fail")
    assert (status, receipt["result"], receipt["generation"], receipt["id"]) == (1, None, None, "v2")
    assert (receipt["build"]["exit_status"], receipt["build"]["reason"]) == (7, "exited with status 7")
    assert any("www-data builds" in line for line in receipt["build"]["lines"])
    assert f"the build of {RELEASES}/v2 exited with status 7; nothing was rolled out" in shown
    assert left(stage) == ["v1"]
    assert len(stage.history()) == 1
    assert deploy(stage, "v2")[0] == 0
    assert stage.get()["version"] == "v2"


@pytest.mark.thorough
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_a_build_that_is_cut_off_is_cleaned_up_and_one_at_a_time_runs(stage: Stage, how: signal.Signals) -> None:
    prepare(stage)
    deploy(stage, "v1")
    path = archive(stage, "v2", "wait")
    process = stage.machine.popen(["deployd", "deploy", APP, path, "--id", "v2"])
    stage.machine.wait_for(stage.machine.path("/tmp/builds").exists, timeout=DEADLINE, what="the build to run")
    status, _, shown = deploy_other(stage)
    assert (status, "a release of demo is being built" in shown) == (3, True), shown
    assert "v2" in left(stage)
    stage.machine.run(["pkill", f"-{how.name.removeprefix('SIG')}", "-f", f"deployd.* deploy {APP}"])
    process.wait(DEADLINE)
    stage.machine.wait_for(
        lambda: not stage.systemctl("list-units", "--no-legend", f"{APP}:build*").stdout,
        timeout=DEADLINE,
        what="the build to be stopped",
    )
    files = {f"run {APP}", f"cache {APP}"}
    stage.machine.wait_for(lambda: files.isdisjoint(left(stage)), timeout=DEADLINE, what="its files to be removed")
    names = left(stage)
    if how is signal.SIGINT:
        assert names == ["v1"]
    else:
        assert [name for name in names if not name.startswith(".deploy-")] == ["v1", "v2"]
        assert not list(stage.machine.path(f"{RELEASES}/v2").iterdir())
    assert stage.get()["version"] == "v1"
    stage.machine.run(["rm", "/tmp/builds"])
    assert deploy(stage, "v2")[0] == 0
    assert left(stage) == ["v1", "v2"]
    assert stage.get()["version"] == "v2"


def deploy_other(stage: Stage) -> tuple[int, str, str]:
    done = stage.deployd("deploy", APP, archive(stage, "v3"), "--id", "v3")
    return done.returncode, done.stdout, done.stderr


@pytest.mark.thorough
def test_a_user_who_may_roll_out_may_build_but_never_as_root(stage: Stage) -> None:
    prepare(stage)
    deploy(stage, "v1")
    stage.machine.run(["sh", "-c", "id alice || useradd --create-home alice"])
    stage.machine.run(["chown", "alice:", RELEASES])
    rule = (
        'polkit.addRule(function(action, subject) { if (action.id == "org.deployd1.rollout" && subject.user == "alice")'
        ' return "yes"; });'
    )
    allow(stage, rule)
    stage.machine.run(["chmod", "0600", f"/etc/deployd/apps/{APP}.toml"])
    status, receipt, shown = deploy(stage, "v2", user="alice")
    assert (status, receipt["result"]) == (0, "succeeded"), shown
    assert f"www-data builds {RELEASES}/v2" in shown
    assert stage.machine.run(["stat", "--format=%U", f"{RELEASES}/v2/made/file"]).stdout == "alice\n"
    stage.configure(user=None)
    done = stage.deployd("deploy", APP, archive(stage, "v3"), user="alice")
    assert (done.returncode, "only root may build releases of it" in done.stderr) == (3, True), done
