"""Jobs from end to end over real sockets."""

from __future__ import annotations

from pathlib import Path

import pytest
import zmq

from tests.peers import RunningBroker, await_workers, peer, wait_until, worker_process
from zmws.client import Client
from zmws.errors import JobFailed, Refused

ECHO = """
service_name = "ECHO"
def work(self, job_id, params):
    return params
"""


def test_a_call_comes_back(broker: RunningBroker, tmp_path: Path) -> None:
    with worker_process(tmp_path, broker.worker, ECHO), broker.connect() as client:
        await_workers(client, 1)
        assert client.call("ECHO", {"a": [1, None, "ä"]}, timeout=10) == {"a": [1, None, "ä"]}
        assert client.call("ECHO", b"\x00\xff", timeout=10) == b"\x00\xff"


def test_a_submitted_job_has_a_result(broker: RunningBroker, tmp_path: Path) -> None:
    with worker_process(tmp_path, broker.worker, ECHO), broker.connect() as client:
        await_workers(client, 1)
        job = client.submit("ECHO", {"a": 1})
        assert job.durability == "memory" and not job.existing
        assert job.result(10) == {"a": 1}
        assert job.status()["state"] == "complete"


def test_a_strict_worker_in_ten_lines_serves_a_dealer_without_ours(broker: RunningBroker) -> None:
    with peer(broker.worker) as worker, peer(broker.client) as client:
        worker.send_multipart([b"MDPW02", b"\x01", b"ECHO"])
        request = [b"MDPC02", b"\x01", b"SYNC-ECHO", b"hello"]
        while True:
            client.send_multipart(request)
            if worker.poll(200):
                break
            assert client.recv_multipart()[3].startswith(b"FAIL: ECHO")  # not registered yet
        header, command, token, empty, body = worker.recv_multipart()
        assert (header, command, empty, body) == (b"MDPW02", b"\x02", b"", b"hello")
        worker.send_multipart([b"MDPW02", b"\x04", token, b"", b"olleh"])
        header, command, service, complete, body = client.recv_multipart()
        assert (header, command, service, body) == (b"MDPC02", b"\x03", b"ECHO", b"olleh")
        assert complete.startswith(b"COMPLETE: ECHO [")


def test_an_unknown_service_is_refused_to_a_bare_req(broker: RunningBroker) -> None:
    with peer(broker.client, zmq.REQ) as client:
        client.send(b"JOB: NOPE")
        assert client.recv_multipart() == [b"FAIL: NOPE"]


def test_a_result_larger_than_a_message_fails_the_job_for_good(broker: RunningBroker, tmp_path: Path) -> None:
    big = 'service_name = "BIG"\ndef work(self, job_id, params):\n    return "x" * params["n"]\n'
    with worker_process(tmp_path, broker.worker, big), broker.connect() as client:
        await_workers(client, 1)
        with pytest.raises(JobFailed) as failed:
            client.call("BIG", {"n": 9_000_000}, timeout=20)
        assert failed.value.code == "result_too_large"
        assert client.call("BIG", {"n": 3}, timeout=10) == "xxx"


def test_parameters_larger_than_a_message_are_refused_and_other_calls_go_on(
    broker: RunningBroker, tmp_path: Path
) -> None:
    with worker_process(tmp_path, broker.worker, ECHO), broker.connect() as client:
        await_workers(client, 1)
        with pytest.raises(Refused) as refused:
            client.call("ECHO", {"s": "x" * 9_000_000})
        assert refused.value.code == "too_large"
        assert client.call("ECHO", 1, timeout=10) == 1


@pytest.mark.parametrize("endpoint", ["tcp://localhost", "localhost:5555", "tcp://a:0", "tcp://a:99999"])
def test_an_endpoint_that_cannot_be_is_refused_at_once(endpoint: str) -> None:
    with pytest.raises(ValueError, match="no endpoint to connect to"):
        Client(endpoint)


def test_a_cancelled_call_is_not_asked_again(broker: RunningBroker) -> None:
    with broker.connect() as client, peer(broker.worker) as worker:
        worker.send_multipart([b"MDPW02", b"\x01", b"SLOW"])
        await_workers(client, 1)
        future = client.call_future("SLOW", 1)
        assert worker.recv_multipart()[1] == b"\x02"
        assert future.cancel()
        wait_until(lambda: not client._connection.dialog.pending, 5, "it is forgotten")


def test_delete_and_retry_together_leave_the_broker_whole(broker: RunningBroker, tmp_path: Path) -> None:
    fails = 'service_name = "FAILS"\ndef work(self, job_id, params):\n    return False\n'
    with worker_process(tmp_path, broker.worker, fails), broker.connect() as client:
        await_workers(client, 1)
        for _ in range(5):
            job = client.submit("FAILS", retries=0)
            assert job.wait(10)["state"] == "failed"
            asked = [client.ask_future(f"zmws.{verb}", {"id": job.id}) for verb in ("delete", "retry") * 3]
            for answer in asked:
                assert answer.exception(10) is None or isinstance(answer.exception(), Refused)
        assert client.submit("FAILS", retries=0).wait(10)["state"] == "failed"
