"""docs/delivery.md and several-hosts.md: a commit becomes a live release through ssh, without a failed request."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.attacks.service import read_rules
from tests.delivery import sshd
from tests.host.stage import APP, RELEASES, Stage

pytestmark = pytest.mark.thorough

DOCS = Path(__file__).resolve().parents[2] / "docs"
HOME = f"/srv/{APP}"
REPOSITORY = "/srv/repository"
SSH_CONFIG = f"""
Host web1 web2
    HostName 127.0.0.1
    IdentityFile {sshd.KEY}
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null
"""
"""Both hosts of docs/several-hosts.md are this one: what is done for the second finds the release there."""
GIT = f"git -C {REPOSITORY} -c user.name=x -c user.email=x@example.org"
BUILD = "#!/bin/sh -e\npython3 -m venv --without-pip venv\nid -un >built\n"


def page(pattern: str, name: str = "delivery.md") -> str:
    """Return a part of a page, for this app."""
    [found] = re.findall(pattern, (DOCS / name).read_text(), re.MULTILINE | re.DOTALL)
    return str(found).replace("shop", APP)


def commit(stage: Stage, version: str, mode: str = "good") -> None:
    """Have the repository contain a version of the app, which is all that is left of it."""
    path = stage.machine.path(stage.release(version, mode, files={"bin/build": BUILD}))
    shutil.copytree(path, stage.machine.path(REPOSITORY), dirs_exist_ok=True)
    shutil.rmtree(path)
    stage.machine.run(["sh", "-c", f"{GIT} init -q; {GIT} add . && {GIT} commit -q -m {version}"])


def push(stage: Stage, command: str = "") -> tuple[int, str, str]:
    pipeline = f"{GIT} archive HEAD | {sshd.SSH} {sshd.USER}@127.0.0.1 {command}"
    done = stage.machine.run(["sh", "-c", pipeline], check=False)
    return done.returncode, done.stdout, done.stderr


def on_runner(stage: Stage, lines: str) -> subprocess.CompletedProcess[str]:
    """Type lines as a service does, with `bash -e` in a checkout."""
    commits = 'export GITHUB_SHA="$(git rev-parse HEAD)" CI_COMMIT_SHA="$(git rev-parse HEAD)"'
    return stage.machine.run(["bash", "-e", "-c", f"cd {REPOSITORY}\n{commits}\n{lines}"], check=False, timeout=120)


def test_a_commit_is_live_by_one_line(own_stage: Stage) -> None:
    stage = own_stage
    stage.machine.path(RELEASES).mkdir()
    commit(stage, "v1")
    stage.machine.run(["sh", "-e", "-c", page(r"^```sh\n(.*?)^```$")])
    stage.machine.run(["sed", "-i", f"s/shop/{APP}/g", f"/etc/polkit-1/rules.d/50-deployd-{APP}.rules"])
    read_rules(stage)
    sshd.start(stage.machine)
    table = {"build": [["bin/build"]], "shared": ["uploads"], "keep": 2, "current": True}
    python = ["venv/bin/python", "app.py"]
    stage.configure(
        release=f"{HOME}/current",
        releases=f"{HOME}/releases",
        deploy=table,
        exec=python,
        user="www-data",
        instances=2,
    )
    deploy = f"deployd deploy {APP} - --json"
    status, out, err = push(stage, deploy)
    assert (status, json.loads(out)["generation"]) == (0, 1), (out, err)
    with stage.load(rate=100, keepalive=2) as load:
        commit(stage, "v2")
        status, out, err = push(stage, deploy)
        assert (status, json.loads(out)["result"]) == (0, "succeeded"), (out, err)
        commit(stage, "bad", mode="crash")
        status, out, err = push(stage, deploy)
        assert (status, json.loads(out.splitlines()[0])["result"]) == (1, "rolled-back"), (out, err)
        record = load.stop()
    assert not record.failed, (record.by_outcome(), record.failed[:5])
    assert {"v1", "v2"} <= {request.version for request in record.requests}
    release = stage.status()["release"]
    assert stage.machine.run(["stat", "--format=%U", f"{release}/built"]).stdout == "deploy\n"
    assert stage.machine.run(["cat", f"{release}/built"]).stdout == "www-data\n"
    assert stage.machine.run(["readlink", f"{HOME}/current"]).stdout == f"{release}\n"

    stage.machine.write("/etc/ssh/ssh_config", SSH_CONFIG)
    github = page(r"^      - run: \|\n(.*?)^```$", "several-hosts.md")
    gitlab = page(r"^  script:\n    - (.*?)$", "several-hosts.md")
    for version, service in (("v3", github), ("v4", gitlab)):
        commit(stage, version)
        done = on_runner(stage, service)
        assert (done.returncode, stage.get()["version"]) == (0, version), done.stderr
    generations = len(stage.history())
    for service in (github, gitlab):
        commit(stage, f"bad-{len(service)}", mode="crash")
        assert on_runner(stage, service).returncode == 1
        generations += 1
        assert len(stage.history()) == generations, "the second host is not touched"

    options = page(r'^    (restrict,command="[^"]*") ssh-ed25519')
    sshd.let_in(stage.machine, options)
    commit(stage, "v5")
    status, out, err = push(stage, "id")
    assert (status, stage.get()["version"]) == (0, "v5"), "whatever was asked for"
    assert "uid=" not in out
