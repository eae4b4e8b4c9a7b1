"""zmws.work.job_log: what is logged and printed goes into the log of the job that it belongs to."""

from __future__ import annotations

import contextlib
import io
import logging
import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from zmws.wire.messages import WorkerRequest
from zmws.work.job import JobInHand
from zmws.work.job_log import LINE_CHARS_MAX, current, in_hand, installed

log = logging.getLogger("shop.mail")


class Ear:
    """Hears log lines; may log itself, and may fail."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.on_line: Callable[[], Any] = lambda: None

    def say(self, token: bytes, body: tuple[bytes, ...]) -> None:
        assert body[0] == b"LOG"
        self.lines.append(body[1].decode())
        self.on_line()

    def is_cancelled(self, token: bytes) -> bool:
        return False


class Keeps(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def made(name: str = "i") -> tuple[JobInHand, Ear]:
    ear = Ear()
    told = b'{"id": "%s", "service": "MAIL", "attempt": 2}' % name.encode()
    return JobInHand(ear, WorkerRequest(b"t", "", told, ())), ear


@pytest.fixture(autouse=True)
def all_levels() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers, factory = root.level, list(root.handlers), logging.getLogRecordFactory()
    root.setLevel(logging.DEBUG)
    yield
    root.setLevel(level)
    assert root.handlers == handlers and logging.getLogRecordFactory() is factory


@pytest.fixture
def kept() -> Iterator[Keeps]:
    keeps = Keeps()
    logging.getLogger().addHandler(keeps)
    yield keeps
    logging.getLogger().removeHandler(keeps)


@pytest.fixture
def job() -> Iterator[JobInHand]:
    job, _ = made()
    with installed(), in_hand(job, False):
        yield job


@pytest.fixture
def lines(job: JobInHand) -> list[str]:
    ear: Any = job._line
    return ear.lines


def in_thread(what: Callable[[], Any]) -> None:
    thread = threading.Thread(target=what)
    thread.start()
    thread.join()


# ---------------------------------------------------------------- records


def test_records_of_the_authors_go_into_the_log_with_level_and_logger(lines: list[str]) -> None:
    log.info("sent %d", 3)
    logging.getLogger().error("no logger")
    assert lines == ["INFO shop.mail: sent 3", "ERROR root: no logger"]


def test_records_of_zmws_and_those_outside_of_a_job_do_not() -> None:
    job, ear = made()
    with installed():
        log.info("before")
        with in_hand(job, False):
            logging.getLogger("zmws.worker").info("ours")
            logging.getLogger("asyncio").info("its")
            logging.getLogger("zmwsx").info("no")
        log.info("after")
    assert ear.lines == ["INFO zmwsx: no"]


def test_a_line_is_cut(lines: list[str]) -> None:
    log.info("x" * 100_000)
    assert len(lines[0]) == LINE_CHARS_MAX + 4 and lines[0].endswith("x ...")


def test_an_exception_and_a_stack_are_in_the_line(lines: list[str]) -> None:
    try:
        raise KeyError("k")
    except KeyError:
        log.exception("failed")
    log.info("here", stack_info=True)
    assert lines[0].startswith("ERROR shop.mail: failed\nTraceback ") and lines[0].endswith("KeyError: 'k'")
    assert lines[1].startswith("INFO shop.mail: here\nStack (most recent call last)")


def only_ours(monkeypatch: pytest.MonkeyPatch, *others: logging.Handler) -> None:
    """Take pytest's own handlers away: they raise what a handler raises, and keep all that they get."""
    root = logging.getLogger()
    ours = [one for one in root.handlers if type(one).__module__ == "zmws.work.job_log"]
    monkeypatch.setattr(root, "handlers", [*others, *ours])


