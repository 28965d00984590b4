"""Invalid settings of the daemon: it says why and is not started again and again, and apps keep serving."""

from __future__ import annotations

import pytest

from tests.host.stage import Stage

DAEMON = "deployd.service"
INVALID = {
    "file": ("/etc/deployd/deployd.toml", "[host]\ndrain = 1\n", "/etc/deployd/deployd.toml:2: host.drain: "),
    "environment": (
        f"/etc/systemd/system/{DAEMON}.d/steady.conf",
        "[Service]\nEnvironment=DEPLOYD_STEADY=soon\n",
        "DEPLOYD_STEADY is 'soon': it must be a number of seconds",
    ),
}


@pytest.mark.parametrize(("path", "text", "sentence"), INVALID.values(), ids=INVALID)
def test_invalid_settings_are_reported_once(stage: Stage, path: str, text: str, sentence: str) -> None:
    stage.deploy("v1")
    machine, before = stage.machine, stage.invocations()
    machine.write(path, text)
    stage.systemctl("daemon-reload")
    refused = stage.systemctl("restart", DAEMON, check=False)
    shown = stage.show(DAEMON, "ActiveState", "SubState", "NRestarts")
    assert (refused.returncode, shown) == (1, {"ActiveState": "failed", "SubState": "failed", "NRestarts": "0"})
    journal = machine.run(["journalctl", "--no-pager", "--output=cat", f"--unit={DAEMON}"]).stdout
    assert journal.count(sentence) == 1, journal
    assert stage.get()["version"] == "v1"

    machine.path(path).unlink()
    stage.systemctl("daemon-reload")
    stage.systemctl("restart", DAEMON)
    assert stage.invocations() == before
