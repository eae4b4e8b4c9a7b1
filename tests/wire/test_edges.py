"""The wire's limits, each exactly at its edge and one past it, and what a refusal says."""

from __future__ import annotations

from typing import Any

import pytest

from zmws.errors import ProtocolError
from zmws.wire import at_client, mdp, names, php_values, values
from zmws.wire.messages import (
    MDP01,
    STRICT,
    Answer,
    ClientPartial,
    ClientRequest,
    Completed,
    Failed,
    Heartbeat,
    Link,
    ReplyTo,
    WorkerFinal,
    WorkerPartial,
    WorkerRequest,
)


def refusal_of(socket: str, *frames: bytes) -> tuple[str, str]:
    with pytest.raises(ProtocolError) as caught:
        mdp.decode(socket, list(frames))
    return caught.value.reason, str(caught.value)


def test_the_limits_are_these() -> None:
    assert (mdp.ENVELOPE_BYTES_MAX, names.SERVICE_BYTES_MAX, names.TOKEN_BYTES_MAX) == (4_096, 255, 255)
    assert (php_values.BYTES_MAX, php_values.DEPTH_MAX, php_values.ITEMS_MAX) == (8 * 2**20, 64, 1_000_000)
    assert values.DEPTH_MAX == 200


# ---------------------------------------------------------------- requests


def test_an_envelope_has_at_most_4096_bytes() -> None:
    request = (mdp.MDPC02, b"\x01", b"E")
    for envelope in ((b"x" * 4_096, b""), (b"x" * 4_000, b"y" * 96, b"")):
        message = mdp.decode("client", [*envelope, *request])
        assert isinstance(message, ClientRequest) and message.reply_to.envelope == envelope
    for envelope in ((b"x" * 4_097, b""), (b"x" * 4_000, b"y" * 97, b"")):
        reason, text = refusal_of("client", *envelope, *request)
        assert reason == "bad_envelope" and "4096" in text


@pytest.mark.parametrize(
    ("socket", "frames", "reason"),
    [
        ("client", (), "empty"),
        ("client", (b"",), "empty"),
        ("client", (b"id", b""), "empty"),
        ("client", (b"no envelope",), "no_command"),
        ("client", (b"", b"what"), "no_command"),
        ("client", (b"MDPC02", b"\x01"), "short"),
        ("client", (b"MDPC02", b"\x02", b"E"), "bad_command"),
        ("client", (b"MDPC02", b"2", b"E"), "bad_command"),
        ("client", (b"MDPC01",), "short"),
        ("client", (b"PARAM-JSON: 1",), "short"),
        ("mdp", (b"", b"JOB: E"), "no_command"),
        ("mdp", (b"JOB: E",), "no_command"),
        ("worker", (b"MDPW02",), "short"),
        ("worker", (b"MDPW02", b"\x01"), "short"),
        ("worker", (b"MDPW02", b"\x03"), "short"),
        ("worker", (b"MDPW02", b"\x04"), "short"),
        ("worker", (b"MDPW02", b"\x02", b"t"), "bad_command"),
        ("worker", (b"MDPW02", b"\x07"), "bad_command"),
        ("worker", (b"MDPW01", b"\x02", b"t"), "bad_command"),
        ("worker", (b"MDPW01", b"\x06"), "bad_command"),
        ("worker", (b"MDPW02", b"\x04", b"t" * 256, b""), "bad_token"),
        ("worker", (b"MDPW02", b"\x03", b"t" * 256, b""), "bad_token"),
        ("worker", (b"MDPW02", b"\x01", b"\xff"), "bad_service"),
        ("worker", (b"E", b"COMPLETE: " + b"t" * 256), "bad_token"),
    ],
)
def test_what_no_dialect_allows_is_refused_for_its_reason(
    socket: str, frames: tuple[bytes, ...], reason: str
) -> None:
    assert refusal_of(socket, *frames)[0] == reason


