"""What one worker did in the last minutes: the attempts that have ended, as bars of a picture.

Rule 1: short attempts that begin within STEP_S of a bar's beginning join it: a bar then counts several jobs.
        What took longer is a bar of its own.
Rule 2: a worker makes a bar each STEP_S, and BURST_S / STEP_S more at once. What ends beyond that joins the
        bar before, long or not: so memory is bounded, however many slots it has, and no attempt is left out.
Rule 3: it is on every job's way: one comparison of times, and no walk.
"""

from __future__ import annotations

from collections import deque

from zmws.core.states import FAILED

STEP_S = 0.5
BURST_S = 20.0
SLACK_S = 2 * STEP_S  # the ends that stand in one bar are no further apart

NEITHER = "other"  # an attempt that was given back, cancelled, or lost with its worker


class Bar:
    """One attempt, or several short ones. Times are steady seconds."""

    __slots__ = ("end", "failed", "job_id", "jobs", "other", "service", "start")

    def __init__(self, start: float, end: float, service: str | None, job_id: str | None) -> None:
        self.start = start
        self.end = end
        self.service = service  # None: of several
        self.job_id = job_id  # None: of several
        self.jobs = 1
        self.failed = 0
        self.other = 0

    def copy(self) -> Bar:
        """The same, that no attempt joins any more."""
        one = Bar(self.start, self.end, self.service, self.job_id)
        one.jobs, one.failed, one.other = self.jobs, self.failed, self.other
        return one


class Lane:
    """The bars of one worker, by their ends."""

    __slots__ = ("_kept_s", "_last", "_room_at", "_short", "bars")

    def __init__(self, kept_s: float) -> None:
        """`kept_s`: for so long a bar is kept."""
        self.bars: deque[Bar] = deque()
        self._kept_s = kept_s
        self._last = Bar(float("-inf"), 0.0, None, None)
        self._short = False  # whether short attempts may join the last bar
        self._room_at = float("-inf")  # rule 2: another bar may be made BURST_S before this

    def ended(self, at: float, ran_s: float, service: str, job_id: str, how: str) -> None:
        """An attempt is over, as COMPLETE, FAILED or NEITHER. Less than nothing, after a step of the clock,
        is nothing: it has not begun after its end."""
        start, bar = at - ran_s if ran_s > 0.0 else at, self._last
        if ran_s >= STEP_S or not self._short or start >= bar.start + STEP_S:
            if at >= self._room_at - BURST_S:
                bar = self._begin(start, at, service, job_id, ran_s < STEP_S)
            else:
                _join(bar, start, at, service)
        else:
            _join(bar, start, at, service)
        if how == FAILED:
            bar.failed += 1
        elif how == NEITHER:
            bar.other += 1

    def _begin(self, start: float, at: float, service: str, job_id: str, short: bool) -> Bar:
        self.forget(at)
        bar = self._last = Bar(start, at, service, job_id)
        self.bars.append(bar)
        self._short = short
        self._room_at = max(self._room_at, at) + STEP_S
        return bar

    def forget(self, steady: float) -> None:
        """What is too long ago is dropped."""
        bars, oldest = self.bars, steady - self._kept_s
        while bars and bars[0].end < oldest:
            bars.popleft()

    def since(self, steady: float) -> list[Bar]:
        """The bars that end then or later; they change no more."""
        if not self.bars:
            return []
        found = list(self.bars)
        found[-1] = found[-1].copy()
        return found if found[0].end >= steady else [bar for bar in found if bar.end >= steady]


def _join(bar: Bar, start: float, at: float, service: str) -> None:
    if start < bar.start:
        bar.start = start
    bar.end = at
    bar.jobs += 1
    bar.job_id = None
    if bar.service != service:
        bar.service = None
