"""What the tasks of the plugin would run (cap --dry-run), and the gem."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.capistrano.cap import PLUGIN, Cap

TASKS = ["install", "restart", "rollback", "rollout", "smart_restart", "start", "status", "stop"]


@pytest.fixture(scope="module")
def cap(tmp_path_factory: pytest.TempPathFactory) -> Cap:
    return Cap(tmp_path_factory.mktemp("cap"), "shop", "alice", {"web1": "false", "web2": "false"})


def test_the_tasks_have_the_names_of_capistrano3_puma(cap: Cap) -> None:
    listed = cap.run("--tasks", "deployd").out
    assert re.findall(r"^cap deployd:(\w+) +# \w", listed, re.MULTILINE) == TASKS
    described = (PLUGIN / "README.md").read_text()
    assert all(f"`deployd:{task}`" in described for task in TASKS)


def test_all_hosts_get_the_same_id_and_token(cap: Cap) -> None:
    done = cap.run("--dry-run", "deploy")
    assert done.status == 0, done.out
    rollouts = re.findall(
        r"deployd --no-ask-password rollout shop --release (\S+) --fleet (\S+) --token (\d+)", done.out
    )
    [(release, fleet, token)] = set(rollouts)
    assert release == f"/srv/demo/releases/{token}"
    assert fleet == f"capistrano-{token}"
    assert done.out.index("deploy:symlink:release") < done.out.index("deployd:rollout") < done.out.index("log_revision")


@pytest.mark.parametrize(
    ("task", "wanted"),
    [
        ("stop", "systemctl --no-ask-password stop shop.service"),
        ("restart", "deployd --no-ask-password restart shop"),
        ("rollback", "deployd --no-ask-password rollback shop"),
        (
            "smart_restart",
            "deployd --no-ask-password rollout shop --release /srv/demo/current"
            " || { [ $? -eq 6 ] && deployd --no-ask-password restart shop; }",
        ),
    ],
)
def test_a_task_runs(cap: Cap, task: str, wanted: str) -> None:
    done = cap.run("--dry-run", f"deployd:{task}")
    assert done.status == 0, done.out
    assert wanted in done.out


def test_a_role_without_servers_is_an_error(cap: Cap) -> None:
    done = cap.run("--dry-run", "deployd:rollout", ROLES="worker")
    assert done.status == 1
    assert "no server has the role worker; set :deployd_roles" in done.out


def test_the_gem_has_the_plugin(tmp_path: Path) -> None:
    gem = tmp_path / "plugin.gem"
    subprocess.run(
        ["gem", "build", "--output", str(gem), "capistrano-deployd.gemspec"],
        cwd=PLUGIN,
        check=True,
        capture_output=True,
        timeout=60,
    )
    out = subprocess.run(["gem", "spec", str(gem), "files"], check=True, capture_output=True, text=True, timeout=60)
    files = {str(path.relative_to(PLUGIN)) for path in PLUGIN.rglob("*") if path.suffix in {".rb", ".rake", ".md"}}
    assert {line.removeprefix("- ") for line in out.stdout.splitlines() if line.startswith("- ")} == files
