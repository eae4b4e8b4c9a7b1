"""`zmws jobs`, `peek`, `services`, `workers`, `stats`: looking on, and what one does to a service or worker
there."""

from __future__ import annotations

import time
from typing import Any

import click

from zmws.cli.names import service_argument
from zmws.cli.options import Connect, broker_options, filter_options, json_option
from zmws.cli.output import echo, say
from zmws.cli.records import error_line
from zmws.cli.services import show_service
from zmws.cli.tables import age, fitting, show_done, show_json, show_table, until
from zmws.core.amounts import duration
from zmws.core.states import COMPLETE, SCHEDULED, STATES

SEARCH_S = 10.0  # that a search goes on to the next page
PAGE_ROWS_MAX = 1_000  # the broker's list_rows_max, unless it is set lower


@click.command()
@filter_options(STATES)
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="How many at most.")
@click.option("--memory", is_flag=True, help="The broker's memory jobs instead of the stored ones.")
@click.option(
    "--grep",
    metavar="TEXT",
    help="Only jobs in whose id, error, parameters or result this text stands, just as it is.",
)
@click.option("--cursor", metavar="NEXT", help="Go on where a list or a search before has ended.")
@json_option
@broker_options
def jobs(
    limit: int,
    memory: bool,
    grep: str | None,
    cursor: str | None,
    as_json: bool,
    connect: Connect,
    **where: str | None,
) -> int:
    """List jobs, newest first.

    A search looks at all there are, for ten seconds, and says how far back it came; --cursor goes on.
    """
    more = {"q": grep, "cursor": cursor}
    question = {name: value for name, value in (where | more).items() if value is not None}
    found: list[dict[str, Any]] = []
    looked, since = 0, time.monotonic()
    with connect() as client:
        while True:
            # A page that looked at enough jobs may bring few or none, and still have a next.
            rest = min(PAGE_ROWS_MAX, limit - len(found))
            page = client.ask("zmws.jobs", {**question, "limit": rest, "memory": memory})
            found += page["jobs"]
            looked += page.get("looked", 0)
            question["cursor"] = page["next"]
            if page["next"] is None or len(found) >= limit:
                break
            if grep is not None and time.monotonic() - since > SEARCH_S:
                break
    searched = {"looked": looked, "looked_to": page.get("looked_to")} if grep is not None else {}
    if as_json:
        show_json({"jobs": found, "next": page["next"], **searched})
        return 0
    rows = [
        (row["id"], row["service"], row["state"], row["attempt"], age(row["created_at"]), _note(row))
        for row in found
    ]
    show_table(("ID", "SERVICE", "STATE", "ATTEMPT", "AGE", "NOTE"), rows, may_cut=("NOTE",))
    if grep is not None:
        back = f", back to {age(page['looked_to'])} ago" if page["looked_to"] else ""
        say(f"looked at {looked:,} jobs{back}" + ("; that is all" if page["next"] is None else ""))
        if page["next"] is not None:
            say(f"--cursor {page['next']} goes on")
    elif page["next"] is not None:
        say(f"there are more than {limit}; --limit shows more")
    return 0


@click.command()
@service_argument()
@click.option("--limit", default=10, show_default=True, type=click.IntRange(1), help="How many at most.")
@json_option
@broker_options
def peek(service: str, limit: int, as_json: bool, connect: Connect) -> int:
    """List the jobs of SERVICE that would start next, in their order. None is taken."""
    with connect() as client:
        found = client.peek(service, limit)
    if as_json:
        show_json({"jobs": found})
        return 0
    rows = [
        (row["id"], row["priority"], row["group"], row["attempt"], age(row["created_at"])) for row in found
    ]
    show_table(("ID", "PRIORITY", "GROUP", "ATTEMPT", "AGE"), rows)
    return 0


def _note(row: dict[str, Any]) -> str | None:
    """What a person wants to know next: when it starts, how far it is, why it has failed."""
    if row["state"] == SCHEDULED:
        return f"starts {until(row['ready_at'])}"
    if row.get("error") is not None:  # an older broker's lists have none
        return error_line(row["error"])
    if row["progress"] is None or row["state"] == COMPLETE:
        return None
    return f"{row['progress']:.0%} {row['progress_text'] or ''}".strip()


