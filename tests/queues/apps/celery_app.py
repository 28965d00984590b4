"""Tasks of a Celery worker. `behaviour` of the release: good, crash (when it is loaded) or hang."""

import os
import time
from pathlib import Path

from celery import Celery
from redis import Redis

BEHAVIOUR = Path("behaviour").read_text().strip() if Path("behaviour").exists() else "good"
if BEHAVIOUR == "crash":
    raise RuntimeError("this release is broken")
while BEHAVIOUR == "hang":
    time.sleep(60)

LATE = os.environ.get("ACKS", "late") == "late"
log = Redis()
app = Celery("app", broker="redis://localhost/0")
app.conf.update(
    task_acks_late=LATE,
    task_reject_on_worker_lost=LATE,
    worker_prefetch_multiplier=1,
    broker_transport_options={"visibility_timeout": 15},
)


@app.task(name="job")
def job(number, seconds):
    """Take so long, and say when it begins and ends."""
    log.rpush("log", f"begin {number} {os.environ['DEPLOYD_INSTANCE']} {os.environ['DEPLOYD_GENERATION']}")
    time.sleep(seconds)
    log.rpush("log", f"end {number} {os.environ['DEPLOYD_INSTANCE']} {os.environ['DEPLOYD_GENERATION']}")
