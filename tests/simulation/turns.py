"""Whose turn it is: workers, groups and jobs in their order, within the limits on starts, and no slot idle
while a job waits (docs/architecture.md, Dispatch)."""

from __future__ import annotations

from dataclasses import dataclass

from tests.simulation.violation import demand
from tests.simulation.world import World
from tests.store.model import ModelStore
from zmws.core.broker import Broker
from zmws.core.job import Job
from zmws.core.lease import Lease
from zmws.core.options import ServiceOptions
from zmws.core.service import Service
from zmws.core.session import Session
from zmws.core.states import WAITING
from zmws.core.taker import Assignment, Ring, Taker
from zmws.wire.messages import WorkerRequest

Held = dict[bytes, Job | None]  # what a session holds, by token: None is a job that is over


@dataclass
class Before:
    """How it was before an input."""

    rings: dict[str, list[Taker]]
    ready: dict[str, set[str | None]]
    parked: set[str]
    tokens: set[bytes]
    sessions: dict[Session, Held]
    sends: int
    expired: int
    ahead: set[str]  # jobs that were sent ahead: a worker had them
    unsent: list[tuple[Job, int]]  # jobs whose REQUEST waits for the disk, each with its attempt


def suspect(job: Job) -> bool:
    """Whether the last attempt that was begun ended with its worker's death, as the record tells."""
    for attempt in reversed(job.attempts):
        code = attempt.get("error", {}).get("code")
        if code != "given_back":
            return bool(code == "worker_lost")
    return False


