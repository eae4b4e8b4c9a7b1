"""What a class declares of its jobs is told in READY and stored with the service; what is given goes
before."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.peers import await_workers, broker_process, worker_file_process
from zmws.client import Client

DECLARES = """
from zmws import WorkerBase, worker

class Declares(WorkerBase):
    service_name = "DECLARES"
    retries, ttr, priority = 7, 120.0, 5

    def work(self, job_id, params: dict[str, int]):
        return self.client.call("DOUBLE", {"n": params["n"]}, timeout=10) if "n" in params else None

@worker("DOUBLE", keep=60)
def double(n: int) -> int:
    return 2 * n
"""
CALLER = """
from zmws import WorkerBase

class Caller(WorkerBase):
    service_name = "CALLER"

    def work(self, job_id, params):
        return self.client.call("DOUBLE", {"n": params}, timeout=10)
"""


def options(client: Client, service: str) -> dict[str, tuple[Any, str]]:
    """A service's options, and where they come from."""
    told = client.ask("zmws.service", {"service": service})["options"]
    return {name: (row["value"], row["from"]) for name, row in told.items()}


def test_defaults_outlive_the_worker_and_the_broker_and_what_is_given_goes_before(tmp_path: Path) -> None:
    toml = "[services.DECLARES]\nttr = 30\n"
    with ExitStack() as stack:
        broker = stack.enter_context(broker_process(tmp_path, toml=toml))
        client = stack.enter_context(broker.connect())
        with worker_file_process(tmp_path, [broker.worker], DECLARES):
            await_workers(client, 1)
            before = options(client, "DECLARES")
            client.submit("DECLARES", delay=60)  # what was written before it is on disk when it is accepted
        assert before["retries"] == (7, "worker") and before["ttr"] == (30.0, "configuration")
        assert before["priority"] == (5, "worker") and before["backoff"] == (2.0, "default")
        broker.restart()
        assert options(client, "DECLARES") == before and client.workers() == []
        own = client.submit("DECLARES", retries=1).status()
        assert (own["retries"], own["ttr"], own["priority"]) == (1, 30.0, 5)
        plain = client.submit("DECLARES").status()
        assert (plain["retries"], plain["ttr"]) == (7, 30.0)


def test_a_service_shows_the_schema_of_its_parameters(tmp_path: Path) -> None:
    with ExitStack() as stack:
        broker = stack.enter_context(broker_process(tmp_path))
        client = stack.enter_context(broker.connect())
        stack.enter_context(worker_file_process(tmp_path, [broker.worker], DECLARES))
        await_workers(client, 1)
        assert client.ask("zmws.service", {"service": "DOUBLE"})["params"] == {
            "type": "object",
            "properties": {"n": {"type": "integer"}},
            "required": ["n"],
            "additionalProperties": False,
        }


def test_a_worker_has_a_client_of_its_own_broker(tmp_path: Path) -> None:
    with ExitStack() as stack:
        broker = stack.enter_context(broker_process(tmp_path))
        client = stack.enter_context(broker.connect())
        stack.enter_context(worker_file_process(tmp_path, [broker.worker], DECLARES))
        stack.enter_context(worker_file_process(tmp_path, [broker.worker], CALLER, "caller"))
        await_workers(client, 2)
        assert client.call("CALLER", 21, timeout=10) == 42
