"""Enqueues jobs until SIGTERM, and prints how many: `produce.py KIND RATE`. A job takes up to a third of a second."""

import json
import signal
import sys
import threading
import time

from redis import Redis

redis = Redis()


def celery():
    from celery import Celery

    app = Celery("app", broker="redis://localhost/0")
    return lambda number, seconds: app.send_task("job", (number, seconds))


def rq():
    from rq import Queue, Retry

    queue = Queue(connection=redis)
    return lambda number, seconds: queue.enqueue("rq_jobs.job", number, seconds, retry=Retry(max=3))


def sidekiq():
    redis.sadd("queues", "default")

    def enqueue(number, seconds):
        job = {"class": "Job", "args": [number, seconds], "jid": f"{number:024x}", "queue": "default", "retry": True}
        now = time.time()
        redis.lpush("queue:default", json.dumps(job | {"created_at": now, "enqueued_at": now}))

    return enqueue


def main(kind, rate):
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    enqueue, count = {"celery": celery, "rq": rq, "sidekiq": sidekiq}[kind](), 0
    while not stop.wait(1 / rate):
        count += 1
        enqueue(count, count % 8 / 20)
    print(count)


main(sys.argv[1], float(sys.argv[2]))
