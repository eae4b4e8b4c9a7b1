"""Programs whose threads have been replaced: they are told, and what they are told to do works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.peers import await_workers, process
from tests.system.installation import environment
from zmws import WorkerBase
from zmws.testing import RunningBroker, worker_in_thread

PATCHED = "from gevent import monkey; monkey.patch_all({})\nimport zmws\n"
ALLOWED = "thread=False, queue=False"

CLIENT = """
try:
    zmws.{kind}("{endpoint}")
except zmws.ZmwsError as why:
    print(why)
"""
CALLS = """
import gevent
ticks = []
def tick():
    while True:
        ticks.append(1)
        gevent.sleep(0.001)
gevent.spawn(tick)
with zmws.Client("{endpoint}") as client:
    print(client.call("ECHO", 1, timeout=10))
    before = len(ticks)
    print(gevent.get_hub().threadpool.apply(client.call, ("ECHO", 2), {{"timeout": 10}}))
    print(len(ticks) > before)
"""
WORKER = """
class W(zmws.WorkerBase):
    service_name = "W"
    def work(self, job_id, params):
        return params
try:
    W().run(["{endpoint}"])
except zmws.ZmwsError as why:
    print(why)
"""
BROKER = """
from zmws import settings
from zmws.server import BrokerServer
from zmws.store import open_store
free = {{f"broker.{{name}}": "tcp://127.0.0.1:*" for name in ("client", "worker", "news", "mdp")}}
known = settings.load(None, {{"store.url": "memory:", **free}}, environ={{}})
try:
    BrokerServer(known, open_store(known)).run()
except zmws.ZmwsError as why:
    print(why)
"""


class Echo(WorkerBase):
    """Gives back what it was given."""

    service_name = "ECHO"

    def work(self, job_id: str, params: object) -> object:
        return params


def output(program: str, patch: str = "") -> str:
    """What the program prints, patched so; it ends by itself."""
    ran = subprocess.run(
        [sys.executable, "-c", PATCHED.format(patch) + program],
        capture_output=True, text=True, check=False, timeout=30, env=environment(),
    )  # fmt: skip
    assert ran.returncode == 0, ran
    return ran.stdout


@pytest.mark.parametrize(
    "program",
    [
        CLIENT.format(kind="Client", endpoint="tcp://127.0.0.1:1"),
        CLIENT.format(kind="AsyncClient", endpoint="tcp://127.0.0.1:1"),
        WORKER.format(endpoint="tcp://127.0.0.1:1"),
        BROKER.format(),
    ],
    ids=["Client", "AsyncClient", "worker", "broker"],
)
def test_a_program_without_real_threads_is_told_what_to_do(program: str) -> None:
    assert f"monkey.patch_all({ALLOWED})" in output(program)


def test_a_client_works_in_a_program_that_is_patched_as_we_say(broker: RunningBroker) -> None:
    with worker_in_thread(Echo, broker):
        assert output(CALLS.format(endpoint=broker.client), ALLOWED).split() == ["1", "2", "True"]


def test_a_worker_works_in_a_program_that_is_patched_as_we_say(broker: RunningBroker, tmp_path: Path) -> None:
    program = PATCHED.format(ALLOWED) + WORKER.format(endpoint=broker.worker)
    with process([sys.executable, "-c", program], tmp_path / "log"), broker.connect() as client:
        await_workers(client, 1)
        assert client.call("W", 1, timeout=10) == 1


def test_a_worker_whose_queues_were_replaced_is_told_what_to_do() -> None:
    assert f"monkey.patch_all({ALLOWED})" in output(
        WORKER.format(endpoint="tcp://127.0.0.1:1"), "thread=False"
    )
