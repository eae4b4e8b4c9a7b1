"""A broker that knows its services without a worker, a client, a command line and a worker that holds on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system.admin.echo import KNOWN, Held
from zmws import Client
from zmws.testing import RunningBroker
from zmws.testing.fixtures import BrokerFactory, WorkerFactory


@pytest.fixture
def zmws_broker(zmws_broker_factory: BrokerFactory) -> RunningBroker:
    """Its services are known without a worker."""
    return zmws_broker_factory(heartbeat_interval_s=0.5, services=KNOWN)


@pytest.fixture
def client(zmws_client: Client) -> Client:
    return zmws_client


@pytest.fixture
def held(zmws_worker: WorkerFactory) -> Iterator[Held]:
    """A worker of SLOW; whatever it still holds at the end is let go."""
    worker = Held()
    zmws_worker(worker)
    yield worker
    worker.go.set()
