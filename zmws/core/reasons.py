"""Why jobs of a service wait: per service a clock a reason, of which one runs while any job waits.

Rule 1: the clocks are turned where a service is dispatched, and looked at again with each sample. So what
        they show adds up to the time in which something waited.
Rule 2: what is true of the service is true of each job of it that waits: its seconds per reason are the
        differences of the clocks over its waits (why.py).
"""

from __future__ import annotations

PAUSED, NO_WORKER, MAX_RUNNING, RATE, SLOTS, SUSPECT, READING = range(7)
REASONS = ("paused", "no_worker", "max_running", "rate", "slots", "suspect", "reading")
NOTHING = -1  # no job waits


class Clocks:
    """Seconds, by the steady clock, for each reason."""

    __slots__ = ("_seconds", "_since", "reason")

    def __init__(self) -> None:
        self._seconds = [0.0] * len(REASONS)
        self.reason = NOTHING  # the one that runs
        self._since = 0.0

    def turn_to(self, reason: int, steady: float) -> None:
        """From now on this one runs."""
        if self.reason != NOTHING:
            self._seconds[self.reason] += max(0.0, steady - self._since)
        self.reason, self._since = reason, steady

    def shown(self, steady: float) -> tuple[float, ...]:
        """What they show now, in the order of REASONS."""
        self.turn_to(self.reason, steady)
        return tuple(self._seconds)
