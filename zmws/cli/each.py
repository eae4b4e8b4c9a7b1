"""`zmws submit --each`: a job per line, many in one message, answers in the order of the lines.

Rule 1: lines are gathered into one message only while there are more of them: a slow pipe is not held up.
Rule 2: whoever reads, submits, waits or prints never stops the others.
Rule 3: a line that cannot be what it should is refused by its number: nothing of it and behind it is
        submitted, and what stands before it is submitted and answered.
"""

from __future__ import annotations

import json
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import click

from zmws.cli.bar import Bar
from zmws.cli.ends import FAILED, error_shown, named
from zmws.cli.output import say
from zmws.cli.tables import show_result
from zmws.cli.waiting import WaitNote
from zmws.client.answers import finished, outcome_of
from zmws.client.asked import then
from zmws.client.job import Job
from zmws.client.synchronous import Client
from zmws.core.states import COMPLETE
from zmws.errors import BrokerUnreachable, JobTimeout, OptionError, Refused, ServiceUnknown, ZmwsError

IN_FLIGHT = 2_000  # jobs that are not answered yet
MESSAGE_JOBS = 500  # jobs of one message
GATHER_S = 0.02  # a message leaves this long after its first line came
LINE_BYTES_MAX = 8 * 1024 * 1024

BOM = b"\xef\xbb\xbf"  # what some editors on Windows begin a file with

# What happened: a line was read (number and parameters), a line cannot be taken, the last line was read
# (None), or a job moved on (True).
Event = tuple[int, dict[str, Any]] | click.UsageError | bool | None


def submit_each(
    client: Client,
    service: str,
    file: str,
    name: str | None,
    wait: bool,
    timeout: float | None,
    as_json: bool,
    make: Callable[[Any], dict[str, Any]],
) -> int:
    """Submit a job for each line of `file`; the exit code. `make`: of the parameters in a line, the job or
    the chain, which has an id. Raises UsageError for a line that is refused."""
    source = _open(file)
    refused: click.UsageError | None = None
    with Progress(file, wait) as progress, WaitNote(client, service, progress.say, wait):
        submitting = _Submitting(client, wait, timeout, partial(_show, progress, as_json, wait))
        events = submitting.events
        reading = (source, file, name, events, submitting.room)
        threading.Thread(target=_read, args=reading, daemon=True).start()
        try:
            while (event := submitting.next_event()) is not None:
                if isinstance(event, click.UsageError):
                    refused = event
                    submitting.no_more()
                elif isinstance(event, tuple):
                    submitting.add(event[0], make(event[1]))
        except KeyboardInterrupt:
            say(f"zmws: interrupted after {submitting.sent} lines; what was submitted goes on")
            raise
    if submitting.failed:
        say(f"zmws: {submitting.failed} of {submitting.sent} lines failed")
    if refused is not None:
        before = "1 line before it was" if submitting.sent == 1 else f"{submitting.sent} lines before it were"
        raise click.UsageError(f"{refused.message}; {before if submitting.sent else 'nothing was'} submitted")
    return FAILED if submitting.failed else 0


@dataclass(slots=True)
class _Line:
    """One line whose job is on its way. `record` is set when it has ended; None without --wait."""

    number: int
    chain: str | None  # its id, where it is one
    submitting: Future[Job]
    record: Future[dict[str, Any]] | None

    @property
    def done(self) -> bool:
        """Whether its answer can be printed."""
        return (self.record or self.submitting).done()

    def answer(self, timeout: float | None) -> Any:
        """Its id or its result. Raises JobFailed, JobTimeout, Refused, ..."""
        job = self.submitting.result()
        if self.record is None:
            return self.chain or job.id
        if not self.record.done():
            raise JobTimeout(f"job {job.id} has not ended within {timeout:g} s", job.id)
        return outcome_of(self.record.result())


