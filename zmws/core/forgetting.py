"""What is kept for a while, what expires, what is pruned: three clocks that end things nobody asks for.

Rule 1: memory jobs that have ended are kept for `memory_keep`, so that a caller who was cut off finds his
        result.
Rule 2: what is remembered of a waiting job's expiry holds on to no job, and is not much more than there are.
Rule 3: the store forgets ended jobs in small steps, each in a commit among the others.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator

from zmws.core.held import Held
from zmws.core.job import MEMORY, Job
from zmws.core.rows import size_of
from zmws.core.timers import Reminder
from zmws.core.turn import Turn
from zmws.core.writes import Pruned, PruneJobs, Verdict

JOB_BYTES = 2_000  # what a kept job weighs beside its body and result, about
PRUNE_ROWS_MAX = 500


class Kept:
    """Memory jobs that have ended, bounded by `memory_keep` and `memory_keep_bytes_max`."""

    def __init__(self, turn: Turn, held: Held) -> None:
        self._turn = turn
        self._memory = held.memory
        self._kept: deque[tuple[float, Job, int]] = deque()
        self._kept_bytes = 0
        self._reminder = Reminder[None](lambda _: self.forget_old())

    def keep(self, job: Job) -> None:
        """Keep a memory job's end for `memory_keep`, as many as their bound allows."""
        limits = self._turn.limits
        weight = JOB_BYTES + job.body_bytes + size_of(job.result) + job.log_bytes + job.partials_bytes
        self._kept.append((self._turn.now + limits.memory_keep_s, job, weight))
        self._kept_bytes += weight
        if len(self._kept) == 1:
            self._turn.timers.add(self._turn.now + limits.memory_keep_s, self._reminder, None)
        while self._kept_bytes > limits.memory_keep_bytes_max:
            self._forget_oldest()

    def forget_old(self) -> None:
        """Forget memory jobs whose `memory_keep` has passed."""
        while self._kept and self._kept[0][0] <= self._turn.now:
            self._forget_oldest()
        if self._kept:
            self._turn.timers.add(self._kept[0][0], self._reminder, None)

    def _forget_oldest(self) -> None:
        _, job, weight = self._kept.popleft()
        self._kept_bytes -= weight
        if self._memory.get(job.id) is job:
            del self._memory[job.id]


class Expiry:
    """When jobs that wait in memory expire: one reminder for all of them, at the earliest."""

    def __init__(self, turn: Turn, held: Held, reminder: Reminder[None]) -> None:
        """`reminder`: who ends those that are late."""
        self._turn = turn
        self._held = held
        self._reminder = reminder
        self._expiring: list[tuple[float, int, str]] = []  # when, number and id
        self._most = 1_000

    def watch(self, job: Job) -> None:
        """Remind of this job when it expires, if it does."""
        if job.expires_at is None:
            return
        heapq.heappush(self._expiring, (job.expires_at, job.number, job.id))
        if self._expiring[0][1] == job.number:
            self._remind()
        if len(self._expiring) > self._most:
            found = self._held.waiting()
            self._expiring = [(j.expires_at, j.number, j.id) for j in found if j.expires_at is not None]
            heapq.heapify(self._expiring)
            self._remind()  # a reminder of one that is gone may have stood for it
            self._most = max(1_000, 2 * len(self._expiring))

    def late(self) -> Iterator[Job]:
        """Those whose time has come and that are here still; some no longer wait."""
        while self._expiring and self._expiring[0][0] <= self._turn.steady:
            _, number, job_id = heapq.heappop(self._expiring)
            for job in (self._held.memory.get(job_id), self._held.stored.get(job_id)):
                if job is not None and job.number == number:
                    yield job
        self._remind()

    def next_at(self) -> float | None:
        """When the next of them expires."""
        return self._expiring[0][0] if self._expiring else None

    def _remind(self) -> None:
        if self._expiring:
            self._turn.steady_timers.add(self._expiring[0][0], self._reminder, None)


class Prune:
    """Lets the store forget ended jobs whose `keep` has passed."""

    def __init__(self, turn: Turn, held: Held) -> None:
        self._turn = turn
        self._held = held
        self._forget_at: float | None = None  # steady time at which the first is to be forgotten
        self._pruning = False
        self._meanwhile: float | None = None  # of jobs that ended during a step, which does not know of them

    def ended(self, forget_at: float) -> None:
        """A stored job has ended, to be forgotten then."""
        if self._forget_at is None or forget_at < self._forget_at:
            self._forget_at = forget_at
        if self._pruning and (self._meanwhile is None or forget_at < self._meanwhile):
            self._meanwhile = forget_at

    def recover(self, forget_at: float | None) -> None:
        """What an earlier run left is to be forgotten from then on."""
        self._forget_at = forget_at

    def prune(self) -> None:
        """Take a step, if one is due."""
        due = self._forget_at is not None and self._forget_at <= self._turn.steady
        # The memory store forgets by itself what is too much for it, and says so with the next prune.
        if not self._pruning and (due or (self._held.durability == MEMORY and self._forget_at is not None)):
            self._pruning = True
            self._turn.write_for(PruneJobs(self._turn.steady, PRUNE_ROWS_MAX), self._pruned)

    def _pruned(self, verdict: Verdict) -> None:
        assert isinstance(verdict, Pruned), verdict
        self._pruning = False
        self._forget_at = verdict.next_at
        meanwhile, self._meanwhile = self._meanwhile, None
        if meanwhile is not None:
            self.ended(meanwhile)
        for (name, state), count in verdict.counts.items():
            service = self._held.services.get(name)
            if service is not None:
                service.ended[state] -= count
                self._held.drop_if_unused(service)
        if self._forget_at is not None and self._forget_at <= self._turn.steady:
            self.prune()
