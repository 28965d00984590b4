"""Files that other users can write and special files: they are refused with their path, and never block the daemon."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import pytest

from tests.attacks.files import ATTACKS
from tests.host.stage import APP, APP_FILE, INSTANCES, Stage
from tests.sample_apps.release import app_file

APPS = "/etc/deployd/apps"
MANY = 3_000


@pytest.mark.sampled
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_an_attack_by_files_fails(stage: Stage, attack: Callable[[Stage], str]) -> None:
    assert attack(stage) == ""


def test_an_app_file_that_others_can_write_is_refused_with_advice(stage: Stage) -> None:
    stage.deploy("v1")
    machine, before = stage.machine, stage.invocations()
    for argv, sentence in (
        (
            ["chown", "www-data", APP_FILE],
            f"{APP_FILE} belongs to user www-data (mode 0644); chown root and chmod go-w it",
        ),
        (["chmod", "666", APP_FILE], f"everybody can write {APP_FILE} (root's, mode 0666); chmod go-w it"),
        (["chown", "www-data", APPS], f"{APPS} belongs to user www-data (mode 0755); chown root and chmod go-w it"),
        (["chmod", "1777", APPS], f"everybody can write {APPS} (root's, mode 1777); chmod go-w it"),
    ):
        machine.run(argv)
        for verb in ("check", "apply", "rollout", "plan", "units"):
            refused = stage.deployd(verb, APP)
            assert refused.returncode == 3, (verb, refused)
            assert f"{APP_FILE}: is not trusted, because {sentence}" in refused.stdout + refused.stderr
        machine.run(["chown", "root", APPS, APP_FILE])
        machine.run(["chmod", "755", APPS])
        machine.run(["chmod", "644", APP_FILE])
    # The running instances are not affected and need no app file.
    assert stage.invocations() == before
    assert stage.deployd("check", APP).returncode == 0


@pytest.mark.thorough
def test_odd_names_and_many_files_do_no_harm(stage: Stage) -> None:
    stage.deploy("v1")
    machine = stage.machine
    directory = machine.path(APPS)
    text = app_file("x", f"/srv/{APP}/v1", 9000)
    odd = ["a b", ".", "-x", "x\n", os.fsdecode(b"caf\xe9"), "x" * 250, "deployd", "\x1b[2J"]
    for name in odd:
        (directory / f"{name}.toml").write_text(text)
    os.mkfifo(directory / "fifo.toml")
    (directory / "directory.toml").mkdir()
    (directory / "device.toml").symlink_to("/dev/zero")
    for number in range(MANY):
        (directory / f"many{number}.toml").symlink_to(f"{APP}.toml")
    machine.run(["systemctl", "restart", "deployd"])
    assert stage.status()["ready"] == INSTANCES
    assert stage.rollout(stage.release("v2")).result == "succeeded"
    checked = {item["app"]: item for item in json.loads(stage.deployd("check", "--json").stdout)["apps"]}
    assert len(checked) == MANY + 1 + 3 + len(odd)
    assert checked["many7"]["valid"]
    for name in ("a b", ".", "-x", r"x\n", r"caf\xe9", "x" * 250, "deployd", r"\x1b[2J", "fifo", "directory", "device"):
        assert not checked[name]["valid"], name
        assert checked[name]["error"].isprintable()
    assert len(stage.json("status")["apps"]) == MANY + 1 + 3
    machine.run(["systemctl", "reload", "deployd"])
    assert stage.change("rollback").result == "succeeded"
