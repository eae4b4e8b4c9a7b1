"""One service: its waiting jobs, its ring of waiting workers, and what limits its starts.

Rule 1: the worker that has waited longest gets the next job (round-robin): taker.py.
Rule 2: groups with waiting jobs take turns. A group whose next page is still being read is passed over
        and keeps its turn.
Rule 3: what waits is counted as it moves, here (`held`, `waiting_memory`) and in the store alone (`beyond`).
Rule 4: a suspect (taker.py) that no taker can hold alone yet is parked beside the groups, and comes first.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain, islice
from typing import Any

from zmws.core.ahead import RunTime
from zmws.core.figures import Figures
from zmws.core.group import Group
from zmws.core.job import MEMORY, Job
from zmws.core.options import ServiceOptions, with_defaults
from zmws.core.reasons import Clocks
from zmws.core.rows import Key
from zmws.core.taker import Ring

# With ageing off a point of priority outweighs any difference of times.
STRICT_HEAD_START_S = 1e10


class Service:
    """Jobs and workers of one name."""

    def __init__(
        self,
        name: str,
        options: ServiceOptions | None = None,
        figures: Figures | None = None,
        clocks: Clocks | None = None,
    ) -> None:
        """`figures`, `clocks`: where it counts (series.py gives them out)."""
        self.name = name
        self.figures = figures or Figures()
        self.clocks = clocks  # None: why its jobs wait is not kept
        self.configured = options or ServiceOptions()
        # Options that a worker told, which go behind the configuration's. None: those that are stored fit no
        # more, and nothing of them holds.
        self.defaults: dict[str, Any] | None = {}
        self.params: str | None = None  # and the JSON Schema of its jobs' parameters, as text
        self.limited: dict[str, Any] = {}  # what an operator has set (zmws.limit)
        self.options = self.configured  # all of them together
        self.changes = 0  # how often an operator has changed something of it
        self.paused = self.options.paused
        self.registered = False  # a worker registered it, or the configuration names it
        self.ring = Ring(name)
        self.run_time = RunTime()
        self.parked: dict[str, Job] = {}
        self.running: dict[str, Job] = {}
        self.scheduled: dict[str, Job] = {}
        self.inserting = 0  # stored jobs on their way to the store, repeats among them
        self.scheduled_beyond = 0  # scheduled in the store alone
        self.waiting_memory = 0  # memory jobs that wait
        self.held = 0  # stored jobs that wait and are here
        self.held_bytes = 0  # of their bodies
        self.beyond = 0  # waiting jobs in the store alone
        self.ended: Counter[str] = Counter()  # stored records by final state
        self.calls_complete = 0  # memory jobs since the start
        self.calls_failed = 0
        self.groups: dict[str | None, Group] = {}
        self.ready: OrderedDict[str | None, Group] = OrderedDict()  # those that have a job to give, by turn
        self.start_timer_at: float | None = None  # when it is looked at again because of its rate
        self._allowance = 1.0
        self._allowance_at: float | None = None

    def take_defaults(self, defaults: Mapping[str, Any]) -> None:
        """What a worker told of its jobs holds for new ones from now on. Raises OptionError, and nothing has
        changed, where no job could start by it."""
        self.options = replace(with_defaults(self.configured, defaults), **self.limited)
        self.defaults = dict(defaults)

    def limit(self, limited: Mapping[str, Any]) -> None:
        """What an operator sets goes before the configuration; what is not named is as configured again."""
        as_configured = {name: getattr(self.configured, name) for name in self.limited}
        self.options = replace(self.options, **(as_configured | dict(limited)))
        self.limited = dict(limited)

    def origin(self, option: str) -> str:
        """Where the value of an option comes from."""
        if option in self.limited:
            return "operator"
        if self.configured.gives(option):
            return "configuration"
        return "worker" if option in (self.defaults or {}) else "default"

    # ------------------------------------------------------------ waiting jobs

    def rank(self, ready_at: float, priority: int) -> float:
        """The one number that orders jobs of a group, smallest first (docs/options.md, priority)."""
        ageing = self.options.ageing
        return ready_at - priority * (STRICT_HEAD_START_S if ageing is None else ageing)

    def push(self, job: Job) -> None:
        """A job waits here, at the place its rank gives it."""
        name = job.group
        group = self.groups.get(name)
        if group is None:
            group = self.groups[name] = Group()
        group.queue_of(job).push(job)
        self._count(job, 1)
        if name not in self.ready and group.next() is not None:
            self.ready[name] = group

    def head(self) -> Job:
        """What `pop` will take out. Only while something is ready."""
        entry = next(iter(self.ready.values())).next()
        assert entry is not None, f"{self.name}: a group is ready and has no job to give"
        return entry[3]

    def pop(self) -> Job | None:
        """Take out the next job: from the group whose turn it is, the smallest rank."""
        ready = self.ready
        if not ready:
            return None
        name, group = next(iter(ready.items()))
        entry = group.next()
        assert entry is not None, f"{self.name}: group {name} is ready and has no job to give"
        job = entry[3]
        group.queue_of(job).pop()
        self._count(job, -1)
        if group.next() is None:
            del ready[name]
            self._drop_if_empty(name, group)
        else:
            ready.move_to_end(name)
        return job

    def coming(self, most: int) -> list[Job]:
        """The jobs that `pop` would take out next, in order: at most so many, of those here."""
        found = list(islice(self.parked.values(), most))
        lines = deque(iter(group.coming(most)) for group in islice(self.ready.values(), most))
        while lines and len(found) < most:
            line = lines.popleft()
            job = next(line, None)
            if job is not None:
                found.append(job)
                lines.append(line)
        return found

    def park(self, job: Job) -> None:
        """A job that was just popped waits for a taker that can hold it alone."""
        self.parked[job.id] = job
        self._count(job, 1)

    def unpark(self) -> Job:
        """The parked job that has waited longest."""
        job = self.parked.pop(next(iter(self.parked)))
        self._count(job, -1)
        return job

    def left(self, job: Job) -> None:
        """A job that waited here has left."""
        if self.parked.get(job.id) is job:
            del self.parked[job.id]
            self._count(job, -1)
            return
        group = self.groups[job.group]
        group.queue_of(job).left()
        self._count(job, -1)
        if job.group in self.ready and group.next() is None:
            del self.ready[job.group]
        self._drop_if_empty(job.group, group)

    def let_go_last(self, name: str | None) -> Job | None:
        """Take the last stored job of a group out, for the store alone to keep; None if none can go."""
        group = self.groups.get(name)  # none where all of it is parked
        job = group.stored.pop_last() if group is not None else None
        if job is not None:
            self._count(job, -1)
            self.let_go(job)
        return job

    def let_go(self, job: Job) -> None:
        """A waiting job stands in the store alone from now on."""
        group = self.groups.get(job.group)
        if group is None:
            group = self.groups[job.group] = Group()
        group.lower((job.rank, job.number))
        self.beyond += 1
        if job.group in self.ready and group.next() is None:
            del self.ready[job.group]

    def came_in(self, name: str | None, more: Key | None) -> None:
        """A page of a group has come in. It has not lost its turn by waiting for it."""
        group = self.groups[name]
        group.came_in(more)
        if group.next() is not None:
            if name not in self.ready:
                self.ready[name] = group
                self.ready.move_to_end(name, last=False)
        else:
            self.ready.pop(name, None)
            self._drop_if_empty(name, group)

    def _drop_if_empty(self, name: str | None, group: Group) -> None:
        if group.empty and not group.loading:
            del self.groups[name]

    def _count(self, job: Job, by: int) -> None:
        if job.kind == MEMORY:
            self.waiting_memory += by
        else:
            self.held += by
            self.held_bytes += by * job.body_bytes

    @property
    def waiting_count(self) -> int:
        """How many jobs wait, here and in the store."""
        return self.waiting_memory + self.held + self.beyond

    @property
    def scheduled_count(self) -> int:
        """How many jobs are scheduled, here and in the store."""
        return len(self.scheduled) + self.scheduled_beyond

    @property
    def unfinished_count(self) -> int:
        """How many of its jobs have not ended, with those on their way to the store."""
        return self.waiting_count + self.scheduled_count + len(self.running) + self.inserting

    @property
    def forgotten(self) -> bool:
        """Whether it is here only because records of its ended jobs are kept: it is no known service."""
        return not (self.registered or self.unfinished_count)

    def waiting(self) -> Iterator[Job]:
        """The waiting jobs that are here, in no order that means anything."""
        queued = (job for group in self.groups.values() for job in chain(group.stored, group.memory))
        return chain(self.parked.values(), queued)

    def oldest_s(self, steady: float) -> float | None:
        """Seconds that the oldest of the first jobs of its groups has waited, of those that come in their
        order and of those that go before them; None if none waits."""
        found = [at for group in self.ready.values() if (at := group.oldest_at()) is not None]
        found += [job.ready_at for job in self.parked.values()]
        return max(0.0, steady - min(found)) if found else None

    def knows_group(self, group: str | None) -> bool:
        """Whether jobs of this group wait already."""
        return group in self.groups

    # ------------------------------------------------------------ starts

    def may_start_at(self, now: float, kept: int = 0) -> float | None:
        """When the next job may start: `now` or earlier if at once, None while only a change can
        allow it (paused, max_running reached, nothing waiting). `kept`: so many starts are left for
        others."""
        if self.paused or not (self.ready or self.parked):
            return None
        limit = self.options.max_running
        if limit is not None and len(self.running) + kept >= limit:
            return None
        rate = self.options.rate
        if rate is None:
            return now
        needed = 1.0 + kept
        if needed > max(1.0, rate):
            return None  # so much is never saved up
        self._refill(now, rate)
        # The comparison must not fail by a rounding error at the very time that was asked for.
        return now if self._allowance >= needed - 1e-9 else now + (needed - self._allowance) / rate

    def started(self, job: Job, now: float) -> None:
        """A job was dispatched: it counts in max_running and uses up the rate."""
        self.running[job.id] = job
        if self.options.rate is not None:
            self._refill(now, self.options.rate)
            self._allowance -= 1.0

    def not_started(self) -> None:
        """A dispatch was taken back: it uses up nothing of the rate."""
        if self.options.rate is not None:
            self._allowance = min(max(1.0, self.options.rate), self._allowance + 1.0)

    def _refill(self, now: float, rate: float) -> None:
        since = self._allowance_at
        if since is not None:
            # A second's worth may be saved up, and never less than one start.
            self._allowance = min(max(1.0, rate), self._allowance + (now - since) * rate)
        self._allowance_at = now
