"""What the Huey contestant of drain.py runs: a no-op, its queue and results in the file HUEY_DB.

huey_app.py enqueue N       the consumer imports huey_app.huey
"""

import os

from huey import SqliteHuey

# Huey's own defaults: WAL, each commit flushed. Its result store keeps what is not None.
huey = SqliteHuey("bench", filename=os.environ["HUEY_DB"], results=True)


@huey.task()
def no_op() -> int:
    return 1


def enqueue(jobs: int) -> None:
    for _ in range(jobs):
        no_op()
