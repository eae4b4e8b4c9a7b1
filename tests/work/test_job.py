"""zmws.work.job: what a job says goes to its line, with its token."""

from __future__ import annotations

import json
import os
import pickle
import threading
import time
from datetime import date
from typing import Any

import pytest

from zmws import BadValue, ZmwsError
from zmws.errors import BadResult
from zmws.wire.messages import WorkerRequest
from zmws.work import JobInHand


class Ear:
    """Hears everything."""

    def __init__(self) -> None:
        self.said: list[tuple[bytes, tuple[bytes, ...]]] = []
        self.of_this_process = threading.Lock()  # cannot be pickled

    def say(self, token: bytes, body: tuple[bytes, ...]) -> None:
        self.said.append((token, body))

    def is_cancelled(self, token: bytes) -> bool:
        return token == b"i/2/a" and len(self.said) > 1


def job(told: bytes = b'{"id": "i", "attempt": 2, "ttr": 60}') -> tuple[JobInHand, Ear]:
    ear = Ear()
    return JobInHand(ear, WorkerRequest(b"i/2/a", "", told, ())), ear


def test_it_is_as_the_broker_has_told() -> None:
    made, _ = job()
    assert (made.id, made.attempt) == ("i", 2) and 59 < made.deadline - time.monotonic() <= 60
    bare, _ = job(b"no JSON")
    assert (bare.id, bare.attempt) == ("", 1) and 3_599 < bare.deadline - time.monotonic() <= 3_600


def test_each_word_goes_out_with_the_token() -> None:
    made, ear = job()
    assert not made.cancelled
    made.progress(0.5, "half")
    made.partial({"a": 1})
    made.log("a \udcff line")
    made.extend(120)
    assert ear.said == [
        (b"i/2/a", (b"PROGRESS", b'{"done": 0.5, "text": "half"}')),
        (b"i/2/a", (b"CONT", b'PARAM-JSON: {"a": 1}')),
        (b"i/2/a", (b"LOG", b"a ? line")),
        (b"i/2/a", (b"TOUCH", b"120.0")),
    ]
    assert made.cancelled and made.deadline - time.monotonic() > 119


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_progress_and_extend_refuse_what_cannot_be(value: float) -> None:
    made, ear = job()
    with pytest.raises(ValueError, match="progress"):
        made.progress(value)
    with pytest.raises(ValueError, match="extend"):
        made.extend(0 if value > 0 else value)
    for seconds in (float("inf"), 1e9):  # which no broker would heed
        with pytest.raises(ValueError, match="extend"):
            made.extend(seconds)
    assert ear.said == [] and made.deadline - time.monotonic() <= 60


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


def test_what_is_saved_goes_out_as_json_and_is_what_the_next_attempt_has() -> None:
    made, ear = job(b'{"saved": {"n": 1}}')
    assert made.saved == {"n": 1}
    for value in (3, (1, date(2027, 1, 31)), None, "x" * 65_534, nested(199)):
        made.save(value)
        (said,) = ear.said.pop()[1][1:]
        assert made.saved == json.loads(said)
        again, _ = job(b'{"saved": %s}' % said)
        assert again.saved == made.saved
    rows = [1]
    made.save(rows)
    rows.append(2)
    assert made.saved == [1], "what was not saved is not there"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (b"x", "bytes, which JSON cannot hold"),
        ("x" * 65_535, r"65537 bytes of JSON; at most 65536"),
        ("ä" * 12_000, r"72002 bytes of JSON"),
        ({"a": object()}, r"what is saved\['a'\] is a object, which JSON cannot hold"),
        (float("nan"), "what is saved is nan"),
        (nested(200), "what is saved is nested more than 199 deep"),
        (nested(90_000), "what is saved is nested too deep"),
    ],
    ids=range(7),
)
def test_what_cannot_be_saved_is_refused_and_what_was_saved_stays(value: Any, said: str) -> None:
    made, ear = job(b'{"saved": 1}')
    with pytest.raises(BadValue, match=said) as wrong:
        made.save(value)
    assert not isinstance(wrong.value, BadResult), "it is none: the job is tried again"
    assert ear.said == [] and made.saved == 1


def test_a_copy_in_another_process_tells_what_it_knows_and_nothing_can_be_said_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, _ = job()
    copy: Any = pickle.loads(pickle.dumps(made))
    monkeypatch.setattr(os, "getpid", lambda: 1)
    assert (copy.id, copy.attempt, copy.deadline) == (made.id, made.attempt, made.deadline)
    for say in (lambda: copy.log("x"), lambda: copy.cancelled, lambda: copy.progress(0)):
        with pytest.raises(ZmwsError, match="child"):
            say()
