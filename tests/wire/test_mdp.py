"""zmws.wire.mdp: every captured frame exactly, and input that nobody should send."""

from __future__ import annotations

import pytest

from zmws.errors import ProtocolError
from zmws.wire import at_client, mdp, names
from zmws.wire.mdp import decode, encode_to_client
from zmws.wire.messages import (
    BARE,
    MDP01,
    NATIVE,
    PHP,
    STRICT,
    Accepted,
    Answer,
    ClientPartial,
    ClientRequest,
    Completed,
    Failed,
    Heartbeat,
    Ready,
    ReplyTo,
)

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
    assert at_client.decode_at_client(sent) == at_client.Reply(b"7", "final", body)


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
