"""A client of the fake and one of a broker in a thread, with the same workers: both do the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.client.workers import WORKERS
from zmws import Client
from zmws.core.options import ServiceOptions
from zmws.testing import FakeClient, broker_in_thread, worker_in_thread

SERVICES = {
    "NOBODY": ServiceOptions(),  # that nobody serves
    "TOLD": ServiceOptions(),
    "SHAKY": ServiceOptions(backoff=0.01),
    "FULL": ServiceOptions(max_waiting=2),
}


@pytest.fixture(params=["fake", "real"])
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    if request.param == "fake":
        with FakeClient(workers=WORKERS, services=SERVICES) as fake:
            yield fake
        return
    with broker_in_thread(services=SERVICES) as broker:
        running = [worker_in_thread(worker, broker) for worker in WORKERS]
        try:
            for one in running:
                one.__enter__()
            with broker.connect() as real:
                yield real
        finally:
            for one in running:
                one.__exit__(None, None, None)
