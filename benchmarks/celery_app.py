"""What the Celery contestant of drain.py runs: a no-op, its queue and results in the Redis of REDIS_QUEUE and
REDIS_RESULTS.

`enqueue` gives the id of the last job, `result` what a job has returned; the workers import `app`.
"""

import os

from celery import Celery

app = Celery("celery_app", broker=os.environ["REDIS_QUEUE"], backend=os.environ["REDIS_RESULTS"])


@app.task(name="no_op")
def no_op() -> int:
    return 1


def enqueue(jobs: int) -> str:
    for _ in range(jobs):
        last = no_op.delay()
    return str(last.id)


def result(job: str) -> object:
    return app.AsyncResult(job).get(timeout=10)
