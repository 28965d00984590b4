"""docs/application.md through ssh, with every request and every order counted."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.attacks.service import read_rules
from tests.delivery import sshd
from tests.docs.walk import Saved, steps
from tests.host.machine import Machine
from tests.host.stage import Stage

pytestmark = pytest.mark.thorough

REPOSITORY = "/srv/git/shop"
GIT = f"git -C {REPOSITORY} -c user.name=x -c user.email=x@example.org"
PORT = 8000
WATCHED = 120.0
"""Seconds within which a release that dies after half of a minute is taken back."""
ORDERS = """\
import http.client, sys, threading
end = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), end.set()), daemon=True).start()
good = bad = 0
while not end.wait(0.02):
    connection = http.client.HTTPConnection("127.0.0.1", 8000, timeout=30)
    try:
        connection.request("POST", "/")
        good += connection.getresponse().read() == b"thank you\\n"
    except (OSError, http.client.HTTPException):
        bad += 1
    connection.close()
print(good, bad)
"""


def prepare(machine: Machine) -> None:
    """Have the files of the page, the user who deploys, and what the page has root do."""
    for step in steps("application.md"):
        if isinstance(step, Saved):
            machine.write(step.path, step.text)
    machine.write(f"{REPOSITORY}/style.css", "body { color: navy }\n")
    for command in (
        f"{GIT} init -q",
        "useradd --create-home --shell /bin/bash deploy",
        "install -d -o deploy /srv/shop /srv/shop/releases /srv/shop/shared",
        "install -d -o www-data /srv/shop/shared/data",
        "cp /usr/share/deployd/examples/deploy-one-app.rules /etc/polkit-1/rules.d/50-deployd-shop.rules",
    ):
        machine.run(["sh", "-c", command])


def push(machine: Machine, name: str, change: str = "true") -> dict[str, Any]:
    """Change the application, and deploy it by one line; return the receipt."""
    deploy = f"{sshd.SSH} deploy@127.0.0.1 deployd deploy shop - --id {name} --json"
    script = f"set -e; cd {REPOSITORY}; {change}; {GIT} add .; {GIT} commit -q -m {name}; {GIT} archive HEAD | {deploy}"
    done = machine.run(["sh", "-c", script], check=False)
    receipt: dict[str, Any] = json.loads(done.stdout.splitlines()[0])
    assert done.returncode == (receipt["result"] != "succeeded"), done
    return receipt


def orders(machine: Machine) -> tuple[int, int]:
    """Return how many orders there are, and how many are done."""
    script = (
        "import sqlite3; print(*sqlite3.connect('data/shop.sqlite').execute('SELECT count(*), sum(done) FROM orders'))"
    )
    done = machine.run(["deployd", "run", "shop", "--", "python3", "-c", script])
    count, finished = done.stdout.strip("()\n").split(", ")
    return int(count), int(finished)


def test_no_request_fails_and_every_order_is_done(own_stage: Stage) -> None:
    stage, machine = own_stage, own_stage.machine
    prepare(machine)
    read_rules(stage)
    sshd.start(machine)
    assert push(machine, "1")["generation"] == 1
    pipe = subprocess.PIPE
    client = machine.popen(["python3", "-c", ORDERS], stdin=pipe, stdout=pipe)
    load = stage.load(50, 2, "--port", str(PORT))
    assert push(machine, "2", "echo 'body { color: black }' >style.css")["result"] == "succeeded"
    assert push(machine, "3", "sed -i '1i import no_such_module' worker.py")["result"] == "rolled-back"
    assert push(machine, "4", f"{GIT} revert --no-edit HEAD >/dev/null; echo >>clock.py")["result"] == "succeeded"
    record = load.stop()
    assert not record.failed, (record.by_outcome(), record.failed[:5])
    good, bad = map(int, client.communicate("", timeout=60)[0].split())
    assert (good > 0, bad) == (True, 0)
    machine.wait_for(lambda: len(set(orders(machine))) == 1, what="the workers to do what is left")
    placed, done = orders(machine)
    assert (placed - good in (0, 1), done) == (True, placed), "the clock may have placed one"
    print(f"{len(record.requests)} requests, {good} orders by clients, {done} done")

    assert push(machine, "5", "sed -i '1i import signal; signal.alarm(30)' web.py")["result"] == "succeeded"
    machine.wait_for(
        lambda: live(machine) == "/srv/shop/releases/4", timeout=WATCHED, what="the release to be taken back"
    )
    rows = json.loads(machine.run(["deployd", "history", "shop", "--json"]).stdout)["generations"]
    assert [(row["cause"], row["result"]) for row in rows[:2]] == [("watch", "succeeded"), ("rollout", "succeeded")]
    assert "crashed 3 times" in rows[0]["reason"]


def live(machine: Machine) -> str:
    status = json.loads(machine.run(["deployd", "status", "shop", "--json"]).stdout)
    return str(status["release"]) if status["rollout"] is None else ""
