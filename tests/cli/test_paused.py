"""Paused rollouts in status and in a command that waits."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from deployd.api import Client
from deployd.bus import MethodCall, Reply
from deployd.errors import Refused
from deployd.replies import Json
from deployd_cli.text.event import event_line
from deployd_cli.text.paint import PLAIN
from deployd_cli.text.plan import plan_lines
from deployd_cli.text.progress import Progress
from deployd_cli.text.status import change_line, status_lines
from tests.cli.fake_daemon import FakeDaemon, failure, generation_row, status
from tests.cli.process import deployd, ended, rolling, started, with_daemon

NOW = datetime(2026, 1, 2, 4, 4, 5, tzinfo=UTC)
HOW = "continue with: deployd resume demo; or roll back with: deployd abort demo"
PAUSED: dict[str, Any] = {
    "reason": "canary: 1 new alongside 4 old",
    "pause": "held",
    "waits_for": "resume or abort",
    "how": HOW,
}
HOLDS = [{"new": 1, "canary": True}, {"new": 2, "canary": False}, {"new": 3, "canary": False}]


def shown(rollout: dict[str, Any], width: int | None = 100) -> list[str]:
    """Return the lines of status about a rollout, below app and release."""
    lines = status_lines(status(rollout={"from": 7, "to": 8, **rollout}), NOW, width=width, paint=PLAIN)
    return lines[2 : lines.index("")]


def test_status_of_a_paused_rollout_says_what_it_waits_for_and_how_to_continue() -> None:
    assert shown({"phase": "paused", "holds": HOLDS, **PAUSED}) == [
        "  paused 7 → 8",
        "  canary: 1 new alongside 4 old",
        "  waits for resume or abort",
        f"  {HOW}",
        "  then pauses at 2 new instances, then at 3 new instances",
    ]


def test_a_change_to_a_pause_has_its_reason() -> None:
    rolling = status(rollout={"phase": "rolling", "from": 7, "to": 8, "reason": "no"})
    assert change_line(rolling) == "demo: generation 7, 4 of 4 ready, rolling 7 → 8"
    paused = status(rollout={"phase": "paused", "from": 7, "to": 8, **PAUSED})
    assert change_line(paused) == f"demo: generation 7, 4 of 4 ready, paused 7 → 8: {PAUSED['reason']}"


def test_status_of_a_rollout_says_where_it_will_pause() -> None:
    assert shown({"phase": "rolling", "reason": "", "holds": HOLDS[:2]}) == [
        "  rolling 7 → 8",
        "  pauses at 1 new instance alongside the old, then at 2 new instances",
    ]


def test_how_to_continue_is_never_cut() -> None:
    how = "fix it, then continue with: deployd resume demo; or roll back with: deployd abort demo --past-irreversible"
    rollout = {"phase": "paused", "pause": "failed", "reason": "no", "how": how, "failure": failure()}
    lines = shown(rollout, 60)
    assert max(map(len, lines)) <= 60
    assert how in " ".join(" ".join(lines).split())
    progress = Progress("demo", status(), 8, 0.0)
    progress.apply({"event": "paused", **rollout}, 1.0)
    assert how in " ".join(" ".join(progress.lines(2.0, width=60, height=24, paint=PLAIN)).split())


def test_a_pause_is_printed_in_one_line_and_displayed() -> None:
    event = {"event": "paused", "app": "demo", **PAUSED}
    assert event_line(event) == f"demo: paused: {PAUSED['reason']}; {HOW}"
    older = event_line({"event": "paused", "app": "demo", "reason": ""})
    assert older == f"demo: paused; {HOW}"
    progress = Progress("demo", status(), 8, 0.0)
    progress.apply(event, 1.0)
    assert progress.lines(2.0, width=80, height=24, paint=PLAIN)[1:3] == [f"  {PAUSED['reason']}", f"  {HOW}"]
    progress.apply({"event": "resumed"}, 3.0)
    assert not [line for line in progress.lines(4.0, width=80, height=24, paint=PLAIN) if HOW in line]


def test_plan_shows_where_it_pauses() -> None:
    actions: list[dict[str, Any]] = [
        {"action": "start", "instance": 5, "generation": 8, "ready": 5},
        {"action": "pause", "new": 1, "canary": True, "ready": 5},
        {"action": "stop", "instance": 4, "generation": 7, "ready": 4},
        {"action": "pause", "new": 2, "canary": False, "share": None, "ready": 4},
        {"action": "pause", "new": 1, "canary": True, "share": 0.05, "ready": 5},
    ]
    plan = {"app": "demo", "from": 7, "to": 8, "release": "/srv/demo/8", "actions": actions, "floor": 4}
    assert plan_lines(plan, PLAIN)[1:6] == [
        "  1. start instance 5 (generation 8)                                    5 ready",
        "  2. pause at 1 new instance alongside the old                          5 ready",
        "  3. stop instance 4 (generation 7)                                     4 ready",
        "  4. pause at 2 new instances                                           4 ready",
        "  5. pause at 5 % of new connections, 1 new instance alongside the old  5 ready",
    ]


def test_options_reach_the_daemon(address: str) -> None:
    async def work(daemon: FakeDaemon) -> None:
        for member in ("Rollout", "Apply", "Rollback", "Restart", "Scale"):
            daemon.answers["demo", member] = 8
        daemon.answers["demo", "Plan"] = {"app": "demo", "actions": [], "floor": 4}
        for arguments in (
            ["rollout", "demo", "--canary", "2", "--supersede", "--no-block"],
            ["apply", "demo", "--canary", "1", "--no-block"],
            ["rollback", "demo", "--to", "3", "--supersede", "--past-irreversible", "--no-block"],
            ["restart", "demo", "--supersede", "--no-block"],
            ["scale", "demo", "6", "--supersede", "--no-block"],
            ["abort", "demo", "--past-irreversible"],
            ["abort", "demo", "--token", "7"],
            ["plan", "demo", "--canary", "3"],
            ["plan", "demo", "--canary", "0.5%"],
            ["weight", "demo", "8", "10%"],
        ):
            assert (await deployd(address, *arguments)).status == 0, arguments
        assert [
            (member, body) for _, member, body in daemon.calls if member not in ("Describe", "History", "Changes")
        ] == [
            ("Rollout", [{"canary": 2, "supersede": True}]),
            ("Apply", [{"start": True, "canary": 1}]),
            ("Rollback", [3, {"supersede": True, "past_irreversible": True}]),
            ("Restart", [{"supersede": True}]),
            ("Scale", [6, {"supersede": True}]),
            ("Abort", [{"past_irreversible": True}]),
            ("Abort", [{"token": 7}]),
            ("Plan", [{"canary": 3}]),
            ("Plan", [{"canary_share": 0.005}]),
            ("SetWeight", [8, 0.1, {}]),
        ]

    with_daemon(address, work)


def test_weight_prints_the_weight_that_it_set(address: str) -> None:
    async def work(daemon: FakeDaemon) -> None:
        daemon.answers["demo", "Describe"] = status(rollout={"phase": "paused", "from": 7, "to": 8})
        done = await deployd(address, "weight", "demo", "7", "12.5%")
        assert done == (0, "", "demo: generation 7 now gets 12.5 % of new connections, generation 8 the rest\n")
        daemon.answers["demo", "SetWeight"] = Refused("demo shares one socket")
        assert (await deployd(address, "weight", "demo", "7", "10%")).status == 3

    with_daemon(address, work)


@pytest.mark.parametrize("as_json", [False, True])
def test_the_command_waits_for_a_paused_rollout(address: str, as_json: bool) -> None:
    async def work(daemon: FakeDaemon) -> None:
        more = ["--json"] if as_json else []
        async with rolling(address, daemon, "rollout", "demo", "--canary", "1", *more) as process:
            daemon.emit("paused", **PAUSED)
            assert process.stdout is not None
            line = await process.stdout.readline()
            if as_json:
                assert {**json.loads(line), **PAUSED} == json.loads(line)
            else:
                assert line.decode() == f"demo: paused: {PAUSED['reason']}; {HOW}\n"
            assert process.returncode is None
            daemon.emit("resumed")
            daemon.emit("finished", result="succeeded", duration=6.2, replaced=[1], adopted=[])
            assert (await ended(process)).status == 0

    with_daemon(address, work)


def test_a_failed_rollout_is_explained_on_standard_error(address: str) -> None:
    async def work(daemon: FakeDaemon) -> None:
        async with rolling(address, daemon, "rollout", "demo") as process:
            failed = failure()
            daemon.emit("failed-gate", instance=5, reason=failed["reason"], failure=failed)
            daemon.emit("finished", result="rolled-back", reason=failed["reason"], failure=failed)
            done = await ended(process)
        sentence = f"{failed['reason']} (gate notify, waited 0.4 s for READY=1)"
        words = ["    Traceback (most recent call last):", '      File "app.py", line 3', "    ImportError: no"]
        assert done.status == 1
        assert done.out.splitlines() == [f"demo: gate failed: {sentence}", *words]
        end = f"deployd: demo: generation 8 failed and was rolled back to 7: {sentence}"
        assert done.err.splitlines() == [end, *words]

    with_daemon(address, work)


def test_a_pause_is_printed_again_after_a_restart_of_the_daemon(address: str) -> None:
    async def work() -> None:
        heard: asyncio.Queue[Json] = asyncio.Queue()
        async with await Client.connect(address) as client, client.watch("demo") as watch:

            async def follow() -> None:
                async for event in watch.until_finished(8):
                    heard.put_nowait(event)

            async with FakeDaemon.at(address) as daemon:
                await client.status("demo")
                following = asyncio.ensure_future(follow())
                daemon.emit("paused", **PAUSED)
                assert (await heard.get())["event"] == "paused"
            async with FakeDaemon.at(address, generation_row(8, "running")) as daemon:
                daemon.answers["demo", "Describe"] = status(rollout={"phase": "paused", "from": 7, "to": 8, **PAUSED})
                assert [(await heard.get())["event"] for _ in range(2)] == ["daemon-lost", "daemon-back"]
                again = await heard.get()
                assert again | {"event": "paused", "app": "demo", "from": 7, "to": 8, **PAUSED} == again
                daemon.emit("finished", result="aborted")
                await following

    asyncio.run(asyncio.wait_for(work(), 30))


def test_the_display_of_a_paused_rollout_survives_a_restart_of_the_daemon() -> None:
    progress = Progress("demo", status(), 8, 0.0)
    progress.apply({"event": "paused", **PAUSED}, 1.0)
    before = progress.lines(2.0, width=80, height=24, paint=PLAIN)
    progress.apply({"event": "daemon-lost", "app": "demo"}, 2.0)
    stopped = progress.lines(2.0, width=80, height=24, paint=PLAIN)
    assert [line for line in stopped if line not in before] == [
        "  deployd is not running, waiting for it; instances keep serving"
    ]
    progress.apply({"event": "daemon-back"}, 2.0)
    assert progress.lines(2.0, width=80, height=24, paint=PLAIN) == before


@contextlib.asynccontextmanager
async def asked(
    address: str, daemon: FakeDaemon, answer: Callable[[], Awaitable[Reply]], *arguments: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a command whose Rollout is answered by `answer`."""
    serve = daemon._serve

    async def instead(call: MethodCall) -> Reply:
        if call.member != "Rollout":
            return await serve(call)
        return await answer()

    daemon._bus.serve(instead)
    process = await started(address, *arguments)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@pytest.mark.parametrize("as_json", [False, True])
