"""What the Huey contestant of drain.py runs: a no-op, its queue and results in the file HUEY_DB.

`enqueue` gives the id of the last job, `result` what a job has returned; the consumer imports `huey`.
"""

import os

from huey import SqliteHuey

# Huey's own defaults: WAL, each commit flushed. Its result store keeps what is not None.
huey = SqliteHuey("bench", filename=os.environ["HUEY_DB"], results=True)


@huey.task()
def no_op() -> int:
    return 1


def enqueue(jobs: int) -> str:
    for _ in range(jobs):
        last = no_op()
    return str(last.id)


def result(job: str) -> object:
    return huey.result(job)
