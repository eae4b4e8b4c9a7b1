"""`zmws batch`: jobs that end together, from a shell."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import click

from zmws.cli.bar import BatchBar
from zmws.cli.durations import wait_time, wait_time_above_0
from zmws.cli.ends import FAILED, zmws
from zmws.cli.names import service_argument
from zmws.cli.options import Connect, asks, broker_options, json_option, sure
from zmws.cli.output import echo, say
from zmws.cli.params import (
    JOB_OPTION_NAMES,
    job_option_flags,
    job_options_given,
    parse_params,
    raw_option,
)
from zmws.cli.records import show_fields
from zmws.cli.steps import follow_up_given
from zmws.cli.tables import age, show_done, show_json, show_table
from zmws.client.batch import Batch
from zmws.core.rows import BATCH_STATES
from zmws.core.states import COMPLETE
from zmws.errors import JobTimeout

_POLL_S = 1.0  # between two looks at a batch, where somebody sees a bar
_WAIT_S = 30.0  # and where nobody does

_follow_up = "SERVICE or 'SERVICE JSON'"
_then = click.option("--then", metavar="JOB", help=f"What follows if all have completed: {_follow_up}.")
_failed = click.option("--failed", metavar="JOB", help=f"What follows if not: {_follow_up}.")
_timeout = click.option("--timeout", type=wait_time, metavar="DURATION", help="How long to wait at most.")
_each = click.option("--each", type=click.Path(), help="One job per line of this file, - for standard input.")
_as = click.option("--as", "name", metavar="NAME", help="Each line is a text, and this parameter.  [line]")


@click.group()
def batch() -> None:
    """Jobs that end together: when all have ended, what was asked for follows, once. Cancel and retry them by
    'zmws job cancel|retry --batch ID', list them by 'zmws jobs --batch ID'."""


@batch.command("open")
@_then
@_failed
@job_option_flags("id", "keep", "meta")
@json_option
@broker_options
def open_(then: str | None, failed: str | None, as_json: bool, connect: Connect, **options: Any) -> int:
    """Open a batch and print its id. It ends when it is closed and all its jobs have ended; --keep is how
    long its counts are kept after that. The same --id again is the same batch."""
    follows = _follows(then, failed)
    with connect() as client:
        made = client.batch(**follows, **job_options_given(options))
    show_done({"id": made.id, "existing": made.existing}, made.id, as_json)
    return 0


@batch.command()
@click.argument("batch_id", metavar="ID")
@service_argument()
@click.argument("params", nargs=-1)
@_each
@_as
@raw_option
@job_option_flags(*(name for name in JOB_OPTION_NAMES if name != "batch"))
@json_option
@broker_options
def add(
    batch_id: str,
    service: str,
    params: tuple[str, ...],
    each: str | None,
    name: str | None,
    raw: str | None,
    as_json: bool,
    connect: Connect,
    **options: Any,
) -> int:
    """Submit a job to SERVICE, or with --each many, as members of the open batch ID; print the ids of the
    jobs. PARAMS and lines are as of 'zmws submit'."""
    asked = job_options_given(options)
    if each is not None:
        if params or raw is not None:
            raise click.UsageError("give PARAMS, --raw or --each, one of them")
        if "id" in asked or "unique" in asked:
            raise click.UsageError("--id and --unique name one job, and --each submits many")
        from zmws.cli.each import submit_each  # not at the top: it is long

        with connect() as client:
            make = lambda given: {**asked, "service": service, "params": given, "batch": batch_id}  # noqa: E731
            return submit_each(client, service, each, name, False, None, as_json, make)
    if name is not None:
        raise click.UsageError("--as needs --each")
    given = parse_params(params, raw)
    with connect() as client:
        job = client.get_batch(batch_id).add(service, given, **asked)
    show_done({"id": job.id, "existing": job.existing, "durability": job.durability}, job.id, as_json)
    return 0


@batch.command()
@service_argument()
@click.option("--each", type=click.Path(), required=True, help="One job per line of this file, - for stdin.")
@_as
@_then
@_failed
@click.option("--id", "batch_id", metavar="ID", help="Of the batch.")
@click.option("--wait", "waiting", is_flag=True, help="Wait for its end.")
@click.option(
    "--timeout", type=wait_time_above_0, metavar="DURATION", help="How long to wait at most; needs --wait."
)
@job_option_flags(*(name for name in JOB_OPTION_NAMES if name not in ("id", "unique", "batch")))
@json_option
@broker_options
def submit(
    service: str,
    each: str,
    name: str | None,
    then: str | None,
    failed: str | None,
    batch_id: str | None,
    waiting: bool,
    timeout: float | None,
    as_json: bool,
    connect: Connect,
    **options: Any,
) -> int:
    """Make a batch of a job of SERVICE per line, and print its id; with --wait what became of it, exit code 1
    unless all have completed.

    Lines are as of 'zmws submit --each'. The same --id with the same lines again is the same batch, and its
    jobs are the same: they are ID:1, ID:2 and so on, by their place. What goes wrong before the last one is
    submitted leaves the batch open, so that nothing follows a part of it.
    """
    if timeout is not None and not waiting:
        raise click.UsageError("--timeout needs --wait")
    asked, follows = job_options_given(options), _follows(then, failed)
    from zmws.cli.each import Progress, lines_of  # not at the top: it is long

    with connect() as client:
        made = client.batch(**follows, id=batch_id)

        def jobs(progress: Progress) -> Iterator[dict[str, Any]]:
            for n, (_, given) in enumerate(lines_of(each, name), 1):
                yield {**asked, "id": f"{made.id}:{n}", "service": service, "params": given}
                progress.step()

        try:
            with Progress(each, wait=False) as progress:
                made.add_many(jobs(progress))
            row = made.close()
        except BaseException:
            cancel = f"'{zmws()} batch cancel {made.id}' cancels what was submitted"
            say(f"zmws: batch {made.id} stays open, and nothing follows it; {cancel}")
            raise
        if not waiting:
            show_done(row, made.id, as_json)
            return 0
        return _ended(_waited(made, timeout), as_json)


@batch.command()
@click.argument("batch_id", metavar="ID")
@json_option
@broker_options
def close(batch_id: str, as_json: bool, connect: Connect) -> int:
    """Close a batch: nobody adds to it any more but its own jobs, and it ends with the last of them."""
    with connect() as client:
        row = client.get_batch(batch_id).close()
    show_done(row, f"closed: {batch_id}, {row['unfinished']} of {row['total']} unfinished", as_json)
    return 0


@batch.command("list")
@click.option("--state", type=click.Choice(BATCH_STATES), help="Only in this state.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="How many at most.")
@json_option
@broker_options
def list_(state: str | None, limit: int, as_json: bool, connect: Connect) -> int:
    """List batches, newest first."""
    found: list[dict[str, Any]] = []
    question: dict[str, Any] = {} if state is None else {"state": state}
    with connect() as client:
        while True:
            page = client.ask("zmws.batches", {**question, "limit": min(1000, limit - len(found))})
            found += page["batches"]
            question["cursor"] = page["next"]
            if page["next"] is None or len(found) >= limit:
                break
    if as_json:
        show_json({"batches": found, "next": page["next"]})
        return 0
    counts = ("total", "unfinished", "complete", "failed", "cancelled", "expired")
    rows = [
        (row["id"], row["state"], *(row[name] for name in counts), age(row["created_at"])) for row in found
    ]
    show_table(("ID", "STATE", *(name.upper() for name in counts), "AGE"), rows)
    if page["next"] is not None:
        say(f"there are more than {limit}; --limit shows more")
    return 0


@batch.command()
@click.argument("batch_id", metavar="ID")
@json_option
@broker_options
def show(batch_id: str, as_json: bool, connect: Connect) -> int:
    """Show a batch: its state, how many of its jobs have ended and how, and what followed."""
    with connect() as client:
        row = client.get_batch(batch_id).status()
    _show(row, as_json)
    return 0


@batch.command()
@click.argument("batch_id", metavar="ID")
@_timeout
@json_option
@broker_options
def wait(batch_id: str, timeout: float | None, as_json: bool, connect: Connect) -> int:
    """Wait until a batch has ended, then show it; a terminal shows how far it is. Exit code 1 unless all its
    jobs have completed."""
    with connect() as client:
        return _ended(_waited(client.get_batch(batch_id), timeout), as_json)


@batch.command()
@click.argument("batch_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@broker_options
def cancel(batch_id: str, yes: bool, as_json: bool, connect: Connect) -> int:
    """Close a batch and cancel its jobs, waiting or running."""
    with connect() as client:
        made = client.get_batch(batch_id)
        if asks(yes):
            left = made.status()["unfinished"]
            sure(f"cancel {left} {_jobs(left)} of batch {batch_id}?", yes)
        count = made.cancel()
    show_done({"count": count}, f"cancelled: {count} {_jobs(count)} of batch {batch_id}", as_json)
    return 0


def _jobs(count: int) -> str:
    return "job" if count == 1 else "jobs"


def _follows(then: str | None, failed: str | None) -> dict[str, Any]:
    return {"then": follow_up_given("--then", then), "failed": follow_up_given("--failed", failed)}


def _waited(made: Batch, timeout: float | None) -> dict[str, Any]:
    """Its row when it has ended. Raises JobTimeout."""
    deadline = None if timeout is None else time.monotonic() + timeout
    row, told = made.status(), False
    with BatchBar(row["total"]) as bar:
        try:
            while row["ended_at"] is None:
                if not row["closed"] and not told:
                    bar.say(f"zmws: batch {made.id} is open; it ends when it is closed, too")
                    told = True
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise JobTimeout(f"batch {made.id} has not ended within {timeout:g} s")
                patience = _POLL_S if bar.seen else _WAIT_S
                row = made.wait_future(patience if left is None else min(patience, left)).result()[1]
                bar.show(row)
        except (KeyboardInterrupt, JobTimeout):
            bar.say(f"zmws: not waiting any longer; the batch goes on ('{zmws()} batch wait {made.id}')")
            raise
    return row


def _ended(row: dict[str, Any], as_json: bool) -> int:
    _show(row, as_json)
    return 0 if row["state"] == COMPLETE else FAILED


def _show(row: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show_json(row)
        return
    show_fields({name: value for name, value in row.items() if name != "first"})
    if row["first"]:
        echo(f"did not complete, the first {len(row['first'])}:")
        for job_id in row["first"]:
            echo(f"  {job_id}")
