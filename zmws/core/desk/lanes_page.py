"""What zmws.lanes answers: for each worker the bars of a picture, in rows in which none covers another.

Rule 1: it is made of copies, for it is made beside the loop, in the thread that reads (writes.Read).
Rule 2: short bars of a row that begin within `step` are one. There are at most BARS_MAX in an answer: where
        there would be more the step is doubled, as often as it takes, and said.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any

from zmws.core.job import iso
from zmws.core.lane import Bar
from zmws.core.rows import Rows

BARS_MAX = 10_000
IN_HAND_MAX = 100  # of what a worker runs at once, so much is shown
NEAR_S = 0.001  # a row is free so long before its bar ends: times are rounded
_RUNS = float("inf")


@dataclass(slots=True)
class Drawn:
    """A bar in its row, of the picture. Times are steady; `end` None: it runs."""

    start: float
    end: float | None
    row: int
    service: str | None
    jobs: int
    failed: int
    other: int
    job_id: str | None


@dataclass(slots=True)
class LaneShown:
    """One worker: what is told of it, the bars that have ended, and what it runs (since, service, id)."""

    told: dict[str, Any]
    bars: list[Bar]
    running: list[tuple[float, str, str]]


@dataclass(slots=True)
class LanesPage:
    """One answer. Times are steady seconds."""

    now: float
    since: float
    lead: float
    step: float
    lanes: list[LaneShown]
    more: int  # workers that are not shown

    def render(self, rows: Rows) -> bytes:
        """The answer, as JSON."""
        step, lead, since = self.step, self.lead, self.since
        drawn = [in_rows(lane.bars, lane.running, step) for lane in self.lanes]
        while sum(map(len, drawn)) > BARS_MAX and step < self.now - since:
            step *= 2
            drawn = [merged(bars, step) for bars in drawn]
        answer = {
            "now": iso(self.now + lead),
            "from": iso(since + lead),
            "step": step,
            "lanes": [
                {**lane.told, "bars": [_told(bar, since) for bar in bars]}
                for lane, bars in zip(self.lanes, drawn, strict=True)
            ],
            "more": self.more,
            "marks": [{**mark._asdict(), "at": iso(mark.at + lead)} for mark in rows.marks],
        }
        return json.dumps(answer).encode()


def in_rows(bars: list[Bar], running: list[tuple[float, str, str]], step: float) -> list[Drawn]:
    """The bars by their beginnings, each in the lowest row that was free then; short ones of a row, such as
    have ended, that begin within `step` of the first of them, as one."""
    free: list[int] = []
    taken: list[tuple[float, int]] = []  # until when, which row
    last: list[Drawn | None] = []  # of each row the last bar: what is long is over before another joins it
    found: list[Drawn] = []
    for start, end, bar in _by_start(bars, running):
        while taken and taken[0][0] <= start + NEAR_S:
            heappush(free, heappop(taken)[1])
        if free:
            row = heappop(free)
        else:
            row = len(last)
            last.append(None)
        heappush(taken, (end, row))
        before = last[row] if end - start < step else None
        if before is not None and start < before.start + step:
            _join(before, end, bar.service, bar.jobs, bar.failed, bar.other)
            continue
        ended = None if end == _RUNS else end
        one = Drawn(start, ended, row, bar.service, bar.jobs, bar.failed, bar.other, bar.job_id)
        last[row] = one
        found.append(one)
    return found


def _by_start(bars: list[Bar], running: list[tuple[float, str, str]]) -> list[tuple[float, float, Bar]]:
    found = [(bar.start, bar.end, bar) for bar in bars]
    found += [(start, _RUNS, Bar(start, _RUNS, service, job_id)) for start, service, job_id in running]
    found.sort(key=_first)
    return found


def _first(one: tuple[float, float, Bar]) -> float:
    return one[0]


def merged(bars: list[Drawn], step: float) -> list[Drawn]:
    """The same bars with a longer step."""
    last: dict[int, Drawn] = {}
    found: list[Drawn] = []
    for bar in bars:
        before, end = last.get(bar.row), bar.end
        if before is None or end is None or end - bar.start >= step or bar.start >= before.start + step:
            found.append(bar)
            last[bar.row] = bar
        else:
            _join(before, end, bar.service, bar.jobs, bar.failed, bar.other)
    return found


def _join(before: Drawn, end: float, service: str | None, jobs: int, failed: int, other: int) -> None:
    before.end = end
    before.jobs += jobs
    before.failed += failed
    before.other += other
    before.job_id = None
    if before.service != service:
        before.service = None


def _told(bar: Drawn, since: float) -> dict[str, Any]:
    return {
        "start": round(bar.start - since, 3),
        "end": None if bar.end is None else round(bar.end - since, 3),
        "row": bar.row,
        "service": bar.service,
        "jobs": bar.jobs,
        "failed": bar.failed,
        "other": bar.other,
        "id": bar.job_id,
    }
