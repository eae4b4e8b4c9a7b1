"""One broker, its workers and an open gateway for the tests of a module."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway.stand import Gateway, gateway
from zmws import WorkerBase
from zmws.testing import RunningBroker, broker_in_thread, worker_in_thread

HELD = threading.Event()  # what HOLD waits for


class Echo(WorkerBase):
    service_name = "ECHO"

    def work(self, job_id: str, params: Any) -> Any:
        if params == {"fail": "1"}:
            raise ValueError("as asked")
        if params == {"bytes": "1"}:
            return b"\x00\xff"
        return {"params": params, "meta": self.job.meta}


class Hold(WorkerBase):
    """Says something, then waits until it is let go."""

    service_name = "HOLD"

    def work(self, job_id: str, params: Any) -> Any:
        self.job.log("begun")
        self.job.progress(0.5, "half")
        self.job.partial({"n": 1})
        while not HELD.wait(0.02) and not self.job.cancelled:
            pass
        return "let go"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    file = tmp_path_factory.mktemp("broker") / "zmws.db"
    with broker_in_thread(store=f"sqlite:{file}") as broker, contextlib.ExitStack() as stack:
        for kind in (Echo, Hold):
            stack.enter_context(worker_in_thread(kind, broker))
        yield broker


@pytest.fixture(scope="module")
def http(broker: RunningBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(broker, tmp_path_factory.mktemp("gateway")) as found:
        yield found


@pytest.fixture
def ask(http: Gateway) -> Iterator[httpx.Client]:
    with http.client() as client:
        yield client


@pytest.fixture(autouse=True)
def held() -> Iterator[threading.Event]:
    HELD.clear()
    yield HELD
    HELD.set()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path
