"""Jobs of an rq worker. `behaviour` of the release: good, crash (when rq starts) or hang."""

import os
import time

from redis import Redis


def job(number, seconds):
    """Take so long, and say when it begins and ends."""
    log = Redis()
    log.rpush("log", f"begin {number} {os.environ['DEPLOYD_INSTANCE']} {os.environ['DEPLOYD_GENERATION']}")
    time.sleep(seconds)
    log.rpush("log", f"end {number} {os.environ['DEPLOYD_INSTANCE']} {os.environ['DEPLOYD_GENERATION']}")
