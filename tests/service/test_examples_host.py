"""docs/permissions.md and the shipped polkit rules, with real polkit and systemd: what they allow, and nothing else."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.attacks.service import SECRET, allow, fail_with_secret, read_rules
from tests.host.neighbour import Neighbour
from tests.host.stage import APP, Stage
from tests.host.steered import unharmed

PAGE = (Path(__file__).resolve().parents[2] / "docs/permissions.md").read_text().replace("blog", APP)
DEPLOYERS, OPERATORS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
"""Commands that give DEPLOYER and OPERATOR what the page says."""
OTHER = "other"
DEPLOYER, OPERATOR, STRANGER = "alice", "oscar", "nobody"

CONDUCT = ("rollout", "rollback", "pause", "resume", "abort")
FORBIDDEN = (
    *([verb, APP] for verb in ("restart", "apply", "remove")),
    *([verb, OTHER] for verb in CONDUCT),
    ["scale", APP, "2"],
    ["repair"],
)
"""Commands that are not for deployers of `demo`."""
SYSTEMCTL = (["reload", OTHER], ["restart", APP], ["stop", APP], ["stop", f"{APP}.socket"], ["reload", f"{APP}@1"])


def install(stage: Stage, commands: str, member: str) -> None:
    """Type commands of the page for a user that they name."""
    stage.machine.run(["sh", "-c", f"id {member} || useradd --no-create-home {member}"])
    stage.machine.run(["sh", "-ec", commands])
    read_rules(stage)


def systemctl(stage: Stage, user: str, *argv: str) -> subprocess.CompletedProcess[str]:
    command = ["systemctl", "--no-ask-password", *argv]
    return stage.machine.run(command, user=user, check=False)


def require_refused(stage: Stage, user: str, *argv: str) -> None:
    done = stage.deployd(*argv, user=user)
    assert (done.returncode, "not allowed: " in done.stderr) == (3, True), (argv, done)


def test_a_group_may_roll_out_one_app(stage: Stage) -> None:
    stage.machine.run(["ln", "-sfn", stage.release("v1"), "/srv/demo/current"])
    stage.configure(release="/srv/demo/current")
    assert stage.change("apply").result == "succeeded"
    install(stage, DEPLOYERS, DEPLOYER)

    def deployd(*argv: str) -> None:
        done = stage.deployd(*argv, user=DEPLOYER)
        assert done.returncode == 0, (argv, done)

    with stage.load(rate=100, keepalive=2) as load:
        deployd("rollout", APP, "--release", stage.release("v2"))
        assert stage.get()["version"] == "v2"
        deployd("rollback", APP)
        assert stage.get()["version"] == "v1"
        deployd("rollout", APP, "--release", stage.release("v3", barrier=True), "--no-block")
        deployd("pause", APP)
        deployd("rollout", APP, "--release", stage.release("v4", barrier=True), "--supersede", "--no-block")
        deployd("abort", APP, "--wait")
        assert stage.get()["version"] == "v1"
        deployd("rollout", APP, "--release", "/srv/demo/v2", "--canary", "1", "--no-block")
        deployd("resume", APP, "--wait")
        assert stage.get()["version"] == "v2"
        stage.machine.run(["ln", "-sfn", stage.release("v5"), "/srv/demo/current"])
        done = systemctl(stage, DEPLOYER, "reload", APP)
        assert done.returncode == 0, done.stderr
        assert (stage.get()["version"], stage.history()[0]["cause"]) == ("v5", "reload")
        unharmed(load.stop())


@pytest.mark.thorough
def test_it_sees_why_its_rollout_failed(stage: Stage) -> None:
    stage.deploy("v1")
    install(stage, DEPLOYERS, DEPLOYER)
    fail_with_secret(stage)
    assert SECRET in stage.deployd("history", APP, user=DEPLOYER).stdout
    assert SECRET not in stage.deployd("history", APP, user=STRANGER).stdout
    done = stage.deployd("rollout", APP, "--release", "/srv/demo/bad", user=DEPLOYER)
    assert (done.returncode, SECRET in done.stderr) == (1, True), done


@pytest.mark.thorough
def test_it_may_do_nothing_else(stage: Stage) -> None:
    stage.deploy("v1")
    Neighbour(stage, OTHER, 8090).deploy()
    install(stage, DEPLOYERS, DEPLOYER)
    before = stage.invocations(), len(stage.history()), stage.json("history", OTHER)
    for argv in FORBIDDEN:
        require_refused(stage, DEPLOYER, *argv)
    for argv in SYSTEMCTL:
        assert systemctl(stage, DEPLOYER, *argv).returncode != 0, argv
    require_refused(stage, STRANGER, "rollout", APP)
    assert systemctl(stage, STRANGER, "reload", APP).returncode != 0
    assert (stage.invocations(), len(stage.history()), stage.json("history", OTHER)) == before


@pytest.mark.thorough
def test_a_refusal_names_the_action_that_is_missing(stage: Stage) -> None:
    stage.deploy("v1")
    install(stage, DEPLOYERS, DEPLOYER)
    done = stage.deployd("scale", APP, "2", user=DEPLOYER)
    assert done.stderr in PAGE
    assert done.stderr.startswith("deployd: not allowed: scale needs root or the polkit action org.deployd1.scale for ")


@pytest.mark.thorough
def test_operators_see_everything_and_change_nothing(stage: Stage) -> None:
    fail_with_secret(stage)
    Neighbour(stage, OTHER, 8090).deploy()
    install(stage, OPERATORS, OPERATOR)
    before = stage.invocations(), len(stage.history()), stage.json("history", OTHER)
    for verb in ("status", "plan", "units", "compare", "releases"):
        assert stage.deployd(verb, APP, user=OPERATOR).returncode == 0, verb
    assert SECRET in stage.deployd("history", APP, user=OPERATOR).stdout
    for argv in (*FORBIDDEN, *([verb, APP] for verb in CONDUCT)):
        require_refused(stage, OPERATOR, *argv)
    done = stage.deployd("rollout", APP, user=OPERATOR)
    assert "terminal" not in done.stderr, "no password helps"
    assert systemctl(stage, OPERATOR, "reload", APP).returncode != 0
    assert (stage.invocations(), len(stage.history()), stage.json("history", OTHER)) == before


@pytest.mark.thorough
def test_a_user_may_roll_out_what_is_in_one_directory(stage: Stage) -> None:
    stage.deploy("v1")
    [rule] = re.findall(r"^```js\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    allow(stage, rule.replace('"ci"', f'"{STRANGER}"').replace(f"/srv/{APP}/builds/", f"/srv/{APP}/v2"))
    for argv in ([stage.release("v3")], [stage.release("v2"), "--supersede"]):
        require_refused(stage, STRANGER, "rollout", APP, "--release", *argv)
    assert stage.deployd("rollout", APP, "--release", "/srv/demo/v2", user=STRANGER).returncode == 0
    assert stage.get()["version"] == "v2"


@pytest.mark.thorough
def test_an_app_file_in_a_directory_of_the_group_is_refused(stage: Stage) -> None:
    """Only root may write app files, and no polkit action allows it to others."""
    stage.deploy("v1")
    install(stage, DEPLOYERS, DEPLOYER)
    stage.machine.run(["sh", "-c", "chgrp deploy /etc/deployd/apps && chmod 775 /etc/deployd/apps"])
    try:
        for user in (None, DEPLOYER):
            done = stage.deployd("rollout", APP, user=user)
            assert (done.returncode, done.stderr in PAGE) == (3, True), done
    finally:
        stage.machine.run(["sh", "-c", "chgrp root /etc/deployd/apps && chmod 755 /etc/deployd/apps"])


@pytest.mark.thorough
@pytest.mark.parametrize("member", ["Reload", "Repair"])
def test_what_concerns_all_apps_is_not_allowed_by_a_rule_for_one(stage: Stage, member: str) -> None:
    allow(stage, f'polkit.addRule(function(action, subject) {{ if (action.lookup("app") == "{APP}") return "yes"; }});')
    argv = ["busctl", "--system", "--allow-interactive-authorization=no", "call", "org.deployd1", "/org/deployd1"]
    done = stage.machine.run([*argv, "org.deployd1.Manager", member], user=STRANGER, check=False)
    assert "org.deployd1.configure;" in done.stderr


@pytest.mark.thorough
def test_without_polkit_all_may_query_and_only_root_may_change(stage: Stage) -> None:
    fail_with_secret(stage)
    install(stage, DEPLOYERS, DEPLOYER)
    stage.machine.run(["systemctl", "mask", "--runtime", "--now", "polkit"])
    try:
        assert SECRET not in stage.deployd("history", APP, user=DEPLOYER).stdout
        done = stage.deployd("pause", APP, user=DEPLOYER)
        assert (done.returncode, "not allowed: pause needs root, because polkit" in done.stderr) == (3, True), done
        assert stage.rollout(stage.release("v2")).result == "succeeded"
    finally:
        stage.machine.run(["systemctl", "unmask", "--runtime", "polkit"])
