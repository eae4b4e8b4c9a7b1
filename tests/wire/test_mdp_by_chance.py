"""zmws.wire.mdp: what goes out comes in as it left, and no input crashes it."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.wire.test_mdp import ERROR, HELLO, TOKEN, VALUE, request
from zmws.errors import ProtocolError
from zmws.wire import at_client, mdp, names
from zmws.wire.mdp import decode, encode_to_client, encode_to_worker
from zmws.wire.messages import (
    NATIVE,
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
    sent = at_client.encode_request(number, service, sync, options, body)
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
        reply = at_client.Reply(number, kind, expected)
        assert at_client.decode_at_client(encode_to_client(message)) == reply


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
    for read in (mdp.decode_at_worker, at_client.decode_at_client):
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
