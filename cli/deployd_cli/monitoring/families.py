"""Metrics of apps, from their statuses. Pure.

Names and units follow Prometheus' conventions (prometheus.io/docs/practices/naming). Labels have bounded values: apps,
states, results, addresses, and the generations that have instances now; no release and no instance. A further process
type has metrics as an app has, with the name of its units: shop.worker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, SummaryMetricFamily
from prometheus_client.metrics_core import Metric

from deployd_cli.text.processes import processes_of
from deployd_cli.text.words import dicts_of, number_of, text_of

HEALTHS = ("ok", "degraded", "down", "stopped")
STATES = ("inactive", "starting", "ready", "stopping", "failed", "standby", "draining", "unreachable")
PHASES = ("rolling", "rolling-back", "paused")
FAILED = ("failed", "rolled-back")
FIGURES = (
    ("connections", "connections", "Open connections."),
    ("in_flight", "requests_in_flight", "Requests that wait for an answer."),
    ("queue", "connections_queued", "Connections that are not accepted yet."),
    ("weight", "weight_ratio", "Part of new connections, 0 to 1, while all instances are equally busy."),
)
"""Figures of instances that are summed up by generation: key, metric, description."""

Status = Mapping[str, Any]
Value = Callable[[Status], float | None]


def families(answer: Status | None) -> Iterator[Metric]:
    """Yield the metrics of `{"apps", "version"}`, the statuses of all apps; None if the daemon did not answer."""
    yield GaugeMetricFamily("deployd_up", "Whether the daemon answers.", 0 if answer is None else 1)
    if answer is None:
        return
    build = InfoMetricFamily("deployd_build", "Version of the daemon.")
    build.add_metric([], {"version": text_of(answer, "version")})
    yield build
    # An app is named once, and has at most one status.
    apps = {text_of(status, "app"): status for status in dicts_of(answer, "apps")}
    for app, status in list(apps.items()):
        apps |= {f"{app}.{process}": its for process, its in processes_of(status)}
    yield from _apps(apps)
    yield from _instances(apps)
    yield from _rollouts(apps)
    yield from _generations(apps)
    yield from _timers(apps)


def _apps(apps: Mapping[str, Status]) -> Iterator[Metric]:
    yield _gauge("app_generation", "Current generation.", apps, lambda status: _number(status, "generation"))
    yield _states("app_health", "Whether this is the health of the app.", "health", HEALTHS, apps, _health)
    addresses = GaugeMetricFamily(
        "deployd_address_open", "Whether clients can connect to a listening address.", labels=["app", "address"]
    )
    for app, status in apps.items():
        opened: dict[str, bool] = {}
        for item in dicts_of(status, "addresses"):
            address = text_of(item, "address")
            reachable = item.get("open") is True and not text_of(item, "reason")
            opened[address] = opened.get(address, False) or reachable  # each address may have several sockets
        for address, reachable in opened.items():
            addresses.add_metric([app, address], reachable)
    yield addresses
    usable = "Whether the history can be used; changes are refused otherwise."
    yield _gauge("app_history_usable", usable, apps, lambda status: not text_of(status, "history_error"))
    yield _gauge("boot_median_seconds", "Median time until an instance is ready.", apps, lambda it: _boot(it, "median"))
    yield _gauge("boot_max_seconds", "Longest time until an instance was ready.", apps, lambda it: _boot(it, "max"))
    timeout = "Time within which an instance must be ready."
    yield _gauge("gate_timeout_seconds", timeout, apps, lambda status: _number(status, "gate_timeout"))


def _instances(apps: Mapping[str, Status]) -> Iterator[Metric]:
    yield _gauge("instances_desired", "Instances wanted.", apps, lambda status: _number(status, "desired"))
    yield _gauge("instances_ready", "Instances that serve clients.", apps, lambda status: _number(status, "ready"))
    family = GaugeMetricFamily("deployd_instances", "Instances by state.", labels=["app", "state"])
    for app, status in apps.items():
        found = [text_of(item, "state") for item in dicts_of(status, "instances")]
        for state in STATES:
            family.add_metric([app, state], found.count(state))
    yield family
    restarts = "Automatic restarts of the instances that there are now, since their generation was started."
    yield _gauge("instance_restarts", restarts, apps, _restarts)
    crashes = CounterMetricFamily("deployd_crashes", "Crashes of instances outside of rollouts.", labels=["app"])
    for app, status in apps.items():
        if isinstance(totals := status.get("totals"), Mapping):
            crashes.add_metric([app], number_of(totals, "crashes"))
    yield crashes


def _rollouts(apps: Mapping[str, Status]) -> Iterator[Metric]:
    phase = "Whether a rollout is in progress and in this phase."
    yield _states("rollout_phase", phase, "phase", PHASES, apps, lambda it: text_of(_object(it, "rollout"), "phase"))
    failed = "Whether the newest generation failed or was rolled back automatically."
    yield _gauge(
        "last_rollout_failed", failed, apps, lambda it: text_of(_object(it, "last_rollout"), "result") in FAILED
    )
    watched = "Whether the current generation is watched after its rollout."
    yield _gauge("generation_watched", watched, apps, lambda it: bool(text_of(_object(it, "watch"), "until")))
    ended = CounterMetricFamily("deployd_rollouts", "Rollouts that have ended, by result.", labels=["app", "result"])
    lasted = SummaryMetricFamily(
        "deployd_rollout_duration_seconds", "Duration of rollouts that have ended, by result.", labels=["app", "result"]
    )
    for app, status in apps.items():
        for result, total in _object(_object(status, "totals"), "rollouts").items():
            if isinstance(total, Mapping):
                count, seconds = number_of(total, "count"), _number(total, "seconds") or 0.0
                ended.add_metric([app, result], count)
                lasted.add_metric([app, result], count, seconds)
    yield ended
    yield lasted


def _generations(apps: Mapping[str, Status]) -> Iterator[Metric]:
    """Yield what is known of the generations of steered apps."""
    for key, name, help_text in FIGURES:
        family = GaugeMetricFamily(f"deployd_{name}", help_text, labels=["app", "generation"])
        for app, status in apps.items():
            found: dict[str, float] = {}
            for item in dicts_of(status, "instances"):
                generation, value = text_of(item, "generation"), _number(item, key)
                if generation and value is not None:
                    found[generation] = found.get(generation, 0.0) + value
            for generation, total in found.items():
                family.add_metric([app, generation], total / 100 if key == "weight" else total)
        yield family


def _timers(apps: Mapping[str, Status]) -> Iterator[Metric]:
    labels = ["app", "timer"]
    failed = GaugeMetricFamily("deployd_timer_failed", "Whether the last run of a timer has failed.", labels=labels)
    running = GaugeMetricFamily("deployd_timer_running", "Whether a run of a timer is under way.", labels=labels)
    for app, status in apps.items():
        for name, item in {text_of(item, "timer"): item for item in dicts_of(status, "timers")}.items():
            failed.add_metric([app, name], item.get("failed") is True)
            running.add_metric([app, name], item.get("running") is True)
    yield failed
    yield running


def _gauge(name: str, help_text: str, apps: Mapping[str, Status], value: Value) -> Metric:
    """Return a gauge with one value for each app, except those for which it is None."""
    family = GaugeMetricFamily(f"deployd_{name}", help_text, labels=["app"])
    for app, status in apps.items():
        if (found := value(status)) is not None:
            family.add_metric([app], found)
    return family


def _states(
    name: str,
    help_text: str,
    label: str,
    values: Iterable[str],
    apps: Mapping[str, Status],
    state: Callable[[Status], str],
) -> Metric:
    """Return a gauge with a 1 for the state of each app and a 0 for every other one, so that no series ends."""
    family = GaugeMetricFamily(f"deployd_{name}", help_text, labels=["app", label])
    for app, status in apps.items():
        for value in values:
            family.add_metric([app, value], state(status) == value)
    return family


def _health(status: Status) -> str:
    return text_of(status, "health")


def _restarts(status: Status) -> float:
    return sum(number_of(item, "restarts") for item in dicts_of(status, "instances"))


def _boot(status: Status, key: str) -> float | None:
    return _number(_object(status, "boot"), key)


def _object(source: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = source.get(key)
    return found if isinstance(found, Mapping) else {}


def _number(source: Mapping[str, Any], key: str) -> float | None:
    found = source.get(key)
    return float(found) if isinstance(found, (int, float)) else None