def test_a_refusal_shows_a_command_only_in_part() -> None:
    assert "b'xxxxxxxx' is" in refusal_of("client", b"MDPC02", b"x" * 9, b"E")[1]
    assert "b'xxxxxxxx' is" in refusal_of("worker", b"MDPW02", b"x" * 9)[1]
    assert f"{b'x' * 16!r} is" in refusal_of("client", b"", b"x" * 17)[1]


@pytest.mark.parametrize("command", [mdp.W_PARTIAL, mdp.W_FINAL])
def test_a_token_has_at_most_255_bytes_and_its_empty_frame_may_be_left_out(command: bytes) -> None:
    token = b"t" * 255
    for body in ((), (b"",), (b"a",), (b"a", b""), (b"", b"b")):
        kind = WorkerFinal if command == mdp.W_FINAL else WorkerPartial
        plain = mdp.decode("worker", [mdp.MDPW02, command, token, b"", *body])
        assert isinstance(plain, kind) and (plain.token, plain.body, plain.link) == (token, body, None)
        if body[:1] != (b"",):
            assert mdp.decode("worker", [mdp.MDPW02, command, token, *body]) == plain


# ---------------------------------------------------------------- answers


@pytest.mark.parametrize(("command", "ascii"), [(b"\x01", False), (b"1", True)])
def test_a_strict_answer_has_its_command_as_the_request_had(command: bytes, ascii: bool) -> None:
    request = mdp.decode("mdp", [b"id", b"", mdp.MDPC02, command, b"SYNC-E", b"body"])
    to = ReplyTo(STRICT, (b"id", b""), ascii)
    assert request == ClientRequest("SYNC-E", True, None, (b"body",), to)
    for message, said in (
        (ClientPartial("E", "j", (b"x",), False, to), (b"\x02", b"2")),
        (Completed("E", "j", (b"x",), False, to), (b"\x03", b"3")),
    ):
        frames = mdp.encode_to_client(message)
        assert frames == [b"id", b"", b"MDPC02", said[ascii], b"E", b"x"]


@pytest.mark.parametrize("dialect", [STRICT, MDP01])
@pytest.mark.parametrize(
    ("body", "plain", "said"),
    [
        ((), True, [b""]),
        ((b"PARAM-JSON: 1", b"more"), True, [b"1", b"more"]),
        ((b"PARAM-JSON: 1",), False, [b"PARAM-JSON: 1"]),
        ((b"PARAM-RAW: JOB",), True, [b"JOB"]),
        ((b"PARAM-RAW: PARAM-RAW: x",), False, [b"PARAM-RAW: x"]),
    ],
)
def test_a_strict_result_is_the_workers_and_nothing_else(
    dialect: str, body: tuple[bytes, ...], plain: bool, said: list[bytes]
) -> None:
    frames = mdp.encode_to_client(Completed("E", "j", body, plain, ReplyTo(dialect, ())))
    assert frames[-len(said) - 1 :] == [b"E", *said]


@pytest.mark.parametrize("dialect", [STRICT, MDP01])
def test_a_strict_failure_is_its_error_and_an_answer_its_frames(dialect: str) -> None:
    to = ReplyTo(dialect, ())
    assert mdp.encode_to_client(Failed("E", None, b"{}", False, to))[-2:] == [b"FAIL: E", b"PARAM-JSON: {}"]
    assert mdp.encode_to_client(Failed("E", "j", b"{}", True, to))[-2:] == [b"FAIL: E [j]", b"PARAM-JSON: {}"]
    assert mdp.encode_to_client(Answer("mmi.service", (b"200",), to))[-2:] == [b"mmi.service", b"200"]


