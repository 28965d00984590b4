"""The benches of steering: their tables, and the configuration of the proxies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.bench import __main__ as bench
from tests.bench import programs, rollback, serving
from tests.bench.rollback import SHARED, STANDBY, STEERED, RollbackTime
from tests.load.record import Kind, Outcome, Record, Request


def request(end: float, generation: int, outcome: Outcome = Outcome.OK) -> Request:
    return Request(end - 0.01, end - 0.01, end, outcome, Kind.FRESH, generation=generation)


def test_a_rollback_is_timed_to_the_last_bad_response() -> None:
    requests = [request(9.0, 2), request(10.3, 2), request(10.2, 3), request(10.5, 3), request(10.4, 3, Outcome.RESET)]
    found = RollbackTime.of(Record.of(requests, 8.0, 11.0), bad=2, began=10.0, called=10.1, whole=0.7, boot=0.2)
    assert found.from_command == pytest.approx(0.3)
    assert found.from_call == pytest.approx(0.2)
    assert (found.whole, found.boot, found.failed) == (0.7, 0.2, 1)


def test_a_bad_generation_that_never_served_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="generation 2 served no request"):
        RollbackTime.of(Record.of([request(10.2, 3)], 8.0, 11.0), bad=2, began=10.0, called=10.1, whole=0.7, boot=0.2)


def test_rollbacks_are_compared_round_by_round() -> None:
    times = {SHARED: [4.0, 8.0, 4.0], STEERED: [1.0, 2.0, 1.0], STANDBY: [0.05, 0.1, 0.05]}
    found = {
        kind: [RollbackTime(each, each / 2, each * 2, 1.0, 0) for each in values] for kind, values in times.items()
    }
    lines = {figure.what: figure for figure in rollback.figures(64, found)}
    assert lines["last bad response of 64: steered against shared"].value == 0.25
    assert lines["last bad response of 64: steered, standby against steered"].value == 0.05
    standby = lines["last bad response of 64, steered, standby: after the command's start"]
    assert standby.value == pytest.approx(50)
    assert standby.met
    late, early = (lines[f"last bad response of 64, {kind}: after the command's start"] for kind in (SHARED, STEERED))
    assert late.aim == pytest.approx(1400)
    assert (late.met, early.met) == (False, True)
    assert lines["failed requests of 64"].met


def test_a_rate_is_compared_as_the_time_of_a_request() -> None:
    """Less is better in every line."""
    found = {way: serving.Found() for way in serving.PORTS}
    for way, rate in zip(serving.PORTS, (4000.0, 4000.0, 2000.0, 1000.0), strict=True):
        for kind in Kind:
            found[way].each[kind] = [1 / rate, 1 / rate]
            found[way].p50[kind] = found[way].p99[kind] = [0.001, 0.002]
        found[way].busy, found[way].paced = [0.2, 0.9], [0.1]
    lines = {figure.what: figure for figure in serving.figures(found)}
    assert lines["time per request, short, full load: steered against a shared socket"].value == 1.0
    assert lines["time per request, keep-alive, full load: steered against HAProxy in front"].value == 0.25
    assert lines["p99, short, 150 + 150/s: steered against nginx in front"].value == 1.0
    busy = lines["CPU usage of the client at most, full load"]
    assert (busy.value, busy.met) == (0.9, False)


@pytest.mark.parametrize("configuration", [serving.nginx, serving.haproxy])
def test_a_proxy_listens_on_its_own_port_and_has_all_instances(
    configuration: Callable[[int, Sequence[int]], str],
) -> None:
    text = configuration(8000, [9001, 9002, 9003])
    assert [text.count(f"127.0.0.1:{port}") for port in (8000, 9001, 9002, 9003)] == [1, 1, 1, 1]


def test_the_host_finds_an_unpacked_program_with_its_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "CHECKOUT", tmp_path)
    monkeypatch.setattr(programs, "TREE", tmp_path / ".cache/programs")
    for path in ("usr/sbin/nginx", "usr/lib/x86_64-linux-gnu/liblua.so"):
        (programs.TREE / path).parent.mkdir(parents=True, exist_ok=True)
        (programs.TREE / path).touch()
    tree = "/usr/src/deployd/.cache/programs"
    libraries = f"LD_LIBRARY_PATH={tree}/usr/lib/x86_64-linux-gnu"
    assert programs.command("nginx") == ["/usr/bin/env", libraries, f"{tree}/usr/sbin/nginx"]
    with pytest.raises(programs.ProgramsError, match="no wrk"):
        programs.command("wrk")


def test_a_group_stands_for_measurements() -> None:
    assert {name for group in bench.GROUPS.values() for name in group} <= {*bench.MEASUREMENTS}
    assert not {*bench.GROUPS} & {*bench.MEASUREMENTS}
