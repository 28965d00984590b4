"""The queues: how each is deployed, and what it promises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

APPS = Path(__file__).parent / "apps"
DEBIAN = ("redis-server", "ruby-sidekiq")


@dataclass(frozen=True, slots=True)
class Queue:
    """A kind of workers. They write into the Redis list `log` which jobs begin and end."""

    name: str
    preset: str
    files: Mapping[str, Path]
    """The files of a release."""
    arguments: tuple[str, ...]
    """What a user would add to `exec` of the preset."""
    rate: float
    """Jobs a second, less than two instances can do on a busy machine."""
    kept: bool
    """True if no job is lost when a worker is killed, as documented for these settings."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""


CELERY = Queue(
    "celery",
    "celery",
    {"app.py": APPS / "celery_app.py"},
    ("--concurrency", "2", "--loglevel", "WARNING"),
    8,
    kept=True,
    title="Celery 5.7, task_acks_late, task_reject_on_worker_lost",
)
EARLY = replace(
    CELERY,
    name="celery-early",
    kept=False,
    settings={"environment": {"ACKS": "early"}},
    title="Celery 5.7, as it is by default",
)
RQ = Queue(
    "rq",
    "rq",
    {"rq_jobs.py": APPS / "rq_jobs.py", "rq_settings.py": APPS / "rq_settings.py"},
    ("-c", "rq_settings", "--maintenance-interval", "5", "--worker-ttl", "30", "--logging_level", "WARNING"),
    3,
    kept=True,
    title="rq 3.0, Retry(max=3)",
)
SIDEKIQ = Queue(
    "sidekiq",
    "sidekiq",
    {"jobs.rb": APPS / "sidekiq_jobs.rb"},
    ("-r", "./jobs.rb", "-c", "3"),
    8,
    kept=False,
    settings={"stop": {"quiet_for": "1s"}},
    title="Sidekiq 6.4 of Debian 12, basic fetch",
)
QUEUES = {queue.name: queue for queue in (CELERY, EARLY, RQ, SIDEKIQ)}