class Turns:
    """Looks at every start of a job."""

    def __init__(self, world: World, services: dict[str, ServiceOptions]) -> None:
        self.world, self.services = world, services
        self.paused: set[str] = set()  # as operators were told
        self.restarted()

    def restarted(self) -> None:
        """A new broker: who waited, and what a rate has saved up, is forgotten."""
        self._count = 0
        self._since: dict[tuple[Taker, str], int] = {}  # when it got a job last, or came
        self._turn: dict[tuple[str, str | None], int] = {}  # when a group had its last turn
        self._ready_since: dict[tuple[str, str | None], int] = {}
        self._allowance: dict[str, tuple[float, float]] = {}
        self.started: set[bytes] = set()  # tokens that the last input has started

    def before(self, core: Broker) -> Before:
        """To be looked at again when the input is done."""
        services, sessions = core.held.services, core.roster.sessions.by_peer.values()
        return Before(
            {name: list(service.ring) for name, service in services.items()},
            {name: set(service.ready) for name, service in services.items()},
            {job_id for service in services.values() for job_id in service.parked},
            set(core.held.assignments),
            {session: {t: a.job for t, a in session.holding.items()} for session in sessions},
            len(core.turn.sends),
            core.turn.counters["jobs_expired"],
            {a.job_id for a in core.held.assignments.values() if a.ahead},
            [(a.job, a.job.attempt) for a in core.held.assignments.values() if a.unsent and a.job],
        )

    def after(self, core: Broker, before: Before, disk: ModelStore) -> None:
        """The input is done, and what it woke is dispatched."""
        for job, attempt in before.unsent:
            if job.state == WAITING and job.attempt < attempt:
                self.taken_back(job.service)  # its worker takes nothing any more: it never left
        fresh = [(t, a) for t, a in core.held.assignments.items() if t not in before.tokens]
        starts = self._starts(core, before, fresh) if fresh else []
        self._who_came(core, before, starts)
        self.started = {start.token for start in starts}
        for start in starts:
            service, job = core.held.services[start.service], start.job
            assert job is not None and start.taker is not None, start
            drained = isinstance(start.taker, Session) and start.taker.draining
            demand(not drained, f"{start.taker.name} was drained, and is given {job.id}")
            self._within_limits(core, service)
            if not start.ahead:
                self._waited_longest(start.taker, service, job, before.rings[service.name])
            if job.id not in before.parked:
                self._first_of_its_group(core, service, job, before.ahead, disk)
        self._groups(core, before, starts)
        for name, service in core.held.services.items():
            self._nothing_idle(service)
            if starts:
                # Who came and who was given a job within one input stand in the order in which that was.
                was = set(before.rings.get(name, ()))
                given = {start.taker for start in starts if not start.ahead}
                for taker in service.ring:
                    if taker not in was or taker in given:
                        self._since[taker, name] = self._tick()

    def _starts(
        self, core: Broker, before: Before, fresh: list[tuple[bytes, Assignment]]
    ) -> list[Assignment]:
        """Of the tokens that are new those that were given out, in order: the others were adopted."""
        sends = core.turn.sends[before.sends :]
        requests = {send.message.token for send in sends if isinstance(send.message, WorkerRequest)}
        return [a for token, a in fresh if token in requests or a.unsent or isinstance(a.taker, Lease)]

    # ------------------------------------------------------------ workers

    def _tick(self) -> int:
        self._count += 1
        return self._count

    def _who_came(self, core: Broker, before: Before, starts: list[Assignment]) -> None:
        for name, service in core.held.services.items():
            was = set(before.rings.get(name, ()))
            if not starts and was.issuperset(service.ring):
                continue
            came = [taker for taker in service.ring if taker not in was]
            given = [s.taker for s in starts if s.service == name and not s.ahead]
            came += [taker for taker in given if taker and taker not in was]
            for taker in came:
                self._since[taker, name] = self._tick()

    def _waited_longest(self, taker: Taker, service: Service, job: Job, ring: list[Taker]) -> None:
        """Round-robin: of all that could have been given this job, it had waited longest."""
        since = self._since[taker, service.name]
        for other in ring:
            if (
                other is taker
                or other not in service.ring
                or not can_be_given(other, service.ring, self.world.now)
            ):
                continue
            if suspect(job) and other.holding:
                continue
            demand(
                self._since[other, service.name] > since,
                f"round-robin of {service.name}: {other.name} had waited longer than {taker.name}",
            )
        for each in taker.rings:
            self._since[taker, each.service] = self._tick()

    def _nothing_idle(self, service: Service) -> None:
        """No job waits while somebody waits for one, and the limits allow it."""
        if not (service.ready or service.parked):
            return
        at = service.may_start_at(self.world.now)
        if at is None or at > self.world.now:
            return
        timer = service.start_timer_at
        if timer is not None and timer <= self.world.now + 1e-6:
            return  # the rate allows it at this very moment, and the reminder of that is to come
        gives = any(group.next() is not None for group in service.ready.values())
        # The last start that the limits allow is the parked suspect's, which waits for an empty worker.
        kept = service.may_start_at(self.world.now, kept=1) if service.parked else at
        gives = gives and kept is not None and kept <= self.world.now
        for taker in service.ring:
            if not can_be_given(taker, service.ring, self.world.now):
                continue
            demand(not gives, f"{taker.name} has a free slot while a job of {service.name} waits")
            alone = service.parked and not taker.holding
            demand(not alone, f"{taker.name} holds nothing, and a suspect of {service.name} waits")

    # ------------------------------------------------------------ limits

    def _within_limits(self, core: Broker, service: Service) -> None:
        name, options = service.name, self.services.get(service.name)
        demand(name not in self.paused, f"a job of {name} was started, which is paused")
        if options is None:
            return
        if options.max_running is not None:
            running = sum(one.service == name for one in core.held.assignments.values())
            demand(running <= options.max_running, f"{running} jobs of {name} run: more than max_running")
        if options.rate is not None:
            left = self._allowed(name, options.rate) - 1.0
            demand(left > -1e-6, f"jobs of {name} start faster than its rate")
            self._allowance[name] = (left, self.world.now)

    def _allowed(self, name: str, rate: float) -> float:
        """How many starts the rate allows now: a second's worth may be saved up, and not less than one."""
        most = max(1.0, rate)
        left, at = self._allowance.get(name, (most, self.world.now))
        return min(most, left + (self.world.now - at) * rate)

    def taken_back(self, service: str) -> None:
        """A dispatch was released: the rate has its start again."""
        options = self.services.get(service)
        if options is not None and options.rate is not None:
            left = self._allowed(service, options.rate) + 1.0
            self._allowance[service] = (min(max(1.0, options.rate), left), self.world.now)

    # ------------------------------------------------------------ groups, and the order within them

    def _groups(self, core: Broker, before: Before, starts: list[Assignment]) -> None:
        """Groups with waiting jobs take turns."""
        for name, service in core.held.services.items():
            was, now = before.ready.get(name, set()), set(service.ready)
            # A job that expires, or is parked, at the head of its group has its turn too.
            expired = core.turn.counters["jobs_expired"] != before.expired
            lost = expired or not before.parked >= set(service.parked)
            given = {start.job.group for start in starts if start.service == name and start.job is not None}
            for group in now | was | given:
                if lost or group not in was or group not in now:
                    self._ready_since[name, group] = self._tick()
            if lost:  # whose turn that was is not known here: all begin anew
                self._turn = {key: turn for key, turn in self._turn.items() if key[0] != name}
                continue
            for start in starts:
                if start.service == name and start.job is not None and start.job.id not in before.parked:
                    self._its_turn(name, start.job.group, was & now)

    def _its_turn(self, name: str, group: str | None, ready: set[str | None]) -> None:
        last = self._turn.get((name, group), 0)
        if self._ready_since.get((name, group), 0) < last:
            for other in ready - {group}:
                stood = max(self._ready_since.get((name, other), last), self._turn.get((name, other), 0))
                demand(
                    stood >= last, f"group {group!r} of {name} had two turns, and {other!r} none in between"
                )
        self._turn[name, group] = self._tick()

    def _first_of_its_group(
        self, core: Broker, service: Service, job: Job, ahead: set[str], disk: ModelStore
    ) -> None:
        """Within a group the smallest rank goes first, wherever it stands. What was sent `ahead` had gone
        first: it is taken back only when nothing else waits for who is free, so after the start."""
        held, key = core.held, (job.rank, job.number)
        group = service.groups.get(job.group)
        if group is not None:
            for queue in (group.memory, group.stored):
                for other in queue:
                    first = (other.rank, other.number) > key or suspect(job) or other.id in ahead
                    demand(first, f"{job.id} of {service.name} was started before {other.id}")
        if suspect(job):
            return
        for row in disk.rows.values():
            if row["state"] != WAITING or row["service"] != service.name or row["group"] != job.group:
                continue
            if row["concludes"] is not None:
                continue  # the broker may not have been told of it yet
            if (row["rank"], row["number"]) < key:
                other = row["id"]
                here = other in held.stored or other in held.inserting or other in held.reviving
                demand(here, f"{job.id} of {service.name} was started before {other}, in the store alone")


def can_be_given(taker: Taker, ring: Ring, now: float) -> bool:
    """Whether a taker that stands in this ring may be given a job."""
    if taker.blocked_until > now or taker.stalled:
        return False
    return taker.reserved is None or taker.reserved is ring
