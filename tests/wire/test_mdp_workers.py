"""zmws.wire.mdp: what workers say and are sent, and the peers' own sides of the wire."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.wire.test_mdp import HELLO, TOKEN, reason
from zmws.errors import ProtocolError
from zmws.wire import at_client, mdp
from zmws.wire.mdp import decode, encode_to_worker
from zmws.wire.messages import (
    MDP01,
    RFC,
    Disconnect,
    Heartbeat,
    Link,
    Ready,
    WorkerFinal,
    WorkerInfo,
    WorkerPartial,
    WorkerRequest,
)

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


# ---------------------------------------------------------------- the peers' sides


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ([b"MDPW02", b"\x02", TOKEN, b"", b"JOB-JSON: {}"], WorkerRequest(TOKEN, "", b"{}", ())),
        (
            [b"MDPW02", b"\x02", TOKEN, b"", b"JOB-JSON: {}", b"a", b"b"],
            WorkerRequest(TOKEN, "", b"{}", (b"a", b"b")),
        ),
        ([b"MDPW02", b"\x05"], Heartbeat(())),
        ([b"MDPW02", b"\x05", b"DONE x"], Heartbeat((b"DONE x",))),
        ([b"MDPW02", b"\x06"], Disconnect()),
        ([], "no_command"),
        ([b"MDPW02"], "no_command"),
        ([b"MDPW01", b"\x05"], "no_command"),
        ([b"MDPW02", b"\x02", TOKEN, b""], "short"),
        ([b"MDPW02", b"\x02", TOKEN, b"x", b"JOB-JSON: {}"], "short"),
        ([b"MDPW02", b"\x02", TOKEN, b"", b"{}"], "short"),
        ([b"MDPW02", b"\x01", b"E"], "bad_command"),
    ],
)
def test_what_a_worker_of_ours_reads(sent: list[bytes], message: object) -> None:
    if not isinstance(message, str):
        assert mdp.decode_at_worker(sent) == message
        return
    with pytest.raises(ProtocolError) as caught:
        mdp.decode_at_worker(sent)
    assert caught.value.reason == message


@pytest.mark.parametrize(
    ("rest", "reply"),
    [
        ([b"\x02", b"E", b"CONT: E [j]", b"v"], ("partial", (b"v",))),
        ([b"\x03", b"E", b"COMPLETE: E [j]", b"v"], ("final", (b"v",))),
        ([b"\x03", b"E", b"COMPLETE: E [j]"], ("final", ())),
        ([b"\x03", b"E", b"FAIL: E", b"why"], ("failed", (b"why",))),
        ([b"\x03", b"E", b"JOB: j E", b"note"], ("accepted", (b"JOB: j E", b"note"))),
        ([b"\x03", b"zmws.job", b"200", b"{}"], ("answer", (b"200", b"{}"))),
        ([b"\x03", b"E"], ("answer", ())),
        ([b"\x03", b"E", b"COMPLETE"], ("final", ())),
        ([b"\x04", b"E"], "bad_command"),
        ([b"\x03"], "no_command"),
    ],
)
def test_what_a_client_of_ours_reads(rest: list[bytes], reply: tuple[str, tuple[bytes, ...]] | str) -> None:
    sent = [b"7", b"", b"MDPC02", *rest]
    if not isinstance(reply, str):
        assert at_client.decode_at_client(sent) == at_client.Reply(b"7", *reply)
        return
    with pytest.raises(ProtocolError) as caught:
        at_client.decode_at_client(sent)
    assert caught.value.reason == reply


def test_what_has_no_envelope_of_ours_is_no_answer_to_our_client() -> None:
    for sent in ([b"7", b"x", b"MDPC02", b"\x03", b"E"], [b"7", b"", b"MDPC01", b"\x03", b"E"]):
        with pytest.raises(ProtocolError):
            at_client.decode_at_client(sent)


def test_a_request_of_our_client_says_what_is_asked_and_no_more() -> None:
    assert at_client.encode_request(b"7", "E", False, {}, ()) == [b"7", b"", b"MDPC02", b"\x01", b"E"]
    with_all = at_client.encode_request(b"7", "E", True, {"id": "j"}, (b"v",))
    assert with_all[4:] == [b"SYNC-E", b'OPTS-JSON: {"id": "j"}', b"v"]
