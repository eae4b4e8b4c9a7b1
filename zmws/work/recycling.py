"""When a worker has done enough, and leaves to be started anew: `max_jobs`, `max_memory`, `max_age`.

Rule: each limit is lowered by up to a tenth at random, once a process: workers that were started together do
not all leave together. It is never passed but by the one job that passes it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from zmws.work.declared import Declared
from zmws.work.memory import resident_bytes

JITTER = 0.1


class Recycling:
    """Counts. Times are monotonic seconds."""

    def __init__(self, declared: Iterable[Declared], jitter: float, now: float) -> None:
        """`jitter`: from 0 to 1. Of several services' limits the lowest holds."""
        classes = list(declared)
        lowered = 1 - JITTER * jitter

        def lowest(limits: Iterable[float | None]) -> float | None:
            return min((limit * lowered for limit in limits if limit is not None), default=None)

        jobs = lowest(one.max_jobs for one in classes)
        self._jobs_max = None if jobs is None else math.ceil(jobs)  # up to a tenth: of five jobs none
        self._memory_max = lowest(one.max_memory for one in classes)
        age = lowest(one.max_age for one in classes)
        self.due_at = None if age is None else now + age
        self.jobs = 0

    def why(self, now: float) -> str | None:
        """What it has had enough of, None if nothing. To be asked after each job, and at `due_at`."""
        if self._jobs_max is not None and self.jobs >= self._jobs_max:
            return f"max_jobs: {self.jobs} jobs are done"
        if self._memory_max is not None and (used := resident_bytes() or 0) > self._memory_max:
            return f"max_memory: {used / 2**20:.0f} MiB are in use"
        if self.due_at is not None and now >= self.due_at:
            return "max_age is reached"
        return None
