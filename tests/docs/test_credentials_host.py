"""What docs/credentials.md says of versions of systemd, and of clients while a credential is renewed."""

from __future__ import annotations

import re

import pytest

from tests.host.stage import APP, Stage

SECRET, STORED = "/etc/demo.secret", "/etc/credstore/database"


def systemd(stage: Stage) -> int:
    return int(stage.machine.run(["systemctl", "--version"]).stdout.split()[1])


def secrets(stage: Stage) -> set[str]:
    paths = [f"/run/credentials/{APP}@{number}.service/database" for number in stage.invocations()]
    return {stage.machine.run(["cat", path]).stdout for path in paths}


def test_no_request_fails_while_a_credential_is_renewed(stage: Stage) -> None:
    stage.machine.write(SECRET, "one")
    stage.deploy("v1", instances=2, service={"LoadCredential": f"database:{SECRET}"})
    with stage.load() as load:
        for secret in ("two", "three"):
            stage.machine.write(f"{SECRET}.new", secret)
            stage.machine.path(f"{SECRET}.new").rename(stage.machine.path(SECRET))
            assert len(stage.change("apply").finished["replaced"]) == 2
            assert secrets(stage) == {secret}
        record = load.stop()
    assert not record.failed, record.by_outcome()


@pytest.mark.thorough
def test_the_credential_store_needs_a_restart_and_import_a_newer_systemd(stage: Stage) -> None:
    stage.configure(release=stage.release("v1"), instances=2, service={"ImportCredential": "data*"})
    stage.machine.run(["mkdir", "-p", "-m", "700", "/etc/credstore"])
    stage.machine.write(STORED, "one")
    if systemd(stage) < 254:
        refused = stage.deployd("check", APP)
        assert (refused.returncode, bool(re.search(r"ImportCredential", refused.stderr))) == (3, True), refused
        return
    assert stage.change("apply").result == "succeeded"
    assert secrets(stage) == {"one"}
    stage.machine.write(STORED, "two")
    assert stage.deployd("apply", APP).stderr.startswith(f"{APP}: nothing to do")
    assert len(stage.change("restart").finished["replaced"]) == 2
    assert secrets(stage) == {"two"}
    stage.machine.path(STORED).unlink()