def test_an_exception_that_cannot_be_shown_costs_no_more_than_itself(
    lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Nothing(Exception):
        def __getattribute__(self, name: str) -> Any:
            raise RuntimeError

    only_ours(monkeypatch)
    log.error("odd", exc_info=(Nothing, Nothing(), None))
    assert lines == ["ERROR shop.mail: odd"]


def test_what_cannot_be_formatted_fails_no_job(
    lines: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = io.StringIO()
    fails = logging.StreamHandler(stream)
    fails.setFormatter(logging.Formatter("%(no_such_name)s"))
    only_ours(monkeypatch, fails)
    log.info("%d", "no number")
    log.info("it goes on")
    assert lines == ["INFO shop.mail: it goes on"] and stream.getvalue() == ""
    assert "no_such_name" in capsys.readouterr().err


def test_a_line_that_comes_of_telling_a_line_is_not_told(job: JobInHand) -> None:
    ear: Any = job._line
    ear.on_line = lambda: (log.info("from within"), print("x"))  # noqa: T201
    log.info("one")
    log.info("two")
    assert ear.lines == ["INFO shop.mail: one", "INFO shop.mail: two"]


def test_a_line_that_cannot_be_told_is_none_and_the_next_one_is(job: JobInHand) -> None:
    ear: Any = job._line
    ear.on_line = lambda: 1 / 0
    log.info("one")
    log.info("two")
    assert len(ear.lines) == 2


# ---------------------------------------------------------------- which job


def test_each_record_says_which_job_it_belongs_to(kept: Keeps) -> None:
    job, _ = made("i")
    with installed():
        log.info("before")
        with in_hand(job, False):
            log.info("within")
    one, two = (vars(record) for record in kept.records)
    names = ("service", "job_id", "attempt", "zmws")
    assert [one[name] for name in names] == [None, None, None, ""]
    assert [two[name] for name in names] == ["MAIL", "i", 2, " [MAIL i/2]"]
    form = logging.Formatter("%(zmws)s %(job_id)s %(message)s")
    assert form.format(kept.records[1]) == " [MAIL i/2] i within"
    assert logging.Formatter("{service}", style="{").format(kept.records[1]) == "MAIL"


def test_an_extra_of_the_authors_of_the_same_name_goes_before_ours(kept: Keeps, lines: list[str]) -> None:
    log.info("sent", extra={"service": "smtp", "job_id": 7, "attempt": 1, "zmws": "z"})
    with pytest.raises(KeyError, match="overwrite"):
        log.info("sent", extra={"name": "as ever"})
    assert lines == ["INFO shop.mail: sent"]
    record: Any = kept.records[0]
    assert (record.service, record.job_id, record.attempt, record.zmws) == ("smtp", 7, 1, "z")
    copy = pickle.loads(pickle.dumps(record))
    assert copy.service == "smtp" and type(vars(copy)) is dict
    assert b"zmws.work" not in pickle.dumps(record)


def test_a_thread_of_the_authors_belongs_to_the_only_job_there_is() -> None:
    (one, ear), (two, other) = made("one"), made("two")
    entered, leave = threading.Event(), threading.Event()

    def second_worker() -> None:
        with in_hand(two, False):
            log.info("mine")
            entered.set()
            leave.wait()

    with installed(), in_hand(one, False):
        in_thread(lambda: log.info("alone"))
        worker = threading.Thread(target=second_worker)
        worker.start()
        entered.wait()
        in_thread(lambda: log.info("whose?"))
        log.info("still mine")
        leave.set()
        worker.join()
        in_thread(lambda: log.info("alone again"))
    assert ear.lines == [f"INFO shop.mail: {text}" for text in ("alone", "still mine", "alone again")]
    assert other.lines == ["INFO shop.mail: mine"]
    assert current() is None


def test_what_is_installed_twice_tells_once_and_is_there_until_both_are_gone() -> None:
    job, ear = made()
    with in_hand(job, False):
        with installed():
            with installed():
                log.info("one")
            log.info("two")
        log.info("three")
    assert ear.lines == ["INFO shop.mail: one", "INFO shop.mail: two"]


def test_a_configuration_of_the_authors_that_takes_all_handlers_away_takes_not_ours() -> None:
    job, ear = made()
    root = logging.getLogger()
    kept = list(root.handlers)
    with installed():
        for handler in set(root.handlers) - set(kept):
            root.removeHandler(handler)  # as logging.config.dictConfig does
        with in_hand(job, False):
            log.info("one")
    with in_hand(job, False):
        log.info("two")
    assert ear.lines == ["INFO shop.mail: one"] and root.handlers == kept


def test_a_factory_that_the_author_puts_around_ours_stays_and_ours_is_silent(kept: Keeps) -> None:
    first = logging.getLogRecordFactory()
    try:
        for n in range(3):
            with installed():
                inner = logging.getLogRecordFactory()
                logging.setLogRecordFactory(lambda *args, inner=inner, **given: inner(*args, **given))
                log.info("within")
            log.info("after %d", n)
    finally:
        logging.setLogRecordFactory(first)
    assert [hasattr(record, "zmws") for record in kept.records] == [True, False] * 3


# ---------------------------------------------------------------- what is printed


def no_stream() -> Any:
    """In place of standard output: pytest puts its own there before each part of a test."""
    return contextlib.redirect_stdout(io.StringIO())


def test_what_is_printed_goes_into_the_log_by_lines_and_where_it_went_before() -> None:
    job, ear = made()
    with no_stream() as out:
        before = sys.stdout, sys.stderr
        with in_hand(job, True):
            sys.stdout.write("a")
            sys.stdout.write("b\nc\n\n")
            sys.stderr.write("oops\n")
            sys.stdout.write("no end")
        assert (sys.stdout, sys.stderr) == before
    assert ear.lines == ["stdout: ab", "stdout: c", "stdout: ", "stderr: oops", "stdout: no end"]
    assert out.getvalue() == "ab\nc\n\nno end"


def test_what_a_job_prints_that_fails_is_told_too() -> None:
    job, ear = made()
    with no_stream() as out:
        with pytest.raises(KeyError), in_hand(job, True):
            sys.stdout.write("half")
            raise KeyError
        assert ear.lines == ["stdout: half"] and sys.stdout is out


def test_nothing_is_printed_into_the_log_unless_it_is_asked_for() -> None:
    job, ear = made()
    with no_stream() as out, in_hand(job, False):
        sys.stdout.write("a\n")
    assert ear.lines == [] and out.getvalue() == "a\n"


def test_a_line_without_an_end_is_cut_and_not_kept() -> None:
    job, ear = made()
    with no_stream(), in_hand(job, True):
        for _ in range(3):
            sys.stdout.write("x" * (LINE_CHARS_MAX + 1))
    assert len(ear.lines) == 3 and all(len(line) == LINE_CHARS_MAX + 4 for line in ear.lines)


def test_several_threads_may_print() -> None:
    job, ear = made()
    with no_stream(), in_hand(job, True):
        threads = [
            threading.Thread(target=lambda: [sys.stdout.write(f"{n}\n") for n in range(200)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(ear.lines) == sorted(f"stdout: {n}" for n in range(200) for _ in range(4))


def test_the_stream_is_as_before_in_all_else(monkeypatch: pytest.MonkeyPatch) -> None:
    behind = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", behind)
    job, ear = made()
    with in_hand(job, True):
        tee: Any = sys.stdout
        assert (tee.encoding, tee.buffer, tee.isatty(), tee.writable()) == (
            "latin-1",
            behind.buffer,
            False,
            True,
        )
        tee.writelines(["a\n", "b\n"])
        sys.stdout.write("c\n")
        tee.flush()
    assert ear.lines == ["stdout: a", "stdout: b", "stdout: c"] and behind.buffer.getvalue() == b"a\nb\nc\n"  # type: ignore[attr-defined]


def test_a_process_without_streams_can_print(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    job, ear = made()
    with in_hand(job, True):
        print("a", flush=True)  # noqa: T201
    assert ear.lines == ["stdout: a"] and sys.stdout is None
