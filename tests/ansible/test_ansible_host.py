"""The Ansible collection on three hosts: what a play says, does, repeats, and takes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.ansible.controller import Controller, Play
from tests.host.stage import APP, Stage
from tests.host.steered import unharmed
from tests.ssh.fixtures import NAMES, USER
from tests.ssh.sshd import let_in

PLAY = f"""
- hosts: web
  gather_facts: false
  serial: [1, 2]
  max_fail_percentage: 0
  roles:
    - role: deployd.deployd.rollout
      deployd_app: {APP}
      deployd_release: /srv/{APP}/{{{{ version }}}}
      deployd_fleet: "{{{{ version }}}}"
      deployd_token: "{{{{ token }}}}"
      deployd_drain: true
      deployd_drain_wait: 10ms
"""
FACTS = f"""
- hosts: web
  gather_facts: false
  tasks:
    - deployd.deployd.deployd_info:
        name: {APP}
      register: found
    - ansible.builtin.debug:
        msg: "{{{{ inventory_hostname }}}} has generation {{{{ found.apps[0].generation }}}}"
    - deployd.deployd.deployd_app:
        name: {APP}
        state: absent
"""


@pytest.fixture
def controller(web_hosts: dict[str, Stage], tmp_path: Path) -> Iterator[Controller]:
    with TemporaryDirectory(dir="/tmp") as sockets:
        machines = {name: stage.machine for name, stage in web_hosts.items()}
        made = Controller(tmp_path, Path(sockets), USER, machines)
        for stage in web_hosts.values():
            let_in(stage.machine, USER, made.client.public_key)
            stage.deploy("v1", instances=2)
        yield made


def rolled_out(play: Play, *hosts: str) -> bool:
    """True if the play changed these hosts and no others."""
    return {name for name, figures in play.recap.items() if figures["changed"]} == set(hosts)


@pytest.mark.timeout(600)  # five plays, each with a process of Python for each task
def test_a_release_goes_from_host_to_host_and_a_bad_one_comes_back(
    controller: Controller, web_hosts: dict[str, Stage]
) -> None:
    found = list(web_hosts.values())
    for stage in found:
        stage.release("v2")
        stage.release("v3")
    loads = [stage.load(rate=50, keepalive=2) for stage in found]

    def play(version: str, token: int, *options: str) -> Play:
        return controller.play(PLAY, "--extra-vars", f"version={version} token={token}", *options)

    def versions() -> list[str]:
        return [stage.get()["version"] for stage in found]

    dry = play("v2", 7, "--check", "--diff")
    assert (dry.status, versions()) == (0, ["v1"] * 3), dry.out
    assert rolled_out(dry, *NAMES)
    assert dry.out.count("+release: /srv/demo/v2") == 3

    first = play("v2", 7)
    assert (first.status, versions()) == (0, ["v2"] * 3), first.out
    again = play("v2", 7)
    assert (again.status, rolled_out(again)) == (0, True), again.out

    found[1].release("v3", "crash")  # the second batch: on this host the release is bad, on the third it is good
    failed = play("v3", 8)
    assert failed.status == 2, failed.out
    assert f"{APP} on web2: " in failed.out, "the reason is there"
    assert versions() == ["v2"] * 3, failed.out
    causes = [stage.history()[0]["cause"] for stage in found]
    assert (causes[0], causes[2]) == ("rollback", "rollback"), "what was done before is taken back"
    assert found[1].history()[0]["result"] == "rolled-back"
    assert all(stage.status()["drain"] is None for stage in found)

    late = play("v1", 6)
    assert late.status == 2, late.out
    assert "the token 6 is lower than 8" in late.out
    assert versions() == ["v2"] * 3
    for load in loads:
        unharmed(load.stop())

    refused = controller.play(FACTS)
    assert refused.status == 2, refused.out
    assert "web3 has generation 4" in refused.out
    assert f"not allowed: remove needs root or the polkit action org.deployd1.remove for {APP}" in refused.out, USER
    assert versions() == ["v2"] * 3
