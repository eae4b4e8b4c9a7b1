"""Jobs to takers: round-robin, within the limits on starts (docs/architecture.md).

Rule 1: events wake services; when the change is made, each woken service is dispatched. Nothing is dispatched
        in the middle of a change.
Rule 2: a suspect, whose worker died with it, is given only to a taker with nothing in hand, and is alone
        there. While one finds none, the worker that holds least, none of it hung, is given nothing new until
        it is empty: so a poison job ends after its own retries, and takes no other with it.
"""

from __future__ import annotations

from zmws.core.held import Held
from zmws.core.job import Job
from zmws.core.life import Life
from zmws.core.service import Service
from zmws.core.taker import Taker
from zmws.core.timers import Reminder
from zmws.core.turn import Turn


class Dispatch:
    """Pairs what waits with who waits."""

    def __init__(self, turn: Turn, held: Held, life: Life) -> None:
        self.turn = turn
        self.held = held
        self.life = life
        self._allowed = Reminder(self._on_allowed)

    def settle(self) -> None:
        """Dispatch what was woken, until nothing is."""
        woken = self.turn.woken
        while woken:
            name = next(iter(woken))
            del woken[name]
            service = self.held.services.get(name)
            if service is not None and (service.ready or service.parked or service.ring.reserved):
                self._dispatch(service)

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
            if taker.blocked_until > now or (alone and taker.holding):
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
