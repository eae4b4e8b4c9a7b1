"""zmws.client.answers: whatever a broker answers is a value or a ZmwsError."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from zmws.client.answers import accepted, answer_of, result_of
from zmws.errors import Refused, ZmwsError
from zmws.wire.at_client import Reply


@pytest.mark.parametrize(
    ("reader", "kind", "body"),
    [
        (answer_of, "answer", (b"200", b"{")),
        (answer_of, "answer", (b"200", b"\xff")),
        (answer_of, "answer", (b"200", b"[" * 100_000)),
        (answer_of, "answer", (b"9" * 5_000, b"{}")),
        (answer_of, "answer", (b"404", b"[]")),
        (answer_of, "answer", (b"404", b"x")),
        (answer_of, "answer", (b"200",)),
        (answer_of, "answer", ()),
        (accepted, "accepted", (b"JOB",)),
        (accepted, "accepted", (b"JOB: ",)),
        (lambda reply: result_of(reply, "a1"), "answer", ()),
        (lambda reply: result_of(reply, "a1"), "answer", (b"{",)),
        (lambda reply: result_of(reply, "a1"), "answer", (b"{", b"}", b"")),
    ],
)
def test_an_answer_that_is_none_is_an_error_of_ours(
    reader: Callable[[Reply], Any], kind: str, body: tuple[bytes, ...]
) -> None:
    with pytest.raises(ZmwsError):
        reader(Reply(b"7", kind, body))


def test_an_answer_is_its_status_and_its_json() -> None:
    assert answer_of(Reply(b"7", "answer", (b"200", b'{"a": 1}'))) == (200, {"a": 1})
    assert result_of(Reply(b"7", "answer", (b"200", b"[1]")), "a1") == [1]
    assert result_of(Reply(b"7", "answer", (b"[1]",)), "a1") == [1]
    assert accepted(Reply(b"7", "accepted", (b"JOB: a1 E", b'OPTS-JSON: {"x": 1}'))) == ("a1", {"x": 1})
    with pytest.raises(Refused, match="no such job") as refused:
        answer_of(Reply(b"7", "answer", (b"404", b'{"code": "unknown_job", "error": "no such job"}')))
    assert refused.value.code == "unknown_job"
