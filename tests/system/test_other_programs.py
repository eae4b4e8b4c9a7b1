"""What other Majordomo programs do, seen from our clients and from the broker as a process."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import zmq

from tests.peers import (
    BrokerProcess,
    RunningBroker,
    await_workers,
    broker_process,
    counters,
    peer,
    report,
    wait_until,
    worker_process,
)
from tests.system.installation import Ran, run
from zmws.errors import ZmwsError

TWO_FRAMES = [b"\x00\xff", b"PARAM-JSON: 1"]


@contextlib.contextmanager
def strict_worker(endpoint: str, service: bytes, result: Sequence[bytes]) -> Iterator[None]:
    """A worker of RFC 18 that answers whatever it is asked with these frames."""
    with peer(endpoint) as socket:

        def serve() -> None:
            socket.send_multipart([b"MDPW02", b"\x01", service])
            while not over.is_set():
                if socket.poll(20):
                    frames = socket.recv_multipart()
                    if frames[1] == b"\x02":
                        socket.send_multipart([b"MDPW02", b"\x04", frames[2], b"", *result])

        over = threading.Event()
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


@pytest.mark.parametrize(
    ("result", "value"),
    [(TWO_FRAMES, TWO_FRAMES), ([b"\xff"], b"\xff"), ([b""], b""), ([b"PARAM-JSON: [1]"], [1])],
)
def test_a_strict_workers_frames_are_the_same_value_from_call_and_from_result(
    broker: RunningBroker, result: list[bytes], value: Any
) -> None:
    with strict_worker(broker.mdp, b"TWO", result), broker.connect() as client:
        await_workers(client, 1)
        assert client.call("TWO", b"x", timeout=10) == value
        assert client.submit("TWO", b"x").result(10) == value
        assert client.submit("TWO", b"x", durability="memory").result(10) == value


@pytest.mark.parametrize("command", [("call", "TWO"), ("submit", "--wait", "TWO")])
def test_the_command_line_prints_a_strict_workers_frames(
    broker: RunningBroker, tmp_path: Path, command: tuple[str, ...]
) -> None:
    def zmws(*more: str) -> Ran:
        return run(*command, *more, "--broker", broker.client, cwd=tmp_path)

    with strict_worker(broker.worker, b"TWO", [b"one", b"two"]), broker.connect() as client:
        await_workers(client, 1)
        ran = zmws()
        assert (ran.code, ran.out, ran.err) == (0, "one\ntwo\n", "")
        ran = zmws("--json")
        assert ran.code == 0 and ran.json() == [{"base64": "b25l"}, {"base64": "dHdv"}]


def test_our_client_can_ask_mmi_service(broker: RunningBroker) -> None:
    with strict_worker(broker.mdp, b"JOBS", []), broker.connect() as client:
        await_workers(client, 1)
        assert (
            client.call("mmi.service", b"JOBS") == 200
        )  # sent as PARAM-RAW, for it begins as a frame of ours
        assert client.call("mmi.service", b"NONE") == 404


def test_a_result_that_says_it_is_json_and_is_not_is_one_line_and_exit_code_1(
    broker: RunningBroker, tmp_path: Path
) -> None:
    with strict_worker(broker.worker, b"BAD", [b"PARAM-JSON: {"]), broker.connect() as client:
        await_workers(client, 1)
        for ask in (lambda: client.call("BAD", timeout=10), lambda: client.submit("BAD").result(10)):
            with pytest.raises(ZmwsError, match="says that it is JSON, and is not"):
                ask()
        for command in (("call", "BAD"), ("submit", "--wait", "BAD"), ("call", "BAD", "--json")):
            ran = run(*command, "--broker", broker.client, cwd=tmp_path)
            said = json.loads(ran.out)["error"] if "--json" in command else ran.out + ran.err
            assert ran.code == 1, ran
            assert said.removeprefix("zmws: ").startswith("the worker's value says"), ran
            assert said.strip().count("\n") == 0, ran


HEARTBEAT, DISCONNECT = [b"MDPW02", b"\x05"], [b"MDPW02", b"\x06"]


def test_a_worker_that_survives_its_disconnect_is_told_once(broker: RunningBroker) -> None:
    with peer(broker.mdp) as worker:
        for _ in range(100):
            worker.send_multipart(HEARTBEAT)
        worker.send_multipart([b"MDPW02", b"\x01", b"E"])
        assert [worker.recv_multipart() for _ in range(3)] == [DISCONNECT, HEARTBEAT, HEARTBEAT]


def test_a_refused_worker_that_comes_back_at_once_waits_for_a_heartbeat_interval(
    broker: RunningBroker,
) -> None:
    with peer(broker.worker) as worker, broker.connect() as client:
        began = time.monotonic()
        for _ in range(100):
            worker.send_multipart([b"MDPW02", b"\x01", b"mmi.x"])
        assert worker.recv_multipart() == DISCONNECT
        assert time.monotonic() - began > 0.49  # the fixture's interval is 0.5 s
        assert counters(client)["ready_bad_service"] == 100
        worker.send_multipart([b"MDPW02", b"\x01", b"E"])
        assert worker.recv_multipart() == HEARTBEAT


# ---------------------------------------------------------------- more than may wait

ECHO = """
service_name = "ECHO"
def work(self, job_id, params):
    return params
