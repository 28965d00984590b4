"""Metrics on a host, scraped as Prometheus does: at the sockets of deployd-metrics.socket, by users without rights."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.host.stage import APP, DEADLINE, INSTANCES, Stage
from tests.monitoring import endpoint

ADDRESS = "http://127.0.0.1:9967/metrics"
UNIX = "/run/deployd-metrics.sock"
TEXTFILE = "/srv/textfile/deployd.prom"
CLIENT = "nobody"

Samples = dict[str, float]


def parsed(text: str) -> Samples:
    """Return the samples by name with labels, as a query would write it."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{key}="{value}"' for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def scraped(stage: Stage, *options: str) -> Samples:
    """Scrape as an unprivileged user."""
    address = [ADDRESS] if not options else []
    curl = ["curl", "--silent", "--show-error", "--fail", "--max-time", str(DEADLINE), *address, *options]
    return parsed(stage.machine.run(curl, user=CLIENT, timeout=DEADLINE).stdout)


@pytest.fixture
def served(stage: Stage) -> Iterator[Stage]:
    """A host on which the administrator has started the socket."""
    with endpoint.started(stage, "deployd-metrics"):
        yield stage


def test_a_scrape_follows_rollouts(served: Stage) -> None:
    stage = served
    assert scraped(stage)["deployd_up"] == 1
    stage.deploy("v1", routing="steered")
    one = f'app="{APP}"'
    first = scraped(stage)
    assert first[f"deployd_instances_ready{{{one}}}"] == first[f"deployd_instances_desired{{{one}}}"] == INSTANCES
    assert first[f'deployd_rollouts_total{{{one},result="succeeded"}}'] == 1
    assert first[f'deployd_weight_ratio{{{one},generation="1"}}'] == pytest.approx(1.0)
    assert first[f'deployd_address_open{{address="127.0.0.1:8080",{one}}}'] == 1
    with (
        stage.load(rate=100, keepalive=2),
        stage.begin("rollout", "--release", stage.release("v2"), "--canary", "25%") as begun,
    ):
        begun.until("paused")
        during = scraped(stage)
        assert during[f'deployd_rollout_phase{{{one},phase="paused"}}'] == 1
        assert during[f'deployd_weight_ratio{{{one},generation="2"}}'] == pytest.approx(0.25)
        assert {f'deployd_connections{{{one},generation="{number}"}}' for number in (1, 2)} <= during.keys()
        assert stage.deployd("abort", APP).returncode == 0
        begun.end()
    assert stage.rollout(stage.release("bad", "crash")).result == "rolled-back"
    last = scraped(stage)
    ended = {
        result: last[f'deployd_rollouts_total{{{one},result="{result}"}}'] for result in ("aborted", "rolled-back")
    }
    assert ended == {"aborted": 1, "rolled-back": 1}
    assert last[f'deployd_rollout_duration_seconds_sum{{{one},result="rolled-back"}}'] > 0
    assert last[f"deployd_last_rollout_failed{{{one}}}"] == 1
    service = stage.show("deployd-metrics.service", "ActiveState", "MainPID")
    assert service["ActiveState"] == "active"
    assert stage.machine.path(f"/proc/{service['MainPID']}").stat().st_uid != 0


@pytest.mark.thorough
def test_a_scrape_while_the_daemon_is_down_says_so_and_does_not_start_it(served: Stage) -> None:
    served.machine.run(["systemctl", "stop", "deployd"])
    assert scraped(served) == {"deployd_up": 0}
    served.machine.run(["systemctl", "start", "deployd"])
    assert scraped(served)["deployd_up"] == 1


@pytest.mark.thorough
def test_the_administrator_chooses_the_address(served: Stage) -> None:
    stage = served
    stage.machine.run(["systemctl", "stop", "deployd-metrics.socket"])
    drop_in = f"[Socket]\nListenStream=\nListenStream={UNIX}\n"
    stage.machine.write("/etc/systemd/system/deployd-metrics.socket.d/address.conf", drop_in)
    stage.machine.run(["systemctl", "daemon-reload"])
    stage.machine.run(["systemctl", "start", "deployd-metrics.socket"])
    openmetrics = ["--header", "Accept: application/openmetrics-text; version=1.0.0"]
    assert scraped(stage, "--unix-socket", UNIX, "http://localhost/metrics")["deployd_up"] == 1
    curl = ["curl", "--silent", "--include", "--unix-socket", UNIX, "http://localhost/metrics", *openmetrics]
    answer = stage.machine.run(curl, user=CLIENT).stdout
    assert "Content-Type: application/openmetrics-text" in answer
    assert answer.endswith("# EOF\n")


@pytest.mark.thorough
def test_the_textfile_is_written_whole_or_not_at_all(stage: Stage) -> None:
    stage.deploy("v1", instances=1)
    directory = stage.machine.path("/srv/textfile")
    directory.mkdir()
    assert stage.deployd("metrics", "--output", TEXTFILE).returncode == 0
    found = parsed(stage.machine.read(TEXTFILE))
    assert found[f'deployd_instances{{app="{APP}",state="ready"}}'] == 1
    assert stage.machine.path(TEXTFILE).stat().st_mode & 0o777 == 0o644
    assert [path.name for path in directory.iterdir()] == ["deployd.prom"]
    assert parsed(stage.deployd("metrics", user=CLIENT).stdout).keys() == found.keys()
    refused = stage.deployd("metrics", "--output", TEXTFILE, user=CLIENT)
    assert (refused.returncode, refused.stderr) == (1, f"deployd: {TEXTFILE} cannot be written: Permission denied\n")
    assert parsed(stage.machine.read(TEXTFILE)).keys() == found.keys()
    alone = stage.deployd("metrics", "--serve")
    assert alone.returncode == 1
    assert alone.stderr == "deployd: no socket was passed; start it with: systemctl start deployd-metrics.socket\n"
