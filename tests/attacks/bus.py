"""Attacks over the bus on the daemon and the command: forged messages, deadly messages and floods."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator

from tests.attacks.liar import LIE
from tests.host.root import IN_HOST
from tests.host.stage import APP, DEADLINE, Begun, Stage

THE_BUS = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
POLICY = "/etc/dbus-1/system.d/attack.conf"
DOCTYPE = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
"""
FLOODED = 12.0
"""Seconds, longer than the daemon's watchdog timeout."""
SINK = "org.example.Sink"
ROUNDS, MOST_DELAY = 2, 1.5
"""Rollouts under each flood, of which the fastest counts, and the factor by which it may be slower than under the same
flood of another name. The target is 1.1, measured were 0.97 to 1.08; the margin is for busy machines."""
GATE = {"timeout": "4s"}
LYING = "8"
"""Seconds, longer than the rollout of a release that never becomes ready."""

BUSCTL = """\
while :; do
    for n in 1 2 3 4 5 6 7 8 9; do
        busctl --system emit --destination=org.deployd1 /org/freedesktop/systemd1/unit/demo_40${n}_2eservice \\
            org.freedesktop.DBus.Properties PropertiesChanged 'sa{sv}as' org.freedesktop.systemd1.Unit 2 \\
            ActiveState s active SubState s running 0
    done
done
"""


