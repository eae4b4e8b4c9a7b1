"""`zmws schedule`: recurring jobs, from a shell."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import click

from zmws import cron as crons
from zmws.cli.durations import seconds_of
from zmws.cli.names import service_argument
from zmws.cli.options import Connect, F, broker_options, json_option
from zmws.cli.output import echo, say
from zmws.cli.params import (
    JOB_OPTION_NAMES,
    job_option_flags,
    job_options_given,
    parse_params,
    raw_option,
)
from zmws.cli.records import error_line, show_fields
from zmws.cli.tables import age, show_done, show_json, show_table, until
from zmws.core.amounts import duration
from zmws.core.limits import Limits
from zmws.core.schedule import SCHEDULE, schedule_field
from zmws.core.table import value_in
from zmws.errors import OptionError

_METAVARS = {"seconds": "DURATION", "int": "NUMBER", "time": "TIME", "word": "ZONE", "key": "CRON"}
_TIMING = ("cron", "every", "zone", "missed", "missed_max", "overlap", "jitter", "until")


def _timing_flags(*names: str) -> Callable[[F], F]:
    """A flag for each of these fields of a schedule, checked as the broker would."""

    def decorate(command: F) -> F:
        for name in reversed(names):
            row = SCHEDULE[name]
            choices = f" ({', '.join(row.choices)})" if row.choices else ""
            command = click.option(
                f"--{name.replace('_', '-')}",
                f"schedule_{name}",
                metavar=_METAVARS.get(row.kind, "WORD"),
                help=row.help[0].upper() + row.help[1:] + choices + ".",
            )(command)
        return command

    return decorate


def _timing_given(flags: dict[str, Any]) -> dict[str, Any]:
    """What was given of them, in their types. Raises UsageError."""
    given: dict[str, Any] = {}
    for name in _TIMING:
        text = flags.get(f"schedule_{name}")
        if text is None:
            continue
        row = SCHEDULE[name]
        seconds = seconds_of(text) if row.kind == "seconds" else None
        try:
            checked = schedule_field(name, value_in(row, text) if seconds is None else seconds, Limits())
        except OptionError as wrong:
            raise click.UsageError(str(wrong)) from None
        given[name] = text if row.kind == "time" else checked
    if "cron" in given and (fault := crons.cron_fault(given["cron"])) is not None:
        raise click.UsageError(fault)
    if "zone" in given and (fault := crons.zone_fault(given["zone"])) is not None:
        raise click.UsageError(fault)
    return given


@click.group()
def schedule() -> None:
    """Recurring jobs: by 'cron' in a time zone, or each so many seconds. Those of the settings are shown,
    paused and run here, too."""


@schedule.command()
@click.argument("name")
@service_argument()
@click.argument("params", nargs=-1)
@_timing_flags(*_TIMING)
@click.option("--paused", is_flag=True, help="It makes no jobs until it is resumed.")
@click.option("--replace", is_flag=True, help="In the place of one of that name.")
@raw_option
@job_option_flags(*(name for name in JOB_OPTION_NAMES if name not in ("id", "at", "batch")))
@json_option
@broker_options
def add(
    name: str,
    service: str,
    params: tuple[str, ...],
    paused: bool,
    replace: bool,
    raw: str | None,
    as_json: bool,
    connect: Connect,
    **flags: Any,
) -> int:
    """Submit a job to SERVICE again and again, under the name NAME.

    PARAMS and options are as of 'zmws submit'. Give --cron or --every. CRON is five fields: minute, hour, day
    of the month, month, day of the week; 'zmws schedule next --cron CRON' shows when that is.
    """
    when, options = _timing_given(flags), job_options_given(flags)
    if ("cron" in when) == ("every" in when):
        raise click.UsageError("give --cron '30 8 * * MON-FRI' or --every 10m, one of them")
    given = parse_params(params, raw)
    with connect() as client:
        made = client.add_schedule(
            name, service, given, paused=paused or None, replace=replace or None, **when, **options
        )
        row = made.status()
    show_done(row, f"added: {name}, {_due(row)}", as_json)
    return 0


@schedule.command("list")
@json_option
@broker_options
def list_(as_json: bool, connect: Connect) -> int:
    """List schedules: when each is due, and what became of its last job."""
    with connect() as client:
        found = client.schedules()
    if as_json:
        show_json({"schedules": found})
        return 0
    rows = [
        (
            row["name"],
            row["service"],
            _when(row),
            "paused" if row["paused"] else None if row["next_at"] is None else until(row["next_at"]),
            age(row["fired_at"]),
            (row["last"] or {}).get("state"),
            duration(row["late_s"]),
            row["fired"],
        )
        for row in found
    ]
    heads = ("NAME", "SERVICE", "WHEN", "NEXT", "LAST", "STATE", "LATE", "FIRED")
    show_table(heads, rows, may_cut=("WHEN",))
    return 0


@schedule.command()
@click.argument("name")
@json_option
@broker_options
def show(name: str, as_json: bool, connect: Connect) -> int:
    """Show a schedule: what it makes and when, and what became of its last job."""
    with connect() as client:
        row = client.schedule(name).status()
    if as_json:
        show_json(row)
        return 0
    last = row.pop("last")
    show_fields(row)
    if last is not None:
        why = f", {error_line(last['error'])}" if last["error"] else ""
        echo(f"last job: {last['id']}, {last['state']}{why}")
    return 0


@schedule.command()
@click.argument("name")
@json_option
@broker_options
def pause(name: str, as_json: bool, connect: Connect) -> int:
    """Make no more jobs of a schedule until it is resumed."""
    return _done("pause", "paused", name, as_json, connect)


@schedule.command()
@click.argument("name")
@json_option
@broker_options
def resume(name: str, as_json: bool, connect: Connect) -> int:
    """Make jobs of a paused schedule again."""
    return _done("resume", "resumed", name, as_json, connect)


@schedule.command()
@click.argument("name")
@json_option
@broker_options
def remove(name: str, as_json: bool, connect: Connect) -> int:
    """Forget a schedule; its jobs stay. One that stands in the settings is removed there."""
    return _done("remove", "removed", name, as_json, connect)


@schedule.command()
@click.argument("name")
@json_option
@broker_options
def run(name: str, as_json: bool, connect: Connect) -> int:
    """Make a job of a schedule now, beside those that are due, and print its id."""
    with connect() as client:
        job = client.schedule(name).run()
    show_done({"id": job.id}, job.id, as_json)
    return 0


@schedule.command("next")
@click.argument("name", required=False)
@click.option("-n", "count", default=5, show_default=True, type=click.IntRange(1, 1000), help="How many.")
@_timing_flags("cron", "zone")
@json_option
@broker_options
def next_(name: str | None, count: int, as_json: bool, connect: Connect, **flags: Any) -> int:
    """Show when the schedule NAME is due next; or, without a broker, when an expression of --cron is."""
    given = _timing_given(flags)
    if (name is None) == ("cron" not in given) or (name is not None and given):
        raise click.UsageError("give the NAME of a schedule, or --cron CRON with --zone ZONE")
    if name is None:
        row = {"paused": False, "until": None, "jitter": 0, "zone": "UTC", "every": None, **given}
    else:
        with connect() as client:
            row = client.schedule(name).status()
    times = [at for at, _ in zip(_times(row, time.time()), range(count), strict=False)]
    if as_json:
        show_json({"next": [_iso(at, "UTC").replace("+00:00", "Z") for at in times]})
    else:
        for at in times:
            echo(f"{_iso(at, row['zone'])}  {until(_iso(at, 'UTC'))}")
    if row["paused"]:
        say(f"zmws: {name} is paused: it makes no jobs at these times unless it is resumed")
    if row["jitter"]:
        say(f"each is late by up to {duration(row['jitter'])} (jitter)")
    if len(times) < count and not (row["paused"] and row["every"]):
        say("there are no more")
    return 0


def _times(row: dict[str, Any], now: float) -> Iterator[float]:
    """When it is due, from now on."""
    end = None if row["until"] is None else _seconds(row["until"])
    if row["every"] is None:
        at = crons.next_time(row["cron"], row["zone"], now)
    else:
        at = None if row["next_at"] is None else _seconds(row["next_at"])  # only the broker knows from when
    while at is not None and (end is None or at <= end):
        yield at
        if row["every"] is None:
            at = crons.next_time(row["cron"], row["zone"], at)
        else:
            at += row["every"]


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()


def _iso(at: float, zone: str) -> str:
    if zone == "UTC":
        return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
    from zoneinfo import ZoneInfo  # not at the top: it may have to be read from disk

    return datetime.fromtimestamp(at, ZoneInfo(zone)).isoformat(timespec="seconds")


def _when(row: dict[str, Any]) -> str:
    if row["cron"] is None:
        return f"every {duration(row['every'])}"
    return str(row["cron"]) + ("" if row["zone"] == "UTC" else f" {row['zone']}")


def _due(row: dict[str, Any]) -> str:
    if row["paused"]:
        return "paused"
    return "never due" if row["next_at"] is None else f"due {until(row['next_at'])}"


def _done(verb: str, done: str, name: str, as_json: bool, connect: Connect) -> int:
    with connect() as client:
        answer = client.schedule(name).done_future(verb).result()
    show_done(answer, f"{done}: {name}", as_json)
    return 0
