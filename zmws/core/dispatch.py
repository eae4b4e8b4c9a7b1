"""Jobs to takers: round-robin, within the limits on starts (docs/architecture.md).

Rule 1: events wake services; when the change is made, each woken service is dispatched. Nothing is dispatched
        in the middle of a change.
Rule 2: while nobody can begin what waits, jobs are sent ahead to who is about to be free (ahead.py); but no
        suspect, none that may run only once, and none past such a one.
Rule 3: a suspect, whose worker died with it, is given only to a taker with nothing in hand, and is alone
        there. While one finds none, the worker that holds least, none of it hung, is given nothing new until
        it is empty: so a poison job ends after its own retries, and takes no other with it.
"""

from __future__ import annotations

from zmws.core.held import Held
from zmws.core.job import Job
from zmws.core.life import Life
from zmws.core.reasons import MAX_RUNNING, NO_WORKER, NOTHING, PAUSED, RATE, READING, SLOTS, SUSPECT
from zmws.core.service import Service
from zmws.core.taker import Taker
from zmws.core.timers import Reminder
from zmws.core.turn import Turn


class Dispatch:
    """Pairs what waits with who waits."""

    def __init__(self, turn: Turn, held: Held, life: Life) -> None:
        self.turn = turn
        self.stopping = False
        self.held = held
        self.life = life
        self._allowed = Reminder(self._on_allowed)

    def settle(self) -> None:
        """Dispatch what was woken, until nothing is. A broker that stops gives nobody a job."""
        woken = self.turn.woken
        if self.stopping:
            woken.clear()
        while woken:
            name = next(iter(woken))
            del woken[name]
            service = self.held.services.get(name)
            if service is None:
                continue
            ring, clocks = service.ring, service.clocks
            if service.ready or service.parked or ring.reserved or (ring.overdue and ring):
                self._dispatch(service)
            if clocks is None:
                continue
            if not (service.groups or service.parked):
                reason = NOTHING
            elif clocks.reason == SLOTS and _all_busy(service):
                continue  # as it was, and mostly is
            else:
                reason = why_waits(service, self.turn.now)
            if reason != clocks.reason:
                clocks.turn_to(reason, self.turn.steady)

    def _on_allowed(self, service: Service) -> None:
        """The rate allows another start."""
        service.start_timer_at = None
        self.turn.wake(service.name)

    def _dispatch(self, service: Service) -> None:
        """Give waiting jobs to waiting takers, as far as both reach and the limits allow."""
        life, ring = self.life, service.ring
        while (service.ready or service.parked) and ring:
            if not self._may_start(service, 0):
                break
            if service.parked:
                alone = self._next(service, alone=True)
                if alone is not None:
                    job = service.unpark()
                    if not life.expire_if_late(job, in_queue=False):
                        self._start(service, job, alone)
                    continue
                if not self._may_start(service, 1):
                    break  # the last start that the limits allow is the suspect's
            taker = self._next(service, alone=False)
            if taker is None:
                break
            job_or_none = service.pop()
            if job_or_none is None:
                break
            job = job_or_none
            life.backlog.want(service, job.group)
            if life.expire_if_late(job, in_queue=False):
                continue
            if taker.holding and job.suspect:
                service.park(job)
                continue
            self._start(service, job, taker)
        if service.parked or ring.reserved is not None:
            self._reserve(service)
        elif service.ready and ring.ahead:
            self._send_ahead(service)
        elif ring.overdue and ring:
            self._take_back(service)

    def _send_ahead(self, service: Service) -> None:
        """Nobody can begin what waits: give it to who will in a moment (ahead.py)."""
        life = self.life
        expected_s = service.run_time.expected_s
        if expected_s is None:
            return
        while service.ready and self._may_start(service, 0):
            head = service.head()
            if head.retries == 0 or head.suspect:
                return
            taker = self._first_ahead(service, expected_s)
            if taker is None:
                return
            job = service.pop()
            assert job is head, head
            life.backlog.want(service, job.group)
            if not life.expire_if_late(job, in_queue=False):
                self.turn.counters["sent_ahead"] += 1
                self._start(service, job, taker)

    def _first_ahead(self, service: Service, expected_s: float) -> Taker | None:
        """Who takes a job ahead, of those with the fewest in hand."""
        ahead = service.ring.ahead
        while (taker := ahead.first()) is not None:
            if taker.takes_ahead(service.name, expected_s):
                return taker
            ahead.drop(taker)  # until it has moved
        return None

    def _take_back(self, service: Service) -> None:
        """What lies with a worker that does not come to it, though it was sent ahead, goes to who is free."""
        overdue = service.ring.overdue
        while overdue and self._next(service, alone=False) is not None:
            assignment = next(iter(overdue.values()))
            del overdue[assignment.token]
            job, taker = assignment.job, assignment.taker
            if job is None or taker is None:
                continue
            self.turn.counters["taken_back"] += 1
            self.life.give_back(job, "it was sent ahead, and its worker did not come to it")
            taker.let_lie(assignment)
            return  # it is given away when this is done

    def _may_start(self, service: Service, kept: int) -> bool:
        """Whether the limits allow a start now, beside `kept` others; if a time does, be reminded of it."""
        turn = self.turn
        at = service.may_start_at(turn.now, kept)
        if (
            at is not None
            and at > turn.now
            and (service.start_timer_at is None or at < service.start_timer_at)
        ):
            service.start_timer_at = at
            turn.timers.add(at, self._allowed, service)
        return at is not None and at <= turn.now

    def _start(self, service: Service, job: Job, taker: Taker) -> None:
        self.life.start(service, job, taker)
        taker.go_to_the_tail(service.ring)

    def _next(self, service: Service, alone: bool) -> Taker | None:
        """The taker that has waited longest. `alone`: of those with nothing in hand."""
        now = self.turn.now
        for taker in service.ring:
            if taker.blocked_until > now or taker.stalled or (alone and taker.holding):
                continue
            if taker.reserved is None or taker.reserved is service.ring:
                return taker
        return None

    def _reserve(self, service: Service) -> None:
        """Keep a worker free for what is parked, or let it go again."""
        ring, reserved, now = service.ring, service.ring.reserved, self.turn.now
        at = service.may_start_at(now) if service.parked else None
        wanted = at is not None and at <= now
        if reserved is not None and not (wanted and reserved in ring.workers and reserved.can_be_emptied):
            ring.reserved = reserved.reserved = None
            reserved.stand_in_line()  # no one that is gone has room
            reserved = None
        if not wanted or reserved is not None:
            return
        workers = [worker for worker in ring.workers if worker.reserved is None and worker.can_be_emptied]
        if workers:
            chosen = min(workers, key=lambda worker: len(worker.holding))
            ring.reserved, chosen.reserved = chosen, ring
            chosen.stand_in_line()
        elif ring.workers:
            text = f"jobs of {service.name} that lost their worker wait for one with nothing in hand"
            self.turn.note_rarely(f"parked {service.name}", "warning", f"{text}, and none can get empty")


def _all_busy(service: Service) -> bool:
    """Whether jobs wait for nothing but a free slot. True only if `why_waits` would say SLOTS."""
    ring = service.ring
    if ring or not service.ready or service.paused or not ring.workers:
        return False
    return service.options.max_running is None


def why_waits(service: Service, now: float) -> int:
    """Why what waits does not start, when all that can be given has been."""
    if not (service.ready or service.parked):
        return READING if service.waiting_count else NOTHING
    ring = service.ring
    if service.paused:
        return PAUSED
    if not (ring or ring.workers):
        return NO_WORKER
    limit = service.options.max_running
    if limit is not None and len(service.running) >= limit:
        return MAX_RUNNING
    if ring and service.options.rate is not None:
        at = service.may_start_at(now)
        if at is not None and at > now:
            return RATE
    return SLOTS if service.ready else SUSPECT
