"""Peers that read late or never, and a crowd of them: what that costs the broker."""

from __future__ import annotations

import json
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import zmq

from tests.peers import RawZmtp, await_workers, broker_process, counters, peer, report, wait_until
from tests.system.deaths.acting import INTERVAL_S, Actors, Notes, worker_row
from zmws.client import Client


def await_state(client: Client, job_id: str, state: str, timeout_s: float = 10.0) -> dict[str, Any]:
    def there() -> dict[str, Any] | None:
        record = client.ask("zmws.job", {"id": job_id})
        return record if record["state"] == state else None

    return wait_until(there, timeout_s, f"job {job_id} is {state}")


def test_a_client_that_reads_late_gets_its_final_behind_twenty_thousand_partials(
    tmp_path: Path, notes: Notes
) -> None:
    count = 20_000
    with ExitStack() as stack:
        broker = stack.enter_context(broker_process(tmp_path, heartbeat_interval_s=INTERVAL_S))
        Actors(stack, tmp_path, broker.worker, 1)
        client = stack.enter_context(broker.connect())
        await_workers(client, 1)
        reader = stack.enter_context(peer(broker.client))
        reader.setsockopt(zmq.RCVHWM, 10)
        params = b"PARAM-JSON: " + json.dumps(notes.params("many", count=count)).encode()
        before = broker.resident_bytes()
        reader.disconnect(broker.client)  # RCVHWM holds for connections made after it
        reader.connect(broker.client)
        reader.send_multipart([b"MDPC02", b"\x01", b"SYNC-ACT", params])
        notes.wait("ended", 1, 30)
        done = lambda: worker_row(client, notes.all("ended")[0]["pid"])["done"] == 1  # noqa: E731
        wait_until(done, 20, "its result is taken")
        grown = broker.resident_bytes() - before
        assert grown < 100 * 1024 * 1024, grown
        partials = 0
        while (frames := reader.recv_multipart())[1] == b"\x02":
            partials += 1
        assert frames[1] == b"\x03" and frames[3].startswith(b"COMPLETE: ACT")
        assert frames[4] == b"PARAM-JSON: %d" % count
        dropped = counters(client).get("outbox_dropped", 0)
        report(f"{partials} partials came, {dropped} were dropped, the broker grew by {grown >> 20} MiB")
        assert partials + dropped == count


@pytest.mark.timed
def test_a_client_that_never_reads_harms_nobody(tmp_path: Path, notes: Notes) -> None:
    with ExitStack() as stack:
        limits = '[broker]\noutbox_bytes_max = "1 MiB"\nmessage_bytes_max = "1 MiB"\n'
        broker = stack.enter_context(broker_process(tmp_path, heartbeat_interval_s=INTERVAL_S, toml=limits))
        Actors(stack, tmp_path, broker.worker, 2)
        client = stack.enter_context(broker.connect())
        await_workers(client, 2)
        deaf = stack.enter_context(peer(broker.client))
        deaf.setsockopt(zmq.RCVHWM, 1)
        deaf.disconnect(broker.client)
        deaf.connect(broker.client)
        params = b"PARAM-JSON: " + json.dumps(notes.params("many", count=20_000)).encode()
        deaf.send_multipart([b"MDPC02", b"\x01", b"SYNC-ACT", params])
        notes.wait("begun")
        assert client.call("ACT", notes.params("nothing"), timeout=5) == 1
        wait_until(lambda: counters(client).get("outbox_dropped", 0) > 0, 20, "what overflows is counted")
        asked_at = time.monotonic()
        assert client.call("ACT", notes.params("nothing"), timeout=5) == 1
        assert time.monotonic() - asked_at < 1


def test_a_worker_that_never_reads_its_socket_is_passed_over(tmp_path: Path, notes: Notes) -> None:
    with ExitStack() as stack:
        broker = stack.enter_context(broker_process(tmp_path, heartbeat_interval_s=INTERVAL_S))
        client = stack.enter_context(broker.connect())
        deaf = stack.enter_context(RawZmtp(broker.worker))
        deaf.handshake()
        deaf.send([b"MDPW02", b"\x01", b"ACT"])
        await_workers(client, 1)
        # More than the kernel's buffers hold, so that the request cannot leave whole.
        padding = "x" * 7_000_000
        job = client.submit("ACT", notes.params("nothing", padding=padding))
        await_state(client, job.id, "running", 5)
        Actors(stack, tmp_path, broker.worker, 1)
        begun = notes.wait("begun", 1, 15)[0]
        assert begun["attempt"] == 2
        assert job.result(10) == 2
        for _ in range(3):
            client.call("ACT", notes.params("nothing"), timeout=10)


@pytest.mark.timed
def test_a_thousand_idle_workers_cost_little(tmp_path: Path) -> None:
    with ExitStack() as stack:
        broker = stack.enter_context(broker_process(tmp_path, heartbeat_interval_s=5.0))
        client = stack.enter_context(broker.connect())
        context = stack.enter_context(zmq.Context())
        context.set(zmq.MAX_SOCKETS, 3_000)
        crowd = []
        for n in range(1_000):
            one = context.socket(zmq.DEALER)
            one.setsockopt(zmq.LINGER, 0)
            one.connect(broker.worker)
            one.send_multipart([b"MDPW02", b"\x01", b"IDLE-%d" % (n % 50)])
            crowd.append(one)
        try:
            wait_until(lambda: client.ask("zmws.stats")["workers"] == 1_000, 30, "a thousand workers")
            cpu, begun_at = broker.cpu_s(), time.monotonic()
            while time.monotonic() < begun_at + 6:
                for one in crowd:
                    while one.poll(0):
                        one.recv_multipart()
                        one.send_multipart([b"MDPW02", b"\x05"])
                threading.Event().wait(0.5)
            share = (broker.cpu_s() - cpu) / (time.monotonic() - begun_at)
            report(f"a thousand idle workers: {share:.1%} of a core")
            assert client.ask("zmws.stats")["workers"] == 1_000
            assert share < 0.15
        finally:
            for one in crowd:
                one.close()
