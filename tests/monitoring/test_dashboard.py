"""The dashboard for Grafana asks for metrics and labels that the exporter has, and shows all of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from deployd.documents.status import status
from deployd.model.instance import Instance, State
from deployd.plan.boots import Boots
from deployd.routing import Report
from tests.docs.readme import CHECKOUT
from tests.documents.test_status import SNAPSHOT
from tests.monitoring.statuses import OPEN, TIMER
from tests.monitoring.test_families import exposed

DASHBOARD = json.loads((CHECKOUT / "packaging/grafana/deployd.json").read_text())
NOT_SHOWN = {"deployd_build_info", "deployd_generation_watched", "deployd_timer_failed", "deployd_timer_running"}
FUNCTIONS = {"sum", "by", "increase", "changes", "label_values", "bool"}


def expressions(value: Any) -> Iterator[str]:
    """Yield the queries in the dashboard."""
    if isinstance(value, dict):
        yield from (found for key, found in value.items() if key in ("expr", "definition"))
        for inner in value.values():
            yield from expressions(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from expressions(inner)


def metrics() -> dict[str, set[str]]:
    """Return all metrics of a steered app, with their labels."""
    busy = Report(weights={1: 100.0}, connections={1: 1}, in_flight={1: 1}, queues={1: 0}, addresses=(OPEN,))
    boots = Boots(count=1, median=0.1, max=0.1)
    everything = replace(SNAPSHOT, instances=(Instance(1, 7, State.READY),), routing=busy, boots=boots, timers=(TIMER,))
    samples, _ = exposed({"apps": [status(everything)], "version": "1"})
    found: dict[str, set[str]] = {}
    for name, labels in samples:
        found.setdefault(name, set()).update(key for key, _ in labels)
    return found


def test_its_queries_have_metrics_and_labels_of_the_exporter() -> None:
    known, asked = metrics(), set()
    for expression in expressions(DASHBOARD):
        names = set(re.findall(r"\bdeployd_[a-z_]+", expression))
        assert names, expression
        assert names <= known.keys(), expression
        asked |= names
        labels = {"instance"}.union(*(known[name] for name in names))  # Prometheus adds the name of the target
        bare = re.sub(r'"[^"]*"', "", expression)
        words = set(re.findall(r"(?<![\[\d$])\b[a-z][a-z_]*\b", bare)) - names - FUNCTIONS
        assert words <= labels, expression
    assert known.keys() - asked == NOT_SHOWN


def test_its_panels_have_names_and_places_of_their_own() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    places = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in panels
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    assert len(places) == len(set(places))
    assert max(x for x, _ in places) < 24