@click.group(invoke_without_command=True)
@json_option
@broker_options
@click.pass_context
def services(ctx: click.Context, as_json: bool, connect: Connect) -> int:
    """List services with their counts; 'show NAME' tells more of one, 'forget NAME' makes it unknown."""
    if ctx.invoked_subcommand is not None:
        return 0
    with connect() as client:
        rows = client.ask("zmws.services")
    if as_json:
        show_json(rows)
        return 0
    shown = [
        (
            row["service"],
            *(row[name] for name in ("waiting", "scheduled", "running")),
            f"{row['idle']}/{row['workers']}",
            duration(row["oldest_s"]),
            "paused" if row["paused"] else "",
            *(row[name] for name in ("failed", "complete", "calls_complete", "calls_failed")),
        )
        for row in rows
    ]
    now = ("WAITING", "SCHEDULED", "RUNNING", "IDLE", "OLDEST", "PAUSED")
    show_table(("SERVICE", *now, "FAILED", "COMPLETE", "CALLS", "CALLS FAILED"), shown)
    return 0


@services.command()
@service_argument()
@json_option
@broker_options
def show(service: str, as_json: bool, connect: Connect) -> int:
    """Show SERVICE: its counts, the options of its jobs and where each is from, the parameters it takes."""
    with connect() as client:
        told = client.service(service)
    if as_json:
        show_json(told)
    else:
        show_service(told)
    return 0


@services.command()
@service_argument()
@json_option
@broker_options
def forget(service: str, as_json: bool, connect: Connect) -> int:
    """Make SERVICE unknown, until a worker registers it again. Refused while it has workers or jobs that have
    not ended, or while the settings name it."""
    with connect() as client:
        answer = client.ask("zmws.forget", {"service": service})
    show_done(answer, f"forgotten: {service}", as_json)
    return 0


def _in_hand(jobs: list[dict[str, Any]]) -> str:
    """What a worker has in hand; of what was sent ahead, which is much and soon another, how many."""
    told = [
        str(job["id"]) if job["state"] == "running" else f"{job['id']} ({job['state']})"
        for job in jobs
        if job["state"] != "ahead"
    ]
    ahead = len(jobs) - len(told)
    return ", ".join([*told, *([f"{ahead} ahead"] if ahead else [])])


@click.group(invoke_without_command=True)
@json_option
@broker_options
@click.pass_context
def workers(ctx: click.Context, as_json: bool, connect: Connect) -> int:
    """List the workers; 'drain' lets some finish what they run, and leave."""
    if ctx.invoked_subcommand is not None:
        return 0
    with connect() as client:
        rows = client.ask("zmws.workers")
    if as_json:
        show_json(rows)
        return 0
    shown = [
        (
            fitting(row["id"]),
            ", ".join(row["services"]),
            *(row[name] for name in ("state", "host", "pid", "done", "failed")),
            *(age(row[name]) for name in ("since", "heard_at")),
            _in_hand(row["jobs"]),
        )
        for row in rows
    ]
    show_table(
        ("ID", "SERVICE", "STATE", "HOST", "PID", "DONE", "FAILED", "SINCE", "HEARD", "JOBS"),
        shown,
        may_cut=("SERVICE", "HOST", "JOBS"),
    )
    return 0


@workers.command()
@click.argument("worker", metavar="[ID]", required=False)
@click.option("--service", help="All that serve this.")
@json_option
@broker_options
def drain(worker: str | None, service: str | None, as_json: bool, connect: Connect) -> int:
    """Give the worker ID, or all of a service, no more jobs: they finish what they run, and leave."""
    if (worker is None) == (service is None):
        raise click.UsageError("give the ID of a worker, as 'zmws workers' shows it, or --service NAME")
    with connect() as client:
        count = client.drain(worker, service=service)
    text = f"draining: {worker}" if worker else f"draining: {count} {_workers(count)} of {service}"
    show_done({"count": count}, text, as_json)
    return 0


def _workers(count: int) -> str:
    return "worker" if count == 1 else "workers"


@click.command()
@json_option
@broker_options
def stats(as_json: bool, connect: Connect) -> int:
    """Show the broker's counters and how full it is."""
    with connect() as client:
        told = client.stats()
    if as_json:
        show_json(told)
        return 0
    counters, limits = told.pop("counters"), told.pop("limits")
    told["uptime"] = duration(told.pop("uptime_s"))
    rates, totals = told.pop("rates"), told.pop("totals", {})
    show_table(("BROKER", ""), [(name.replace("_", " "), _short(value)) for name, value in told.items()])
    echo()
    a_second = [(name.replace("_", " "), f"{rate:.1f}") for name, rate in rates.items()]
    show_table(("A SECOND, IN THE LAST MINUTE", ""), a_second)
    echo()
    show_table(("COUNTED SINCE IT STARTED", ""), [*totals.items(), *counters.items()])
    say(f"{len(limits)} limits: --json shows them")
    return 0


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_short(one)}" for name, one in value.items()) or None
    return round(value, 1) if isinstance(value, float) else value
