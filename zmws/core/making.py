"""A job is made of what was asked for and of what holds for its service (docs/options.md).

Rule: nothing is decided here of whether it may be; no queue and no store knows of it yet.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from zmws.core.held import Held
from zmws.core.job import MEMORY, STORED, Job
from zmws.core.options import NO_OPTIONS, JobOptions, ServiceOptions
from zmws.core.rows import size_of
from zmws.core.service import Service
from zmws.core.states import SCHEDULED
from zmws.core.turn import Turn


class Start(NamedTuple):
    """The earliest start of a job, and how many seconds it may wait for that (None: without a bound)."""

    at: float  # by the wall or by the steady clock
    by_wall: bool
    wait_s: float  # from now on
    expires_s: float | None

    @property
    def fault(self) -> str | None:
        """Why no worker can ever begin it, None if one can."""
        if self.expires_s is None or self.wait_s < self.expires_s:
            return None
        return f"it can only expire: it may start in {self.wait_s:g} s, and expires in {self.expires_s:g} s"


class Making:
    """Makes jobs."""

    def __init__(self, turn: Turn, held: Held) -> None:
        self._turn = turn
        self._held = held

    def start(self, service: Service, options: JobOptions, expires_s_default: float | None = None) -> Start:
        """When it may start, if it is made now."""
        turn, defaults = self._turn, service.options
        expires = options.expires if options.expires is not None else defaults.expires
        if expires is None:
            expires = expires_s_default
        if options.at is not None and options.at > turn.wall:
            return Start(options.at, True, options.at - turn.wall, expires)
        delay = options.delay if options.delay is not None else defaults.delay
        if options.at is not None:
            delay = 0.0
        return Start(turn.steady + delay, False, delay, expires)

    def job(
        self,
        service: Service,
        options: JobOptions,
        body: tuple[bytes, ...],
        start: Start,
        *,
        sync: bool = False,
        durability: str = "disk",
    ) -> Job:
        """The job, with a number of its own. `durability`: memory or disk."""
        turn, defaults = self._turn, service.options
        priority = options.priority if options.priority is not None else defaults.priority
        job = Job(
            id=options.id or turn.suppliers.new_id(),
            service=service.name,
            kind=MEMORY if durability == "memory" else STORED,
            body=body,
            created_at=turn.wall,
            ready_at=start.at,
            rank=service.rank(start.at, priority),
            by_wall=start.by_wall,
            sync=sync,
        )
        if start.wait_s > 0:
            job.state = SCHEDULED
        job.durability = durability if durability == "memory" else self._held.durability
        job.priority = priority
        job.retries, job.ttr, job.backoff, job.keep = _those_given(options, defaults)
        job.group, job.unique = options.group, options.unique
        job.batch = options.batch
        job.on_complete = options.on_complete or defaults.on_complete
        job.on_failed = options.on_failed or defaults.on_failed
        job.body_bytes = size_of(body)
        if options.meta is not None:
            job.meta = json.dumps(options.meta)
            job.body_bytes += len(job.meta)
        if start.expires_s is not None:
            job.expires_at = turn.steady + start.expires_s
        job.number = self._held.next_number()
        job.enter(turn.wall)
        return job


def _those_given(options: JobOptions, defaults: ServiceOptions) -> tuple[int, float, float, float | None]:
    """retries, ttr, backoff and keep: the job's own, else the service's."""
    if options is NO_OPTIONS:
        return defaults.retries, defaults.ttr, defaults.backoff, defaults.keep
    return (
        options.retries if options.retries is not None else defaults.retries,
        options.ttr if options.ttr is not None else defaults.ttr,
        options.backoff if options.backoff is not None else defaults.backoff,
        options.keep if options.keep is not None else defaults.keep,
    )