def test_hooks_are_printed_while_the_request_waits_for_them(address: str, as_json: bool) -> None:
    async def work(daemon: FakeDaemon) -> None:
        go_on = asyncio.Event()
        hook: dict[str, Any] = {"hook": "before", "command": ["bin/migrate"]}

        async def answer() -> Reply:
            daemon.emit("hook", **hook, state="started")
            await go_on.wait()
            daemon.emit("hook", **hook, state="failed", exit_status=4, journal=["no such table"])
            raise Refused("the before hook bin/migrate exited with status 4; nothing was changed")

        more = ["--json"] if as_json else []
        async with asked(address, daemon, answer, "rollout", "demo", *more) as process:
            assert process.stdout is not None
            line = await process.stdout.readline()  # it is there before the answer
            if as_json:
                assert json.loads(line)["state"] == "started"
            else:
                assert line == b"demo: before hook bin/migrate: started\n"
            go_on.set()
            done = await ended(process)
        assert done.status == 3
        assert done.err == "deployd: the before hook bin/migrate exited with status 4; nothing was changed\n"
        if as_json:
            hook, error = map(json.loads, done.out.splitlines())
            assert hook["journal"] == ["no such table"]
            assert (error["event"], error["error"], error["exit_status"]) == ("error", "Refused", 3)
        else:
            expected = ["demo: before hook bin/migrate: failed: exit status 4", "    no such table"]
            assert done.out.splitlines() == expected

    with_daemon(address, work)


