"""What would hurt: refused or bounded, and everybody else is answered."""

from __future__ import annotations

import contextlib
import resource
import socket
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.gateway import hostile
from tests.gateway.conftest import Echo
from tests.gateway.stand import Gateway, gateway, rest
from tests.gateway.test_api_jobs import JOBS, made, problem
from tests.peers import wait_until
from zmws.testing import RunningBroker, broker_in_thread, worker_in_thread

HEAD = b"POST /SYNC-ECHO HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


NEXT = b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n"


def status(answer: bytes) -> bytes:
    """The status of the first answer in these bytes."""
    return answer.split(b" ", 2)[1] if answer.startswith(b"HTTP/1.1 ") else b""


# ---------------------------------------------------------------- request smuggling, and other shapes


@pytest.mark.parametrize(
    "data",
    [
        HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + NEXT,
        HEAD + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nnullX",
        HEAD + b"Content-Length: +4\r\n\r\nnull",
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Content-Length: 4, 4x\r\n\r\nnull",
        HEAD + b"Content-Length: 0x4\r\n\r\nnull",
        HEAD + b"Transfer-Encoding: xchunked\r\n\r\n4\r\nnull\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n4\r\nnull\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\nnull\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n-4\r\nnull\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\nnull\r\n",
        HEAD + b"Transfer-Encoding\x0b: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        HEAD + b" folded: x\r\n\r\n",
        HEAD + b"X: a\x00b\r\n\r\n",
        HEAD + b"X: a\rb\r\n\r\n",
        HEAD + b": x\r\n\r\n",
        b"POST /SYNC-ECHO HTTP/1.1\nHost: localhost\nContent-Length: 4\nContent-Length: 40\n\nnull",
        b"GET /a b HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /healthz HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"G\x00T /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"stats\r\n",
    ],
)
def test_a_shape_that_two_could_read_differently_is_refused_and_the_connection_closed(
    http: Gateway, data: bytes
) -> None:
    begun = time.monotonic()
    with socket.create_connection(http.address, 10) as connection:
        connection.sendall(data)
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
        answer = rest(connection)
    assert status(answer) in (b"400", b"501", b"505", b""), answer
    assert answer.count(b"HTTP/1.1 ") <= 1, "what follows is not taken for a request"
    assert time.monotonic() - begun < 5


def test_pipelined_requests_are_answered_in_order(http: Gateway) -> None:
    one = b"GET /SYNC-ECHO?n=%d HTTP/1.1\r\nHost: localhost\r\n%s\r\n"
    answer = http.raw(b"".join(one % (n, b"Connection: close\r\n" if n == 4 else b"") for n in range(5)))
    assert [answer.index(b'"n":"%d"' % n) for n in range(5)] == sorted(
        answer.index(b'"n":"%d"' % n) for n in range(5)
    )


