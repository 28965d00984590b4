"""Serves metrics over HTTP at a socket that systemd passes, and as text.

Each scrape asks the daemon once, on a connection of its own; a daemon that does not run is not started.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest, make_wsgi_app
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from deployd.errors import DeploydError, Unreachable
from deployd.model import advice
from deployd_cli.monitoring import http_server
from deployd_cli.monitoring.families import families
from deployd_cli.output import message
from deployd_cli.session import connect

TIMEOUT = 5.0
"""Seconds within which the daemon must answer: Prometheus waits for ten."""


class Apps(Collector):
    """Collects the metrics of all apps. Why the daemon does not answer is reported once, not with each scrape."""

    def __init__(self) -> None:
        self._reported = ""

    def collect(self) -> Iterable[Metric]:
        try:
            answer = asyncio.run(_described())
        except DeploydError as error:
            if str(error) != self._reported:
                message(f"deployd: {error}")
            self._reported = str(error)
            return families(None)
        self._reported = ""
        return families(answer)


async def _described() -> dict[str, Any]:
    async with await connect(TIMEOUT) as client:
        if not await client.present():
            raise Unreachable(f"the daemon is not running; start it with: {advice.systemctl()} start deployd")
        return await client.describe(timeout=TIMEOUT)


def registry() -> CollectorRegistry:
    """Return a registry with the metrics of deployd and nothing else."""
    made = CollectorRegistry()
    made.register(Apps())
    return made


def text() -> str:
    """Return the metrics in Prometheus' text format, which the textfile collector of node_exporter reads."""
    return generate_latest(registry()).decode()


def serve() -> None:
    """Serve at the socket that systemd passes. Raises DeploydError."""
    http_server.serve(make_wsgi_app(registry()), "deployd-metrics.socket")
