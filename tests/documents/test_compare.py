"""The document of `deployd compare`, and how the command shows it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any
from unittest.mock import create_autospec

from deployd.apps.comparer import Comparer
from deployd.documents.compare import comparison, shown
from deployd.state.history import History
from deployd.systemd.complaints import ComplaintCounter, Complaints
from deployd.systemd.manager import Systemd
from deployd.systemd.usage import Usage
from deployd_cli.text.compare import compare_lines
from deployd_cli.text.paint import PLAIN, Paint
from tests.cli.fake_daemon import instance, status

NOW = datetime(2026, 1, 2, 3, 5, 5, tzinfo=UTC)
CANARY = [instance(1, 7), instance(2, 7, restarts=2, crashes=1), instance(5, 8, since="2026-01-02T03:04:55+00:00")]
HELD = status(instances=[*CANARY, instance(6, 9, "inactive"), instance(7, None, "starting")])  # type: ignore[arg-type]
SHARES = [
    {"generation": 7, "asked": 66.7, "seen": 66.0, "connections": 2000},
    {"generation": 8, "asked": 33.3, "seen": 34.0, "connections": 1000},
]
USAGES = {f"demo@{number}.service": Usage(number / 2, number << 20) for number in (1, 2, 5)}


def both(**more: Any) -> list[dict[str, Any]]:
    answer = comparison({**HELD, **more}, USAGES, {8: Complaints(12, False, ("no such table", "again"))})
    assert answer["app"] == "demo"
    found: list[dict[str, Any]] = answer["generations"]
    assert [item["generation"] for item in found] == [8, 7]
    return found


def test_generations_with_instances_newest_first() -> None:
    assert list(shown(HELD)) == [8, 7]
    new, old = both()
    assert (new["instances"], new["ready"], old["instances"], old["ready"]) == (1, 1, 2, 2)
    assert (old["restarts"], old["crashes"]) == (2, 1)
    assert (new["since"], old["since"]) == ("2026-01-02T03:04:55+00:00", "2026-01-02T03:04:05+00:00")
    assert (new["cpu_seconds"], old["cpu_seconds"]) == (2.5, 1.5)
    assert (old["memory_bytes"], old["memory_per_instance"]) == (3 << 20, 3 << 19)
    assert (new["error_lines"], new["errors"], old["error_lines"]) == (12, ["no such table", "again"], 0)
    for unknown in ("connections", "share_asked", "share_seen", "open", "cpu_per_1000"):
        assert new[unknown] is old[unknown] is None


def test_a_steered_app_has_connections() -> None:
    items = [{**item, "connections": 3} for item in CANARY]
    new, old = both(shares=SHARES, instances=items)
    assert (new["connections"], new["share_asked"], new["share_seen"], new["open"]) == (1000, 33.3, 34.0, 3)
    assert old["open"] == 6
    assert new["cpu_per_1000"] == 2.5
    assert old["cpu_per_1000"] is None, "systemd counts from the restart on"


def test_a_sum_with_an_unknown_value_is_unknown() -> None:
    (one,) = comparison(status(count=2), {"demo@1.service": Usage(1.0, 1)})["generations"]
    assert one["cpu_seconds"] is one["memory_bytes"] is one["memory_per_instance"] is None


def test_an_app_without_instances() -> None:
    assert comparison(status(count=0)) == {"app": "demo", "generations": []}
    assert compare_lines(comparison(status(count=0)), NOW, width=80, paint=PLAIN) == []


def test_the_command_shows_generations_side_by_side() -> None:
    lines = compare_lines({"generations": both()}, NOW, width=80, paint=PLAIN)
    assert lines == [
        "GENERATION                8       7",
        "instances ready      1 of 1  2 of 2",
        "age                    10 s    60 s",
        "restarts                  0       2",
        "crashes                   0       1",
        "CPU                  2.50 s  1.50 s",
        "memory                 5.0M    3.0M",
        "memory per instance    5.0M    1.5M",
        "error lines              12       0",
        "",
        "generation 8: /srv/demo/releases/8",
        "  no such table",
        "  again",
        "",
        "generation 7: /srv/demo/releases/7",
    ]
    steered = "\n".join(compare_lines({"generations": both(shares=SHARES)}, NOW, width=80, paint=PLAIN))
    assert "weight               33.3 %  66.7 %" in steered
    assert "CPU per 1000         2.50 s       -" in steered


def test_errors_are_coloured() -> None:
    text = "\n".join(compare_lines({"generations": both()}, NOW, width=None, paint=Paint(on=True)))
    assert "\x1b[31m12\x1b[0m" in text


def test_lines_are_no_longer_than_the_width() -> None:
    errors = Complaints(10_000, True, ("x" * 400, "\x1b[2Jy"))
    many = status(instances=[instance(number, number, release="/srv/" + "r" * 100) for number in range(1, 9)])
    answer = comparison(many, USAGES, dict.fromkeys(range(1, 9), errors))
    lines = compare_lines(answer, NOW, width=80, paint=PLAIN)
    assert max(map(len, lines)) <= 80
    assert "3 older generations not shown: the terminal is too narrow" in lines
    assert any(line.split()[:3] == ["error", "lines", "10000+"] for line in lines)
    assert "  y" in lines
    assert lines[0].split() == ["GENERATION", "8", "7", "6", "5", "4"]
    piped = compare_lines(answer, NOW, width=None, paint=PLAIN)
    assert piped[0].split()[-1] == "1"


def test_process_types_have_tables_of_their_own() -> None:
    worker = comparison(status(instances=[instance(3, 8)]), {}, {8: Complaints(1, False, ("no job",))})
    answer = {"generations": both(), "processes": {"worker": worker, "clock": comparison(status(count=0))}}
    lines = compare_lines(answer, NOW, width=80, paint=PLAIN)
    assert [line for line in lines if line.startswith("process type")] == ["process type worker:"]
    assert lines[-1] == "  no job"
    assert compare_lines({"processes": {"worker": worker}}, NOW, width=None, paint=PLAIN)[0] == "process type worker:"


def test_concurrent_calls_share_an_answer() -> None:
    worker = status(instances=[instance(3, 8)])
    both_types = {**HELD, "processes": {"worker": worker}}

    async def work() -> None:
        history = create_autospec(History, instance=True)
        history.invocations.return_value = ["00", f"{5:032x}"]
        complaining = create_autospec(ComplaintCounter, instance=True)
        complaining.of.return_value = Complaints(1)
        systemd = create_autospec(Systemd, instance=True)
        systemd.read.return_value = {"CPUUsageNSec": 10**9, "MemoryCurrent": 1}
        comparer = Comparer(systemd, history, lambda _: both_types, complaining)
        one, two = await asyncio.gather(comparer.compare("demo"), comparer.compare("demo"))
        assert one is two
        assert [call.args[0] for call in complaining.of.call_args_list] == [
            ["00", f"{5:032x}", f"{3:032x}"],
            ["00", f"{5:032x}"],
            ["00", f"{5:032x}", f"{1:032x}", f"{2:032x}"],
        ]
        assert history.invocations.call_args_list[0].args == ("demo.worker", 8)
        assert [item["error_lines"] for item in one["generations"]] == [1, 1]
        assert [item["error_lines"] for item in one["processes"]["worker"]["generations"]] == [1]
        assert await comparer.compare("demo") is not one

    asyncio.run(work())
