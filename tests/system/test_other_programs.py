"""What other Majordomo programs do, seen from our clients and from the broker as a process."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.peers import RunningBroker, await_workers, peer
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
            assert (ran.code, ran.out) == (1, ""), ran
            assert ran.err.startswith("zmws: the worker's value says") and ran.err.count("\n") == 1
