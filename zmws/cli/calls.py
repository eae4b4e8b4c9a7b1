"""`zmws call` and `zmws submit`: asking for work."""

from __future__ import annotations

import concurrent.futures
import contextlib
import queue
import time
from concurrent.futures import Future
from functools import partial
from typing import Any

import click

from zmws import ids
from zmws.cli.durations import wait_time_above_0
from zmws.cli.ends import zmws
from zmws.cli.names import service_argument
from zmws.cli.options import Connect, broker_options, json_option
from zmws.cli.output import echo, say
from zmws.cli.params import job_option_flags, job_options_given, parse_params, raw_option
from zmws.cli.tables import show_json, show_result
from zmws.cli.waiting import WaitNote
from zmws.client.job import Job
from zmws.client.submit_message import one_future
from zmws.client.synchronous import Client
from zmws.errors import JobTimeout, ZmwsError


@click.command()
@service_argument()
@click.argument("params", nargs=-1)
@click.option(
    "--timeout",
    type=wait_time_above_0,
    metavar="DURATION",
    help="How long to wait for the result.",
)
@raw_option
@job_option_flags("id", "priority", "ttr", "retries")
@json_option
@broker_options
def call(
    service: str,
    params: tuple[str, ...],
    timeout: float | None,
    raw: str | None,
    as_json: bool,
    connect: Connect,
    **options: Any,
) -> int:
    """Ask for SERVICE, wait, and print the result; partial results as they come. Ctrl-C cancels the job,
    unless --id has named it.

    PARAMS: key=text, key:=json, or one of @FILE and - for JSON of a file or of standard input; --raw
    sends bytes. A DURATION is a number of seconds, or such as 90s, 5m, 1h30m, 2d.
    """
    given, asked = parse_params(params, raw), job_options_given(options)
    asked.setdefault("id", ids.new_id())
    # Printed here and not in the client's thread, so that a reader that has gone ends the command.
    partials: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()
    with connect() as client, WaitNote(client, service):
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


@click.command()
@service_argument()
@click.argument("params", nargs=-1)
@click.option("--wait", is_flag=True, help="Wait for the result and print it.")
@click.option(
    "--timeout",
    type=wait_time_above_0,
    metavar="DURATION",
    help="How long to wait for each; needs --wait.",
)
@click.option(
    "--then",
    multiple=True,
    metavar="STEP",
    help="What is done with its result: SERVICE, or 'SERVICE JSON'; may be repeated.",
)
@click.option("--each", type=click.Path(), help="One job per line of this file, - for standard input.")
@click.option("--as", "name", metavar="NAME", help="Each line is a text, and this parameter.  [line]")
@raw_option
@job_option_flags()
@json_option
@broker_options
def submit(
    service: str,
    params: tuple[str, ...],
    wait: bool,
    timeout: float | None,
    then: tuple[str, ...],
    each: str | None,
    name: str | None,
    raw: str | None,
    as_json: bool,
    connect: Connect,
    **options: Any,
) -> int:
    """Submit a job to SERVICE and print its id; with --wait its result.

    PARAMS: key=text, key:=json, or one of @FILE and - for JSON of a file or of standard input; --raw
    sends bytes. A DURATION is a number of seconds, or such as 90s, 5m, 1h30m, 2d.

    With --each there is a job per line: a line that begins with { is a JSON object, any other is
    {"line": line}. With --as NAME every line is {NAME: line}, whatever it looks like. A line that is not
    UTF-8, or no JSON though it begins so, ends it; those before it are submitted. Results are printed in the
    order of the lines; a line whose job failed leaves an empty one.

    With --then the job is the first step of a chain, whose id is printed, and --wait is for the result of the
    last. Each step is made when the one before has completed, and its result is the parameters, or stands
    where the JSON has the text "$PREVIOUS". Options are of each step, but --id and --batch of the chain, and
    --delay, --at and --unique of the first step.
    """
    asked = job_options_given(options)
    if timeout is not None and not wait:
        raise click.UsageError("--timeout needs --wait")
    if each is not None:
        if params or raw is not None:
            raise click.UsageError("give PARAMS, --raw or --each, one of them")
        if "id" in asked or "unique" in asked:
            raise click.UsageError("--id and --unique name one job, and --each submits many")
        from zmws.cli.each import submit_each  # not at the top: `zmws call` must start fast

        make = partial(_item, service, then, asked)
        make({})  # what is wrong with a step is said before anything is done
        with connect() as client:
            return submit_each(client, service, each, name, wait, timeout, as_json, make)
    if name is not None:
        raise click.UsageError("--as needs --each")
    given = parse_params(params, raw)
    with connect() as client, WaitNote(client, service, for_result=wait):
        begun = time.monotonic()
        submitting, chain_id = _submitting(client, service, given, then, asked)
        job = _accepted(submitting, timeout)
        if not wait:
            if as_json:
                chain = {} if chain_id is None else {"chain": chain_id}
                show_json({"id": job.id, **chain, "existing": job.existing, "durability": job.durability})
            else:
                echo(job.id if chain_id is None else chain_id)
            if chain_id is not None and not as_json:
                say(f"a chain, whose first job is {job.id}; '{zmws()} jobs --chain {chain_id}' lists them")
            return 0
        try:
            left = None if timeout is None else max(0.0, begun + timeout - time.monotonic())
            show_result(_outcome(client, job, chain_id, left), as_json)
        except (KeyboardInterrupt, JobTimeout) as why:
            if isinstance(why, KeyboardInterrupt) or why.code != "expired":
                how = f"job wait {job.id}" if chain_id is None else f"jobs --chain {chain_id}"
                what = "job" if chain_id is None else "chain"
                say(f"zmws: not waiting any longer; the {what} goes on ('{zmws()} {how}')")
            raise
    return 0


def _outcome(client: Client, job: Job, chain_id: str | None, timeout: float | None) -> Any:
    """The result of the job, or of the chain of which it is the first."""
    if chain_id is None:
        return job.result(timeout)
    from zmws.client.chain import Chain  # not at the top: `zmws call` must start fast

    return Chain(client, chain_id, job).result(timeout)


def _item(service: str, then: tuple[str, ...], options: dict[str, Any], params: Any) -> dict[str, Any]:
    """A job, or a chain with an id, as many are submitted."""
    if not then:
        return {**options, "service": service, "params": params}
    from zmws.cli.steps import chain_given  # not at the top: `zmws call` must start fast

    return {"id": ids.new_id(), **chain_given(service, params, then, options)}


def _submitting(
    client: Client, service: str, params: Any, then: tuple[str, ...], options: dict[str, Any]
) -> tuple[Future[Job], str | None]:
    """The job that is submitted, and the id of the chain of which it is the first."""
    if not then:
        return client.submit_future(service, params, **options), None
    item = _item(service, then, options, params)
    return one_future(client, item), item["id"]


def _accepted(submitting: Future[Job], timeout: float | None) -> Job:
    """The job, when the broker has accepted it. Raises JobTimeout, Refused, BrokerUnreachable, ..."""
    try:
        return submitting.result(timeout)
    except concurrent.futures.TimeoutError:
        raise JobTimeout(f"the job was not accepted within {timeout:g} s, and may be later") from None