def test_other_events_before_the_answer_are_printed_after_it(address: str) -> None:
    async def work(daemon: FakeDaemon) -> None:
        async def answer() -> Reply:
            daemon.emit("hook", hook="before", command=["bin/migrate"], state="succeeded")
            daemon.emit("finished", to=6, result="superseded")
            daemon.emit("started", release="/srv/demo/8")
            daemon.emit("finished", result="succeeded", duration=6.2)
            return "t", [8]

        async with asked(address, daemon, answer, "rollout", "demo", "--supersede") as process:
            done = await ended(process)
        assert done.out.splitlines() == [
            "demo: before hook bin/migrate: succeeded",
            "demo: rolling out generation 8 in place of 7: /srv/demo/8",
            "demo: generation 8 is live: 6.2 s",
        ]

    with_daemon(address, work)


@pytest.mark.parametrize(
    ("verb", "result", "exit_status"),
    [("resume", "succeeded", 0), ("resume", "rolled-back", 1), ("abort", "aborted", 0), ("abort", "failed", 1)],
)
def test_resume_and_abort_can_wait_for_the_end(address: str, verb: str, result: str, exit_status: int) -> None:
    async def work(daemon: FakeDaemon) -> None:
        paused = status(rollout={"phase": "paused", "from": 7, "to": 8, **PAUSED})
        daemon.answers["demo", "Describe"] = paused
        async with rolling(address, daemon, verb, "demo", "--wait", "--json") as process:
            daemon.emit("finished", to=6, result="superseded")
            daemon.emit("instance", instance=5, generation=8, state="starting")
            daemon.emit("finished", result=result)
            done = await ended(process)
        assert done.status == exit_status
        assert [json.loads(line)["event"] for line in done.out.splitlines()] == ["instance", "finished"]
        assert (done.err == "") == (exit_status == 0)

    with_daemon(address, work)


def test_without_wait_they_return_at_once(address: str) -> None:
    async def work(_: FakeDaemon) -> None:
        said = "follow it with: deployd status demo --watch\n"
        assert await deployd(address, "resume", "demo") == (0, "", f"demo: resumed; {said}")
        assert await deployd(address, "abort", "demo") == (0, "", f"demo: rolling back; {said}")

    with_daemon(address, work)
