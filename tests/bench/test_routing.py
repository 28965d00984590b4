"""The bench of routing: its client against a small server, its figures, table and picture."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.bench.routing import __main__ as bench
from tests.bench.routing import openloop, picture, sources, table
from tests.bench.routing.openloop import Answer, Answers
from tests.bench.routing.results import ALL, Place, Results
from tests.bench.routing.traffic import HAPROXY, METHODS, NGINX, SHARED, STEERED, cells


class Handler(BaseHTTPRequestHandler):
    """Answers at once; /1000 with 503. Counts connections."""

    protocol_version = "HTTP/1.1"
    connections = 0

    def setup(self) -> None:
        Handler.connections += 1
        super().setup()

    def do_GET(self) -> None:
        self.send_response(503 if self.path == "/1000" else 200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"ok\n")

    def log_message(self, *_: object) -> None:
        pass


class HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


@pytest.fixture
def port() -> Iterator[int]:
    Handler.connections = 0
    with HttpServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def load(arguments: list[str]) -> Answers:
    openloop.build()
    done = subprocess.run(
        [str(openloop.PROGRAM), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return Answers.parse(done.stdout.splitlines())


def test_all_methods_get_the_same_requests_at_the_same_times(port: int) -> None:
    """Which are due when depends on the seed alone."""

    def schedule(seed: int, kept: int = 0) -> list[tuple[float, float]]:
        options = openloop.arguments(port, 400, 0.5, seed, cheap=0, costly=1, share=0.3, kept=kept)
        return [(each.due, each.service) for each in load(options).requests]

    first = schedule(1)
    assert first == schedule(1, kept=10) != schedule(2)
    assert 130 < len(first) < 270
    assert 0.15 < sum(service == 1 for _, service in first) / len(first) < 0.45


def test_a_response_that_is_not_200_is_a_failure(port: int) -> None:
    found = load(openloop.arguments(port, 200, 0.5, 1, cheap=0, costly=1, share=0.3))
    assert (found.failed, found.unanswered) == (sum(each.service == 1 for each in found.requests), 0)
    assert Handler.connections == len(found.requests)


def test_kept_connections_serve_many_requests(port: int) -> None:
    found = load(openloop.arguments(port, 400, 0.5, 1, cheap=0, kept=20))
    assert (found.failed, found.unanswered) == (0, 0)
    assert Handler.connections == 20 < len(found.requests)


def test_requests_that_nobody_answers_are_counted_and_timed_to_the_end() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(64)
        found = load(openloop.arguments(silent.getsockname()[1], 50, 0.3, 1, cheap=0, tail=0.2))
        refused = silent.getsockname()[1]
    assert found.unanswered == len(found.requests)
    assert min(each.latency for each in found.requests) >= 200
    assert load(openloop.arguments(refused, 50, 0.3, 1, cheap=0)).failed == len(found.requests)


def test_requests_within_a_window_and_their_percentiles() -> None:
    requests = tuple(Answer(due, 5, 0.1, latency, 0) for due, latency in ((0, 6), (10, 9), (20, 100), (30, 7)))
    window = Answers(1000.0, requests, 0.1).within(1000.01, 1000.03)
    assert [each.due for each in window.requests] == [10, 20]
    assert (window.wait(50), window.wait(99), window.latency(99)) == (4, 95, 100)


def test_all_servers_get_the_same_rate() -> None:
    """Capacity is the same, so the client and two CPUs are not what differs."""
    for cell in ALL:
        traffic, server = cell.traffic, cell.server
        offered = cell.rate * traffic.mean * server.stretch / 1000
        assert offered / (server.instances * server.slots) == pytest.approx(cell.load / 100)
        assert cell.rate < 700
    assert not cells(["kept"], [30], ["sync"])


def results(runs: int = 3) -> Results:
    found = Results({"CPUs": 2})
    for cell in ALL:
        place = Place(cell.traffic.name, cell.load, cell.server.name)
        for run in range(runs):
            for method, wait in zip(METHODS, (12.0, 11.0, 300.0, 10.0, 14.0), strict=True):
                found.wait(place, method, wait + run, failed=0)
    return found


def test_the_best_of_the_others_has_the_lowest_median_and_is_compared_run_by_run() -> None:
    found, place = Results(), Place("mixed", 60, "sync")
    for steered, shared, nginx in ((10, 10, 9), (30, 10, 20), (22, 10, 20)):
        for method, wait in ((STEERED, steered), (SHARED, shared), (NGINX, nginx)):
            found.wait(place, method, wait, failed=1)
    cell = found.cells[place]
    assert (cell.best, cell.ratios, cell.ratio, cell.met, cell.failed) == (SHARED, [1, 3, 2.2], 2.2, False, 9)


def test_methods_that_were_measured_more_often_are_compared_by_their_medians() -> None:
    found, place = Results(), Place("mixed", 60, "sync")
    for method, waits in ((STEERED, (10, 30, 20)), (SHARED, (10,))):
        for wait in waits:
            found.wait(place, method, wait, failed=0)
    assert found.cells[place].ratios == [2]


def test_a_cell_with_steered_alone_has_no_ratio() -> None:
    found, place = Results(), Place("mixed", 60, "sync")
    found.wait(place, STEERED, 10, failed=0)
    assert (found.cells[place].best, found.cells[place].ratio, found.cells[place].met) == (None, None, None)
    assert not found.complete


def test_a_figure_may_have_a_least_or_a_most() -> None:
    found = Results()
    for value in (0.9, 0.98, 1.1):
        found.add("rate", value, "times", at_least=0.97)
        found.add("p99", value, "times", 0.97)
        found.add("only explains", value)
    assert [single.met for single in found.singles.values()] == [True, False, None]
    assert "  at least 0.97 times" in table.table(found)


def test_what_must_never_happen_is_summed_up() -> None:
    found = Results()
    for value in (0, 0, 1):
        found.add("failed", value, "", 0)
    assert (found.singles["failed"].value, found.singles["failed"].met) == (1, False)


def test_results_of_several_runs_are_merged() -> None:
    parts = [results(2), results(1)]
    parts[0].add("rate", 1.0, "times", at_least=0.97)
    parts[1].add("rate", 0.9, "times", at_least=0.97)
    stored = [json.loads(json.dumps(part.to_json())) for part in parts]
    merged = Results.merged(stored)
    assert merged.cells[Place("kept", 80, "event")].waits[HAPROXY] == [14, 15, 14]
    assert merged.singles["rate"].values == [1.0, 0.9]
    assert merged.complete
    assert Results.merged([merged.to_json()]) == merged


def test_the_table_names_every_cell_and_is_80_columns_wide() -> None:
    found = results()
    found.add("SD of 400 kept connections, steered, gthread", 0.5)
    lines = table.table(found).splitlines()
    assert max(map(len, lines)) <= 80
    assert len([line for line in lines if line.endswith((" met", " missed"))]) == len(ALL) == 33
    [line] = [line for line in lines if line.startswith("mixed   60 sync")]
    assert line.split()[3:] == ["13.0", "12.0", "301", "11.0", "15.0", "1.18", "1.2..1.2", "met"]


def test_the_picture_has_a_mark_for_each_figure_and_is_the_same_each_time() -> None:
    found = results()
    text = picture.svg(found)
    assert text == picture.svg(Results.merged([found.to_json()]))
    root = ET.fromstring(text)
    marks = [node for node in root.iter() if "mark" in node.get("class", "")]
    assert len(marks) == (len(ALL) + 1) * len(METHODS), "one each, and the legend's"
    coordinates = [float(number) for number in re.findall(r"(?:cx|cy|x|y)=\"(-?[\d.]+)\"", text)]
    assert min(coordinates) >= 0
    assert max(coordinates) <= float(root.get("width", "0"))
    assert "prefers-color-scheme: dark" in text


def test_part_of_the_cells_does_not_replace_the_picture_of_readme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "PICTURE", tmp_path / "routing.svg")
    part, whole = tmp_path / "part.json", tmp_path / "whole.json"
    some = results()
    del some.cells[Place("kept", 80, "event")]
    bench.store(some, part)
    bench.store(results(), whole)
    assert bench.main(["--merge", str(part)]) == 0
    assert not bench.PICTURE.exists()
    assert bench.main(["--merge", str(whole), "--json", str(tmp_path / "again.json")]) == 0
    assert bench.PICTURE.exists()
    assert (tmp_path / "again.json").read_text() == whole.read_text()
    assert "33 of 33 cells met" in capsys.readouterr().out


def test_a_proxy_sends_to_the_instance_with_the_fewest_connections() -> None:
    for text, word in (
        (sources.nginx(Path("/srv/x"), 8083, [9001, 9002]), "least_conn;"),
        (sources.haproxy(8084, [9001, 9002]), "balance leastconn"),
    ):
        assert word in text
        assert [text.count(f"127.0.0.1:{port}") for port in (9001, 9002)] == [1, 1]


def test_every_choice_is_known() -> None:
    given = bench.parse(["--traffic", "mixed", "--load", "60", "--server", "sync", "--runs", "5"])
    assert (given.traffic, given.load, given.server, given.runs) == (["mixed"], [60], ["sync"], 5)
    assert (given.method, given.part) == (list(METHODS), bench.PARTS)
