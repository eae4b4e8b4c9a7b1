"""What a running job says of itself: partial results, log lines, how far it is.

Rule 1: partial results and log lines of a stored job go to the store and are not kept in memory; a memory
        job keeps its own.
Rule 2: `partials_max`, `partials_bytes_max` and `log_bytes_max` bound what is kept of a job; its record
        says how much was cut. Who asks for a stack again and again does not use up a job's log.
Rule 3: of its progress, and of what it saves, the last one per commit is written.
Rule 4: an event has its number in the order in which it is written: who reads events past one number misses
        none. So what is said while another progress is on its way has no number yet.
"""

from __future__ import annotations

from typing import Any

from zmws.core.job import STORED, Job, iso
from zmws.core.rows import size_of
from zmws.core.states import RUNNING
from zmws.core.turn import Turn
from zmws.core.watchers import Watchers
from zmws.core.writes import AppendToJob, UpdateJob, Write

_COLUMNS = ("progress", "progress_text", "progress_at", "progress_n", "events")

STACK_LINE = "its stack, when it was asked for:"  # how an entry of a job's log begins that is one
STACK_CHARS_KEPT = 16 * 1024  # of it
STACKS_PART = 4  # of `log_bytes_max` no more than this part


class Progress:
    """Takes down what running jobs say, and tells those who wait for it."""

    def __init__(self, turn: Turn, watchers: Watchers) -> None:
        self._turn = turn
        self._watchers = watchers

    def partial(self, job: Job, body: tuple[bytes, ...], plain: bool) -> None:
        """A partial result: to those who wait, and into the record."""
        for caller in job.callers:
            self._watchers.partial(job, caller, body, plain)
        limits, size = self._turn.limits, size_of(body)
        if (
            job.partials_count < limits.partials_max
            and size <= limits.partials_bytes_max - job.partials_bytes
        ):
            job.partials_count += 1
            job.partials_bytes += size
            self._append(job, "partial", body, size)
        else:
            job.partials_cut += 1
            self._turn.counters["partials_cut"] += 1

    def log(self, job: Job, line: str) -> None:
        """A captured log line, as long as `log_bytes_max` allows."""
        size = len(line.encode())
        if job.log_bytes + size > self._turn.limits.log_bytes_max:
            job.log_cut += size
            self._turn.counters["log_bytes_cut"] += size
            return
        job.log_bytes += size
        self._append(job, "log", line, size)

    def stack(self, job: Job, text: str) -> None:
        """Where it was when somebody asked: an entry of its log; such take up a part of that."""
        entry = f"{STACK_LINE}\n{text[:STACK_CHARS_KEPT]}"
        size = len(entry.encode())
        if job.stacks_bytes + size <= self._turn.limits.log_bytes_max // STACKS_PART:
            job.stacks_bytes += size
            self.log(job, entry)

    def _append(self, job: Job, kind: str, value: Any, size: int) -> None:
        job.events += 1
        n, at = job.events, self._turn.wall
        if job.kind == STORED:
            self._turn.write(AppendToJob(job.id, kind, value, n, at, size=100 + size), job)
        else:
            if isinstance(job.history, tuple):
                job.history = []
            job.history.append((n, at, kind, value))
        self._watchers.happened(job)

    def progress(self, job: Job, done: float | None, text: str | None) -> None:
        """How far it is."""
        job.progress, job.progress_text, job.progress_at = done, text, self._turn.wall
        job.progress_new = True
        if not job.progress_written_n:
            self._write(job)
        body = {"id": job.id, "service": job.service, "done": done, "text": text}
        body["at"] = iso(self._turn.wall)
        self._turn.news(f"{job.service}.progress", body, job.last_write)

    def save(self, job: Job, text: str) -> None:
        """What the next attempt is to be given, JSON as a text; the last one per commit is written."""
        if job.kind == STORED:
            job.body_bytes += len(text) - len(job.saved or "")  # it will wait with its job
        job.saved = text
        if job.kind == STORED and not job.saved_written:
            self._turn.write(UpdateJob(job.id, {"saved": text}), job)
            job.saved_written = text

    def _write(self, job: Job) -> None:
        job.number_progress()
        if job.kind == STORED:
            self._turn.write(UpdateJob(job.id, {name: getattr(job, name) for name in _COLUMNS}), job)
            job.progress_written_n = job.progress_n
        self._watchers.happened(job)

    def written(self, job: Job, write: Write) -> None:
        """A write of this job is on disk; if it was its progress, or what it saved, and there was more since,
        that follows."""
        if job.saved_written and isinstance(write, UpdateJob) and "saved" in write.changes:
            job.saved_written = None
            if job.state == RUNNING and job.saved is not None and job.saved != write.changes["saved"]:
                self.save(job, job.saved)
        if job.progress_written_n and isinstance(write, UpdateJob) and "progress_n" in write.changes:
            job.progress_written_n = 0
            if job.state == RUNNING and job.progress_new:
                self._write(job)
