"""`zmws job`: what one job is and says, and what one does to one job or to many."""

from __future__ import annotations

import json
from typing import Any

import click

from zmws.cli.durations import wait_time
from zmws.cli.ends import FAILED, REFUSED, TIMED_OUT, error_shown
from zmws.cli.options import Connect, asks, broker_options, filter_options, json_option, sure
from zmws.cli.output import echo, say
from zmws.cli.params import job_option_flags, job_options_given, parse_params, raw_option
from zmws.cli.records import show_lines, show_record
from zmws.cli.tables import clock, plain, show_done, show_json, show_result
from zmws.cli.tree import show_tree
from zmws.cli.why import show_why
from zmws.client.answers import outcome_of
from zmws.client.job import STACK_S
from zmws.client.synchronous import Client
from zmws.core.states import COMPLETE, EXPIRED, FINAL_STATES, REVIVABLE, STATES
from zmws.errors import Refused

_UNFINISHED = tuple(state for state in STATES if state not in FINAL_STATES)
_ENDED = tuple(state for state in STATES if state in FINAL_STATES)
_timeout = click.option("--timeout", type=wait_time, metavar="DURATION", help="How long to wait at most.")


@click.group()
def job() -> None:
    """Look at a job, wait for it, ask where it is and why it waits; cancel, retry, copy or delete one or
    many."""


@job.command()
@click.argument("job_id", metavar="ID")
@json_option
@broker_options
def show(job_id: str, as_json: bool, connect: Connect) -> int:
    """Show a job's record."""
    with connect() as client:
        record = client.job(job_id).status()
    show_record(record, as_json)
    return 0


@job.command()
@click.argument("job_id", metavar="ID")
@_timeout
@json_option
@broker_options
def wait(job_id: str, timeout: float | None, as_json: bool, connect: Connect) -> int:
    """Wait until a job has ended, then show its record. Exit code 1 if it did not complete, 124 if it
    expired."""
    with connect() as client:
        record = client.job(job_id).wait(timeout)
    show_record(record, as_json)
    if record["state"] == EXPIRED:
        return TIMED_OUT
    return 0 if record["state"] == COMPLETE else FAILED


@job.command()
@click.argument("job_id", metavar="ID")
@click.option("--wait", "waiting", is_flag=True, help="Wait for its end.")
@_timeout
@json_option
@broker_options
def result(
    job_id: str,
    waiting: bool,
    timeout: float | None,
    as_json: bool,
    connect: Connect,
) -> int:
    """Print a job's result."""
    with connect() as client:
        handle = client.job(job_id)
        record = handle.wait(timeout) if waiting else handle.status()
        if record["state"] not in FINAL_STATES:
            raise Refused("not_finished", f"job {job_id} is {record['state']}; --wait waits for its end")
        show_result(outcome_of(record), as_json)
    return 0


@job.command()
@click.argument("job_id", metavar="ID")
@click.option("-f", "--follow", is_flag=True, help="Go on until it has ended; Ctrl-C ends.")
@click.option("--after", default=0, type=click.IntRange(0), help="Only those past this number.")
@_timeout
@json_option
@broker_options
def events(
    job_id: str,
    follow: bool,
    after: int,
    timeout: float | None,
    as_json: bool,
    connect: Connect,
) -> int:
    """Show what has happened to a job: states, progress, partial results, log lines."""
    if timeout is not None and not follow:
        raise click.UsageError("--timeout needs --follow")
    with connect() as client:
        for event in client.job(job_id).events(after, timeout, follow):
            if as_json:
                show_json(event)
            else:
                first, *more = _what(event).splitlines() or [""]
                echo(f"{clock(event['at'])}  {event['kind']:<8}  {plain(first)}".rstrip())
                show_lines("\n".join(more), "    ")
    return 0


@job.command()
@click.argument("job_id", metavar="ID")
@click.option(
    "--timeout",
    type=wait_time,
    metavar="DURATION",
    default=STACK_S,
    show_default="5 s",
    help="How long its worker may take to say.",
)
@json_option
@broker_options
def stack(job_id: str, timeout: float, as_json: bool, connect: Connect) -> int:
    """Show where a running job is at this moment: the stack of its work(), as its worker tells it."""
    with connect() as client:
        told = client.job(job_id).stack(timeout)
    if as_json:
        show_json(told)
        return 0
    show_lines(told["stack"], "")
    say(f"job {job_id} on worker {told['worker']}, at {clock(told['at'])}")
    return 0


@job.command()
@click.argument("job_id", metavar="ID")
@click.argument("params", nargs=-1)
@click.option("--service", help="For another service.")
@raw_option
@job_option_flags()
@json_option
@broker_options
def copy(
    job_id: str,
    params: tuple[str, ...],
    service: str | None,
    raw: str | None,
    as_json: bool,
    connect: Connect,
    **options: Any,
) -> int:
    """Run a job again as a new one, and print its id. What is given here (PARAMS in whole, options) goes
    before what the job has: its parameters, priority, ttr, retries, backoff, keep, group and meta."""
    asked = job_options_given(options)
    given = parse_params(params, raw)
    with connect() as client:
        made = client.job(job_id).copy(given, service=service, **asked)
    told = {"id": made.id, "existing": made.existing, "durability": made.durability}
    show_done(told, made.id, as_json)
    return 0


