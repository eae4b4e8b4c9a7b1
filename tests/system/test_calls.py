"""Jobs from end to end over real sockets."""

from __future__ import annotations

from pathlib import Path

import zmq

from tests.peers import RunningBroker, await_workers, peer, worker_process

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