class _Submitting:
    """Lines that gather, lines that fly, and what happens to them."""

    def __init__(
        self, client: Client, wait: bool, timeout: float | None, show: Callable[[_Line, float | None], bool]
    ) -> None:
        """`show`: prints the answer of a line, in their order; false if there was none."""
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.room = threading.Semaphore(IN_FLIGHT)
        self.sent = self.failed = 0
        self._client = client
        self._wait = wait
        self._timeout = timeout
        self._show = show
        self._more = True
        self._flying: deque[_Line] = deque()
        self._new_message = finished(client.message_steps(MESSAGE_JOBS))
        self._message = self._new_message()
        self._lines: list[tuple[int, str | None]] = []  # in the message: their numbers, ids of their chains
        self._leaves_at = 0.0
        self._turn: tuple[_Line, float] | None = None  # the line that is to be printed next, since when

    def next_event(self) -> Event:
        """Print what is done, send what has gathered, and wait for what happens next; None at the end."""
        while True:
            while self._flying and self._flying[0].done:
                self._land()
            if not self._more:
                self._send()
                if not self._flying:
                    return None
            try:
                event = self.events.get(timeout=self._patience())
            except queue.Empty:
                if len(self._message):
                    self._send()
                if self._patience() == 0:
                    self._land()  # its time is over
                continue
            if event is not None:
                return event
            self.no_more()

    def no_more(self) -> None:
        """The last line has been added."""
        self._more = False

    def add(self, number: int, job: dict[str, Any]) -> None:
        """One more job, which leaves with others that come at once."""
        if not self._message.add(job):
            self._send()
            self._message.add(job)
        if not self._lines:
            self._leaves_at = time.monotonic() + GATHER_S
        self._lines.append((number, job["id"] if "chain" in job else None))
        if len(self._message) == MESSAGE_JOBS:
            self._send()

    def _patience(self) -> float | None:
        """How long nothing may happen until something is to be done all the same."""
        due = [self._leaves_at] if len(self._message) else []
        if self._flying and self._timeout is not None and self._flying[0].submitting.done():
            first = self._flying[0]
            if self._turn is None or self._turn[0] is not first:
                self._turn = (first, time.monotonic())
            due.append(self._turn[1] + self._timeout)
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _send(self) -> None:
        if not len(self._message):
            return
        verdicts = self._message.submit_future(self._client)
        on_done = partial(self.events.put, True)
        for n, (number, chain) in enumerate(self._lines):
            submitting = then(verdicts, partial(_verdict, n))
            record = _Waiting(self._client, submitting, on_done).record if self._wait else None
            self._flying.append(_Line(number, chain, submitting, record))
        verdicts.add_done_callback(lambda _: on_done())
        self.sent += len(self._lines)
        self._lines, self._message = [], self._new_message()

    def _land(self) -> None:
        line = self._flying.popleft()
        self.room.release()
        if not self._show(line, self._timeout):
            self.failed += 1


def _verdict(n: int, verdicts: list[Job | Refused]) -> Job:
    verdict = verdicts[n]
    if isinstance(verdict, Refused):
        raise verdict
    return verdict


class _Waiting:
    """Waits for a job's end from the moment it is accepted, so that many waits go on at once; of a chain for
    that of its last step."""

    def __init__(self, client: Client, submitting: Future[Job], on_done: Callable[[], None]) -> None:
        self.record: Future[dict[str, Any]] = Future()
        self._client = client
        self._on_done = on_done
        submitting.add_done_callback(self._ask)

    def _ask(self, found: Future[Job]) -> None:
        try:
            self._job = found.result()
            self._job.wait_future().add_done_callback(self._look)
        except Exception as fault:
            self._end(fault)

    def _look(self, waiting: Future[dict[str, Any] | None]) -> None:
        try:
            record = waiting.result()
        except Exception as fault:
            self._end(fault)
            return
        if record is None:
            self._job.wait_future().add_done_callback(self._look)
        elif record["state"] == COMPLETE and record.get("step") != record.get("steps"):
            page = self._client.answer_future("zmws.jobs", {"chain": record["chain"], "limit": 1})
            then(page, self._step_after).add_done_callback(self._ask)
        else:
            self.record.set_result(record)
            self._on_done()

    def _step_after(self, page: dict[str, Any]) -> Job:
        """The newest of the chain."""
        found = [row["id"] for row in page["jobs"] if row["id"] != self._job.id]
        if not found:
            raise Refused("unknown_job", f"the step after job '{self._job.id}' has been forgotten")
        return self._client.job(found[0])

    def _end(self, fault: Exception) -> None:
        self.record.set_exception(fault)
        self._on_done()


