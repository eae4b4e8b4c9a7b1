"""The writes that are on their way to the store, and whom each is of.

Rule 1: writes come back in the order in which they were made, each with its verdict where it has one.
Rule 2: a job remembers its last write, for whatever is said of the job has to wait for that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from zmws.core.job import MEMORY, Job
from zmws.core.turn import Turn
from zmws.core.writes import WITH_VERDICT, Verdict, Write

Told = Callable[[Verdict], None]  # what is to be done with a verdict


class Journal:
    """What has been written and is not known to be on disk."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._uncommitted: deque[tuple[Write, Any]] = deque()

    def write(self, write: Write, job: Job) -> None:
        """A write of a job; a memory job touches no store."""
        if job.kind == MEMORY:
            return
        job.last_write = write
        self._turn.writes.append(write)
        self._uncommitted.append((write, job))

    def write_for(self, write: Write, told: Told | None) -> None:
        """A write that is of no job in memory; `told` is called with its verdict."""
        self._turn.writes.append(write)
        self._uncommitted.append((write, told))

    def committed(self, seq: int, verdicts: list[Verdict]) -> Iterator[tuple[Write, Job, Verdict | None]]:
        """The jobs' writes up to `seq`, which are on disk now; the verdicts of the others are handed on."""
        answers = iter(verdicts)
        queue, done = self._uncommitted, []
        # What is done with these makes others, which stand in the queue with a number of 0 yet.
        while queue and 0 < queue[0][0].seq <= seq:
            done.append(queue.popleft())
        for write, whom in done:
            verdict = next(answers) if isinstance(write, WITH_VERDICT) else None
            if isinstance(whom, Job):
                if whom.last_write is write:
                    whom.last_write = None
                yield write, whom, verdict
            elif whom is not None:
                assert verdict is not None, write
                whom(verdict)
