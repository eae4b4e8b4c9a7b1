"""What zmws.series answers: figures in steps of time, as columns.

Rule: it is made of copies, for it is made beside the loop, in the thread that reads (writes.Read).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from zmws.core.figures import BUCKETS
from zmws.core.job import iso
from zmws.core.rows import Rows
from zmws.core.series import ALL, COLUMNS, HISTOGRAMS, SHARES, Line, added, shares_of

QUANTILES = tuple(f"{name}_{share}" for name in HISTOGRAMS for share in SHARES)  # of minutes and hours
NAMES = (*COLUMNS, *QUANTILES)


@dataclass(slots=True)
class SeriesPage:
    """One answer. Times are steady seconds; `first` is when the oldest of `lines` began."""

    service: str | None
    step: int
    since: int | None  # None: from the first figures on that there are
    before: int
    points_max: int
    wanted: tuple[str, ...]
    lead: float
    lines: list[Line | None]
    first: int
    usual: dict[str, list[float]]

    def render(self, rows: Rows) -> bytes:
        """The answer, as JSON."""
        step, lead = self.step, self.lead
        found = self._seconds() if step == 1 else by_time(rows, self.service)
        since = self.since
        if since is None:
            since = min(found, default=self.before) // step * step
        count = max(0, (self.before - since) // step)
        figures = [found.get(since + n * step) for n in range(count)]
        together = added([one for one in figures if one is not None])
        if step == 1:
            together |= {name: dict(enumerate(counts)) for name, counts in self.usual.items()}
        answer = {
            "service": self.service,
            "step": step,
            "from": iso(since + lead),
            "before": iso(self.before + lead),
            "points": count,
            "figures": {name: _column(name, figures, step) for name in self.wanted},
            "total": {name: value for name, value in together.items() if name not in HISTOGRAMS},
            "wait": shares_of(counts_in(together, "wait")),
            "run": shares_of(counts_in(together, "run")),
            "marks": [{**mark._asdict(), "at": iso(mark.at + lead)} for mark in rows.marks],
        }
        return json.dumps(answer).encode()

    def _seconds(self) -> dict[int, dict[str, Any]]:
        """Lines of memory, by the second in which they began."""
        return {
            at: dict(zip(COLUMNS, line, strict=True))
            for at, line in enumerate(self.lines, self.first)
            if line is not None and (self.since or 0) <= at < self.before
        }


def by_time(rows: Rows, name: str | None) -> dict[int, dict[str, Any]]:
    """The figures of a service by the time at which their step began. Where there are those of all, and none
    of it, nothing was."""
    found: dict[int, dict[str, Any]] = {}
    for at, service, figures in rows.series:
        if service == (name or ALL):
            found[at] = figures
        else:
            found.setdefault(at, {})
    return found


def counts_in(figures: dict[str, Any], name: str) -> list[float]:
    """A histogram of figures, with the buckets that are left out."""
    counts = [0.0] * BUCKETS
    for index, count in figures.get(name, {}).items():
        counts[int(index)] = count
    return counts


def _column(name: str, figures: list[dict[str, Any] | None], step: int) -> list[Any]:
    if name not in QUANTILES:
        return [None if one is None else one.get(name, 0) for one in figures]
    histogram, share = name.split("_")
    return [
        None if one is None or histogram not in one else shares_of(counts_in(one, histogram))[share]
        for one in figures
    ]