# ---------------------------------------------------------------- to and at a worker of ours


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([], "no_command"),
        ([b"MDPW02"], "no_command"),
        ([b"MDPW01", b"\x05"], "no_command"),
        ([b"MDPW02", b"\x02", b"t", b"", b"no job"], "short"),
        ([b"MDPW02", b"\x02", b"t", b"x", b"JOB-JSON: {}"], "short"),
        ([b"MDPW02", b"\x02", b"t", b""], "short"),
        ([b"MDPW02", b"\x01"], "bad_command"),
        ([b"MDPW02", b"xxxxxxxxx"], "bad_command"),
    ],
)
def test_a_worker_refuses_what_is_no_command_to_it(frames: list[bytes], reason: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        mdp.decode_at_worker(frames)
    assert caught.value.reason == reason and "xxxxxxxxx" not in str(caught.value)


def test_a_request_comes_to_a_worker_as_it_went() -> None:
    request = WorkerRequest(b"t", "", b'{"id": "j"}', (b"a", b""))
    assert mdp.decode_at_worker(mdp.encode_to_worker(request, Link(ours=True))) == request
    beat = Heartbeat((b"DONE t",))
    assert mdp.decode_at_worker(mdp.encode_to_worker(beat, Link(ours=True))) == beat


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([b"1", b"", b"MDPC02", b"\x03"], "no_command"),
        ([b"1", b"x", b"MDPC02", b"\x03", b"E"], "no_command"),
        ([b"1", b"", b"MDPC01", b"\x03", b"E"], "no_command"),
        ([b"1", b"", b"MDPC02", b"\x01", b"E"], "bad_command"),
    ],
)
def test_a_client_refuses_what_is_no_answer_to_it(frames: list[bytes], reason: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        at_client.decode_at_client(frames)
    assert caught.value.reason == reason


# ---------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b's:1:"axx', 'byte 6: "; was expected'),
        (b's:4:"Hello";', 'byte 9: "; was expected'),
        (b"a:0:{x", "byte 5: } was expected"),
        (b"O", "byte 0: a value was expected"),
        (b"O;", "byte 0: a value was expected"),
        (b"x:1;", "byte 0: a value was expected"),
        (b"O:1", "byte 0: an object is not taken"),
        (b"C:1", "byte 0: an object is not taken"),
        (b"E:1", "byte 0: an enumeration is not taken"),
        (b"R:1;", "byte 0: a reference is not taken"),
        (b"r:1;", "byte 0: a reference is not taken"),
        (b"N;N;", "byte 2: more bytes after the value"),
        (b"a:1:{N;i:1;}", "byte 5: a key that is an integer or a text was expected"),
        (b"i:9223372036854775808;", "byte 22: an integer of more than 64 bits"),
        (b'a:1:{s:2:"\xff\xfe";N;}', "byte 10: a text that is not UTF-8"),
        (b's:9:"x";', "byte 5: a text of 9 bytes is longer than the data"),
        (b"a:2:{i:0;N;}", "byte 5: an array of 2 entries is longer than the data"),
    ],
)
def test_php_data_is_refused_for_what_is_wrong_and_where(data: bytes, why: str) -> None:
    with pytest.raises(ProtocolError, match="PHP data") as caught:
        php_values.decode(data)
    assert why in str(caught.value)


def test_the_shortest_entries_just_fill_an_array() -> None:
    assert php_values.decode(b"a:2:{i:0;N;i:1;N;}") == [None, None]
    with pytest.raises(ProtocolError, match="longer than the data"):
        php_values.decode(b"a:2:{i:0;N;i:1;")


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63)])
def test_whole_numbers_of_64_bits_go_both_ways(number: int) -> None:
    assert php_values.decode(php_values.encode(number)) == number


def test_a_result_is_shown_as_a_result_unless_it_is_said_to_be_parameters() -> None:
    shown: dict[bytes, Any] = {b"": {"base64": ""}, b"PARAM: i:1;": {"base64": "UEFSQU06IGk6MTs="}}
    for frame, value in shown.items():
        assert values.shown((frame,)) == (value, "bytes")
    assert values.shown((b"",), params=True) == (None, None)


def test_a_frame_too_long_for_a_name_is_not_remembered() -> None:
    known = names._known_name.cache_info()
    assert known.maxsize == 4_096
    for frame in (b"JOB: SYNC-" + b"of this test alone".ljust(256, b"x"), b"not remembered" * 99):
        names.service_and_mode(frame, to_the_letter=False)
    names.service_and_mode(b"a name that no other test has", to_the_letter=False)
    names.service_and_mode(b"a name that no other test has", to_the_letter=False)
    after = names._known_name.cache_info()
    assert (after.misses - known.misses, after.hits - known.hits) == (2, 1)
