"""The part of the stored jobs that memory holds, and how the rest comes in (docs/architecture.md).

Rule 1: of each service a bounded window of waiting jobs is here, each group's first among them; of the
        scheduled jobs of all services those that are due first, by either clock. The rest stands in the
        store alone.
Rule 2: a page is read in order with the writes, and skips what is here by the time it comes in: that has
        moved on meanwhile, and the page knows nothing of it.
Rule 3: only what has no write under way is let go: then the store knows all of it.
Rule 4: what stands in the store alone and expires is found by a look each second, while there is any.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from zmws.core.group import ALL_IN_STORE, Group
from zmws.core.job import Job
from zmws.core.reads import ReadExpired, ReadScheduled, ReadWaiting
from zmws.core.rows import Row, Rows, job_of
from zmws.core.service import Service
from zmws.core.states import SCHEDULED, WAITING
from zmws.core.timers import Reminder
from zmws.core.turn import Turn

PAGE_ROWS_MIN, PAGE_ROWS_MAX = 4, 500
LOOK_INTERVAL_S = 1.0
LOOK_ROWS_MAX = 200
AHEAD_S = 5.0  # scheduled jobs are here this long before they are due, at the latest


class _Agenda:
    """The stored jobs that are scheduled by one clock."""

    def __init__(self) -> None:
        self.here = 0  # how many memory holds
        self.reach = Group()  # up to which key; its queues are not used


class Backlog:
    """Decides what is here, and asks for what comes next."""

    def __init__(
        self,
        turn: Turn,
        services: Mapping[str, Service],
        stored: dict[str, Job],
        take_in: Callable[[Service, Job], None],
    ) -> None:
        """`stored`: the jobs that memory has a hand on. `take_in`: a job has come into memory; its expiry
        or its time is to be watched."""
        self.turn = turn
        self._services = services
        self._stored = stored
        self._take_in = take_in
        self._agendas = {False: _Agenda(), True: _Agenda()}  # of all services, by `Job.by_wall`
        self._looking = False
        self._look_planned = False
        self._reminder = Reminder[None](lambda _: self.look())

    # ------------------------------------------------------------ waiting jobs

    def arrived(self, service: Service, job: Job) -> None:
        """A stored job waits. It is held, or left to the store if that knows all of it."""
        group = service.groups.get(job.group)
        horizon = group.horizon if group is not None else None
        if horizon is not None and job.last_write is None and (job.rank, job.number) >= horizon:
            self._let_go(service, job)
            return
        service.push(job)
        self._take_in(service, job)
        self.trim(service, job.group)

    def settled(self, job: Job) -> None:
        """What was written of a job that waits or is scheduled is on disk: now it can be let go."""
        service = self._services[job.service]
        if job.state == WAITING:
            self.trim(service, job.group)
        elif job.state == SCHEDULED and job.id in service.scheduled:
            agenda = self._agendas[job.by_wall]
            if self._is_full(agenda):
                del service.scheduled[job.id]
                agenda.here -= 1
                self._let_go_scheduled(service, job)

    def trim(self, service: Service, name: str | None) -> None:
        """Keep to the window: the last of the group that has grown go, two for each that comes.

        One would not do: at times none can go, for a write of the last is under way. All at once would
        throw a page out that has just come in.
        """
        limits = self.turn.limits
        for _ in range(2):
            if service.held <= limits.window_jobs_max and service.held_bytes <= limits.window_bytes_max:
                return
            job = service.let_go_last(name)
            if job is None:
                return
            del self._stored[job.id]
            self._plan_look()

    def _let_go(self, service: Service, job: Job) -> None:
        del self._stored[job.id]
        service.let_go(job)
        self._plan_look()
        self.want(service, job.group)

    def revived(self, service: Service, job: Job) -> None:
        """A dead letter waits again, in the store: a page brings it."""
        service.let_go(job)
        self._plan_look()
        self.want(service, job.group)
        self.turn.wake(service.name)  # it waits, and for that page

    def want(self, service: Service, name: str | None) -> None:
        """Ask for a group's next page before what is here runs out."""
        group = service.groups.get(name)
        if group is None or group.horizon is None or group.loading:
            return
        limits = self.turn.limits
        share = limits.window_jobs_max // (2 * len(service.groups))
        rows = min(max(share, PAGE_ROWS_MIN), PAGE_ROWS_MAX)
        enough = group.stored.live > rows // 2 or service.held_bytes > limits.window_bytes_max
        if enough and name in service.ready:
            return
        group.loading = True
        bytes_max = limits.window_bytes_max // (2 * len(service.groups))
        asker = (service.name, name)
        self.turn.reads.append(ReadWaiting(asker, service.name, name, group.horizon, rows, bytes_max))

    def waiting_loaded(self, read: ReadWaiting, found: Rows) -> Service:
        """A page has come in; the service may have jobs to give now."""
        service = self._services[read.service]
        for row in found.rows:
            if row["id"] in self._stored:
                continue  # it is here, and has perhaps moved on (a repeat of its insert is no such thing)
            job = self._hold(row)
            service.beyond -= 1
            service.push(job)
            self._take_in(service, job)
        service.came_in(read.group, found.more)
        self.want(service, read.group)
        return service

    def _hold(self, row: Row) -> Job:
        job = job_of(row)
        self._stored[job.id] = job
        return job

    # ------------------------------------------------------------ scheduled jobs

    def scheduled(self, service: Service, job: Job) -> bool:
        """A stored job is scheduled. False if it is left to the store."""
        agenda = self._agendas[job.by_wall]
        if job.last_write is None:
            horizon = agenda.reach.horizon
            if self._is_full(agenda) or (horizon is not None and (job.ready_at, job.number) >= horizon):
                self._let_go_scheduled(service, job)
                return False
        agenda.here += 1
        service.scheduled[job.id] = job
        return True

    def no_longer_scheduled(self, service: Service, job: Job) -> bool:
        """Take a scheduled job that is here out; false if it was not."""
        if service.scheduled.pop(job.id, None) is None:
            return False
        if job.kind == "stored":
            self._agendas[job.by_wall].here -= 1
            self.want_scheduled()
        return True

    def _is_full(self, agenda: _Agenda) -> bool:
        return agenda.here >= self.turn.limits.window_scheduled_max

    def _let_go_scheduled(self, service: Service, job: Job) -> None:
        del self._stored[job.id]
        self._agendas[job.by_wall].reach.lower((job.ready_at, job.number))
        service.scheduled_beyond += 1
        self._plan_look()
        self.want_scheduled()

    def want_scheduled(self) -> None:
        """Ask for the scheduled jobs that are due next, before they are due."""
        for by_wall, agenda in self._agendas.items():
            horizon = agenda.reach.horizon
            if horizon is None or agenda.reach.loading:
                continue
            limits, time = self.turn.limits, self.turn.wall if by_wall else self.turn.steady
            most = limits.window_scheduled_max
            soon = horizon[0] <= time + AHEAD_S and agenda.here < 2 * most
            if soon or agenda.here < most // 2:
                agenda.reach.loading = True
                rows, bytes_max = max(1, min(PAGE_ROWS_MAX, most // 2)), limits.window_bytes_max // 2
                self.turn.reads.append(ReadScheduled("scheduled", by_wall, horizon, rows, bytes_max))

    def scheduled_loaded(self, read: ReadScheduled, found: Rows) -> None:
        """The next page of scheduled jobs has come in."""
        agenda = self._agendas[read.by_wall]
        for row in found.rows:
            if row["id"] in self._stored:
                continue
            service = self._services[row["service"]]
            job = self._hold(row)
            service.scheduled_beyond -= 1
            agenda.here += 1
            service.scheduled[job.id] = job
            self._take_in(service, job)
        agenda.reach.came_in(found.more)
        self.want_scheduled()

    # ------------------------------------------------------------ one out of the store

    def take_out(self, job: Job) -> None:
        """A job that stands in the store alone is to end: from here on memory has a hand on it."""
        service = self._services[job.service]
        self._stored[job.id] = job
        if job.state == WAITING:
            service.beyond -= 1
        else:
            assert job.state == SCHEDULED, job
            service.scheduled_beyond -= 1

    # ------------------------------------------------------------ a look each second

    def _plan_look(self) -> None:
        if not self._look_planned:
            self._look_planned = True
            self.turn.timers.add(self.turn.now + LOOK_INTERVAL_S, self._reminder, None)

    def look(self) -> None:
        """Ask for what has expired in the store, and for what will be due."""
        self._look_planned = False
        self.want_scheduled()
        if any(service.beyond or service.scheduled_beyond for service in self._services.values()):
            self._plan_look()
            if not self._looking:
                self._looking = True
                self._read_expired()

    def expired_loaded(self, found: Rows) -> list[Job]:
        """Those that have expired in the store alone; memory has a hand on them now."""
        self._looking = False
        late = []
        for row in found.rows:
            if row["id"] not in self._stored:
                job = job_of(row)
                job.light = True
                self.take_out(job)
                late.append(job)
        if late and found.more is not None:
            # In order with the writes, and so behind the ends of these.
            self._looking = True
            self._read_expired()
        return late

    def _read_expired(self) -> None:
        # Those that are here go by their own timers, and could fill a page after a suspend.
        rows = LOOK_ROWS_MAX + len(self._stored)
        self.turn.reads.append(ReadExpired("expired", self.turn.steady, rows))

    # ------------------------------------------------------------ after a restart

    def recover(
        self, waiting: list[tuple[Service, str | None, int]], scheduled: list[tuple[Service, int]]
    ) -> None:
        """What an earlier run left in the store: each group's first page is asked for."""
        for service, name, count in waiting:
            service.beyond += count
            service.groups[name] = Group(ALL_IN_STORE)
            self.turn.wake(service.name)
        for service, name, _ in waiting:
            self.want(service, name)
        for service, count in scheduled:
            service.scheduled_beyond += count
        for agenda in self._agendas.values():
            agenda.reach.horizon = ALL_IN_STORE if scheduled else None
        if waiting or scheduled:
            self._plan_look()
        self.want_scheduled()