@job.command()
@click.argument("job_id", metavar="ID")
@json_option
@broker_options
def why(job_id: str, as_json: bool, connect: Connect) -> int:
    """Show why a job waits, or why it waited and for how long; how long such jobs usually take, and when a
    running one will be done."""
    with connect() as client:
        told = client.ask("zmws.why", {"id": job_id})
    if as_json:
        show_json(told)
    else:
        show_why(told)
    return 0


@job.command()
@click.argument("job_id", metavar="ID")
@json_option
@broker_options
def tree(job_id: str, as_json: bool, connect: Connect) -> int:
    """Show the jobs that followed from one another, of which ID is one: each below that which it followed,
    with its step where it is of a chain, and how long it took."""
    with connect() as client:
        told = client.ask("zmws.family", {"id": job_id})
    if as_json:
        show_json(told)
        return 0
    show_tree(told["jobs"], job_id)
    if told["next"] is not None:
        say(f"there are more than {len(told['jobs'])}")
    return 0


def _what(event: dict[str, Any]) -> str:
    """An event for people, its first line and what more there is."""
    kind = event["kind"]
    if kind == "state":
        text = event["state"] + (f", attempt {event['attempt']}" if event["attempt"] else "")
    elif kind == "progress":
        text = f"{event['done']:.0%} {event['text'] or ''}"
    elif kind == "partial":
        value = event["value"]
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    else:
        text = event["text"]
    return str(text).strip()


# ---------------------------------------------------------------- one or many


def _acting(verb: str, done: str, states: tuple[str, ...], text: str) -> None:
    """A verb for the jobs that are named, or for all of a filter; it can be done in these states."""

    @job.command(verb, help=text)
    @click.argument("job_ids", metavar="[ID]...", nargs=-1)
    @filter_options(states)
    @click.option("--all", "every", is_flag=True, help="Every job.")
    @click.option("--yes", is_flag=True, help="Do not ask before acting on many.")
    @json_option
    @broker_options
    def act(
        job_ids: tuple[str, ...], every: bool, yes: bool, as_json: bool, connect: Connect, **where: Any
    ) -> int:
        return _act(verb, done, job_ids, {**where, "all": every}, yes, as_json, connect)


_acting(
    "cancel", "cancelled", _UNFINISHED, "Cancel jobs, waiting or running: those named, or all that match."
)
_acting(
    "retry",
    "waits again",
    REVIVABLE,
    "Let jobs wait again, with all their retries and no --expires: those named, which have failed, expired "
    "or were cancelled, or all failed ones that match; for others say --state cancelled or --state expired.",
)
_acting(
    "delete", "deleted", _ENDED, "Delete the records of jobs that have ended: those named, or all that match."
)


def _act(
    verb: str,
    done: str,
    job_ids: tuple[str, ...],
    where: dict[str, Any],
    yes: bool,
    as_json: bool,
    connect: Connect,
) -> int:
    """Act on the jobs named or on those that the filter names; the exit code."""
    empty = [name for name, value in where.items() if value == ""]
    if empty:
        raise click.UsageError(f"--{empty[0]} is empty; leave it out for all, or say which")
    where = {name: value for name, value in where.items() if value not in (None, False, ())}
    if bool(job_ids) == bool(where):
        one = "not both" if where else f"or --all to {verb} every job that it can be done to"
        raise click.UsageError(
            f"give IDs or a filter (--service, --state, --batch, --since ...; --help lists them), {one}"
        )
    refused: list[dict[str, Any]] = []
    with connect() as client:
        if where:
            words = " ".join(
                f"--{name} {value}" if value is not True else "--all" for name, value in where.items()
            )
            if asks(yes):
                count = client.count_future(f"zmws.{verb}", {**where, "dry_run": True}).result()
                if count:
                    sure(f"{verb} {count} {'job' if count == 1 else 'jobs'} of '{words}'?", yes)
            count = client.count_future(f"zmws.{verb}", where).result()
        else:
            count, refused = _one_by_one(client, verb, None if as_json else done, job_ids)
    if as_json:
        show_json({"count": count} | ({"refused": refused} if refused else {}))
    elif where or len(job_ids) > 1:
        echo(f"{done}: {count} {'job' if count == 1 else 'jobs'}")
    return REFUSED if refused else 0


def _one_by_one(
    client: Client, verb: str, done: str | None, job_ids: tuple[str, ...]
) -> tuple[int, list[dict[str, Any]]]:
    """How many, and those that were refused. One that is refused stops no other; the only one raises it."""
    asked = [(job_id, client.answer_future(f"zmws.{verb}", {"id": job_id})) for job_id in job_ids]
    count, wrong = 0, []
    for job_id, answer in asked:
        try:
            answer.result()
        except Refused as refused:
            if len(job_ids) == 1:
                raise
            say(f"zmws: refused ({refused.code}): {refused}")
            wrong.append({"id": job_id, **error_shown(refused)})
        else:
            count += 1
            if done is not None:
                echo(f"{done}: {job_id}")
    return count, wrong
