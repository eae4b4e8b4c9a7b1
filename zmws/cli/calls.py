"""`zmws call` and `zmws submit`: asking for work."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from zmws.cli.ends import FAILED, say
from zmws.cli.options import broker_options, connect, json_option
from zmws.cli.params import job_option_flags, job_options_given, parse_params
from zmws.cli.tables import show_json, show_result
from zmws.client.answers import outcome_of
from zmws.client.synchronous import Job
from zmws.errors import JobTimeout, ZmwsError

_HELP = {"help_option_names": ["-h", "--help"]}
IN_FLIGHT = 500  # jobs of one --each that are not answered yet
LINE_BYTES_MAX = 8 * 1024 * 1024


@click.command(context_settings=_HELP)
@click.argument("service")
@click.argument("params", nargs=-1)
@click.option(
    "--timeout", type=click.FloatRange(min=0, min_open=True), help="Seconds to wait for the result."
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
    """Ask for SERVICE, wait, and print the result; partial results as they come.

    PARAMS: key=text, key:=json, or one of @FILE and - for JSON of a file or of standard input.
    """
    given, asked = parse_params(params), job_options_given(options)

    def on_partial(value: Any) -> None:
        show_result(value, as_json)
        sys.stdout.flush()

    with connect(broker, config) as client:
        value = client.call(service, given, timeout=timeout, on_partial=on_partial, **asked)
    show_result(value, as_json)
    return 0


@click.command(context_settings=_HELP)
@click.argument("service")
@click.argument("params", nargs=-1)
@click.option("--wait", is_flag=True, help="Wait for the result and print it.")
@click.option(
    "--timeout", type=click.FloatRange(min=0, min_open=True), help="Seconds to wait for each; needs --wait."
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
        except KeyboardInterrupt:
            say(f"zmws: not waiting any longer; job {job.id} goes on ('zmws job wait {job.id}')")
            raise
    return 0


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
    """Many jobs, some hundred in flight, answers in the order of the lines."""
    failed = submitted = 0
    with connect(broker, config) as client, _Progress(file, wait) as progress:
        flying: deque[tuple[int, Future[Job], _Waiting | None]] = deque()

        def land() -> bool:
            number, submitting, waiting = flying.popleft()
            try:
                job = submitting.result()
                if waiting is None:
                    progress.show({"id": job.id} if as_json else job.id, as_json)
                else:
                    progress.show(waiting.result(job, timeout), as_json)
            except ZmwsError as fault:
                progress.show({"error": str(fault)} if as_json else "", as_json)
                say(f"zmws: line {number}: {fault}")
                return False
            return True

        try:
            for number, line in _lines(file):
                submitting = client.submit_future(service, _params_of(line, name), **options)
                submitted += 1
                flying.append((number, submitting, _Waiting(submitting) if wait else None))
                while len(flying) >= IN_FLIGHT:
                    failed += not land()
            while flying:
                failed += not land()
        except KeyboardInterrupt:
            say(f"zmws: interrupted after {submitted} lines; what was submitted goes on")
            raise
    if failed:
        say(f"zmws: {failed} of {submitted} lines failed")
    return FAILED if failed else 0


class _Waiting:
    """Waits for a job's end from the moment it is accepted, so that many waits go on at once."""

    def __init__(self, submitting: Future[Job]) -> None:
        self._first: Future[Future[dict[str, Any] | None]] = Future()
        submitting.add_done_callback(self._begin)

    def _begin(self, submitting: Future[Job]) -> None:
        if submitting.exception() is None:
            self._first.set_result(submitting.result().wait_future())
        else:
            self._first.cancel()

    def result(self, job: Job, timeout: float | None) -> Any:
        """The job's result. Raises JobFailed, JobTimeout, ..."""
        try:
            record = self._first.result().result(timeout)
        except TimeoutError:
            raise JobTimeout(f"job {job.id} has not ended within {timeout:g} s", job.id) from None
        return outcome_of(record) if record is not None else job.result(timeout)


def _lines(file: str) -> Iterator[tuple[int, str]]:
    """The lines with their numbers; empty ones too, for a result stands for each."""
    try:
        source = nullcontext(sys.stdin.buffer) if file == "-" else Path(file).open("rb")  # noqa: SIM115
    except OSError as wrong:
        raise click.UsageError(f"cannot read {file}: {wrong.strerror}") from None
    with source as lines:
        for number, raw in enumerate(lines, 1):
            if len(raw) > LINE_BYTES_MAX:
                raise click.UsageError(f"line {number} of {file} is longer than {LINE_BYTES_MAX} bytes")
            yield number, raw.decode("utf-8", "replace").rstrip("\r\n")


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
        show_result(value if value is not True else "", as_json)
        if self._bar is not None:
            self._bar.update(1)
            if self._over:
                self._bar.render_progress()