def program(stage: Stage, name: str, *arguments: str, user: str = "nobody") -> subprocess.Popen[str]:
    """Start the module `name` of this package on the host as `user`."""
    argv = ["/usr/bin/python3", "-m", f"tests.attacks.{name}", *arguments]
    env = {"PYTHONPATH": str(IN_HOST)}
    return stage.machine.popen(argv, user=user, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


@contextlib.contextmanager
def signals_let_through(stage: Stage) -> Iterator[None]:
    """Override the bus policy that blocks signals addressed to the daemon, to test the checks of the daemon itself."""
    with policy(
        stage, '<policy context="default"><allow send_destination="org.deployd1" send_type="signal"/></policy>'
    ):
        yield


@contextlib.contextmanager
def sink(stage: Stage) -> Iterator[None]:
    """Provide another name on the bus, whose owner discards all messages."""
    allowed = f'<policy user="root"><allow own="{SINK}"/></policy>'
    allowed += f'<policy context="default"><allow send_destination="{SINK}"/></policy>'
    with policy(stage, allowed), running(program(stage, "flooder", "sink", SINK, user="root")) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "flooding\n", process.stdout.read()
        yield


@contextlib.contextmanager
def policy(stage: Stage, text: str) -> Iterator[None]:
    """Add `text` to the policy of the bus."""
    reload = ["busctl", "call", *THE_BUS, "ReloadConfig"]
    stage.machine.write(POLICY, f"{DOCTYPE}<busconfig>{text}</busconfig>\n")
    stage.machine.run(reload)
    try:
        yield
    finally:
        stage.machine.path(POLICY).unlink()
        stage.machine.run(reload)


@contextlib.contextmanager
def running(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def daemon(stage: Stage) -> dict[str, str]:
    """Return the daemon's main PID and the number of its restarts."""
    return stage.show("deployd.service", "MainPID", "NRestarts")


def _bad_rollout_under(stage: Stage, attack: Callable[[], subprocess.Popen[str]]) -> str:
    """Roll out a release that never sends READY=1 while `attack` claims that it does."""
    stage.deploy("v1", gate=GATE)
    before, was = stage.invocations(), daemon(stage)
    with running(attack()):
        ended = stage.rollout(stage.release("bad", "hang"))
        achieved = _believed(stage, ended.result, ended.status)
    if daemon(stage) != was:
        return "the daemon was restarted"
    if not achieved and stage.invocations() != before:
        return "serving instances were replaced"
    return achieved


def _believed(stage: Stage, result: str, status: int) -> str:
    recorded = stage.history()[0]["result"]
    if recorded != "rolled-back":
        return f"the history has the result {recorded} for a release that was never ready"
    if (result, status) != ("rolled-back", 1):
        return f"the command reported {result} with status {status} for a rollout that was rolled back"
    return ""


def states_of_units_forged_with_busctl(stage: Stage) -> str:
    """The user nobody emits PropertiesChanged for every instance while a release that is never ready is rolled out."""
    with signals_let_through(stage):
        return _bad_rollout_under(stage, lambda: stage.machine.popen(["sh", "-c", BUSCTL], user="nobody"))


def every_signal_forged(stage: Stage) -> str:
    """The user nobody sends each kind of signal that daemon and command await, to every connection on the bus."""
    with signals_let_through(stage):
        return _bad_rollout_under(stage, lambda: program(stage, "liar", "60", APP, "2"))


def every_signal_forged_under_the_policy(stage: Stage) -> str:
    """The user nobody does the same with the bus policy in place, which does not protect the command's unique name."""
    return _bad_rollout_under(stage, lambda: program(stage, "liar", "60", APP, "2"))


def end_forged_for_a_waiting_command(stage: Stage) -> str:
    """The user nobody signals to a waiting `deployd rollout` and a `status --watch` that the rollout has succeeded."""
    stage.deploy("v1")
    watch = ["deployd", "status", APP, "--watch", "--json"]
    watching = stage.machine.popen(watch, stdout=subprocess.PIPE)
    with running(watching), stage.begin("rollout", "--release", stage.release("v2", boot=1.5)) as begun:
        begun.until("instance", state="starting")
        with running(program(stage, "liar", LYING, APP, "2")):
            ended = begun.end()
            stage.machine.run(["systemctl", "restart", "deployd"])  # also while the name has no owner
            stage.status()
        watching.kill()
        seen, _ = watching.communicate()
    if str(LIE) in seen or "/srv/lie" in seen:
        return "`status --watch` showed forged data"
    if "/srv/lie" in str(ended.events):
        return "`rollout` showed forged data"
    return _unfinished(stage, ended.result, begun)


def _unfinished(stage: Stage, result: str, begun: Begun) -> str:
    ready = [event for event in begun.events if event["event"] == "instance" and event["state"] == "ready"]
    return "" if result == "succeeded" and len(ready) == 4 else f"`rollout` ended with {result}, {len(ready)} ready"


def deadly_messages(stage: Stage) -> str:
    """The user nobody sends odd names, long bodies, nested variants, unknown types: what might kill the daemon."""
    stage.deploy("v1", instances=1)
    was = daemon(stage)
    with running(program(stage, "deadly")) as process:
        unanswered = process.communicate(timeout=DEADLINE)[0].splitlines()
    if daemon(stage) != was:
        return f"the daemon died; {unanswered}"
    stage.status()
    return "; ".join(unanswered)


def signals_for_the_daemon_alone(stage: Stage) -> str:
    """The user nobody sends a signal to org.deployd1, and to its unique name: the bus should refuse both."""
    found = stage.machine.run(["busctl", "--json=short", "call", *THE_BUS, "GetNameOwner", "s", "org.deployd1"]).stdout
    [owner] = json.loads(found)["data"]
    with running(program(stage, "addressed", "org.deployd1", owner)) as process:
        delivered = process.communicate(timeout=DEADLINE)[0].strip()
    return f"delivered to {delivered}" if delivered else ""


def _flood(stage: Stage, kind: str) -> str:
    """Compare rollouts under a flood of the daemon with rollouts under the same flood of another name."""
    stage.deploy("v1", instances=2)
    was = daemon(stage)
    seconds: dict[str, list[float]] = {SINK: [], "org.deployd1": []}
    with sink(stage):
        for count, to in enumerate((SINK, "org.deployd1") * ROUNDS):
            with running(program(stage, "flooder", kind, to)) as flood:
                assert flood.stdout is not None
                assert flood.stdout.readline() == "flooding\n", flood.stdout.read()
                ended = stage.rollout(stage.release(f"v{count + 2}", boot=0.3))
                if ended.result != "succeeded":
                    return f"a rollout ended {ended.result}: {ended.reason}"
                seconds[to].append(float(ended.finished["duration"]))
                stage.status()
    if daemon(stage) != was:
        return "the daemon was restarted"
    ratio = min(seconds["org.deployd1"]) / min(seconds[SINK])
    return f"a rollout took {ratio:.2f} times as long" if ratio > MOST_DELAY else ""


def flood_without_replies(stage: Stage) -> str:
    """The user nobody sends 10,000 calls per second that expect no reply."""
    return _flood(stage, "quiet")


def flood_as_fast_as_it_goes(stage: Stage) -> str:
    """The user nobody sends calls that expect no reply as fast as the bus accepts them, and root queries the status."""
    stage.deploy("v1", instances=2)
    was, until = daemon(stage), time.monotonic() + FLOODED
    with running(program(stage, "flooder", "furious")):
        while time.monotonic() < until:
            if (asked := stage.deployd("status", APP)).returncode:
                return f"root got an error: {asked.stderr}"
    return "" if daemon(stage) == was else "the daemon was restarted"


def flood_as_fast_as_it_goes_in_a_rollout(stage: Stage) -> str:
    """The user nobody does the same during a rollout by root."""
    return _flood(stage, "furious")


def flood_of_parallel_callers(stage: Stage) -> str:
    """The user nobody has 1,000 pending calls at any time, over 200 connections."""
    return _flood(stage, "parallel")


def flood_of_unread_replies(stage: Stage) -> str:
    """The user nobody requests histories without reading them, over as many connections as the bus allows a user."""
    return _flood(stage, "unread")


def flood_of_long_messages(stage: Stage) -> str:
    """The user nobody sends strings of 17 and 50 MiB, and arrays of integers and of variants."""
    return _flood(stage, "long")


def flood_of_signals(stage: Stage) -> str:
    """The user nobody addresses 10,000 signals per second to the daemon, each of which the bus refuses."""
    return _flood(stage, "signals")


def flood_of_connections(stage: Stage) -> str:
    """The user nobody uses a new connection for every eight calls, so that the daemon must look up its credentials."""
    return _flood(stage, "connecting")


ATTACKS: tuple[Callable[[Stage], str], ...] = (
    states_of_units_forged_with_busctl,
    every_signal_forged,
    every_signal_forged_under_the_policy,
    end_forged_for_a_waiting_command,
    signals_for_the_daemon_alone,
    deadly_messages,
    flood_without_replies,
    flood_as_fast_as_it_goes,
    flood_as_fast_as_it_goes_in_a_rollout,
    flood_of_parallel_callers,
    flood_of_unread_replies,
    flood_of_long_messages,
    flood_of_connections,
    flood_of_signals,
)
