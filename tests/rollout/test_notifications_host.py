"""Hooks that report run as the app's user with a document on standard input, also when no command waits."""

from __future__ import annotations

import json
import re
import tomllib
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.host.begun import DEADLINE
from tests.host.faults import kill_daemon
from tests.host.stage import APP, RELEASES, Stage

PAGE = Path(__file__).resolve().parents[2] / "docs" / "notifications.md"
UNIT = f"{APP}:notification.service"
SAID = f"{RELEASES}/said"
GO = f"{RELEASES}/go"
RECORD = f"""\
#!/bin/sh
echo "$(id -un) $DEPLOYD_HOOK $DEPLOYD_GENERATION $DEPLOYD_OLD_GENERATION $DEPLOYD_RESULT" >> {SAID}/lines
cat > {SAID}/$DEPLOYD_HOOK
"""
WAIT = f"#!/bin/sh\nwhile [ ! -e {GO} ]; do sleep 0.1; done\ncat >> {SAID}/paused\n"
HOOKS = {kind: [["bin/record"]] for kind in ("failed", "paused", "rolled_back", "finished")}
BAD = "#!/bin/sh\necho 'cannot reach the database' >&2\nexit 3\n"
FILES = {"bin/record": RECORD, "bin/wait": WAIT, "run": "#!/bin/sh\nexec /usr/bin/python3 app.py\n"}


def deploy(stage: Stage, hooks: dict[str, list[list[str]]], **rollout: object) -> None:
    stage.machine.run(["install", "-d", "-m", "777", SAID])
    release = stage.release("v1", files=FILES)
    stage.configure(release=release, exec=["./run"], instances=2, user="www-data", rollout={"hooks": hooks, **rollout})
    assert stage.change("apply").result == "succeeded"


def lines(stage: Stage, count: int) -> list[str]:
    """Return what RECORD has written, once it has run `count` times."""

    def written() -> list[str]:
        path = stage.machine.path(f"{SAID}/lines")
        found = path.read_text().splitlines() if path.exists() else []
        return found if len(found) >= count else []

    found = stage.machine.wait_for(written, timeout=DEADLINE, what=f"{count} reports")
    stage.machine.wait_unit(UNIT, "inactive")
    return list(found or [])


def is_back(stage: Stage, crashes: int) -> bool:
    """True if all instances are ready after so many crashes."""
    status = stage.status()
    return bool(status["ready"] == 2 and status["watch"]["crashes"] == crashes)