@pytest.mark.parametrize(
    "path",
    [
        "/..%2f..%2fetc/passwd",
        "/%2e%2e/%2e%2e",
        "/a%2fb",
        "/%00",
        "/%ff%fe",
        "//SYNC-ECHO",
        "/SYNC-ECHO/",
        "/api/v1/jobs/..",
        "/api//v1/jobs",
        "/./healthz",
        "/;x",
        "/*",
    ],
)
def test_tricks_with_paths_reach_nothing(http: Gateway, path: str) -> None:
    answer = http.raw(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert status(answer) in (b"400", b"404"), answer


def test_an_absolute_target_counts_by_its_host_header(http: Gateway) -> None:
    answer = http.raw(
        b"GET http://evil.example/healthz HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    )
    assert status(answer) in (b"404", b"421")


# ---------------------------------------------------------------- sizes


def test_a_body_that_is_too_large_is_413_before_it_has_come(broker: RunningBroker, tmp_path: Path) -> None:
    with gateway(broker, tmp_path, body_bytes_max=1000) as http:
        with socket.create_connection(http.address, 10) as connection:
            connection.sendall(HEAD + b"Content-Length: 1001\r\nExpect: 100-continue\r\n\r\n")
            answer = rest(connection)
            assert status(answer) == b"413" and b"100 Continue" not in answer and b"too_large" in answer
        with http.client() as ask:
            assert ask.post("/SYNC-ECHO", json="x" * 990).status_code == 200
            assert problem(ask.post("/SYNC-ECHO", json="x" * 1000)) == (413, "too_large")
            assert problem(ask.post(f"{JOBS}/many", content=b"x" * 1001)) == (413, "too_large")


def test_a_body_without_an_end_is_413_and_the_connection_closed(
    broker: RunningBroker, tmp_path: Path
) -> None:
    with (
        gateway(broker, tmp_path, body_bytes_max=100_000) as http,
        socket.create_connection(http.address, 10) as endless,
    ):
        endless.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        sent = 0
        with contextlib.suppress(OSError):
            while sent < 64 * 1024 * 1024:
                endless.sendall(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")
                sent += 0x8000
        assert sent < 64 * 1024 * 1024, "nobody reads it to its end"


def test_headers_that_are_too_large_are_400(broker: RunningBroker, tmp_path: Path) -> None:
    with gateway(broker, tmp_path, header_bytes_max=2048) as http:
        many = b"".join(b"X-%d: y\r\n" % n for n in range(1000))
        for more in (b"X: " + b"x" * 4000 + b"\r\n", many):
            with socket.create_connection(http.address, 10) as connection:
                connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + more + b"\r\n")
                assert status(rest(connection)) == b"431"


def test_parameters_that_the_broker_would_not_take_are_413(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(broker_in_thread(message_bytes_max=5_000))
        stack.enter_context(worker_in_thread(Echo, broker))
        ask = stack.enter_context(stack.enter_context(gateway(broker, tmp_path)).client())
        for path in ("/ECHO", "/SYNC-ECHO"):
            assert problem(ask.post(path, json="x" * 6_000)) == (413, "too_large")


@pytest.mark.parametrize(
    "body",
    [b"[" * 100_000, b'{"a":' * 50_000, b"[" * 1000 + b"]" * 1000, b'"' + b"\\" * 99_999, b"1" * 100_000],
)
def test_json_that_is_too_deep_or_none_is_400(ask: httpx.Client, body: bytes) -> None:
    for path in ("/SYNC-ECHO", JOBS, f"{JOBS}/many", "/api/v1/services/ECHO/lease"):
        answer = ask.post(path, content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 400, (path, answer.text)


def test_a_form_of_very_many_fields_is_400(ask: httpx.Client) -> None:
    files = {f"f{n}": ("x", b"") for n in range(200)}
    assert ask.post("/SYNC-ECHO", files=files).status_code == 400


# ---------------------------------------------------------------- time


def test_a_head_that_does_not_come_is_cut_off(broker: RunningBroker, tmp_path: Path) -> None:
    with gateway(broker, tmp_path, receive_timeout=0.3) as http, http.client() as ask:
        slow = []
        for data in (
            b"",
            b"G",
            b"GET /healthz HTTP/1.1\r\n",
            b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ",
        ):
            connection = socket.create_connection(http.address, 10)
            connection.sendall(data)
            slow.append(connection)
        keep = socket.create_connection(http.address, 10)
        keep.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200" in keep.recv(4096)
        keep.sendall(b"GET /healthz HT")  # the second on one connection
        for connection in (*slow, keep):
            begun = time.monotonic()
            assert status(rest(connection)) in (b"", b"400", b"408")
            assert time.monotonic() - begun < 5
            connection.close()
        assert ask.get("/healthz").status_code == 200


def test_a_head_that_comes_a_byte_at_a_time_is_cut_off_too(broker: RunningBroker, tmp_path: Path) -> None:
    with (
        gateway(broker, tmp_path, receive_timeout=0.3) as http,
        socket.create_connection(http.address, 10) as drip,
    ):
        drip.settimeout(0.02)
        begun = time.monotonic()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while time.monotonic() - begun < 10:
                drip.sendall(b"x")
                try:
                    if not drip.recv(100):
                        break
                except TimeoutError:
                    pass
        assert time.monotonic() - begun < 5


def test_a_body_that_does_not_come_is_408(broker: RunningBroker, tmp_path: Path) -> None:
    with gateway(broker, tmp_path, receive_timeout=0.3) as http:
        for more in (b"Content-Length: 100\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n1\r\n"):
            with socket.create_connection(http.address, 10) as connection:
                connection.sendall(HEAD + more)
                answer = rest(connection)
                assert status(answer) == b"408" and b"too_slow" in answer


def test_who_takes_no_answer_is_cut_off(broker: RunningBroker, tmp_path: Path, held: threading.Event) -> None:
    with gateway(broker, tmp_path, send_timeout=0.3) as http, http.client() as ask:
        large = made(ask, params="x" * 4_000_000)
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect(http.address)
            for _ in range(3):
                deaf.sendall(f"GET {JOBS}/{large} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            wait_until(lambda: not http.server.server_state.connections or _alone(http, ask), 10)
        assert ask.get("/healthz").status_code == 200


def _alone(http: Gateway, ask: httpx.Client) -> bool:
    """Whether nobody but the client that asks is connected."""
    return len(http.server.server_state.connections) <= 1


# ---------------------------------------------------------------- numbers


def test_connections_past_the_bound_are_answered_503(broker: RunningBroker, tmp_path: Path) -> None:
    with gateway(broker, tmp_path, connections_max=5) as http:
        idle = [socket.create_connection(http.address, 10) for _ in range(5)]
        wait_until(lambda: len(http.server.server_state.connections) == 5)
        answer = http.raw(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert status(answer) == b"503" and b"too_many_connections" in answer
        for connection in idle:
            connection.close()
        wait_until(lambda: not http.server.server_state.connections)
        with http.client() as ask:
            assert ask.get("/healthz").status_code == 200


def test_two_thousand_streams_are_open_at_once_and_all_are_told(http: Gateway, ask: httpx.Client) -> None:
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < 6_000:
        pytest.skip("so many descriptors are not allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 6_000), most))
    jobs = [made(ask, delay=1000) for _ in range(20)]
    streams: list[socket.socket] = []
    try:
        for n in range(2_000):
            stream = socket.create_connection(http.address, 30)
            stream.sendall(f"GET {JOBS}/{jobs[n % 20]}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            streams.append(stream)
        wait_until(lambda: http.desk.streams == 2_000, 60)
        assert len(http.desk.watches) == 20
        begun = time.monotonic()
        assert ask.get("/SYNC-ECHO?n=1").status_code == 200 and time.monotonic() - begun < 2
        for job_id in jobs:
            assert ask.post(f"{JOBS}/{job_id}/cancel").status_code == 200
        for stream in streams:
            assert b'"cancelled"' in _until_end(stream)
    finally:
        for stream in streams:
            stream.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, most))


def _until_end(stream: socket.socket) -> bytes:
    """A chunked answer."""
    found = b""
    while not found.endswith(b"0\r\n\r\n"):
        part = stream.recv(65536)
        if not part:
            break
        found += part
    return found


def test_small_answers_do_not_wait_for_an_acknowledgement(http: Gateway, ask: httpx.Client) -> None:
    assert ask.get("/healthz").status_code == 200
    for connection in http.server.server_state.connections:
        made: socket.socket = connection.transport.get_extra_info("socket")
        assert made.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_requests_by_chance_end_nothing_and_nobody_else_waits(
    http: Gateway, ask: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    told, over = Counter[str](), threading.Event()
    took, wrong = list[float](), list[str]()
    caller = threading.Thread(target=hostile.honest, args=(http.address, over, took, wrong))
    caller.start()
    hostile.campaign(http.address, 600, 14711, told)
    over.set()
    caller.join()
    assert not told["500"] and not wrong and len(took) > 5, (told, wrong)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    assert told["400"] and told["404"] and told["200"] and told["421"]
    assert ask.get("/healthz").status_code == 200
