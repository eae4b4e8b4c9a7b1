"""What the Dramatiq contestant of drain.py runs: a no-op, its queue and results in the Redis of REDIS_QUEUE
and REDIS_RESULTS.

`enqueue` gives the id of the last job, `result` what a job has returned; the workers import this.
"""

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

broker = RedisBroker(url=os.environ["REDIS_QUEUE"])
broker.add_middleware(Results(backend=RedisBackend(url=os.environ["REDIS_RESULTS"])))
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=True)
def no_op() -> int:
    return 1


def enqueue(jobs: int) -> str:
    for _ in range(jobs):
        last = no_op.send()
    return str(last.message_id)


def result(job: str) -> object:
    return no_op.message().copy(message_id=job).get_result()
