"""`zmws audit`: what operators did."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import click

from zmws.cli.durations import moment
from zmws.cli.options import Connect, broker_options, json_option
from zmws.cli.output import say
from zmws.cli.tables import show_json, show_table

PAGE_ROWS_MAX = 1_000  # the broker's list_rows_max, unless it is set lower


@click.command()
@click.option("--by", help="Only what this one did, such as 'anna (command line)'.")
@click.option("--verb", help="Only this: cancel, pause, start and so on.")
@click.option("--on", help="Only what was done to this job, service, worker or process.")
@click.option("--since", metavar="TIME", type=moment, help="ISO 8601 with zone, or 1h for an hour ago.")
@click.option("--before", metavar="TIME", type=moment, help="Up to then.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="How many at most.")
@click.option("--cursor", metavar="NEXT", help="Go on where a list before has ended.")
@json_option
@broker_options
def audit(limit: int, cursor: str | None, as_json: bool, connect: Connect, **where: str | None) -> int:
    """List what operators did, newest first: who did what to which job, service, worker or process, and what
    became of it."""
    question = {name: value for name, value in where.items() if value is not None}
    found: list[dict[str, Any]] = []
    with connect() as client:
        while True:
            # A page that looked at enough of them may bring few or none, and still have a next.
            rest = min(PAGE_ROWS_MAX, limit - len(found))
            page = client.ask("zmws.audit", {**question, "limit": rest, "cursor": cursor})
            found += page["entries"]
            cursor = page["next"]
            if cursor is None or len(found) >= limit:
                break
    if as_json:
        show_json({"entries": found, "next": cursor})
        return 0
    rows = [
        (_when(one["at"]), *(one[name] for name in ("by", "verb", "on", "count", "outcome")), _note(one))
        for one in found
    ]
    show_table(("AT", "BY", "VERB", "ON", "COUNT", "OUTCOME", "NOTE"), rows, may_cut=("NOTE",))
    if cursor is not None:
        say(f"there are more than {limit}; --cursor {cursor} goes on")
    return 0


def _when(at: str) -> str:
    """The time here, to the second."""
    return datetime.fromisoformat(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _note(one: dict[str, Any]) -> str:
    """What was asked beside that, in words."""
    return ", ".join(f"{name} {_text(value)}" for name, value in (one["detail"] or {}).items())


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
