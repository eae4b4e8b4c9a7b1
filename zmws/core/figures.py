"""What is counted of a service as its jobs move, and histograms of how long they wait and run.

Rule 1: what is counted here only rises, as long as one broker lives: rates are differences.
Rule 2: a start counts with each dispatch, also one that is taken back, as it stands in the job's states.
Rule 3: seconds fall into fixed buckets (BOUNDS_S), so that histograms of any times can be added.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

# Upper ends of the buckets, in seconds; what is longer falls into one more.
BOUNDS_S = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    *(1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 14_400.0, 86_400.0),
)
BUCKETS = len(BOUNDS_S) + 1

OTHER = "other"  # all services together that have no figures of their own
COUNTED = ("submitted", "started", "complete", "failed", "cancelled", "expired", "attempts_failed")


class Histogram:
    """How often how long."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * BUCKETS
        self.sum_s = 0.0

    def note(self, seconds: float) -> None:
        """It took so long; less than nothing, after a step of the clock, is nothing."""
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        if seconds > 0.0:
            self.sum_s += seconds


class Figures:
    """The counts of one service, or of all that have none of their own."""

    __slots__ = (*COUNTED, "ran", "run", "wait", "workers_lost", "workers_started")

    def __init__(self) -> None:
        self.submitted = 0  # jobs accepted, stored and in memory
        self.started = 0  # dispatches
        self.complete = 0
        self.failed = 0
        self.cancelled = 0
        self.expired = 0
        self.attempts_failed = 0  # also of jobs that are tried again
        self.ran = 0  # attempts that have ended, in whatever way
        self.workers_started = 0  # processes of workers that were not here before
        self.workers_lost = 0  # that went without a word: no leave, no drain
        self.wait = Histogram()  # from when a job could have started until it did
        self.run = Histogram()  # of attempts

    def counts(self) -> tuple[int, ...]:
        """What is counted, in the order of COUNTED."""
        return (
            self.submitted,
            self.started,
            self.complete,
            self.failed,
            self.cancelled,
            self.expired,
            self.attempts_failed,
        )


def quantile(counts: Sequence[float], share: float) -> float | None:
    """How long the shortest `share` (0 to 1) of them took at most, in seconds, as even within a bucket; None
    of none. What is longer than the last bound is said to take just that."""
    total = sum(counts)
    if not total:
        return None
    wanted = share * total
    seen = 0.0
    for index, count in enumerate(counts):
        if count and seen + count >= wanted:
            if index == len(BOUNDS_S):
                break
            low = BOUNDS_S[index - 1] if index else 0.0
            part = max(0.0, wanted - seen) / count
            return min(low + (BOUNDS_S[index] - low) * part, BOUNDS_S[index])  # rounding may pass it
        seen += count
    return BOUNDS_S[-1]
