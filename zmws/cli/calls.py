"""`zmws call` and `zmws submit`: asking for work."""

from __future__ import annotations

import contextlib
import json
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import click

from zmws import ids
from zmws.cli.ends import FAILED, say, zmws
from zmws.cli.options import broker_options, connect, json_option
from zmws.cli.params import job_option_flags, job_options_given, parse_params
from zmws.cli.tables import show_json, show_result
from zmws.client.answers import outcome_of
from zmws.client.synchronous import Client, Job
from zmws.errors import BrokerUnreachable, JobFailed, JobTimeout, OptionError, ServiceUnknown, ZmwsError

_HELP = {"help_option_names": ["-h", "--help"]}
IN_FLIGHT = 500  # jobs of one --each that are not answered yet
LINE_BYTES_MAX = 8 * 1024 * 1024


@click.command(context_settings=_HELP)
@click.argument("service")
@click.argument("params", nargs=-1)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Seconds to wait for the result.",
)
@job_option_flags("id", "priority", "ttr", "retries")
@json_option
@broker_options
def call(
    service: str,
    params: tuple[str, ...],
    timeout: float | None,
    as_json: bool,
    broker: tuple[str, ...],
    config: Path | None,
    **options: Any,
) -> int:
    """Ask for SERVICE, wait, and print the result; partial results as they come. Ctrl-C cancels the job,
    unless --id has named it.

    PARAMS: key=text, key:=json, or one of @FILE and - for JSON of a file or of standard input.
    """
    given, asked = parse_params(params), job_options_given(options)
    asked.setdefault("id", ids.new_id())
    # Printed here and not in the client's thread, so that a reader that has gone ends the command.
    partials: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()
    with connect(broker, config) as client:
        asking = client.call_future(
            service, given, timeout=timeout, on_partial=lambda value: partials.put((True, value)), **asked
        )
        asking.add_done_callback(lambda _: partials.put((False, None)))
        try:
            while (told := partials.get())[0]:
                show_result(told[1], as_json)
        except (KeyboardInterrupt, BrokenPipeError):
            if options["option_id"] is None:
                _cancel_quietly(client, asked["id"])
            raise
        value = asking.result()
    show_result(value, as_json)
    return 0


def _cancel_quietly(client: Client, job_id: str) -> None:
    """Nobody waits any more, and nobody else knows the id. Often it has ended in this moment."""
    with contextlib.suppress(ZmwsError, TimeoutError):
        client.ask_future("zmws.cancel", {"id": job_id}).result(1.0)


@click.command(context_settings=_HELP)
@click.argument("service")
@click.argument("params", nargs=-1)
@click.option("--wait", is_flag=True, help="Wait for the result and print it.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Seconds to wait for each; needs --wait.",
)
@click.option("--each", type=click.Path(), help="One job per line of this file, - for standard input.")
@click.option("--as", "name", default="line", show_default=True, help="The parameter that holds the line.")
@job_option_flags()
@json_option
@broker_options
def submit(
    service: str,
    params: tuple[str, ...],
    wait: bool,
    timeout: float | None,
    each: str | None,
    name: str,
    as_json: bool,
    broker: tuple[str, ...],
    config: Path | None,
    **options: Any,
) -> int:
    """Submit a job to SERVICE and print its id; with --wait its result.

    PARAMS: key=text, key:=json, or one of @FILE and - for JSON of a file or of standard input.
    With --each there is a job per line: a JSON object as it is, any other line as {NAME: line}. Results
    are printed in the order of the lines; a line whose job failed leaves an empty one.
    """
    asked = job_options_given(options)
    if timeout is not None and not wait:
        raise click.UsageError("--timeout needs --wait")
    if each is not None:
        if params:
            raise click.UsageError("give PARAMS or --each, not both")
        if "id" in asked or "unique" in asked:
            raise click.UsageError("--id and --unique name one job, and --each submits many")
        return _submit_each(service, each, name, wait, timeout, as_json, broker, config, asked)
    given = parse_params(params)
    with connect(broker, config) as client:
        job = client.submit(service, given, **asked)
        if not wait:
            if as_json:
                show_json({"id": job.id, "existing": job.existing, "durability": job.durability})
            else:
                click.echo(job.id)
            return 0
        try:
            show_result(job.result(timeout), as_json)
        except (KeyboardInterrupt, JobTimeout) as why:
            if isinstance(why, KeyboardInterrupt) or client.job(job.id).status()["state"] != "expired":
                say(f"zmws: not waiting any longer; the job goes on ('{zmws()} job wait {job.id}')")
            raise
    return 0


@dataclass(slots=True)
class _Line:
    """One line whose job is on its way. `record` is set when it has ended; None without --wait."""

    number: int
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
            return job.id
        if not self.record.done():
            raise JobTimeout(f"job {job.id} has not ended within {timeout:g} s", job.id)
        return outcome_of(self.record.result())


