"""Memory jobs that have ended: kept for a while, so that a caller who was cut off finds his result."""

from __future__ import annotations

from collections import deque

from zmws.core.job import Job
from zmws.core.turn import Turn
from zmws.core.writes import size_of

JOB_BYTES = 2_000  # what a kept job weighs beside its body and result, about


class KeptJobs:
    """Bounded by `memory_keep` and `memory_keep_bytes_max`; takes out of the table what it forgets."""

    def __init__(self, turn: Turn, memory: dict[str, Job]) -> None:
        self._turn = turn
        self._memory = memory
        self._kept: deque[tuple[float, Job, int]] = deque()
        self._kept_bytes = 0

    def keep(self, job: Job) -> None:
        """Keep a memory job's end for `memory_keep`, as many as their bound allows."""
        limits = self._turn.limits
        weight = JOB_BYTES + job.body_bytes + size_of(job.result) + job.log_bytes + job.partials_bytes
        self._kept.append((self._turn.now + limits.memory_keep_s, job, weight))
        self._kept_bytes += weight
        if len(self._kept) == 1:
            self._turn.timers.add(self._turn.now + limits.memory_keep_s, "forget")
        while self._kept_bytes > limits.memory_keep_bytes_max:
            self._forget_oldest()

    def forget_old(self) -> None:
        """Forget memory jobs whose `memory_keep` has passed."""
        while self._kept and self._kept[0][0] <= self._turn.now:
            self._forget_oldest()
        if self._kept:
            self._turn.timers.add(self._kept[0][0], "forget")

    def _forget_oldest(self) -> None:
        _, job, weight = self._kept.popleft()
        self._kept_bytes -= weight
        if self._memory.get(job.id) is job:
            del self._memory[job.id]
