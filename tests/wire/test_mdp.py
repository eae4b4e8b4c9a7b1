"""zmws.wire.mdp: every captured frame exactly, round trips, and input that nobody should send."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from zmws.errors import ProtocolError
from zmws.wire import mdp, messages, names
from zmws.wire.mdp import decode, encode_to_client, encode_to_worker
from zmws.wire.messages import (
    BARE,
    MDP01,
    NATIVE,
    PHP,
    PHP1,
    PHP2,
    RFC,
    STRICT,
    Accepted,
    Answer,
    ClientPartial,
    ClientRequest,
    Completed,
    Disconnect,
    Failed,
    Heartbeat,
    Link,
    Ready,
    ReplyTo,
    WorkerFinal,
    WorkerInfo,
    WorkerPartial,
    WorkerRequest,
)

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

ERROR = b'{"code": "job_failed", "error": "no"}'
VALUE = b'PARAM-JSON: "dlrow ,olleH"'
HELLO = b'PARAM-JSON: {"str":"Hello"}'
TOKEN = b"0E2C-EE7B/1/00112233aabbccdd"


def reason(socket: str, *frames: bytes) -> str:
    with pytest.raises(ProtocolError) as caught:
        decode(socket, list(frames))
    return caught.value.reason


def request(socket: str, *frames: bytes) -> ClientRequest:
    message = decode(socket, list(frames))
    assert isinstance(message, ClientRequest)
    return message


def frames(*parts: bytes) -> list[bytes]:
    return list(parts)


def test_the_clients_and_the_workers_commands_are_two_tables() -> None:
    assert mdp.C_PARTIAL == mdp.W_REQUEST == b"\x02"
    assert (mdp.C_REQUEST, mdp.C_PARTIAL, mdp.C_FINAL) == (b"\x01", b"\x02", b"\x03")
    table = (mdp.W_READY, mdp.W_REQUEST, mdp.W_PARTIAL, mdp.W_FINAL, mdp.W_HEARTBEAT, mdp.W_DISCONNECT)
    assert table == tuple(bytes([n]) for n in range(1, 7))


# ---------------------------------------------------------------- clients: native


@pytest.mark.parametrize(
    ("service", "name", "sync"),
    [
        (b"SLEEP", "SLEEP", False),
        (b"JOB: SLEEP", "SLEEP", False),
        (b"SYNC-SLEEP", "SLEEP", True),
        (b"JOB: SYNC-SLEEP", "SLEEP", True),
        (b"SERVER-JOBS", "SERVER-JOBS", False),
        (b"SYNC-SERVER-JOBS", "SERVER-JOBS", True),
        (b"zmws.job", "zmws.job", False),
    ],
)
@pytest.mark.parametrize(
    "envelope", [(), (b"",), (b"17", b""), (b"\x00proxy", b"inner", b""), (b"MDPC03", b"")]
)
def test_a_native_request(service: bytes, name: str, sync: bool, envelope: tuple[bytes, ...]) -> None:
    found = request("client", *envelope, b"MDPC02", b"\x01", service, HELLO, b"", b"raw")
    assert found == ClientRequest(name, sync, None, (HELLO, b"", b"raw"), ReplyTo(NATIVE, envelope))


@pytest.mark.parametrize("place", [0, 1, 2])
def test_options_stand_anywhere_after_the_service_and_are_not_in_the_body(place: int) -> None:
    body = [HELLO, b"raw"]
    body.insert(place, b'OPTS-JSON: {"id": "a"}')
    found = request("client", b"MDPC02", b"\x01", b"STR-REV", *body)
    assert found.options == b'{"id": "a"}'
    assert found.body == (HELLO, b"raw")


def test_native_replies_are_as_the_protocol_says_and_bring_the_envelope_back() -> None:
    for envelope in ((), (b"",), (b"proxy", b"17", b"")):
        to = ReplyTo(NATIVE, envelope)
        head = [*envelope, b"MDPC02"]
        assert encode_to_client(Accepted("SLEEP", "a1", "disk", False, to)) == [
            *head, b"\x03", b"SLEEP", b"JOB: a1 SLEEP",
            b'OPTS-JSON: {"durability": "disk", "existing": false}',
        ]  # fmt: skip
        assert encode_to_client(ClientPartial("SLEEP", "a1", (VALUE,), True, to)) == [
            *head, b"\x02", b"SLEEP", b"CONT: SLEEP [a1]", VALUE
        ]  # fmt: skip
        assert encode_to_client(Completed("SLEEP", "a1", (VALUE,), True, to)) == [
            *head, b"\x03", b"SLEEP", b"COMPLETE: SLEEP [a1]", VALUE
        ]  # fmt: skip
        assert encode_to_client(Failed("SLEEP", "a1", ERROR, True, to)) == [
            *head, b"\x03", b"SLEEP", b"FAIL: SLEEP [a1]", b"PARAM-JSON: " + ERROR
        ]  # fmt: skip
        assert encode_to_client(Failed("NOPE", None, ERROR, False, to)) == [
            *head, b"\x03", b"NOPE", b"FAIL: NOPE", b"PARAM-JSON: " + ERROR
        ]  # fmt: skip
        assert encode_to_client(Answer("zmws.job", (b"200", b"{}"), to)) == [
            *head, b"\x03", b"zmws.job", b"200", b"{}"
        ]  # fmt: skip


def test_a_result_of_bytes_is_a_raw_frame_after_complete() -> None:
    to = ReplyTo(NATIVE, ())
    expected = frames(b"MDPC02", b"\x03", b"BIN", b"COMPLETE: BIN [a1]", b"\x00\xff")
    assert encode_to_client(Completed("BIN", "a1", (b"\x00\xff",), True, to)) == expected


def test_a_foreign_workers_frames_are_wrapped_for_a_client_and_bare_for_a_strict_one() -> None:
    body = (b"PARAM-JSON: 1", b"", b"two")
    native = encode_to_client(Completed("E", "a1", body, False, ReplyTo(NATIVE, ())))
    assert native == [b"MDPC02", b"\x03", b"E", b"COMPLETE: E [a1]", *body]
    strict = encode_to_client(Completed("E", "a1", body, False, ReplyTo(STRICT, ())))
    assert strict == [b"MDPC02", b"\x03", b"E", *body]


def test_a_workers_result_that_looks_like_a_command_reaches_our_client_as_a_result() -> None:
    body = (b"FAIL: E [a1]", b"MDPC02")
    sent = encode_to_client(Completed("E", "a1", body, False, ReplyTo(NATIVE, (b"7", b""))))
    assert mdp.decode_at_client(sent) == messages.Reply(b"7", "final", body)


# ---------------------------------------------------------------- clients: bare and PHP 1


@pytest.mark.parametrize(
    ("sent", "service", "sync", "body"),
    [
        ([b"", b"JOB: SLEEP"], "SLEEP", False, ()),
        ([b"", HELLO, b"JOB: STR-REV"], "STR-REV", False, (HELLO,)),
        ([b"", b"JOB: STR-REV", HELLO], "STR-REV", False, (HELLO,)),
        ([b"", HELLO, b"JOB: SYNC-STR-REV"], "STR-REV", True, (HELLO,)),
        ([b"", b"JOB: SYNC-SLEEP"], "SLEEP", True, ()),
        ([b"", b"JOB: NOPE"], "NOPE", False, ()),
        ([b"", b"JOB: SERVER-WORKERS"], "SERVER-WORKERS", False, ()),
        ([HELLO, b"JOB: SYNC-RANDSTREAM"], "RANDSTREAM", True, (HELLO,)),
        ([b"JOB: SYNC-RANDSTREAM", b"raw"], "RANDSTREAM", True, (b"raw",)),
        ([b"JSON-PARAM: 1", b"JOB: A"], "A", False, (b"JSON-PARAM: 1",)),
        ([b"PARAM: i:1;", b"JOB: A"], "A", False, (b"PARAM: i:1;",)),
        ([b"PARAM-PHP: i:1;", b"JOB: A"], "A", False, (b"PARAM-PHP: i:1;",)),
        ([b"JOB: A", b"", b"raw"], "A", False, (b"", b"raw")),
        ([b"proxy", b"", b"JOB: A", b"JOB: B"], "A", False, (b"JOB: B",)),
    ],
)
def test_a_bare_request(sent: list[bytes], service: str, sync: bool, body: tuple[bytes, ...]) -> None:
    envelope = tuple(sent[: sent.index(b"") + 1]) if sent[0] in (b"", b"proxy") else ()
    assert request("client", *sent) == ClientRequest(service, sync, None, body, ReplyTo(BARE, envelope))


def test_a_bare_request_may_carry_options() -> None:
    for sent in (
        [b'OPTS-JSON: {"id": "a"}', HELLO, b"JOB: A"],
        [b"", b"JOB: A", HELLO, b'OPTS-JSON: {"id": "a"}'],
    ):
        found = request("client", *sent)
        assert (found.options, found.body) == (b'{"id": "a"}', (HELLO,))


@pytest.mark.parametrize(
    ("envelope", "head"), [((), [b""]), ((b"",), [b""]), ((b"proxy", b""), [b"proxy", b""])]
)
def test_bare_replies_begin_with_an_empty_frame_whether_the_request_did_or_not(
    envelope: tuple[bytes, ...], head: list[bytes]
) -> None:
    to = ReplyTo(BARE, envelope)
    for message, expected in [
        (Accepted("SLEEP", "0E2C-EE7B", "disk", False, to), [b"JOB: 0E2C-EE7B SLEEP"]),
        (
            Completed("STR-REV", "BD3A-119A", (VALUE,), True, to),
            [b"COMPLETE: STR-REV [BD3A-119A]", VALUE],
        ),
        (Completed("SLEEP", "44B6-7800", (), True, to), [b"COMPLETE: SLEEP [44B6-7800]", b""]),
        (
            ClientPartial("RANDSTREAM", "64B4-997B", (VALUE,), True, to),
            [b"CONT: RANDSTREAM [64B4-997B]", VALUE],
        ),
        (ClientPartial("X", "1", (), True, to), [b"CONT: X [1]", b""]),
        (Failed("NOPE", None, ERROR, False, to), [b"FAIL: NOPE"]),
        (Failed("DEMO", "259F", ERROR, True, to), [b"FAIL: DEMO [259F]", b"PARAM-JSON: " + ERROR]),
        (Answer("SERVER-WORKERS", (b"[]",), to), [b"[]"]),
    ]:
        assert encode_to_client(message) == [*head, *expected]


# ---------------------------------------------------------------- clients: PHP 2


@pytest.mark.parametrize(
    ("rest", "service", "sync", "body"),
    [
        ([b"SLEEP"], "SLEEP", False, ()),
        ([HELLO, b"SYNC-STR-REV"], "STR-REV", True, (HELLO,)),
        ([b"SYNC-STR-REV", HELLO], "STR-REV", True, (HELLO,)),
        ([b"SYNC-SLEEP"], "SLEEP", True, ()),
        ([b"NOPE"], "NOPE", False, ()),
        ([b"SERVER-JOBS"], "SERVER-JOBS", False, ()),
    ],
)
@pytest.mark.parametrize("envelope", [(), (b"",), (b"proxy", b"")])
def test_a_request_of_the_php_programs_second_generation(
    rest: list[bytes], service: str, sync: bool, body: tuple[bytes, ...], envelope: tuple[bytes, ...]
) -> None:
    found = request("client", *envelope, b"MDPC02", b"1", *rest)
    assert found == ClientRequest(service, sync, None, body, ReplyTo(PHP, envelope, True))


def test_replies_to_the_php_programs_second_generation() -> None:
    to = request("client", b"", b"MDPC02", b"1", b"SLEEP").reply_to
    head = [b"", b"MDPC02", b"3"]
    for message, expected in [
        (Accepted("SLEEP", "A361-07A2", "disk", False, to), [*head, b"SLEEP", b"JOB: A361-07A2 SLEEP"]),
        (
            Completed("STR-REV", "2469-A82B", (VALUE,), True, to),
            [*head, b"STR-REV", b"COMPLETE: STR-REV [2469-A82B]", VALUE],
        ),
        (
            Completed("SLEEP", "EFA0-83B6", (), True, to),
            [*head, b"SLEEP", b"COMPLETE: SLEEP [EFA0-83B6]", b""],
        ),
        (
            ClientPartial("RANDSTREAM", "2C4B-BC07", (VALUE,), True, to),
            [b"", b"CONT: RANDSTREAM [2C4B-BC07]", VALUE],
        ),
        (Failed("NOPE", None, ERROR, False, to), [*head, b"NOPE", b"FAIL: NOPE"]),
        (
            Failed("DEMO", "9C3C-CEF6", ERROR, True, to),
            [*head, b"DEMO", b"FAIL: DEMO [9C3C-CEF6]", b""],
        ),
        (Answer("SERVER-JOBS", (b"[]",), to), [b"", b"[]"]),
    ]:
        assert encode_to_client(message) == expected


# ---------------------------------------------------------------- clients: strict


@pytest.mark.parametrize("envelope", [(), (b"",), (b"proxy", b"")])
def test_a_strict_request_is_synchronous_and_its_body_opaque(envelope: tuple[bytes, ...]) -> None:
    body = (b'OPTS-JSON: {"id": "a"}', b"", b"PARAM-JSON: 1")
    found = request("mdp", *envelope, b"MDPC02", b"\x01", b"echo service", *body)
    assert found == ClientRequest("echo service", True, None, body, ReplyTo(STRICT, envelope))


@pytest.mark.parametrize("name", ["JOB: echo", "SYNC-echo", "JOB: SYNC-echo"])
def test_strict_names_are_taken_to_the_letter(name: str) -> None:
    for socket, head in (("mdp", (b"MDPC02", b"\x01")), ("mdp", (b"MDPC01",)), ("client", (b"MDPC01",))):
        found = request(socket, *head, name.encode())
        assert (found.service, found.sync) == (name, True)


@pytest.mark.parametrize(("sent", "partial", "final"), [(b"\x01", b"\x02", b"\x03"), (b"1", b"2", b"3")])
def test_strict_replies_are_the_workers_frames_and_nothing_else(
    sent: bytes, partial: bytes, final: bytes
) -> None:
    to = request("mdp", b"", b"MDPC02", sent, b"echo").reply_to
    for message, command, body in [
        (ClientPartial("echo", "a", (b"x", b"y"), False, to), partial, [b"x", b"y"]),
        (Completed("echo", "a", (b"x", b"", b"y"), False, to), final, [b"x", b"", b"y"]),
        (Completed("echo", "a", (b'PARAM-JSON: {"a": 1}',), True, to), final, [b'{"a": 1}']),
        (Completed("echo", "a", (b"\x00raw",), True, to), final, [b"\x00raw"]),
        (Completed("echo", "a", (), True, to), final, [b""]),
        (Failed("echo", "a", ERROR, True, to), final, [b"FAIL: echo [a]", b"PARAM-JSON: " + ERROR]),
        (Failed("echo", None, ERROR, False, to), final, [b"FAIL: echo", b"PARAM-JSON: " + ERROR]),
        (Answer("mmi.service", (b"200",), to), final, [b"200"]),
        (Accepted("echo", "a", "disk", False, to), final, [b"JOB: a echo"]),
    ]:
        assert encode_to_client(message) == [b"", b"MDPC02", command, b"echo" if message.service == "echo"
                                             else b"mmi.service", *body]  # fmt: skip


@pytest.mark.parametrize("envelope", [(), (b"",), (b"proxy", b"")])
def test_a_client_of_mdp_0_1(envelope: tuple[bytes, ...]) -> None:
    found = request("mdp", *envelope, b"MDPC01", b"echo", b"body", b"", b"OPTS-JSON: {}")
    to = ReplyTo(MDP01, envelope)
    assert found == ClientRequest("echo", True, None, (b"body", b"", b"OPTS-JSON: {}"), to)
    head = [*envelope, b"MDPC01", b"echo"]
    assert encode_to_client(Completed("echo", "a", (b"body",), False, to)) == [*head, b"body"]
    assert encode_to_client(Completed("echo", "a", (b"PARAM-JSON: 1",), True, to)) == [*head, b"1"]
    fail = [b"FAIL: echo [a]", b"PARAM-JSON: " + ERROR]
    assert encode_to_client(Failed("echo", "a", ERROR, True, to)) == [*head, *fail]
    assert encode_to_client(ClientPartial("echo", "a", (b"x",), False, to)) == []
    assert request("client", b"", b"MDPC01", b"echo").sync


def test_the_bare_form_and_php_workers_are_not_spoken_on_mdp() -> None:
    assert reason("mdp", b"JOB: SLEEP") == "no_command"
    assert reason("mdp", b"", b"JOB: SLEEP") == "no_command"
    assert reason("mdp", b"SLEEP", b"READY") == "no_command"
    assert reason("mdp", b"HEARTBEAT") == "no_command"
    assert reason("mdp", b"MDPC02", b"3", b"SLEEP", b"READY") == "bad_command"


# ---------------------------------------------------------------- workers: RFC 18


@pytest.mark.parametrize("socket", ["worker", "mdp"])
@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize("ascii", [False, True])
def test_a_worker_of_rfc_18_lenient_in_and_as_it_spoke_out(socket: str, empty: bool, ascii: bool) -> None:
    def command(number: int) -> bytes:
        return b"%d" % number if ascii else bytes([number])

    head = [b"", b"MDPW02"] if empty else [b"MDPW02"]
    link = Link(RFC, empty, ascii, ours=False)
    said = link if empty or ascii else None
    ready = decode(socket, [*head, command(1), b"echo"])
    assert ready == Ready("echo", None, link)
    for body in ((b"x",), (b"", b"x"), (b"x", b"", b"y"), ()):
        assert decode(socket, [*head, command(3), TOKEN, b"", *body]) == WorkerPartial(TOKEN, body, said)
        assert decode(socket, [*head, command(4), TOKEN, b"", *body]) == WorkerFinal(TOKEN, body, None, said)
    assert decode(socket, [*head, command(4), TOKEN, b"x"]) == WorkerFinal(TOKEN, (b"x",), None, said)
    assert decode(socket, [*head, command(4), TOKEN]) == WorkerFinal(TOKEN, (), None, said)
    assert decode(socket, [*head, command(5)]) == Heartbeat((), said)
    assert decode(socket, [*head, command(6)]) == Disconnect()

    assert encode_to_worker(WorkerRequest(TOKEN, "echo", b"{}", (b"a", b"b")), link) == [
        *head, command(2), TOKEN, b"", b"a", b"b"
    ]  # fmt: skip
    assert encode_to_worker(WorkerRequest(TOKEN, "echo", b"{}", ()), link) == [
        *head, command(2), TOKEN, b"", b""
    ]  # fmt: skip
    assert encode_to_worker(Heartbeat((b"DONE x",)), link) == [*head, command(5)]
    assert encode_to_worker(Disconnect(), link) == [*head, command(6)]


def test_a_worker_may_not_send_a_request() -> None:
    assert reason("worker", b"MDPW02", b"\x02", TOKEN, b"", b"x") == "bad_command"
    assert reason("mdp", b"", b"MDPW01", b"\x02", TOKEN, b"", b"x") == "bad_command"
    assert reason("mdp", b"", b"MDPW01", b"\x06") == "bad_command"


def test_a_worker_of_ours_is_known_by_its_frame_and_gets_the_extensions() -> None:
    info = {"zmws": 1, "id": "w1", "holding": ["a/1/b"], "finished": []}
    ready = decode("worker", [b"MDPW02", b"\x01", b"E", json.dumps(info).encode()])
    assert ready == Ready("E", WorkerInfo("w1", [b"a/1/b"]), Link(RFC, False, False, ours=True))
    assert isinstance(ready, Ready)
    assert encode_to_worker(WorkerRequest(TOKEN, "E", b'{"id": "a"}', (HELLO,)), ready.link) == [
        b"MDPW02", b"\x02", TOKEN, b"", b'JOB-JSON: {"id": "a"}', HELLO
    ]  # fmt: skip
    assert encode_to_worker(WorkerRequest(TOKEN, "E", b"{}", ()), ready.link)[4:] == [b"JOB-JSON: {}"]
    assert encode_to_worker(Heartbeat((b"DONE x",)), ready.link) == [b"MDPW02", b"\x05", b"DONE x"]
    heartbeat = decode("worker", [b"MDPW02", b"\x05", b"HOLDS x", b"MEMORY 5"])
    assert heartbeat == Heartbeat((b"HOLDS x", b"MEMORY 5"))


@pytest.mark.parametrize(
    "frame", [b"", b"{", b"[]", b"{}", b'{"zmws": 2, "id": "a"}', b'{"zmws": 1}', b"[" * 10_000, b"\xff"]
)
def test_another_frame_in_ready_makes_no_worker_of_ours(frame: bytes) -> None:
    assert decode("worker", [b"MDPW02", b"\x01", b"E", frame]) == Ready("E", None, Link())


@pytest.mark.parametrize(
    "info",
    [
        {"id": 5},
        {"id": ""},
        {"id": "x" * 129},
        {"id": "\ud800"},
        {"id": "a\nb"},
        {"id": "a", "holding": "x"},
        {"id": "a", "holding": [5]},
        {"id": "a", "holding": ["\ud800"]},
        {"id": "a", "holding": [""]},
        {"id": "a", "finished": ["naïve/1/x"]},
        {"id": "a", "finished": {}},
        {"id": "a", "finished": ["x" * 256]},
    ],
)
def test_a_ready_of_ours_with_what_could_not_be_echoed_is_refused(info: dict[str, Any]) -> None:
    assert reason("worker", b"MDPW02", b"\x01", b"E", json.dumps({"zmws": 1, **info}).encode()) == "bad_ready"


def test_a_token_that_cannot_be_ours_by_its_length_is_refused() -> None:
    token = b"x" * 256
    assert reason("worker", b"MDPW02", b"\x04", token, b"", b"x") == "bad_token"
    assert reason("worker", b"MDPW02", b"\x03", token, b"", b"x") == "bad_token"
    assert reason("worker", b"SLEEP", b"COMPLETE: " + token) == "bad_token"
    assert decode("worker", [b"MDPW02", b"\x04", b"\xff\x00", b"", b"x"]) == WorkerFinal(b"\xff\x00", (b"x",))


@pytest.mark.parametrize("empty", [False, True])
def test_a_worker_of_mdp_0_1_has_its_own_table(empty: bool) -> None:
    head = [b"", b"MDPW01"] if empty else [b"MDPW01"]
    link = Link(MDP01, empty)
    for socket in ("worker", "mdp"):
        assert decode(socket, [*head, b"\x01", b"echo"]) == Ready("echo", None, link)
        reply = decode(socket, [*head, b"\x03", TOKEN, b"", b"x"])
        assert reply == WorkerFinal(TOKEN, (b"x",), None, link)
        assert decode(socket, [*head, b"\x04"]) == Heartbeat((), link)
        assert decode(socket, [*head, b"\x05"]) == Disconnect()
    assert encode_to_worker(WorkerRequest(TOKEN, "echo", b"{}", (b"x",)), link) == [
        *head, b"\x02", TOKEN, b"", b"x"
    ]  # fmt: skip
    assert encode_to_worker(Heartbeat(), link) == [*head, b"\x04"]
    assert encode_to_worker(Disconnect(), link) == [*head, b"\x05"]


# ---------------------------------------------------------------- workers: PHP


def test_a_worker_of_the_php_programs_first_generation() -> None:
    link = Link(PHP1, False, ascii=True)
    ready = decode("worker", [b"SLEEP", b"READY"])
    assert ready == Ready("SLEEP", None, link)
    assert encode_to_worker(WorkerRequest(TOKEN, "SLEEP", b"{}", ()), link) == [
        TOKEN, b"", b"JOB: SLEEP", b"JOB: " + TOKEN
    ]  # fmt: skip
    assert encode_to_worker(WorkerRequest(TOKEN, "STR-REV", b"{}", (HELLO,)), link) == [
        TOKEN, b"", HELLO, b"JOB: " + TOKEN
    ]  # fmt: skip
    assert encode_to_worker(Heartbeat((b"x",)), link) == [b"HEARTBEAT"]
    assert encode_to_worker(Disconnect(), link) == []

    value = b'PARAM-JSON: "olleH"'
    for sent, expected in [
        ([value, b"STR-REV", b"COMPLETE: 839B-8E23"], WorkerFinal(b"839B-8E23", (value,), False, link)),
        ([b"SLEEP", b"COMPLETE: 839B-8E23"], WorkerFinal(b"839B-8E23", (), False, link)),
        ([value, b"RANDSTREAM", b"CONT: 64B4-997B"], WorkerPartial(b"64B4-997B", (value,), link)),
        ([b"DEMO", b"FAIL: 259F-7260"], WorkerFinal(b"259F-7260", (), True, link)),
        ([b"raw", b"DEMO", b"COMPLETE: 1"], WorkerFinal(b"1", (b"raw",), False, link)),
        ([b"DEMO", value, b"COMPLETE: 1"], WorkerFinal(b"1", (value,), False, link)),
        ([value, b"COMPLETE: 1"], WorkerFinal(b"1", (value,), False, link)),
        ([b"HEARTBEAT"], Heartbeat((), link)),
    ]:
        assert decode("worker", sent) == expected


def test_a_worker_of_the_php_programs_second_generation() -> None:
    link = Link(PHP2, False, ascii=True)
    head = [b"MDPC02", b"3"]
    assert decode("worker", [*head, b"SLEEP", b"READY"]) == Ready("SLEEP", None, link)
    assert encode_to_worker(WorkerRequest(TOKEN, "SLEEP", b"{}", ()), link) == [
        b"", b"MDPC02", b"1", b"SLEEP", b"JOB: " + TOKEN
    ]  # fmt: skip
    assert encode_to_worker(WorkerRequest(TOKEN, "STR-REV", b"{}", (HELLO,)), link) == [
        b"", b"MDPC02", b"1", HELLO, b"JOB: " + TOKEN
    ]  # fmt: skip
    assert encode_to_worker(Heartbeat(), link) == [b"HEARTBEAT"]
    assert encode_to_worker(Disconnect(), link) == []

    value = b'PARAM-JSON: "olleH"'
    for sent, expected in [
        ([b"STR-REV", value, b"COMPLETE: 0D9B-463D"], WorkerFinal(b"0D9B-463D", (value,), False, link)),
        ([b"SLEEP", b"COMPLETE: 0D9B-463D"], WorkerFinal(b"0D9B-463D", (), False, link)),
        ([b"RANDSTREAM", value, b"CONT: 2C4B-BC07"], WorkerPartial(b"2C4B-BC07", (value,), link)),
        ([b"DEMO", b"FAIL: 259F-7260"], WorkerFinal(b"259F-7260", (), True, link)),
        ([b"DEMO", b"raw", b"COMPLETE: 1"], WorkerFinal(b"1", (b"raw",), False, link)),
    ]:
        assert decode("worker", [*head, *sent]) == expected
    assert decode("worker", [b"HEARTBEAT"]) == Heartbeat((), Link(PHP1, False, ascii=True))


def test_the_token_a_php_worker_echoes_is_taken_whole() -> None:
    found = decode("worker", [b"SLEEP", b"COMPLETE: " + TOKEN])
    assert isinstance(found, WorkerFinal)
    assert found.token == TOKEN


# ---------------------------------------------------------------- sockets


@pytest.mark.parametrize("head", [[], [b""]])
def test_a_workers_command_on_the_client_socket_is_known_for_what_it_is(head: list[bytes]) -> None:
    assert isinstance(decode("client", [*head, b"MDPW02", b"\x01", b"E"]), Ready)
    assert isinstance(decode("client", [*head, b"MDPW02", b"\x05"]), Heartbeat)
    assert isinstance(decode("client", [*head, b"MDPW01", b"\x04"]), Heartbeat)
    assert reason("client", *head, b"MDPW02") == "short"


@pytest.mark.parametrize("head", [[], [b""], [b"7", b""]])
def test_a_clients_command_on_the_worker_socket_is_known_for_what_it_is(head: list[bytes]) -> None:
    for rest in ([b"MDPC02", b"\x01", b"E", b"x"], [b"JOB: E"], [b"MDPC02", b"1", b"E"]):
        assert isinstance(decode("worker", [*head, *rest]), ClientRequest)


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        ([], "empty"),
        ([b""], "empty"),
        ([b"7", b""], "empty"),
        ([b"garbage"], "no_command"),
        ([b"", b"garbage"], "no_command"),
        ([b"a", b"b"], "no_command"),
        ([b"MDPC02"], "short"),
        ([b"MDPC02", b"\x01"], "short"),
        ([b"", b"MDPC02", b"\x01"], "short"),
        ([b"MDPC02", b"\x02", b"E"], "bad_command"),
        ([b"MDPC02", b"\x03", b"E"], "bad_command"),
        ([b"MDPC02", b"", b"E"], "bad_command"),
        ([b"MDPC02", b"\x01\x01", b"E"], "bad_command"),
        ([b"MDPC02", b"\x01", b"\xff\xfe"], "bad_service"),
        ([b"MDPC02", b"\x01", b"x" * 300 + b"\xff"], "bad_service"),
        ([b"MDPC01"], "short"),
        ([b"PARAM-JSON: 1"], "short"),
        ([b"MDPC03", b"\x01", b"E"], "no_command"),
    ],
)
def test_what_no_client_may_send(sent: list[bytes], why: str) -> None:
    assert reason("client", *sent) == why


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        ([b"MDPW02"], "short"),
        ([b"MDPW02", b"\x01"], "short"),
        ([b"MDPW02", b"\x03"], "short"),
        ([b"MDPW02", b"\x04"], "short"),
        ([b"MDPW02", b"\x07"], "bad_command"),
        ([b"MDPW02", b"0"], "bad_command"),
        ([b"MDPW02", b""], "bad_command"),
        ([b"MDPW02", b"\x01", b"\xff"], "bad_service"),
        ([b"READY"], "no_command"),
        ([b"COMPLETE: 1"], "no_command"),
        ([b"MDPC02", b"3", b"READY"], "bad_command"),
    ],
)
def test_what_no_worker_may_send(sent: list[bytes], why: str) -> None:
    assert reason("worker", *sent) == why


@pytest.mark.parametrize(
    ("name", "strict", "good"),
    [
        ("STR-REV", False, True),
        ("", False, False),
        ("x" * 255, False, True),
        ("x" * 256, False, False),
        ("é" * 128, False, False),
        ("naïve", False, True),
        ("new\nline", True, False),
        ("\x00", True, False),
        ("SYNC-X", False, False),
        ("JOB: X", False, False),
        ("SYNC-X", True, True),
        ("JOB: X", True, True),
        ("a b", False, False),
        ("a[b", False, False),
        ("a]b", False, False),
        ("a/b", False, False),
        ("a b/[c]", True, True),
    ],
)
def test_names_of_services(name: str, strict: bool, good: bool) -> None:
    assert (names.service_name_fault(name, strict) is None) is good


@pytest.mark.parametrize("prefix", [b"", b"SYNC-", b"JOB: ", b"JOB: SYNC-", b"JOB:SYNC-"])
def test_a_name_that_is_too_long_is_refused_and_not_echoed_whole(prefix: bytes) -> None:
    for length in (256, 257, 300, 100_000):
        name = request("client", b"MDPC02", b"\x01", prefix + b"x" * length).service
        assert len(name) < 300
        assert names.service_name_fault(name) is not None
    name = request("client", b"MDPC02", b"\x01", prefix + b"x" * 255).service
    assert name == "x" * 255


@pytest.mark.parametrize("socket", ["client", "mdp"])
def test_an_envelope_is_bounded_because_it_is_kept(socket: str) -> None:
    rest = [b"", b"MDPC02", b"\x01", b"E"]
    envelope = [b"x" * 255] * 16
    assert request(socket, *envelope, *rest).reply_to.envelope == (*envelope, b"")
    assert reason(socket, *envelope, b"x" * 17, *rest) == "bad_envelope"
    assert reason(socket, b"x" * 5_000, *rest) == "bad_envelope"


@pytest.mark.parametrize("name", ["mmi.service", "zmws.job", "zmws.", "SERVER-JOBS"])
def test_names_that_only_the_broker_answers_for(name: str) -> None:
    assert names.is_reserved(name)
    assert not names.is_reserved("my" + name)


# ---------------------------------------------------------------- round trips

NAMES = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="[]/"), min_size=1).filter(
    lambda name: names.service_name_fault(name) is None
)
BODIES = st.lists(
    st.binary(max_size=20) | st.sampled_from([b"", HELLO, b"MDPC02", b"JOB: X", b"COMPLETE: X [1]"]),
    max_size=4,
).map(tuple)
OPTIONS = st.dictionaries(st.text(), st.none() | st.integers() | st.text(), max_size=3)
TOKENS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=200)
NUMBERS = st.integers(0).map(lambda n: b"%d" % n)


@patient
@given(NUMBERS, NAMES, st.booleans(), OPTIONS, BODIES.filter(lambda b: not str(b).count("OPTS-JSON")))
def test_a_request_of_our_client_arrives_as_it_left(
    number: bytes, service: str, sync: bool, options: dict[str, Any], body: tuple[bytes, ...]
) -> None:
    sent = mdp.encode_request(number, service, sync, options, body)
    found = request("client", *sent)
    assert (found.service, found.sync, found.body) == (service, sync, body)
    assert json.loads(found.options or b"{}") == options
    assert found.reply_to == ReplyTo(NATIVE, (number, b""))


@patient
@given(TOKENS.map(str.encode), BODIES, st.sampled_from(["worker", "mdp"]))
def test_what_our_worker_says_arrives_as_it_left(token: bytes, body: tuple[bytes, ...], socket: str) -> None:
    final = mdp.encode_from_worker(mdp.W_FINAL, token, body)
    assert decode(socket, final) == WorkerFinal(token, body)
    partial = mdp.encode_from_worker(mdp.W_PARTIAL, token, body)
    assert decode(socket, partial) == WorkerPartial(token, body)


@patient
@given(NAMES, st.lists(TOKENS, max_size=3), st.lists(TOKENS, max_size=3))
def test_ready_of_our_worker_arrives_as_it_left(
    service: str, holding: list[str], finished: list[str]
) -> None:
    info = {"zmws": 1, "id": "worker-1", "slots": 1, "holding": holding, "finished": finished}
    told = WorkerInfo(
        "worker-1", [token.encode() for token in holding], [token.encode() for token in finished]
    )
    assert decode("worker", mdp.encode_ready(service, info)) == Ready(service, told, Link(ours=True))


@patient
@given(TOKENS.map(str.encode), NAMES, st.binary(max_size=30), BODIES)
def test_what_the_broker_says_to_our_worker_arrives_as_it_left(
    token: bytes, service: str, job: bytes, body: tuple[bytes, ...]
) -> None:
    link = Link(ours=True)
    for message in (WorkerRequest(token, "", job, body), Heartbeat(body), Disconnect()):
        assert mdp.decode_at_worker(encode_to_worker(message, link)) == message


@patient
@given(NUMBERS, NAMES, TOKENS, BODIES)
def test_what_the_broker_answers_our_client_arrives_as_it_left(
    number: bytes, service: str, job_id: str, body: tuple[bytes, ...]
) -> None:
    to = ReplyTo(NATIVE, (number, b""))
    wrapped = mdp.PARAM_JSON + ERROR
    head = f"JOB: {job_id} {service}".encode()
    note = b'OPTS-JSON: {"durability": "disk", "existing": true}'
    for message, kind, expected in [
        (Completed(service, job_id, body, True, to), "final", body),
        (ClientPartial(service, job_id, body, True, to), "partial", body),
        (Failed(service, job_id, ERROR, True, to), "failed", (wrapped,)),
        (Failed(service, None, ERROR, False, to), "failed", (wrapped,)),
        (Accepted(service, job_id, "disk", True, to), "accepted", (head, note)),
        (Answer(service, (b"200", *body), to), "answer", (b"200", *body)),
    ]:
        assert mdp.decode_at_client(encode_to_client(message)) == messages.Reply(number, kind, expected)


# ---------------------------------------------------------------- any input

FRAMES = st.binary(max_size=12) | st.sampled_from(
    [b"", b"MDPC01", b"MDPC02", b"MDPW01", b"MDPW02", *(bytes([n]) for n in range(8)), b"READY", HELLO]
    + [b"%d" % n for n in range(8)]
    + [b"HEARTBEAT", b"JOB: ", b"JOB:", b"JOB: SYNC-", b"SYNC-", b"SLEEP"]
    + [b"COMPLETE: 1", b"FAIL: ", b"CONT: 1"]
    + [b"OPTS-JSON: {}", b'{"zmws": 1, "id": "a"}', b'{"zmws": 1, "id": "\\ud800"}', b"PARAM", b"\xff\xfe"]
)  # fmt: skip
SOCKETS = ("client", "worker", "mdp")
GOOD = [
    [b"7", b"", b"MDPC02", b"\x01", b"SYNC-E", b"OPTS-JSON: {}", HELLO],
    [b"", b"MDPC02", b"1", HELLO, b"SYNC-STR-REV"],
    [b"", HELLO, b"JOB: SYNC-STR-REV"],
    [b"", b"MDPC01", b"echo", b"x"],
    [b"MDPW02", b"\x01", b"E", b'{"zmws": 1, "id": "a", "holding": ["a/1/b"]}'],
    [b"", b"MDPW02", b"4", TOKEN, b"", b"COMPLETE", VALUE],
    [b"MDPW02", b"\x05", b"HOLDS a"],
    [b"", b"MDPW01", b"\x03", TOKEN, b"", b"x"],
    [b"SLEEP", b"READY"],
    [VALUE, b"STR-REV", b"COMPLETE: 839B-8E23"],
    [b"MDPC02", b"3", b"STR-REV", VALUE, b"FAIL: 0D9B-463D"],
]


def check_taken_or_refused(sent: list[bytes]) -> None:
    """Every socket gives a message or ProtocolError, and every kind of answer can be encoded."""
    for socket in SOCKETS:
        before = list(sent)
        try:
            message = decode(socket, sent)
        except ProtocolError as fault:
            assert fault.reason.isidentifier()
            continue
        finally:
            assert sent == before
        if isinstance(message, ClientRequest):
            to, name = message.reply_to, message.service
            for answer in (
                Accepted(name, "a1", "disk", False, to),
                ClientPartial(name, "a1", message.body, True, to),
                Completed(name, "a1", message.body, True, to),
                Completed(name, "a1", (), False, to),
                Failed(name, "a1", ERROR, True, to),
                Failed(name, None, ERROR, False, to),
                Answer(name, (b"200", b"{}"), to),
            ):
                encoded = encode_to_client(answer)
                assert all(isinstance(frame, bytes) for frame in encoded)
                assert tuple(encoded[: len(to.envelope)]) == to.envelope or not encoded
        link = message.link if isinstance(message, Ready) else Link()
        for command in (WorkerRequest(TOKEN, "E", b"{}", (b"x",)), Heartbeat((b"DONE x",)), Disconnect()):
            assert all(isinstance(frame, bytes) for frame in encode_to_worker(command, link))
    for read in (mdp.decode_at_worker, mdp.decode_at_client):
        with contextlib.suppress(ProtocolError):
            read(sent)


@patient
@given(st.lists(FRAMES, max_size=8))
@example([b"", b""])
@example([b"", b"", b"MDPC02", b"\x01", b""])
@example([b"MDPC02", b"1", b"PARAM-JSON: 1"])
@example([b"JOB:"])
@example([b"MDPC02", b"3", b"HEARTBEAT"])
@example([b"OPTS-JSON: {}", b"JOB: A", b"OPTS-JSON: {}"])
def test_no_input_crashes_the_codec(sent: list[bytes]) -> None:
    check_taken_or_refused(sent)


@patient
@given(st.sampled_from(GOOD), st.data())
def test_no_damage_to_a_good_message_crashes_the_codec(good: list[bytes], draw: st.DataObject) -> None:
    sent = list(good)
    for _ in range(draw.draw(st.integers(1, 3))):
        at = draw.draw(st.integers(0, max(0, len(sent) - 1)))
        what = draw.draw(st.sampled_from(["drop", "repeat", "replace", "cut", "swap"]))
        if not sent:
            break
        if what == "drop":
            del sent[at]
        elif what == "repeat":
            sent.insert(at, sent[at])
        elif what == "replace":
            sent[at] = draw.draw(FRAMES)
        elif what == "cut":
            sent[at] = sent[at][: draw.draw(st.integers(0, len(sent[at])))]
        else:
            sent[at], sent[-1] = sent[-1], sent[at]
    check_taken_or_refused(sent)


@patient
@given(st.recursive(st.none() | st.integers() | st.text(st.characters()), st.lists, max_leaves=5))
def test_no_frame_in_ready_crashes_the_codec(value: Any) -> None:
    for info in (value, {"zmws": 1, "id": value}, {"zmws": 1, "id": "a", "holding": value}):
        check_taken_or_refused([b"MDPW02", b"\x01", b"E", json.dumps(info).encode()])