def _submit_each(
    service: str,
    file: str,
    name: str,
    wait: bool,
    timeout: float | None,
    as_json: bool,
    broker: tuple[str, ...],
    config: Path | None,
    options: dict[str, Any],
) -> int:
    """Many jobs, some hundred in flight, answers in the order of the lines, as soon as they are there."""
    failed = submitted = 0
    source = _open(file)
    with connect(broker, config) as client, _Progress(file, wait) as progress:
        flying: deque[_Line] = deque()
        # What happened: a line was read (number and text), the last one was (None), or a job moved on.
        events: queue.SimpleQueue[tuple[int, str] | bool | click.UsageError | None] = queue.SimpleQueue()
        room = threading.Semaphore(IN_FLIGHT)
        threading.Thread(target=_read, args=(source, file, events, room), daemon=True).start()

        def land() -> None:
            nonlocal failed
            line = flying.popleft()
            room.release()
            try:
                value = line.answer(timeout)
                progress.show({"id": value} if as_json and not wait else value, as_json)
            except (BrokerUnreachable, ServiceUnknown, OptionError):
                raise  # what is wrong with one line is wrong with all
            except ZmwsError as fault:
                failed += 1
                code = getattr(fault, "code", "timeout")
                progress.show({"code": code, "error": str(fault)} if as_json else "", as_json)
                kind = f"{fault.type}: " if isinstance(fault, JobFailed) and fault.type else ""
                say(f"zmws: line {line.number}: {kind}{fault}")

        try:
            more = True
            turn: tuple[_Line, float] | None = None  # the line that is to be printed next, since when
            while more or flying:
                left = None
                if flying and timeout is not None and flying[0].submitting.done():
                    if turn is None or turn[0] is not flying[0]:
                        turn = (flying[0], time.monotonic())
                    left = max(0.0, turn[1] + timeout - time.monotonic())
                try:
                    event = events.get(timeout=left)
                except queue.Empty:
                    land()  # its time is over
                    event = True
                if isinstance(event, click.UsageError):
                    raise event
                if event is None:
                    more = False
                elif isinstance(event, tuple):
                    submitting = client.submit_future(service, _params_of(event[1], name), **options)
                    submitted += 1
                    on_done = partial(events.put, True)
                    submitting.add_done_callback(lambda _: events.put(True))
                    record = _Waiting(submitting, on_done).record if wait else None
                    flying.append(_Line(event[0], submitting, record))
                while flying and flying[0].done:
                    land()
        except KeyboardInterrupt:
            say(f"zmws: interrupted after {submitted} lines; what was submitted goes on")
            raise
    if failed:
        say(f"zmws: {failed} of {submitted} lines failed")
    return FAILED if failed else 0


class _Waiting:
    """Waits for a job's end from the moment it is accepted, so that many waits go on at once."""

    def __init__(self, submitting: Future[Job], on_done: Callable[[], None]) -> None:
        self.record: Future[dict[str, Any]] = Future()
        self._submitting = submitting
        self._on_done = on_done
        submitting.add_done_callback(self._ask)

    def _ask(self, _: Future[Any]) -> None:
        try:
            self._submitting.result().wait_future().add_done_callback(self._look)
        except Exception as fault:
            self._end(fault)

    def _look(self, waiting: Future[dict[str, Any] | None]) -> None:
        try:
            record = waiting.result()
        except Exception as fault:
            self._end(fault)
            return
        if record is None:
            self._ask(waiting)
        else:
            self.record.set_result(record)
            self._on_done()

    def _end(self, fault: Exception) -> None:
        self.record.set_exception(fault)
        self._on_done()


def _open(file: str) -> AbstractContextManager[BinaryIO]:
    """The lines' source. Raises UsageError."""
    try:
        return nullcontext(sys.stdin.buffer) if file == "-" else Path(file).open("rb")
    except OSError as wrong:
        raise click.UsageError(f"cannot read {file}: {wrong.strerror}") from None


def _read(
    source: AbstractContextManager[BinaryIO],
    file: str,
    events: queue.SimpleQueue[tuple[int, str] | bool | click.UsageError | None],
    room: threading.Semaphore,
) -> None:
    """In a thread of its own: a terminal or a pipe that is slow must not hold up what is done."""
    try:
        with source as lines:
            for number, raw in enumerate(lines, 1):
                if len(raw) > LINE_BYTES_MAX:
                    raise click.UsageError(f"line {number} of {file} is longer than {LINE_BYTES_MAX} bytes")
                room.acquire()
                # Empty lines too: a result stands for each.
                events.put((number, raw.decode("utf-8", "replace").rstrip("\r\n")))
        events.put(None)
    except OSError as wrong:
        events.put(click.UsageError(f"cannot read {file}: {wrong.strerror}"))
    except click.UsageError as wrong:
        events.put(wrong)


def _params_of(line: str, name: str) -> dict[str, Any]:
    if line.lstrip().startswith("{"):
        try:
            given = json.loads(line)
        except (ValueError, RecursionError):
            return {name: line}
        if isinstance(given, dict):
            return given
    return {name: line}


class _Progress:
    """A bar on standard error, if that is a terminal and the length is known."""

    def __init__(self, file: str, wait: bool) -> None:
        self._bar: Any = None
        if sys.stderr.isatty() and file != "-" and Path(file).is_file():
            with Path(file).open("rb") as source:
                length = sum(1 for _ in source)
            label = "jobs done" if wait else "jobs submitted"
            self._bar = click.progressbar(length=length, label=label, file=sys.stderr, show_pos=True)
            self._over = sys.stdout.isatty()

    def __enter__(self) -> _Progress:
        if self._bar is not None:
            self._bar.__enter__()
        return self

    def __exit__(self, *exits: Any) -> None:
        if self._bar is not None:
            self._bar.__exit__(*exits)

    def show(self, value: Any, as_json: bool) -> None:
        """Print an answer and move the bar on."""
        if self._bar is not None and self._over:
            click.echo("\r\033[K", nl=False, err=True)  # the answer takes the bar's line
        show_result("" if value is True and not as_json else value, as_json)
        if self._bar is not None:
            self._bar.update(1)
            if self._over:
                self._bar.render_progress()