def _show(progress: Progress, as_json: bool, wait: bool, line: _Line, timeout: float | None) -> bool:
    """Print a line's answer, or why there is none. Raises what is wrong with every line."""
    try:
        value = line.answer(timeout)
    except (BrokerUnreachable, ServiceUnknown, OptionError):
        raise  # what is wrong with one line is wrong with all
    except ZmwsError as fault:
        progress.show(error_shown(fault) if as_json else "", as_json)
        progress.say(f"zmws: line {line.number}: {named(fault)}")
        return False
    if as_json and not wait:
        value = {"id": value} if line.chain is None else {"id": line.submitting.result().id, "chain": value}
    progress.show(value, as_json)
    return True


def _open(file: str) -> AbstractContextManager[BinaryIO]:
    """The lines' source. Raises UsageError."""
    try:
        return nullcontext(sys.stdin.buffer) if file == "-" else Path(file).open("rb")
    except OSError as wrong:
        raise click.UsageError(f"cannot read {file}: {wrong.strerror}") from None


def _read(
    source: AbstractContextManager[BinaryIO],
    file: str,
    name: str | None,
    events: queue.SimpleQueue[Event],
    room: threading.Semaphore,
) -> None:
    """In a thread of its own: a terminal or a pipe that is slow must not hold up what is done."""
    try:
        for line in _lines_in(source, file, name):
            room.acquire()
            events.put(line)
        events.put(None)
    except click.UsageError as wrong:
        events.put(wrong)


def lines_of(file: str, name: str | None) -> Iterator[tuple[int, dict[str, Any]]]:
    """The lines of `file`, `-` for standard input: their numbers, and the parameters in them. Raises
    UsageError for a line, or a file, that cannot be read."""
    return _lines_in(_open(file), file, name)


def _lines_in(
    source: AbstractContextManager[BinaryIO], file: str, name: str | None
) -> Iterator[tuple[int, dict[str, Any]]]:
    shown = "standard input" if file == "-" else file
    try:
        with source as lines:
            for number, raw in enumerate(lines, 1):
                if len(raw) > LINE_BYTES_MAX:
                    raise click.UsageError(f"line {number} of {shown} is longer than {LINE_BYTES_MAX} bytes")
                try:
                    # Empty lines too: a result stands for each.
                    params = _params_of(raw.removeprefix(BOM) if number == 1 else raw, name)
                except ValueError as wrong:
                    raise click.UsageError(f"line {number} of {shown} {wrong}") from None
                yield number, params
    except OSError as wrong:
        raise click.UsageError(f"cannot read {shown}: {wrong.strerror}") from None


def _params_of(raw: bytes, name: str | None) -> dict[str, Any]:
    """The parameters that a line stands for. Raises ValueError that says what is wrong with it."""
    try:
        line = raw.decode().rstrip("\r\n")
    except UnicodeDecodeError as wrong:
        raise ValueError(f"is not UTF-8 (byte {wrong.start + 1})") from None
    if name is not None or not line.lstrip().startswith("{"):
        return {name or "line": line}
    try:
        given: dict[str, Any] = json.loads(line, parse_constant=_no_constant)
    except (ValueError, RecursionError) as wrong:
        why = str(wrong)
        if isinstance(wrong, RecursionError):
            why = "it is nested too deep"
        elif isinstance(wrong, json.JSONDecodeError):
            why = f"{wrong.msg} at column {wrong.colno}"  # its own text speaks of line 1
        raise ValueError(f"begins as a JSON object and is none: {why}; --as NAME takes it as text") from None
    return given


def _no_constant(name: str) -> None:
    raise ValueError(f"JSON has no {name}")


class Progress(Bar):
    """A bar on standard error, if that is a terminal and the length is known."""

    def __init__(self, file: str, wait: bool) -> None:
        length = None
        if sys.stderr.isatty() and file != "-" and Path(file).is_file():
            with Path(file).open("rb") as source:
                length = sum(1 for _ in source)
            self._over = sys.stdout.isatty()
        super().__init__(length, "jobs done" if wait else "jobs submitted")

    def step(self) -> None:
        """Move the bar on."""
        if self._bar is not None:
            self._bar.update(1)

    def show(self, value: Any, as_json: bool) -> None:
        """Print an answer and move the bar on."""
        if self._bar is not None and self._over:
            sys.stderr.write("\r\033[K")  # the answer takes the bar's line
        show_result("" if value is None and not as_json else value, as_json)
        if self._bar is not None:
            self._bar.update(1)
            if self._over:
                self._bar.render_progress()
