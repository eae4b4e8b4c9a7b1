"""Swimlanes: what each worker did in the last minutes, as the answer of `zmws.lanes` has it."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from zmws.gateway.desk import Visitor
from zmws.gateway.looks import or_none
from zmws.gateway.pages import svg
from zmws.gateway.pages.shown import between, span

Names = dict[tuple[str | None, int | None], str]  # by host and number

BARS_MAX = 600  # of all lanes of a page, about: a bar is 130 bytes


@dataclass(frozen=True, slots=True)
class Lane:
    """One worker's. `summary` is for who cannot see the picture."""

    worker: str
    label: str
    services: str
    state: str
    gone_at: str | None
    why: str | None
    picture: Markup
    summary: str


@dataclass(frozen=True, slots=True)
class Lanes:
    """All that are shown, over `length_s` seconds up to now; `more` are not."""

    lanes: list[Lane]
    length_s: float
    more: int


async def lanes_of(visitor: Visitor, most: int, service: str = "") -> Lanes:
    """The lanes of so many workers, in bars as fine as there is room for on a page."""
    looks = visitor.desk.looks
    stats = await looks.ask("zmws.stats")
    shown = max(1, min(most, stats["workers"]))
    question: dict[str, Any] = {
        "limit": most,
        "step": max(1.0, stats["limits"]["lanes_s"] * shown // BARS_MAX),
    }
    question |= {"service": service} if service else {}
    told, names = await asyncio.gather(or_none(looks.ask("zmws.lanes", question)), names_of(visitor))
    return lanes_shown(visitor, told, names)


async def names_of(visitor: Visitor) -> Names:
    """The names of the installation's processes, by their hosts and numbers; none where no supervisor keeps
    them."""
    rows: list[dict[str, Any]] | None = await or_none(visitor.desk.processes.rows())
    host = socket.gethostname()
    return {(host, row["pid"]): row["name"] for row in rows or () if row["pid"] is not None}


def lanes_shown(visitor: Visitor, told: dict[str, Any] | None, names: Names) -> Lanes:
    """The lanes of an answer. `names`: of processes, by their numbers, where they are known."""
    if told is None:
        return Lanes([], 0.0, 0)
    length_s = max(1.0, between(told["from"], told["now"]) or 0.0)
    rows = told["lanes"]
    most = 2 * BARS_MAX // max(1, len(rows))
    shown = [_lane(visitor, row, length_s, most, names) for row in rows]
    return Lanes(shown, length_s, told["more"])


def _lane(visitor: Visitor, row: dict[str, Any], length_s: float, most: int, names: Names) -> Lane:
    bars = row["bars"][-most:]
    label = (
        names.get((row["host"], row["pid"]))
        or f"{'+'.join(row['services'])} {row['pid'] or row['worker'][-6:]}"
    )
    rows = 1 + max((bar["row"] for bar in bars), default=0)
    jobs, failed = sum(bar["jobs"] for bar in bars), sum(bar["failed"] for bar in bars)
    runs = sum(bar["end"] is None for bar in bars)
    parts = [f"{jobs:,} attempts" if jobs != 1 else "1 attempt"]
    parts += [f"{failed:,} failed"] if failed else []
    parts += [f"{runs} running"] if runs else []
    picture = svg.lane([_bar(visitor, bar, length_s) for bar in bars], length_s, rows)
    return Lane(
        row["worker"],
        label,
        ", ".join(row["services"]),
        row["state"],
        row["gone_at"],
        row["why"],
        picture,
        ", ".join(parts),
    )


def _bar(visitor: Visitor, bar: dict[str, Any], length_s: float) -> svg.Bar:
    runs, share = bar["end"] is None, 0.0
    end = length_s if runs else bar["end"]
    if runs:
        colour, what = "running", "running"
    elif bar["failed"] == bar["jobs"]:
        colour, what = "failed", "failed" if bar["jobs"] == 1 else f"{bar['jobs']} failed"
    elif bar["failed"]:
        colour, what = "complete", f"{bar['failed']} of {bar['jobs']} failed"
        share = bar["failed"] / bar["jobs"]
    elif bar["other"] and bar["other"] == bar["jobs"]:
        colour, what = "cancelled", "not finished"
    else:
        colour, what = "complete", "complete" if bar["jobs"] == 1 else f"{bar['jobs']} jobs"
    service = f"{bar['service']}: " if bar["service"] else ""
    title = f"{service}{what}, {span(end - bar['start'])}"
    href = visitor.url(f"/ui/jobs/{bar['id']}") if bar["id"] else None
    return svg.Bar(max(0.0, bar["start"]), end, colour, title, bar["row"], href, share)
