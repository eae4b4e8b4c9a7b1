"""Fixtures of the whole suite."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.cluster import Cluster, need_server
from zmws.testing import RunningBroker
from zmws.testing.fixtures import BrokerFactory

pytest_plugins = ["zmws.testing"]


@pytest.fixture
def zmws_broker(zmws_broker_factory: BrokerFactory) -> RunningBroker:
    """A broker with quick heartbeats."""
    return zmws_broker_factory(heartbeat_interval_s=0.5)


@pytest.fixture
def broker(zmws_broker: RunningBroker) -> RunningBroker:
    """The same, by a shorter name."""
    return zmws_broker


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL server for all tests of a process."""
    need_server()
    made = Cluster()
    yield made
    made.close()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seeds", type=int, default=200, help="how many seeds the simulator runs")
    parser.addoption("--first-seed", type=int, default=0, help="the first seed")
    parser.addoption("--fuzz", type=int, default=100_000, help="how many garbage messages an endpoint gets")
    parser.addoption("--hostile", type=int, default=8_000, help="how many hostile requests a broker gets")
    text = "how many requests a strict client sends at once"
    parser.addoption("--strict-requests", type=int, default=15_000, help=text)
    parser.addoption("--crash-rounds", type=int, default=20, help="how often the broker is killed under load")
    parser.addoption("--crash-seed", type=int, default=None, help="the load's seed; a new one each time")
    parser.addoption("--power-cuts", type=int, default=2, help="how often the power of a disk is cut")


def pytest_configure() -> None:
    # `timeout` and CI end a run by SIGTERM: like Ctrl-C it leaves no process and no mounted disk behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # A run in the background ignores SIGINT, under `nohup` SIGHUP: so would all processes of the tests.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