def document(stage: Stage, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(stage.machine.read(f"{SAID}/{kind}"))
    return found


def test_a_failed_release_is_reported_with_its_last_lines(stage: Stage) -> None:
    deploy(stage, HOOKS)
    assert lines(stage, 1) == ["www-data finished 1  succeeded"]
    ended = stage.rollout(stage.release("v2", files={**FILES, "run": BAD}))
    assert ended.result == "rolled-back"
    assert lines(stage, 4)[1:] == [
        "www-data failed 2 1 ",
        "www-data rolled_back 2 1 rolled-back",
        "www-data finished 2 1 rolled-back",
    ]
    failed = document(stage, "failed")
    assert (failed["app"], failed["from"], failed["to"], failed["release"]) == (APP, 1, 2, f"{RELEASES}/v2")
    assert failed["failure"]["reason"] == stage.history()[0]["reason"]
    assert failed["failure"]["journal"] == ["cannot reach the database"]
    assert document(stage, "finished")["result"] == "rolled-back"
    directory = stage.machine.path(f"/run/deployd/notifications/{APP}")
    assert list(directory.iterdir()) == []


@pytest.mark.thorough
def test_a_canary_that_waits_and_a_release_that_is_taken_back_are_reported(stage: Stage) -> None:
    """Nothing waits for them: it is as at night."""
    deploy(stage, HOOKS, watch="1h")
    done = stage.deployd("rollout", APP, "--release", stage.release("v2", files=FILES), "--canary", "1", "--no-block")
    assert done.returncode == 0, done
    assert lines(stage, 2)[1:] == ["www-data paused 2 1 "]
    paused = document(stage, "paused")
    assert (paused["pause"], paused["how"].startswith("continue with: deployd resume demo")) == ("held", True)
    assert stage.change("resume", "--wait").result == "succeeded"
    assert lines(stage, 3)[2:] == ["www-data finished 2 1 succeeded"]
    first, second = stage.invocations()
    for crashes, number in enumerate((first, second, first), 1):
        stage.machine.wait_for(partial(is_back, stage, crashes - 1), timeout=DEADLINE, what=f"{crashes - 1} crashes")
        stage.kill(number)
    assert sorted(lines(stage, 6)[3:]) == [
        "www-data failed 3 2 ",
        "www-data finished 3 2 succeeded",
        "www-data rolled_back 3 2 ",
    ]
    assert (document(stage, "rolled_back")["generation"], document(stage, "rolled_back")["by"]) == (2, 3)
    assert "crashed 3 times" in document(stage, "failed")["reason"]


@pytest.mark.thorough
def test_a_report_that_hangs_delays_nothing_and_survives_the_daemon(stage: Stage) -> None:
    deploy(stage, {"paused": [["bin/wait"]]}, pause_after=[1])
    with stage.begin("rollout", "--release", stage.release("v2", files=FILES)) as begun:
        begun.until("paused")
        stage.machine.wait_unit(UNIT, "activating")
        kill_daemon(stage)
        begun.until("daemon-back")
        assert stage.deployd("resume", APP).returncode == 0
        assert begun.end().result == "succeeded"
    assert stage.show(UNIT, "ActiveState")["ActiveState"] == "activating"
    stage.machine.write(GO, "")

    def reports() -> list[str]:
        path = stage.machine.path(f"{SAID}/paused")
        found = path.read_text().split("}{") if path.exists() else []
        return found if len(found) == 2 else []

    stage.machine.wait_for(reports, timeout=DEADLINE, what="the report of the killed daemon and that of the next")
    stage.machine.wait_unit(UNIT, "inactive")
    assert stage.deployd("remove", APP).returncode == 0
    assert not stage.machine.path(f"/run/deployd/notifications/{APP}").exists()


WEBHOOK = """\
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        open(sys.argv[1], "ab").write(self.rfile.read(int(self.headers["Content-Length"])) + b"\\n")
        self.send_response(200), self.end_headers()
http.server.HTTPServer(("127.0.0.1", 8500), Handler).serve_forever()
"""
MAIL = f"""\
#!/bin/sh
{{ printf '%s\\n' "$@"; cat; }} > {SAID}/mail-$1
"""


def recipe(language: str, number: int = 0) -> str:
    """Return a block of docs/notifications.md."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return str(blocks[number])


def test_the_hooks_of_the_manual_send_a_webhook_and_mail(stage: Stage) -> None:
    machine = stage.machine
    hooks = tomllib.loads(recipe("toml"))["rollout"]["hooks"]
    machine.write("/usr/local/bin/mail", MAIL, mode=0o755)
    machine.write("/srv/webhook.py", WEBHOOK)
    machine.run(["systemd-run", "--unit=webhook", "python3", "/srv/webhook.py", f"{SAID}/posts"])
    machine.run(["install", "-m", "600", "/dev/null", "/etc/deployd/webhook"])
    machine.write("/etc/deployd/webhook", "WEBHOOK_URL=http://127.0.0.1:8500/x\n")
    stage.machine.run(["install", "-d", "-m", "777", SAID])
    release = stage.release("v1", files=FILES)
    stage.configure(
        release=release,
        exec=["./run"],
        user="www-data",
        environment_files=["/etc/deployd/webhook"],
        rollout={"hooks": hooks},
    )
    assert stage.change("apply").result == "succeeded"
    assert stage.rollout(stage.release("v2", files={**FILES, "run": BAD})).result == "rolled-back"
    machine.wait_for(machine.path(f"{SAID}/mail--s").exists, timeout=DEADLINE, what="the mail")
    machine.wait_unit(UNIT, "inactive")
    _, subject, address, event = machine.read(f"{SAID}/mail--s").splitlines()
    assert (subject.startswith("demo: rolled back: instance "), address) == (True, "ops@example.org")
    assert json.loads(event)["result"] == "rolled-back"
    [post] = [json.loads(line)["text"].splitlines() for line in machine.read(f"{SAID}/posts").splitlines()]
    host = machine.run(["uname", "-n"]).stdout.strip()
    assert post[0].startswith(f"demo on {host}: failed: instance ")
    assert post[1:] == ["```", "cannot reach the database", "```"]


@pytest.mark.thorough
def test_the_unit_of_the_manual_reports_that_an_app_is_down(stage: Stage) -> None:
    machine = stage.machine
    stage.deploy("v1", instances=1)
    machine.run(["install", "-d", "-m", "777", SAID])
    machine.write("/usr/local/bin/mail", MAIL, mode=0o755)
    for path, text in re.findall(r"^# (\S+)\n(.*?)(?:^$|\Z)", recipe("ini"), re.MULTILINE | re.DOTALL):
        machine.write(path.replace("shop", APP), text.replace("shop", APP))
    machine.run(["systemctl", "daemon-reload"])
    machine.run(["systemctl", "stop", f"{APP}@1.service"])
    machine.wait_for(machine.path(f"{SAID}/mail--s").exists, timeout=DEADLINE, what="the mail")
    machine.wait_unit(f"app-down@{APP}.service", "inactive")
    assert machine.read(f"{SAID}/mail--s").startswith(
        f"-s\n{APP} is down\nops@example.org\n{APP}: generation 1, 0 of 1 ready"
    )
