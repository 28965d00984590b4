"""The metrics of generated statuses, read back by the parsers of the library."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.registry import Collector

from deployd_cli.monitoring.families import HEALTHS, STATES, families
from tests.cli.text.any_json import odd
from tests.monitoring.statuses import statuses

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
BOUNDED = {"app", "state", "health", "phase", "result", "address", "generation", "version", "timer"}


class Fixed(Collector):
    def __init__(self, answer: Mapping[str, Any] | None) -> None:
        self.answer = answer

    def collect(self) -> Iterable[Metric]:
        return families(self.answer)


def exposed(answer: Mapping[str, Any] | None) -> tuple[Samples, dict[str, str]]:
    """Return the samples and the types of metrics that both formats have, as Prometheus would read them."""
    registry = CollectorRegistry()
    registry.register(Fixed(answer))
    found = []
    for read in (
        parse_openmetrics(openmetrics.generate_latest(registry).decode()),
        parse_text(generate_latest(registry).decode()),
    ):
        metrics = list(read)
        samples = [(sample.name, frozenset(sample.labels.items())) for metric in metrics for sample in metric.samples]
        assert len(samples) == len(set(samples)), "a sample twice is refused by Prometheus"
        values = [sample.value for metric in metrics for sample in metric.samples]
        found.append(dict(zip(samples, values, strict=True)))
        types = {metric.name: metric.type for metric in metrics}
    assert found[0] == found[1]
    return found[0], types


def of(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((f"deployd_{name}", frozenset(labels.items())))


@given(st.lists(statuses, max_size=1))
def test_metrics_say_what_the_status_says(found: list[Mapping[str, Any]]) -> None:
    samples, _ = exposed({"apps": found, "version": "0.1.0"})
    assert of(samples, "up") == 1
    assert of(samples, "build_info", version="0.1.0") == 1
    for status in found:
        assert of(samples, "instances_ready", app="demo") == status["ready"]
        assert of(samples, "instances_desired", app="demo") == status["desired"]
        assert of(samples, "app_generation", app="demo") == status["generation"]
        states = {state: of(samples, "instances", app="demo", state=state) for state in STATES}
        assert sum(value or 0 for value in states.values()) == len(status["instances"])
        assert [of(samples, "app_health", app="demo", health=health) for health in HEALTHS].count(1) == 1
        assert of(samples, "app_health", app="demo", health=status["health"]) == 1
        phase = (status["rollout"] or {}).get("phase", "")
        assert [of(samples, "rollout_phase", app="demo", phase=phase)] == ([1] if phase else [None])
        totals = status["totals"]
        assert of(samples, "crashes_total", app="demo") == (None if totals is None else totals["crashes"])
        for result, total in ({} if totals is None else totals["rollouts"]).items():
            assert of(samples, "rollouts_total", app="demo", result=result) == total["count"]
            assert of(samples, "rollout_duration_seconds_count", app="demo", result=result) == total["count"]
            assert of(samples, "rollout_duration_seconds_sum", app="demo", result=result) == total["seconds"]
        for timer in status["timers"]:
            assert of(samples, "timer_failed", app="demo", timer=timer["timer"]) == timer["failed"]
        for generation in ("7", "8"):
            known = [
                item["connections"]
                for item in status["instances"]
                if str(item["generation"]) == generation and item["connections"] is not None
            ]
            opened = of(samples, "connections", app="demo", generation=generation)
            assert opened == (sum(known) if known else None)


@given(st.lists(statuses, min_size=1, max_size=1))
def test_names_follow_the_conventions_and_labels_are_bounded(found: list[Mapping[str, Any]]) -> None:
    samples, types = exposed({"apps": found, "version": "0.1.0"})
    for name, labels in samples:
        assert name.startswith("deployd_")
        assert {key for key, _ in labels} <= BOUNDED
        assert not [value for _, value in labels if value.startswith("/srv")], (
            "no release, of which there are ever more"
        )
    for name, kind in types.items():
        assert kind in ("gauge", "counter", "summary", "info")
        assert (
            kind != "counter"
            or f"{name.removesuffix('_total')}_total" in {sample for sample, _ in samples}
            or all(status["totals"] is None for status in found)
        )
        words = name.split("_")
        assert not [unit for unit in ("ms", "milliseconds", "minutes", "percent", "bytes") if unit in words]


@given(st.lists(odd, max_size=3))
def test_no_answer_is_too_odd(found: list[Mapping[str, Any]]) -> None:
    exposed({"apps": found})


def test_a_process_type_has_metrics_of_its_own() -> None:
    worker = {"app": "shop", "health": "degraded", "desired": 3, "ready": 2, "instances": [{"state": "ready"}] * 2}
    shop = {"app": "shop", "health": "ok", "desired": 1, "ready": 1, "instances": [], "processes": {"worker": worker}}
    samples, _ = exposed({"apps": [shop], "version": "1"})
    ready = {
        dict(labels)["app"]: value for (name, labels), value in samples.items() if name == "deployd_instances_ready"
    }
    assert ready == {"shop": 1, "shop.worker": 2}


def test_without_an_answer_there_is_only_that() -> None:
    assert exposed(None)[0] == {("deployd_up", frozenset()): 0.0}
