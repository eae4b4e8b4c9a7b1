"""`zmws lanes`: what each worker did in the last minutes, a line each."""

from __future__ import annotations

from datetime import datetime
from itertools import groupby
from typing import Any

import click

from zmws.cli.options import Connect, broker_options, json_option
from zmws.cli.output import can_show, echo, has_colours, painted, say
from zmws.cli.tables import age, cut, plain, show_json, terminal_width, width
from zmws.core.amounts import duration

NAME_WIDTH_MAX = 28
PICTURE_WIDTH = (20, 100)
_SPAN_MIN_S = 10.0

# What a column may show: a character, and the one for terminals that have but ASCII.
_COMPLETE, _RUNS, _OTHER, _FAILED = "complete", "running", "given back, cancelled or lost", "failed"
_IDLE = "idle"
_KINDS = {
    _COMPLETE: ("█", "#"),
    _RUNS: ("▒", "="),
    _OTHER: ("▄", "o"),
    _FAILED: ("▀", "x"),
    _IDLE: ("·", "."),
}
_COLOURS = {_COMPLETE: 32, _RUNS: 36, _OTHER: 33, _FAILED: 31}
_TOUCHES = 0.01  # what fills less of a column is none of it, unless that is all there is of a bar

Cell = str | None  # one of _KINDS; None: it was not here


@click.command()
@click.option("--service", help="Only workers that serve this.")
@click.option("--worker", metavar="ID", help="Only this one, as 'zmws workers' shows it.")
@click.option(
    "--limit", default=50, show_default=True, type=click.IntRange(1, 100), help="At most so many workers."
)
@json_option
@broker_options
def lanes(service: str | None, worker: str | None, limit: int, as_json: bool, connect: Connect) -> int:
    """Draw what each worker did in the last minutes: a line each, the newest at the right, also of workers
    that are gone, with why.

    What took no time to speak of is seen too, for a column stands for some seconds. The setting 'lanes' says
    how many minutes are kept.
    """
    asked = {"service": service, "worker": worker, "limit": limit}
    with connect() as client:
        told = client.ask("zmws.lanes", {name: value for name, value in asked.items() if value is not None})
    if as_json:
        show_json(told)
        return 0
    _show(told)
    return 0


def _show(told: dict[str, Any]) -> None:
    shown = told["lanes"]
    if not shown:
        say("no worker was here in that time" if not told["more"] else "none of these is kept")
        return
    start = datetime.fromisoformat(told["from"])
    now_s = (datetime.fromisoformat(told["now"]) - start).total_seconds()
    heres = [_here(lane, start, now_s) for lane in shown]
    # What was before the first of them came is no part of the picture.
    first_s = min(max(0.0, min(since for since, _ in heres)), max(0.0, now_s - _SPAN_MIN_S))
    names = [cut(plain(f"{lane['services'][0]} {lane['worker']}"), NAME_WIDTH_MAX) for lane in shown]
    notes = [_note(lane) for lane in shown]
    name_wide = max(map(width, names))
    least, most = PICTURE_WIDTH
    wide = max(least, min(most, terminal_width() - name_wide - 2 - max(map(width, notes))))
    for lane, (since, until), name, note in zip(shown, heres, names, notes, strict=True):
        cells = columns(lane["bars"], (first_s, now_s), (since, until), wide)
        echo(f"{name}{' ' * (name_wide - width(name))} {drawn(cells)} {note}".rstrip())
    echo(f"{duration(now_s - first_s)} up to now; {_legend()}")
    if told["more"]:
        say(f"{told['more']} more {'worker is' if told['more'] == 1 else 'workers are'} not shown")


def _here(lane: dict[str, Any], start: datetime, now_s: float) -> tuple[float, float]:
    """From when to when it was here, in seconds; its bars may say that it was before."""
    since = (datetime.fromisoformat(lane["since"]) - start).total_seconds()
    since = min([since, *(bar["start"] for bar in lane["bars"])])
    if lane["gone_at"] is None:
        return since, now_s
    return since, (datetime.fromisoformat(lane["gone_at"]) - start).total_seconds()


def _note(lane: dict[str, Any]) -> str:
    if lane["state"] != "gone":
        return str(lane["state"])
    return plain(f"gone {age(lane['gone_at'])} ago: {lane['why']}")


def columns(
    bars: list[dict[str, Any]], span: tuple[float, float], here: tuple[float, float], wide: int
) -> list[Cell]:
    """What each column of a line shows: the end of most of what ran in it, but any failure is seen."""
    first_s, now_s = span
    each_s = (now_s - first_s) / wide
    since = min(here[0], now_s - each_s / 2)  # who has come just now is seen
    filled: list[dict[str, float]] = [{} for _ in range(wide)]
    for bar in bars:
        kind = _kind(bar)
        end = now_s if bar["end"] is None else bar["end"]
        if end < first_s:
            continue
        low = min(wide - 1, max(0, int((bar["start"] - first_s) / each_s)))
        high = min(wide - 1, max(low, int((end - first_s) / each_s)))
        for column in range(low, high + 1):
            begins = first_s + column * each_s
            part = (min(end, begins + each_s) - max(bar["start"], begins)) / each_s
            if part > _TOUCHES or low == high:
                filled[column][kind] = filled[column].get(kind, 0.0) + max(part, _TOUCHES)
    return [
        _cell(kinds, since < first_s + (n + 1) * each_s and here[1] > first_s + n * each_s)
        for n, kinds in enumerate(filled)
    ]


def _cell(kinds: dict[str, float], here: bool) -> Cell:
    if not kinds:
        return _IDLE if here else None
    return _FAILED if _FAILED in kinds else max(kinds, key=lambda kind: kinds[kind])


def _kind(bar: dict[str, Any]) -> str:
    if bar["end"] is None:
        return _RUNS
    if bar["failed"]:
        return _FAILED
    return _OTHER if bar["other"] else _COMPLETE


def drawn(cells: list[Cell]) -> str:
    """A line of the picture, in colour where the terminal has it."""
    ascii_only, colours = not can_show("".join(one for one, _ in _KINDS.values())), has_colours()
    line = ""
    for cell, run in groupby(cells):
        count = len(list(run))
        text = " " * count if cell is None else _KINDS[cell][ascii_only] * count
        line += painted(text, _COLOURS[cell]) if cell in _COLOURS and colours else text
    return line


def _legend() -> str:
    return ", ".join(f"{drawn([kind])} {kind}" for kind in _KINDS)