"""
PEAK_BYTES_MAX = 150_000_000  # resident, of a broker with 100,000 requests of 100 bytes at once


def peak_bytes(broker: BrokerProcess) -> int:
    """Its resident memory at the most."""
    status = Path(f"/proc/{broker.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def test_a_strict_clients_requests_are_all_answered_however_many_come_at_once(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    count = pytestconfig.getoption("--strict-requests")
    room = "[broker]\nwaiting_memory_max = 100\n"  # so that most are held, however quick the worker is
    with (
        broker_process(tmp_path, toml=room) as broker,
        worker_process(tmp_path, broker.worker, ECHO),
        broker.connect() as client,
        peer(broker.mdp) as strict,
    ):
        await_workers(client, 1)
        for option in (zmq.SNDHWM, zmq.RCVHWM):
            strict.setsockopt(option, 0)
        strict.disconnect(broker.mdp)
        strict.connect(broker.mdp)  # the marks hold for connections that are made after them
        began = time.monotonic()
        for n in range(count):
            strict.send_multipart([b"MDPC02", b"\x01", b"ECHO", b"%0100d" % n])
        answers = {strict.recv_multipart()[3] for _ in range(count)}
        assert answers == {b"%0100d" % n for n in range(count)}
        held = counters(client)["strict_requests_held"]
        took, peak = time.monotonic() - began, peak_bytes(broker)
        report(f"{count} requests, {held} of them held: {took:.1f} s, broker at most {peak / 1e6:.0f} MB")
        assert held > 0 and peak < PEAK_BYTES_MAX


def test_the_greediest_strict_client_is_cut_off_and_others_are_answered(tmp_path: Path) -> None:
    toml = '[broker]\nwaiting_memory_max = 10\nstrict_held_bytes_max = "1 MiB"\n[services.ECHO]\n'
    with (
        broker_process(tmp_path, toml=toml) as broker,
        broker.connect() as client,
        peer(broker.mdp) as modest,
        peer(broker.mdp) as greedy,
    ):
        events = greedy.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        for n in range(20):
            modest.send_multipart([b"MDPC02", b"\x01", b"ECHO", b"%d" % n])
        wait_until(lambda: client.ask("zmws.stats")["strict_held"] == 10, what="the modest one is there")
        for _ in range(20):
            greedy.send_multipart([b"MDPC02", b"\x01", b"ECHO", b"x" * 100_000])
        assert events.poll(10_000), "its connection is cut"
        greedy.disable_monitor()
        events.close()
        wait_until(lambda: counters(client).get("connections_cut_for_strict_requests"), what="it is counted")
        assert "strict_held_bytes_max is passed" in broker.said()
        with worker_process(tmp_path, broker.worker, ECHO):
            answers = [modest.recv_multipart()[3] for _ in range(20)]
        assert answers == [b"%d" % n for n in range(20)]
