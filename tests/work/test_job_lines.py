"""The lines of a worker's log about its jobs: a thread writes them a moment later; a failure, at once."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.peers import wait_until
from zmws.wire.messages import WorkerRequest
from zmws.work import job_lines
from zmws.work.job import JobInHand
from zmws.work.job_lines import JobLines


class Kept(logging.Handler):
    """Keeps the lines; while `gate` is closed, whoever writes waits, as at a full pipe."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.writers: set[str] = set()
        self.gate = threading.Event()
        self.gate.set()
        self.reached = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.reached.set()
        self.gate.wait(10)
        self.writers.add(threading.current_thread().name)
        self.records.append(record)

    @property
    def said(self) -> list[tuple[Any, str]]:
        return [(one.job_id, one.getMessage()) for one in list(self.records)]  # type: ignore[attr-defined]


@pytest.fixture
def kept() -> Iterator[Kept]:
    log = logging.getLogger("zmws.worker")
    handler, level = Kept(), log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    yield handler
    handler.gate.set()
    log.removeHandler(handler)
    log.setLevel(level)


@pytest.fixture
def lines() -> Iterator[JobLines]:
    made = JobLines()
    yield made
    made.close()
    wait_until(lambda: not [one for one in threading.enumerate() if one.name == "zmws-log"])


class NoLine:
    """The jobs of this file say nothing to a broker."""


def job(name: str) -> JobInHand:
    told = b'{"id": "%s", "service": "A", "attempt": 2}' % name.encode()
    return JobInHand(NoLine(), WorkerRequest(b"t", "A", told, ()))  # type: ignore[arg-type]


def test_a_jobs_end_is_written_by_a_thread_with_the_time_of_its_end(kept: Kept, lines: JobLines) -> None:
    before = time.time()
    lines.begins(one := job("1"))
    lines.ended(one, "complete in %.3f s", 0.25)
    after = time.time()
    wait_until(lambda: kept.said == [("1", "complete in 0.250 s")])
    (record,) = kept.records
    assert before <= record.created <= after and kept.writers == {"zmws-log"}
    told = {"service": "A", "attempt": 2, "zmws": " [A 1/2]"}
    assert {name: getattr(record, name) for name in told} == told


def test_a_job_that_runs_on_is_said_to_begin(kept: Kept, lines: JobLines) -> None:
    lines.begins(one := job("1"))
    wait_until(lambda: kept.said == [("1", "begins")])
    lines.ended(one, "complete")
    wait_until(lambda: kept.said == [("1", "begins"), ("1", "complete")])
    assert kept.records[0].created < kept.records[1].created


def test_a_failure_is_written_at_once_behind_all_that_was_said_before(kept: Kept, lines: JobLines) -> None:
    lines.begins(one := job("1"))
    lines.ended(one, "complete")
    lines.begins(two := job("2"))
    lines.failed(two, "failed")
    assert kept.said == [("1", "complete"), ("2", "failed")]


def test_what_was_said_is_written_at_the_end(kept: Kept) -> None:
    lines = JobLines()
    lines.begins(one := job("1"))
    lines.ended(one, "complete")
    lines.close()
    assert kept.said == [("1", "complete")]


def test_a_log_that_nobody_reads_holds_the_jobs_up_before_it_fills_the_memory(
    kept: Kept, lines: JobLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_lines, "MANY", 10)
    kept.gate.clear()
    first = job("0")
    lines.begins(first)
    lines.ended(first, "complete")
    assert kept.reached.wait(10)
    told: list[int] = []

    def work() -> None:
        for number in range(1, 100):
            lines.ended(job(str(number)), "complete")
            told.append(number)

    worker = threading.Thread(target=work)
    worker.start()
    wait_until(lambda: len(told) == 9)
    worker.join(0.1)
    assert worker.is_alive() and len(told) == 9
    kept.gate.set()
    worker.join(10)
    wait_until(lambda: kept.said == [(str(number), "complete") for number in range(100)])


@pytest.mark.parametrize("level", [logging.WARNING, logging.CRITICAL])
def test_a_level_that_shows_none_of_it_costs_no_thread(kept: Kept, lines: JobLines, level: int) -> None:
    logging.getLogger("zmws.worker").setLevel(level)
    lines.begins(one := job("1"))
    lines.ended(one, "complete")
    assert not [one for one in threading.enumerate() if one.name == "zmws-log"]
    lines.failed(one, "failed")
    assert kept.said == ([("1", "failed")] if level == logging.WARNING else [])


def test_a_handler_that_raises_takes_no_line_with_it(kept: Kept, lines: JobLines) -> None:
    class Raises(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            raise RuntimeError("a full disk")

    log = logging.getLogger("zmws.worker")
    log.addHandler(raises := Raises())
    try:
        for name in ("1", "2"):
            lines.failed(job(name), "failed")
    finally:
        log.removeHandler(raises)
    assert kept.said == [("1", "failed"), ("2", "failed")]


def test_who_must_not_wait_leaves_all_to_the_thread_and_past_a_bound_what_comes_is_left_out(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_lines, "MANY", 2)
    monkeypatch.setattr(job_lines, "MOST", 5)
    lines = JobLines(by_thread=True)
    kept.gate.clear()
    lines.failed(job("0"), "failed")
    assert kept.reached.wait(10), "also where nothing was said to begin"
    for number in range(1, 9):
        lines.ended(job(str(number)), "complete")
    lines.failed(job("9"), "failed")
    assert kept.said == []
    kept.gate.set()
    lines.close()
    left_out = "4 lines about jobs were left out: nobody read this log for a while"
    wait_until(lambda: len(kept.records) == 7)
    texts = [one.getMessage() for one in kept.records]
    assert texts == ["failed", *["complete"] * 5, left_out] and kept.writers >= {"zmws-log"}
    wait_until(lambda: not [one for one in threading.enumerate() if one.name == "zmws-log"])
