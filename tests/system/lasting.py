"""A broker on a store of its own that is killed and comes back, and workers that note what they run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.peers import BrokerProcess, await_workers, broker_process, worker_process
from tests.system.load import SERVICE, WORKER
from zmws.client import Client


def lasting_broker(folder: Path, store: str = "", **given: Any) -> BrokerProcess:
    """A broker that checks its store often. Not started yet. `store`: more of its `[store]`."""
    return broker_process(folder, toml=f"[store]\ncheck = 0.5\n{store}\n", **given)


def patient(broker: BrokerProcess) -> Client:
    """A client that waits for a broker that is away for long."""
    return broker.connect(connect_timeout=20, reconnect_timeout=60)


@contextlib.contextmanager
def workers(folder: Path, broker: BrokerProcess, count: int = 1, body: str = "") -> Iterator[None]:
    """Workers that note what they run, known to the broker."""
    body = body or WORKER.format(service=SERVICE, folder=str(folder), declares="")
    with contextlib.ExitStack() as stack:
        for n in range(count):
            stack.enter_context(worker_process(folder, broker.worker, body, f"worker-{n}"))
        with patient(broker) as client:
            await_workers(client, count)
        yield
