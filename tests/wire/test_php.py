"""The PHP program's frames, both generations."""

from __future__ import annotations

import pytest

from zmws.errors import ProtocolError
from zmws.wire.messages import (
    DISCONNECT,
    PHP,
    PHP1,
    PHP2,
    ClientRequest,
    Heartbeat,
    Link,
    Ready,
    ReplyTo,
    WorkerFinal,
    WorkerPartial,
    WorkerRequest,
)
from zmws.wire.php import decode_request, decode_worker, encode_to_worker

ONE, TWO = Link(PHP1, False, True), Link(PHP2, False, True)
JSON = b"PARAM-JSON: 1"
SECOND = [b"MDPC02", b"3"]


@pytest.mark.parametrize(
    ("frames", "body", "options"),
    [
        ([JSON, b"SYNC-E"], (JSON,), None),
        ([b"SYNC-E", JSON], (JSON,), None),
        ([b"SYNC-E"], (), None),
        ([b"JSON-PARAM: 1", b"x", b"SYNC-E"], (b"JSON-PARAM: 1", b"x"), None),
        ([b"OPTS-JSON: {}", JSON, b"SYNC-E"], (JSON,), b"{}"),
    ],
)
def test_the_name_is_last_where_parameters_stand_before_it(
    frames: list[bytes], body: tuple[bytes, ...], options: bytes | None
) -> None:
    asked = decode_request([b"", b"MDPC02", b"1", *frames], 3, (b"",))
    assert asked == ClientRequest("E", True, options, body, ReplyTo(PHP, (b"",), True))


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([b"HEARTBEAT"], Heartbeat((), ONE)),
        ([*SECOND, b"HEARTBEAT"], Heartbeat((), TWO)),
        ([b"E", b"READY"], Ready("E", None, ONE)),
        ([*SECOND, b"E", b"READY"], Ready("E", None, TWO)),
        ([b"E", b"x", b"READY"], None),
        ([b"READY"], None),
        ([b"E", b"COMPLETE: t"], WorkerFinal(b"t", (), False, ONE)),
        ([b"v", b"E", b"COMPLETE: t"], WorkerFinal(b"t", (b"v",), False, ONE)),
        ([JSON, b"COMPLETE: t"], WorkerFinal(b"t", (JSON,), False, ONE)),
        ([b"E", JSON, b"COMPLETE: t"], WorkerFinal(b"t", (JSON,), False, ONE)),
        ([b"E", b"FAIL: t"], WorkerFinal(b"t", (), True, ONE)),
        ([b"v", b"E", b"CONT: t"], WorkerPartial(b"t", (b"v",), ONE)),
        ([*SECOND, b"E", b"v", b"COMPLETE: t"], WorkerFinal(b"t", (b"v",), False, TWO)),
        ([*SECOND, b"E", JSON, b"CONT: t"], WorkerPartial(b"t", (JSON,), TWO)),
        ([*SECOND, JSON, b"E", b"COMPLETE: t"], WorkerFinal(b"t", (JSON,), False, TWO)),
        ([b"E", b"COMPLETE: " + b"t" * 255], WorkerFinal(b"t" * 255, (), False, ONE)),
        ([b"E", b"DONE: t"], None),
        ([b"E", b"COMPLETE:t"], None),
        ([b"COMPLETE: t"], None),
        ([b"MDPC02", b"3"], None),
        ([b"MDPC02", b"2", b"E", b"READY"], None),
    ],
)
def test_what_its_workers_say(frames: list[bytes], message: object) -> None:
    assert decode_worker(frames, 0) == message
    if message is not None:
        with_empty = decode_worker([b"", *frames], 1)
        assert getattr(with_empty, "link").empty is True  # noqa: B009


def test_a_token_that_cannot_be_ours_is_refused() -> None:
    with pytest.raises(ProtocolError) as wrong:
        decode_worker([b"E", b"COMPLETE: " + b"t" * 256], 0)
    assert wrong.value.reason == "bad_token"


@pytest.mark.parametrize(
    ("link", "body", "frames"),
    [
        (ONE, (JSON,), [b"t", b"", JSON, b"JOB: t"]),
        (ONE, (), [b"t", b"", b"JOB: E", b"JOB: t"]),
        (ONE, (b"PARAM-RAW: x",), [b"t", b"", b"x", b"JOB: t"]),
        (TWO, (JSON,), [b"", b"MDPC02", b"1", JSON, b"JOB: t"]),
        (TWO, (), [b"", b"MDPC02", b"1", b"E", b"JOB: t"]),
    ],
)
def test_what_its_workers_are_sent(link: Link, body: tuple[bytes, ...], frames: list[bytes]) -> None:
    assert encode_to_worker(WorkerRequest(b"t", "E", b"{}", body), link) == frames
    assert encode_to_worker(Heartbeat(), link) == [b"HEARTBEAT"]
    assert encode_to_worker(DISCONNECT, link) == []
