"""`zmws job`, `jobs`, `services`, `workers`: looking on, and what one does to one job."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from zmws.cli.ends import say, zmws
from zmws.cli.options import broker_options, connect, json_option
from zmws.cli.tables import age, duration, show_json, show_result, show_table
from zmws.client.answers import outcome_of
from zmws.core.job import COMPLETE, FAILED, FINAL_STATES, STATES
from zmws.errors import Refused

_HELP = {"help_option_names": ["-h", "--help"]}
_timeout = click.option(
    "--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Seconds to wait at most."
)


@click.group(context_settings=_HELP)
def job() -> None:
    """Show, wait for, cancel, retry or delete one job."""


@job.command(context_settings=_HELP)
@click.argument("job_id", metavar="ID")
@json_option
@broker_options
def show(job_id: str, as_json: bool, broker: tuple[str, ...], config: Path | None) -> int:
    """Show a job's record."""
    with connect(broker, config) as client:
        record = client.job(job_id).status()
    _show_record(record, as_json)
    return 0


@job.command(context_settings=_HELP)
@click.argument("job_id", metavar="ID")
@_timeout
@json_option
@broker_options
def wait(
    job_id: str, timeout: float | None, as_json: bool, broker: tuple[str, ...], config: Path | None
) -> int:
    """Wait until a job has ended, then show its record. Exit code 1 if it did not complete."""
    with connect(broker, config) as client:
        record = client.job(job_id).wait(timeout)
    _show_record(record, as_json)
    return 0 if record["state"] == "complete" else 1


@job.command(context_settings=_HELP)
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
    broker: tuple[str, ...],
    config: Path | None,
) -> int:
    """Print a job's result."""
    with connect(broker, config) as client:
        handle = client.job(job_id)
        record = handle.wait(timeout) if waiting else handle.status()
        if record["state"] not in FINAL_STATES:
            raise Refused("not_finished", f"job {job_id} is {record['state']}; --wait waits for its end")
        show_result(outcome_of(record), as_json)
    return 0


def _act(
    verb: str, done: str, job_id: str, as_json: bool, broker: tuple[str, ...], config: Path | None
) -> int:
    with connect(broker, config) as client:
        answer = client.ask(f"zmws.{verb}", {"id": job_id})
    if as_json:
        show_json(answer)
    else:
        click.echo(f"{done}: {job_id}")
    return 0


@job.command(context_settings=_HELP)
@click.argument("job_id", metavar="ID")
@json_option
@broker_options
def cancel(job_id: str, as_json: bool, broker: tuple[str, ...], config: Path | None) -> int:
    """Cancel a job, waiting or running."""
    return _act("cancel", "cancelled", job_id, as_json, broker, config)


@job.command(context_settings=_HELP)
@click.argument("job_id", metavar="ID")
@json_option
@broker_options
def retry(job_id: str, as_json: bool, broker: tuple[str, ...], config: Path | None) -> int:
    """Let a failed job wait again, with all its retries."""
    return _act("retry", "waits again", job_id, as_json, broker, config)


@job.command(context_settings=_HELP)
@click.argument("job_id", metavar="ID")
@json_option
@broker_options
def delete(job_id: str, as_json: bool, broker: tuple[str, ...], config: Path | None) -> int:
    """Delete the record of a job that has ended."""
    return _act("delete", "deleted", job_id, as_json, broker, config)


@click.command(context_settings=_HELP)
@click.option("--service", help="Only of this service.")
@click.option("--state", type=click.Choice(STATES), help="Only in this state.")
@click.option("--group", help="Only of this group.")
@click.option(
    "--limit", default=50, show_default=True, type=click.IntRange(1, 1000), help="How many at most."
)
@click.option("--memory", is_flag=True, help="The broker's memory jobs instead of the stored ones.")
@json_option
@broker_options
def jobs(
    service: str | None,
    state: str | None,
    group: str | None,
    limit: int,
    memory: bool,
    as_json: bool,
    broker: tuple[str, ...],
    config: Path | None,
) -> int:
    """List jobs, newest first."""
    question = {"service": service, "state": state, "group": group, "limit": limit, "memory": memory}
    with connect(broker, config) as client:
        page = client.ask("zmws.jobs", {k: v for k, v in question.items() if v is not None})
    if as_json:
        show_json(page)
        return 0
    rows = [
        (row["id"], row["service"], row["state"], row["attempt"], age(row["created_at"]), _how_far(row))
        for row in page["jobs"]
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
    names = ("service", "waiting", "scheduled", "running", "failed", "complete", "workers", "idle")
    shown = [
        (*(row[name] for name in names), duration(row["oldest_s"]), "paused" if row["paused"] else "")
        for row in rows
    ]
    show_table((*(name.upper() for name in names), "OLDEST", ""), shown)
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


def _show_record(record: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show_json(record)
        return
    for name, value in record.items():
        if value is None or value == []:
            continue
        if name in ("attempts", "partials", "log"):
            click.echo(f"{name}:")
            for entry in value:
                click.echo(f"  {entry if isinstance(entry, str) else json.dumps(entry, ensure_ascii=False)}")
        else:
            text = value if isinstance(value, (str, int, float)) else json.dumps(value, ensure_ascii=False)
            click.echo(f"{name}: {text}")
    if record["state"] == FAILED:
        say(f"'{zmws()} job retry {record['id']}' lets it wait again")
