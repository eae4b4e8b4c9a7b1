"""What zmws.why answers: why a job waits or waited, how long such jobs take, when a running one will be done.

Rule: it is made of copies, for it is made beside the loop, in the thread that reads (writes.Read).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from zmws.core.desk.series_page import by_time
from zmws.core.reasons import REASONS
from zmws.core.rows import Rows
from zmws.core.series import ALL, CLOCKS, COLUMNS, Line
from zmws.core.why import NOT_KEPT, UNKNOWN, Span, Wait, seconds_of

AHEAD_MAX = 10_000  # jobs before another are counted up to here
_FIRST_CLOCK = COLUMNS.index(CLOCKS[0])


@dataclass(slots=True)
class Figured:
    """What memory has of the clocks of a service: lines up to steady `sampled`, and what came since;
    `minute`: the one under way."""

    lines: list[Line | None]
    sampled: float
    since: tuple[float, ...]
    now: float
    minute: int | None


@dataclass(slots=True)
class WhyPage:
    """One answer. `told`: what of it is known already; `figured`: None where the service has no clocks of its
    own; `counted`: how many are before it has been asked for; `of_tenant`: it is for one (`for_tenant`)."""

    told: dict[str, Any]
    waits: list[Wait]
    service: str
    figured: Figured | None
    counted: bool
    of_tenant: bool = False

    def render(self, rows: Rows) -> bytes:
        """The answer, as JSON."""
        seconds = seconds_of(
            self.waits, [] if self.figured is None else _spans(self.figured, self.service, rows)
        )
        if self.figured is None and UNKNOWN in seconds:
            seconds[NOT_KEPT] = seconds.pop(UNKNOWN)
        ahead = self.told["ahead"]
        if self.counted:
            count = rows.next or 0
            ahead = {"jobs": count, "at_least": count >= AHEAD_MAX, **ahead}
        reasons = [
            {"reason": name, "seconds": round(value, 3)}
            for name, value in sorted(seconds.items(), key=lambda one: -one[1])
        ]
        told = {**self.told, "ahead": ahead, "reasons": reasons}
        return json.dumps(for_tenant(told) if self.of_tenant else told).encode()


def for_tenant(told: dict[str, Any]) -> dict[str, Any]:
    """The answer without what counts the jobs of others, too."""
    by_usual = {"left_s": None, "left_by": None} if told["left_by"] == "usual" else {}
    return {**told, "ahead": None, "usual": None, **by_usual}


def _spans(figured: Figured, service: str, rows: Rows) -> list[Span]:
    """How the clocks of a service went on, as far back as there are figures."""
    lines = figured.lines
    first = figured.sampled - len(lines)
    spans = []
    there = {at: figures.get("seconds", 60) for at, name, figures in rows.series if name == ALL}
    for at, figures in sorted(by_time(rows, service).items()):
        if at < first:
            clocks = [float(figures.get(name, 0.0)) for name in CLOCKS]
            under_way = at == figured.minute  # what is written of it is of an earlier life
            if first < at + 60 and not under_way:
                clocks = _less(clocks, lines[: math.ceil(at + 60 - first)])
            until = min(at + 60.0, first)
            known_s = there.get(at, 60) - (0.0 if under_way else at + 60 - until)
            spans.append(Span(at, until, tuple(clocks), min(until - at, max(0.0, known_s))))
    since = first
    for n, line in enumerate(lines, 1):
        if line is not None:
            clocks_then = line[_FIRST_CLOCK : _FIRST_CLOCK + len(REASONS)]
            spans.append(Span(since, first + n, clocks_then, first + n - since))
            since = first + n
    spans.append(Span(figured.sampled, figured.now, figured.since, figured.now - figured.sampled))
    return spans


def _less(clocks: list[float], lines: list[Line | None]) -> list[float]:
    """What a minute has of the clocks beside the seconds of it that memory has."""
    for line in lines:
        if line is not None:
            for index, seconds in enumerate(line[_FIRST_CLOCK : _FIRST_CLOCK + len(REASONS)]):
                clocks[index] = max(0.0, clocks[index] - seconds)
    return clocks
