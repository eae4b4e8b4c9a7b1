"""zmws.work.job: what a job says goes to its line, with its token."""

from __future__ import annotations

import os
import pickle
import threading
import time
from typing import Any

import pytest

from zmws import ZmwsError
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
    assert ear.said == []


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
