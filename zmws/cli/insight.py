"""`zmws failures`, `mark` and `series`: why jobs fail, and what was done over time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from zmws.cli.durations import moment
from zmws.cli.ends import zmws
from zmws.cli.options import Connect, broker_options, json_option
from zmws.cli.output import echo, say
from zmws.cli.plots import plot
from zmws.cli.tables import age, plain, show_done, show_json, show_text, terminal_width
from zmws.core.amounts import duration, duration_short
from zmws.core.figures import COUNTED
from zmws.core.series import SECONDS_KEPT

MARKS_SHOWN = 10
_UNITS = {1: "second", 60: "minute", 3600: "hour"}
TREND_WIDTH = 24  # a column an hour
_PLOTS = {
    "submitted": "submitted",
    "complete": "complete",
    "failed": "failed",
    "waiting": "waiting",
    "running": "running",
    "oldest_s": "oldest waiting",
}


@click.command()
@click.option("--service", help="Only of this service.")
@click.option(
    "--limit", default=20, show_default=True, type=click.IntRange(1, 1_000), help="At most so many."
)
@click.option("--all", "every", is_flag=True, help="Also causes for which no job is failed any more.")
@json_option
@broker_options
def failures(service: str | None, limit: int, every: bool, as_json: bool, connect: Connect) -> int:
    """List why jobs have failed: those of one cause together, the cause that came last first.

    A cause is the type of the exception, its message without numbers and quoted texts, and the last place
    in your own code. 'zmws job retry --cause KEY' lets all of one cause wait again, 'zmws job delete
    --cause KEY' forgets them, 'zmws jobs --cause KEY' lists them.
    """
    question: dict[str, Any] = {} if service is None else {"service": service}
    found: list[dict[str, Any]] = []
    with connect() as client:
        while True:
            page = client.ask("zmws.failures", {**question, "limit": limit})
            found += [one for one in page["causes"] if one["count"] or every]
            question["cursor"] = page["next"]
            if page["next"] is None or len(found) >= limit:
                break
    found = found[:limit]
    if as_json:
        show_json({"causes": found, "next": page["next"]})
        return 0
    for one in found:
        _show_cause(one)
    if not found:
        say("no job is failed" + (f" of {service}" if service else "") + ", as far as causes are kept")
    if page["next"] is not None:
        say(f"there may be more than {limit}; --limit shows more")
    return 0


def _show_cause(one: dict[str, Any]) -> None:
    jobs = "1 job" if one["count"] == 1 else f"{one['count']} jobs"
    ever = "" if one["total"] == one["count"] else f", {one['total']} ever"
    show_text(f"{one['cause']}  {one['service']}: {jobs}{ever}, last {age(one['last_at'])} ago")
    kind = f"{one['type']}: " if one["type"] else ""
    show_text(plain(f"    {kind}{one['message']}"), " " * 8)
    if one["frame"]:
        show_text(plain(f"    at {one['frame']}"), " " * 8)
    if any(one["trend"][:-1]):
        echo(f"    {plot(one['trend'], TREND_WIDTH)}  in 24 hours, first {age(one['first_at'])} ago")
    echo()


@click.command()
@click.argument("text")
@click.option("--service", help="Of this service alone.")
@json_option
@broker_options
def mark(text: str, service: str | None, as_json: bool, connect: Connect) -> int:
    """Mark this moment in the figures, such as a deploy: plots show it. Starts of the broker and of workers
    are marked by themselves."""
    question = {"text": text} if service is None else {"text": text, "service": service}
    with connect() as client:
        told = client.ask("zmws.mark", question)
    show_done(told, f"marked: {text}", as_json)
    return 0


@click.command()
@click.argument("service", required=False)
@click.option(
    "--step",
    type=click.Choice(("second", "minute", "hour")),
    help="Seconds of the last ten minutes, minutes of a day, or hours of months: else what --since needs.",
)
@click.option("--since", metavar="TIME", type=moment, help="ISO 8601 with zone, or 1h for an hour ago.")
@click.option("--before", metavar="TIME", type=moment, help="Up to then.")
@json_option
@broker_options
def series(
    service: str | None,
    step: str | None,
    since: str | None,
    before: str | None,
    as_json: bool,
    connect: Connect,
) -> int:
    """Plot what SERVICE did over time, or all services together."""
    asked = {"service": service, "step": step or _step_for(since), "since": since, "before": before}
    with connect() as client:
        told = client.ask("zmws.series", {name: value for name, value in asked.items() if value is not None})
    if as_json:
        show_json(told)
        return 0
    show_series(told)
    return 0


def _step_for(since: str | None) -> str:
    """The finest that still has figures of that time."""
    if since is None:
        return "second"
    ago_s = (datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds()
    return "second" if ago_s <= SECONDS_KEPT else "minute" if ago_s <= 86_400 else "hour"


def show_series(told: dict[str, Any]) -> None:
    """Plots of the answer of zmws.series, its marks, and how long jobs wait and run."""
    if not told["points"]:
        say("there are no figures of that time yet")
        return
    wide = min(80, terminal_width()) - 32
    step = told["step"]
    for name, text in _PLOTS.items():
        values = told["figures"].get(name) or []
        known = [one for one in values if one is not None]
        top = max(known, default=0)
        if name in COUNTED:
            tops = f"{top:g} a {_UNITS[step]} at most"
        else:
            tops = f"{duration(top)} at most" if name == "oldest_s" else f"{top:g} at most"
        echo(f"{text:<15} {plot(values, wide)} {tops}")
    _show_ticks(told, wide)
    of = f"of {told['service']}" if told["service"] else "of all services"
    span = duration(told["points"] * step)
    for name, verb in (("wait", "wait"), ("run", "run")):
        shares = told[name]
        if shares["p50"] is not None:
            half, most = (duration_short(shares[one]) for one in ("p50", "p95"))
            echo(f"jobs {verb} {half} usually, 95 % less than {most}")
    marks = told["marks"]
    if len(marks) > MARKS_SHOWN:
        echo(f"  {len(marks) - MARKS_SHOWN} more marks before these")
    for one in marks[-MARKS_SHOWN:]:
        whose = f"{one['service']}: " if one["service"] and not told["service"] else ""
        show_text(
            plain(f"  {age(one['at'])} ago: {whose}{one['text']}" + (f" ({one['by']})" if one["by"] else ""))
        )
    ended = (datetime.now(UTC) - datetime.fromisoformat(told["before"])).total_seconds()
    until = "now" if ended < 2 * step + 2 else f"{duration(ended)} ago"
    say(f"{of}, {span} up to {until}; '{zmws()} series --json' has every figure")


def _show_ticks(told: dict[str, Any], wide: int) -> None:
    """Where the marks stand under the plots, if there are some."""
    end = datetime.fromisoformat(told["before"])
    columns = min(wide, told["points"])
    each_s = told["step"] * -(-told["points"] // wide)
    places = set()
    for one in told["marks"]:
        back = int((end - datetime.fromisoformat(one["at"])).total_seconds() // each_s)
        if back < columns:
            places.add(wide - 1 - max(0, back))
    if places:
        echo(" " * 16 + "".join("^" if n in places else " " for n in range(wide)).rstrip() + " marks")
