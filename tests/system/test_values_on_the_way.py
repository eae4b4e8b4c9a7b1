"""A value comes out as it went in, whatever way it takes: calls, jobs, leases, partial results, events."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import zmq

from tests.peers import peer, wait_until
from zmws import AsyncClient, Client, JobFailed, Refused, WorkerBase, ZmwsError
from zmws.core.options import ServiceOptions
from zmws.errors import BadResult
from zmws.testing import RunningBroker
from zmws.testing.fixtures import BrokerFactory, WorkerFactory

ODD_BYTES = [
    b"", b"\0", b"x", b"PARAM", b"PARAM-JSON: {", b'PARAM-JSON: {"a": 1}', b"PARAM: i:1;", b"PARAM: x",
    b"PARAM-RAW: x", b"JSON-PARAM: ", b"OPTS-JSON: {}", b"JOB: ECHO", b"COMPLETE", b"FAIL: x", b"\xff\xfe",
]  # fmt: skip
ODD_VALUES = [
    None, True, False, 0, "", [], {"base64": "eA=="}, {"base64": "no base64"}, [{"base64": "eA=="}],
    "PARAM-JSON: 1", {"code": "job_failed", "error": "x"}, "FAIL", {"result_kind": "bytes"},
]  # fmt: skip


class Echo(WorkerBase):
    service_name = "ECHO"

    def work(self, job_id: str, params: Any) -> Any:
        return params


class Gives(WorkerBase):
    """Gives what it is told to, also as a partial result."""

    service_name = "GIVES"
    value: Any = None

    def work(self, job_id: str, params: Any) -> Any:
        self.job.partial(type(self).value)
        return type(self).value


@pytest.fixture
def client(zmws_broker: RunningBroker) -> Any:
    with zmws_broker.connect() as client:
        yield client


@pytest.mark.parametrize("data", ODD_BYTES, ids=repr)
def test_bytes_come_back_as_they_went(client: Client, zmws_worker: WorkerFactory, data: bytes) -> None:
    zmws_worker(Echo)
    for sent in (data, bytearray(data), memoryview(data)):
        assert client.call("ECHO", sent, timeout=10) == data
    assert client.submit("ECHO", data).result(10) == data
    (job,) = client.submit_many([{"service": "ECHO", "params": data}])
    assert not isinstance(job, Refused) and job.result(10) == data


@pytest.mark.parametrize("value", [*ODD_VALUES, *ODD_BYTES], ids=repr)
def test_every_result_is_what_work_returned(
    zmws_broker: RunningBroker, client: Client, zmws_worker: WorkerFactory, value: Any
) -> None:
    Gives.value = value
    zmws_worker(Gives)
    parts: list[Any] = []
    if value is False:  # a failure by its own word
        with pytest.raises(JobFailed):
            client.call("GIVES", timeout=10)
        return
    assert client.call("GIVES", timeout=10, on_partial=parts.append) == value
    assert client.submit("GIVES").result(10) is value or client.submit("GIVES").result(10) == value
    assert parts == [value] and type(parts[0]) is type(value)

    async def by_await() -> list[Any]:
        async with AsyncClient(zmws_broker.client) as asking:
            job = await asking.submit("GIVES")
            return [await asking.call("GIVES", timeout=10), await job.result(10)]

    for told in asyncio.run(by_await()):
        assert told == value and type(told) is type(value)


@pytest.mark.parametrize("value", [*ODD_VALUES, *ODD_BYTES], ids=repr)
def test_a_lease_gets_and_gives_values_as_a_worker_does(
    zmws_broker_factory: BrokerFactory, value: Any
) -> None:
    broker = zmws_broker_factory(services={"ECHO": ServiceOptions()})
    with broker.connect() as client:
        job = client.submit("ECHO", value)
        lease = client.lease("ECHO", wait=5)
        assert lease is not None
        # No parameters are an empty dict to a worker, too.
        assert lease.params == ({} if value is None else value)
        lease.partial(value)
        lease.complete(value)
        told = job.result(10)
        assert told == value and type(told) is type(value)
        events = [event for event in job.events(follow=False) if event["kind"] == "partial"]
        kind = None if value is None else "bytes" if isinstance(value, bytes) else "json"
        assert [event["value_kind"] for event in events] == [kind]
        assert job.status()["result_kind"] == kind


def test_a_foreign_worker_and_a_strict_client_get_the_bytes(zmws_broker: RunningBroker) -> None:
    with zmws_broker.connect() as client, peer(zmws_broker.mdp) as worker:
        worker.send_multipart([b"MDPW02", b"\x01", b"FOREIGN"])
        wait_until(lambda: client.workers(), what="it is registered")
        for data in ODD_BYTES:
            asked = client.call_future("FOREIGN", data, timeout=10)
            frames = worker.recv_multipart()
            while frames[1] != b"\x02":
                frames = worker.recv_multipart()
            assert frames[4:] == [data]
            worker.send_multipart([b"MDPW02", b"\x04", frames[2], b"", b"done"])
            assert asked.result(10) == b"done"


def test_a_strict_client_gets_the_bytes_of_our_worker(
    zmws_broker: RunningBroker, zmws_worker: WorkerFactory
) -> None:
    zmws_worker(Gives)
    for data in ODD_BYTES:
        Gives.value = data
        with peer(zmws_broker.mdp, zmq.REQ) as strict:
            strict.send_multipart([b"MDPC01", b"GIVES"])
            assert strict.recv_multipart() == [b"MDPC01", b"GIVES", data]


@pytest.mark.parametrize("body", [b"PARAM-JSON: {", b"PARAM-JSON: " + b"[" * 100_000])
def test_a_foreign_result_that_says_it_is_json_and_is_not_is_a_zmws_error(
    zmws_broker: RunningBroker, body: bytes
) -> None:
    with zmws_broker.connect() as client, peer(zmws_broker.mdp) as worker:
        worker.send_multipart([b"MDPW02", b"\x01", b"FOREIGN"])
        wait_until(lambda: client.workers(), what="it is registered")
        for ask in (
            lambda: client.call_future("FOREIGN", timeout=10).result,
            lambda: client.submit("FOREIGN").result,
        ):
            result = ask()
            frames = worker.recv_multipart()
            while frames[1] != b"\x02":
                frames = worker.recv_multipart()
            worker.send_multipart([b"MDPW02", b"\x04", frames[2], b"", body])
            with pytest.raises(ZmwsError, match="says that it is JSON, and is not"):
                result(10)


# ---------------------------------------------------------------- whom one talks to, and what that takes


def test_a_request_larger_than_the_broker_takes_is_refused_and_others_go_on(
    zmws_broker_factory: BrokerFactory, zmws_worker: WorkerFactory
) -> None:
    broker = zmws_broker_factory(message_bytes_max=65_536)
    zmws_worker(Echo, broker=broker)
    with broker.connect() as client:
        asked = [client.call_future("ECHO", n, timeout=10) for n in range(20)]
        for ask in (client.call, client.submit):
            with pytest.raises(Refused, match="message_bytes_max") as refused:
                ask("ECHO", "x" * 70_000)
            assert refused.value.code == "too_large"
        assert [one.result(10) for one in asked] == list(range(20))
        assert client.call("ECHO", "x" * 65_000, timeout=10) == "x" * 65_000
        verdicts = client.submit_many(
            [{"service": "ECHO", "params": "y" * size} for size in (60_000, 70_000, 5)]
        )
        assert [getattr(one, "code", "") for one in verdicts] == ["", "too_large", ""]


def test_a_client_of_the_wrong_socket_is_told_so(zmws_broker: RunningBroker) -> None:
    for endpoint, why in ((zmws_broker.mdp, "is the socket 'mdp'"), (zmws_broker.worker, "workers only")):
        with Client(endpoint) as client:
            for ask in (client.call, client.submit):
                with pytest.raises(Refused, match=why) as refused:
                    ask("ECHO")
                assert refused.value.code == "wrong_socket"


def test_hello_says_what_the_broker_takes(zmws_broker_factory: BrokerFactory) -> None:
    broker = zmws_broker_factory(message_bytes_max=65_536, submit_many_max=7)
    with broker.connect() as client:
        told = client.ask("zmws.hello")
        assert told.pop("version") and told.pop("life") and told.pop("news") == broker.news
        assert told == {
            "zmws": 1,
            "socket": "client",
            "message_bytes_max": 65_536,
            "submit_many_max": 7,
        }
        assert json.dumps(told)


def _deep(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


def test_a_deep_job_among_many_is_refused_alone(
    zmws_broker_factory: BrokerFactory, zmws_worker: WorkerFactory
) -> None:
    broker = zmws_broker_factory()
    zmws_worker(Echo, broker=broker)
    with broker.connect() as client:
        jobs = [{"service": "ECHO", "params": _deep(levels)} for levels in (150, 198, 199, 250)]
        made = client.submit_many(jobs)
        assert [getattr(one, "code", "") for one in made] == ["", "", "bad_params", "bad_params"]
        assert "submit this job alone" in str(made[3])
        assert client.submit("ECHO", _deep(250)).result(10) == _deep(250)


@pytest.mark.parametrize(
    ("result", "why"),
    [
        ({"when": [object()]}, r"the result\['when'\]\[0\] is a object"),
        ("x" * 70_000, "message_bytes_max"),
        (_deep(250), "nested more than 200 deep"),
    ],
    ids=["object", "large", "deep"],
)
def test_a_result_of_a_lease_that_cannot_be_sent_fails_the_job_for_good(
    zmws_broker_factory: BrokerFactory, result: Any, why: str
) -> None:
    broker = zmws_broker_factory(services={"ECHO": ServiceOptions()}, message_bytes_max=65_536)
    with broker.connect() as client:
        job = client.submit("ECHO", retries=3)
        lease = client.lease("ECHO", wait=5)
        assert lease is not None
        with pytest.raises(BadResult, match=why), lease:
            lease.complete(result)
        with pytest.raises(JobFailed, match=why) as failed:
            job.result(10)
        assert failed.value.code == "bad_result" and failed.value.attempts == 1

    async def by_await() -> None:
        async with AsyncClient(broker.client) as asking:
            job = await asking.submit("ECHO", retries=3)
            lease = await asking.lease("ECHO", wait=5)
            assert lease is not None
            with pytest.raises(BadResult, match=why):
                async with lease:
                    await lease.complete(result)
            with pytest.raises(JobFailed, match=why):
                await job.result(10)

    asyncio.run(by_await())
