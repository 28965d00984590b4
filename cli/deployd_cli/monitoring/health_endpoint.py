"""Answers the health checks of load balancers over HTTP, at a socket that systemd passes.

Whether the host or an app is drained is known from files, so that a daemon that is down or slow takes no host out. Each
check of an app also asks the daemon, which is not started for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployd.errors import DeploydError, NoSuchApp
from deployd_cli.chosen import Chosen
from deployd_cli.monitoring import health_answer, http_server
from deployd_cli.monitoring.health_answer import Answer
from deployd_cli.session import connect

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

TIMEOUT = 1.0
"""Seconds within which the daemon must answer. Load balancers wait for one or two."""


def serve() -> None:
    """Serve at the socket that systemd passes. Raises DeploydError."""
    http_server.serve(_application, "deployd-health.socket")


def _application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    method = environ["REQUEST_METHOD"]
    if method in health_answer.METHODS:
        answer = _answer(health_answer.app_of(environ.get("PATH_INFO") or "/"))
    else:
        answer = Answer(HTTPStatus.METHOD_NOT_ALLOWED, f"allowed are {', '.join(health_answer.METHODS)}")
    body = f"{answer.text}\n".encode()
    headers = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
    ]
    start_response(f"{answer.status.value} {answer.status.phrase}", headers)
    return [] if method == "HEAD" else [body]


def _answer(app: str | None) -> Answer:
    if app is None:
        return health_answer.UNKNOWN
    up = Chosen.scope.state / "up"
    if not app:
        return health_answer.of_host((up / "host").exists())
    try:
        status = asyncio.run(_status(app))
    except NoSuchApp:
        return health_answer.UNKNOWN
    except (DeploydError, TimeoutError):
        status = None
    return health_answer.of_app(_is_up(up, app), status)


def _is_up(directory: Path, app: str) -> bool:
    return (directory / "apps" / app).exists()


async def _status(app: str) -> dict[str, Any] | None:
    async with asyncio.timeout(TIMEOUT):
        async with await connect(TIMEOUT) as client:
            return await client.status(app) if await client.present() else None
