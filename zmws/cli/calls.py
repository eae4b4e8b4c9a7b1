"""`zmws call` and `zmws submit`: asking for work."""

from __future__ import annotations

import contextlib
import queue
from pathlib import Path
from typing import Any

import click

from zmws import ids
from zmws.cli.ends import say, zmws
from zmws.cli.options import broker_options, connect, json_option
from zmws.cli.params import job_option_flags, job_options_given, parse_params
from zmws.cli.tables import show_json, show_result
from zmws.client.synchronous import Client
from zmws.errors import JobTimeout, ZmwsError

_HELP = {"help_option_names": ["-h", "--help"]}


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
        from zmws.cli.each import submit_each  # not at the top: `zmws call` must start fast

        with connect(broker, config) as client:
            return submit_each(client, service, each, name, wait, timeout, as_json, asked)
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
