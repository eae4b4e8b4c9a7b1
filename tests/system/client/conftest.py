"""A broker with a worker, and a client of it."""

from __future__ import annotations

import pytest

from tests.system.client.echo import Echo
from zmws import Client
from zmws.core.options import ServiceOptions
from zmws.testing import RunningBroker
from zmws.testing.fixtures import BrokerFactory, WorkerFactory


@pytest.fixture
def zmws_broker(zmws_broker_factory: BrokerFactory) -> RunningBroker:
    """Its services are known without a worker; nobody serves SLOW."""
    services = {name: ServiceOptions() for name in ("ECHO", "SLOW")}
    return zmws_broker_factory(heartbeat_interval_s=0.5, services=services)


@pytest.fixture
def client(zmws_client: Client, zmws_worker: WorkerFactory) -> Client:
    """A client, and a worker of ECHO."""
    zmws_worker(Echo)
    return zmws_client
