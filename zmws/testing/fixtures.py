"""The pytest fixtures: `pytest_plugins = ["zmws.testing"]`. Everything they start ends with the test.

(A test may have imported this for its types before pytest does: PYTEST_DONT_REWRITE.)
"""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from zmws.client import Client
from zmws.testing.broker import RunningBroker, broker_in_thread
from zmws.testing.fake import FakeClient
from zmws.testing.processes import BrokerProcess
from zmws.testing.worker import RunningWorker, worker_in_thread
from zmws.work import WorkerBase


class BrokerFactory(Protocol):
    """Starts a broker; takes what `broker_in_thread` does: services=, store=, file=, any limit."""

    def __call__(self, **given: Any) -> RunningBroker: ...


class BrokerProcessFactory(Protocol):
    """Starts a broker in a process of its own; takes what BrokerProcess does, but for the folder."""

    def __call__(self, *flags: str, **given: Any) -> BrokerProcess: ...


class WorkerFactory(Protocol):
    """Starts a worker, at the test's broker unless told another."""

    def __call__(
        self,
        worker: type[WorkerBase] | WorkerBase,
        service: str | None = None,
        broker: RunningBroker | None = None,
    ) -> RunningWorker: ...


@pytest.fixture
def zmws_broker_factory() -> Iterator[BrokerFactory]:
    """Starts brokers of this test's own: `zmws_broker_factory(heartbeat_interval_s=0.5)`."""
    with contextlib.ExitStack() as stack:
        yield lambda **given: stack.enter_context(broker_in_thread(**given))


@pytest.fixture
def zmws_broker_process_factory(tmp_path: Path) -> Iterator[BrokerProcessFactory]:
    """Starts `zmws broker` processes, each in a folder of its own; with a test that fails pytest shows what
    they have written."""
    numbers = itertools.count(1)
    with contextlib.ExitStack() as stack:

        def start(*flags: str, **given: Any) -> BrokerProcess:
            broker = BrokerProcess(tmp_path / f"broker-{next(numbers)}", *flags, **given)
            stack.callback(lambda: sys.stderr.write(f"the broker{broker.wrote()}\n"))
            return stack.enter_context(broker)

        yield start


@pytest.fixture
def zmws_broker(zmws_broker_factory: BrokerFactory) -> RunningBroker:
    """A broker on free ports that keeps its jobs in memory. Override it for one with other limits."""
    return zmws_broker_factory()


@pytest.fixture
def zmws_client(zmws_broker: RunningBroker) -> Iterator[Client]:
    """A client of `zmws_broker`."""
    with zmws_broker.connect() as client:
        yield client


@pytest.fixture
def zmws_worker(zmws_broker: RunningBroker) -> Iterator[WorkerFactory]:
    """Runs workers in threads, registered when it returns: `zmws_worker(Reverse)`."""
    with contextlib.ExitStack() as stack:

        def start(
            worker: type[WorkerBase] | WorkerBase,
            service: str | None = None,
            broker: RunningBroker | None = None,
        ) -> RunningWorker:
            return stack.enter_context(worker_in_thread(worker, broker or zmws_broker, service))

        yield start


@pytest.fixture
def zmws_fake_client() -> Iterator[FakeClient]:
    """A client that needs no broker, keeps what is submitted and runs nothing; `add_workers(Reverse)` makes
    it run jobs."""
    with FakeClient() as client:
        yield client
