"""What the Taskiq contestant of drain.py runs: a no-op, its queue and results in the Redis of REDIS_QUEUE and
REDIS_RESULTS.

`enqueue` gives the id of the last job, `result` what a job has returned; the workers import `broker`.
"""

import asyncio
import os

from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend

AT_ONCE = 100  # enqueued side by side

broker = ListQueueBroker(os.environ["REDIS_QUEUE"]).with_result_backend(
    RedisAsyncResultBackend(os.environ["REDIS_RESULTS"])
)


@broker.task
async def no_op() -> int:
    return 1


async def _enqueue(jobs: int) -> str:
    await broker.startup()
    for begin in range(0, jobs, AT_ONCE):
        made = await asyncio.gather(*(no_op.kiq() for _ in range(min(AT_ONCE, jobs - begin))))
    await broker.shutdown()
    return str(made[-1].task_id)


async def _result(job: str) -> object:
    await broker.startup()
    found = await broker.result_backend.get_result(job)
    await broker.shutdown()
    return found.return_value


def enqueue(jobs: int) -> str:
    return asyncio.run(_enqueue(jobs))


def result(job: str) -> object:
    return asyncio.run(_result(job))
