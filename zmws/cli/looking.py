"""`zmws jobs`, `services`, `workers`, `stats`: looking on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from zmws.cli.ends import say
from zmws.cli.options import broker_options, connect, json_option
from zmws.cli.tables import age, duration, show_json, show_table
from zmws.core.job import COMPLETE, STATES

PAGE_ROWS_MAX = 1_000  # the broker's list_rows_max, unless it is set lower
_HELP = {"help_option_names": ["-h", "--help"]}


@click.command(context_settings=_HELP)
@click.option("--service", help="Only of this service.")
@click.option("--state", type=click.Choice(STATES), help="Only in this state.")
@click.option("--group", help="Only of this group.")
@click.option("--since", metavar="TIME", help="Created at this time or later, ISO 8601 with zone.")
@click.option("--before", metavar="TIME", help="Created before this time.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="How many at most.")
@click.option("--memory", is_flag=True, help="The broker's memory jobs instead of the stored ones.")
@json_option
@broker_options
def jobs(
    service: str | None,
    state: str | None,
    group: str | None,
    since: str | None,
    before: str | None,
    limit: int,
    memory: bool,
    as_json: bool,
    broker: tuple[str, ...],
    config: Path | None,
) -> int:
    """List jobs, newest first."""
    asked = {"service": service, "state": state, "group": group, "since": since, "before": before}
    question: dict[str, Any] = {k: v for k, v in asked.items() if v is not None}
    found: list[dict[str, Any]] = []
    with connect(broker, config) as client:
        while True:
            # A page that looked at enough jobs may bring few or none, and still have a next.
            rest = min(PAGE_ROWS_MAX, limit - len(found))
            page = client.ask("zmws.jobs", {**question, "limit": rest, "memory": memory})
            found += page["jobs"]
            question["cursor"] = page["next"]
            if page["next"] is None or len(found) >= limit:
                break
    if as_json:
        show_json({"jobs": found, "next": page["next"]})
        return 0
    rows = [
        (row["id"], row["service"], row["state"], row["attempt"], age(row["created_at"]), _how_far(row))
        for row in found
    ]
    show_table(("ID", "SERVICE", "STATE", "ATTEMPT", "AGE", "PROGRESS"), rows)
    if page["next"] is not None:
        say(f"there are more than {limit}; --limit shows more")
    return 0


def _how_far(row: dict[str, Any]) -> str | None:
    if row["progress"] is None or row["state"] == COMPLETE:
        return None
    return f"{row['progress']:.0%} {row['progress_text'] or ''}".strip()


@click.command(context_settings=_HELP)
@json_option
@broker_options
def services(as_json: bool, broker: tuple[str, ...], config: Path | None) -> int:
    """List services with their counts."""
    with connect(broker, config) as client:
        rows = client.ask("zmws.services")
    if as_json:
        show_json(rows)
        return 0
    names = ("waiting", "scheduled", "running", "failed", "complete", "calls_complete", "calls_failed")
    shown = [
        (
            row["service"],
            *(row[name] for name in names),
            f"{row['idle']}/{row['workers']}",
            duration(row["oldest_s"]),
            "paused" if row["paused"] else "",
        )
        for row in rows
    ]
    heads = ("WAITING", "SCHEDULED", "RUNNING", "FAILED", "COMPLETE", "CALLS", "CALLS FAILED")
    show_table(("SERVICE", *heads, "IDLE", "OLDEST", ""), shown)
    return 0


@click.command(context_settings=_HELP)
@json_option
@broker_options
def workers(as_json: bool, broker: tuple[str, ...], config: Path | None) -> int:
    """List the workers."""
    with connect(broker, config) as client:
        rows = client.ask("zmws.workers")
    if as_json:
        show_json(rows)
        return 0
    shown = [
        (
            row["service"],
            row["state"],
            row["host"],
            row["pid"],
            row["done"],
            row["failed"],
            age(row["since"]),
            age(row["heard_at"]),
            row["job"],
        )
        for row in rows
    ]
    show_table(("SERVICE", "STATE", "HOST", "PID", "DONE", "FAILED", "SINCE", "HEARD", "JOB"), shown)
    return 0


@click.command(context_settings=_HELP)
@json_option
@broker_options
def stats(as_json: bool, broker: tuple[str, ...], config: Path | None) -> int:
    """Show the broker's counters and how full it is."""
    with connect(broker, config) as client:
        told = client.stats()
    if as_json:
        show_json(told)
        return 0
    counters, limits = told.pop("counters"), told.pop("limits")
    told["uptime"] = duration(told.pop("uptime_s"))
    show_table(("BROKER", ""), [(name.replace("_", " "), _short(value)) for name, value in told.items()])
    click.echo()
    show_table(("COUNTED SINCE IT STARTED", ""), list(counters.items()))
    say(f"{len(limits)} limits: --json shows them")
    return 0


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_short(one)}" for name, one in value.items()) or None
    return round(value, 1) if isinstance(value, float) else value
