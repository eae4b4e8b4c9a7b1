"""A request becomes a job, or is answered why not (docs/options.md, docs/errors.md).

Rule 1: a repeated request is the same job: attached to the running one, handed the kept result, or told
        that it exists.
Rule 2: no limit refuses a request that gives an id before that id has been looked up.
Rule 3: RFC 7 and RFC 18 know no refusal: what such a peer asks beyond a limit is kept, and becomes a job
        when there is room (overflow.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from zmws.core.held import Held
from zmws.core.job import Caller, Job
from zmws.core.keys import Keys
from zmws.core.life import Life
from zmws.core.making import Making
from zmws.core.options import NO_OPTIONS, JobOptions
from zmws.core.reads import ReadJob
from zmws.core.rows import Rows, row_of, size_of
from zmws.core.service import Service
from zmws.core.timers import Reminder
from zmws.core.turn import Turn
from zmws.core.user import public_of
from zmws.core.watchers import Watchers
from zmws.core.writes import DISK_FULL, EXISTING, FULL, NEW, UNIQUE_CONFLICT, InsertJob, Verdict
from zmws.wire import names
from zmws.wire.messages import MDP01, STRICT

LET_IN_MAX = 1_000  # kept requests that become jobs in one turn
LOOK_MAX = 100  # services that are looked at for room in one turn
DRAWN_S = 60.0  # so old, or so far ahead, may an id be that a client has just drawn
LOOK_GAP_S = 0.05  # then the next ones, though nothing happens


@dataclass(slots=True)
class Unsure:
    """A memory job under an id that a stored job may have: the store is asked first."""

    caller: Caller
    service: str
    sync: bool
    options: JobOptions
    body: tuple[bytes, ...]
    expires_s_default: float | None


_DRAWN = re.compile(r"([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z")  # UUIDv7


class Submission:
    """Makes jobs of requests."""

    def __init__(
        self, turn: Turn, held: Held, life: Life, watchers: Watchers, making: Making, keys: Keys
    ) -> None:
        self.turn = turn
        self.held = held
        self.life = life
        self._making = making
        self._keys = keys
        self.watchers = watchers
        self._let_in = Reminder[None](lambda _: None)  # Broker.take does it
        self._look_at = 0.0  # when more services are looked at for room

    def unknown(self, caller: Caller, name: str, job_id: str | None) -> None:
        """Refuse a job of a service that nobody knows."""
        fault = names.service_name_fault(name, caller.reply_to.dialect in (STRICT, MDP01))
        if fault is not None:
            return self.watchers.refuse(caller, name, job_id, "bad_service", fault)
        text = f"no worker ever registered the service '{name}' and no configuration names it"
        return self.watchers.refuse(caller, name, job_id, "unknown_service", text)

    def submit(
        self,
        caller: Caller,
        service: Service,
        sync: bool,
        options: JobOptions,
        body: tuple[bytes, ...],
        expires_s_default: float | None = None,
        together: bool = False,
        looked: bool = False,
    ) -> None:
        """Make the job, or answer why not. The caller is answered now or out of `committed`. `together`: it
        is of the same message as the one before. `looked`: no stored job has its id."""
        caller.by = options.by
        options, not_allowed = self._keys.options_of(caller.peer[2], service.name, options)
        if not_allowed is not None:
            return self.watchers.refuse(caller, service.name, options.id, "not_allowed", not_allowed)
        if options.on_complete is not None or options.on_failed is not None:
            fault = self._end_fault(options)
            if fault is not None:
                return self.watchers.refuse(caller, service.name, options.id, "unknown_service", fault)
        start = self._making.start(service, options, expires_s_default)
        if start.fault is not None:
            return self.watchers.refuse(caller, service.name, options.id, "bad_option", start.fault)
        durability = "memory" if sync else (options.durability or service.options.durability)
        if durability == "memory":
            for name in ("unique", "batch"):
                if getattr(options, name) is not None:
                    text = f"option '{name}' needs a stored job: asynchronous, with durability 'disk'"
                    return self.watchers.refuse(caller, service.name, options.id, "bad_option", text)
            if options.id is not None and self._attached(caller, service, sync, options.id):
                return None
            if options.id is not None and not looked and self._may_be_taken(caller, options.id):
                unsure = Unsure(caller, service.name, sync, options, body, expires_s_default)
                return self.turn.reads.append(ReadJob(unsure, options.id, whole=False))
            text_or_none = self._memory_limit(service, body) or self.held.group_limit(service, options.group)
            over = self._limit(caller)
            if over is None and self._is_kept(caller, service, body, expires_s_default, text_or_none):
                return None
            if over is None and text_or_none is not None:
                over = ("queue_full", text_or_none)
            if over is not None:
                return self._refuse(caller, service, options.id, over)
            job = self._making.job(service, options, body, start, sync=sync, durability=durability)
            job.callers.append(caller)
            job.submitter = self._keys.submitted(caller.peer[2], caller.by, job.body_bytes)
            return self.life.accept_memory(job)
        if options.id is not None and self._repeated(caller, service, options.id, options.batch):
            return None
        refusal = self._stored_limit(caller, service, options) or self._limit(caller)
        if refusal is not None and options.id is None and options.unique is None:
            return self._refuse(caller, service, None, refusal)
        job = self._making.job(service, options, body, start)
        return self.insert(caller, job, refusal, together)

    def looked_up(self, unsure: Unsure, rows: Rows) -> None:
        """Whether the store has a job of the id of a memory job is known."""
        caller, options = unsure.caller, unsure.options
        service = self.held.services.get(unsure.service)
        if rows.fault is not None:
            text = f"the store could not be read: {rows.fault}"
            return self.watchers.refuse(caller, unsure.service, options.id, "broker_fault", text)
        if service is None:
            return self.unknown(caller, unsure.service, options.id)
        if rows.rows:
            text = f"job '{options.id}' exists already, as another kind of job or for another service"
            return self.watchers.refuse(caller, service.name, options.id, "id_conflict", text)
        more = (unsure.expires_s_default, False, True)
        return self.submit(caller, service, unsure.sync, options, unsure.body, *more)

    def _may_be_taken(self, caller: Caller, job_id: str) -> bool:
        """Whether a stored job may have this id, that somebody else would then not find any more. Ids that
        clients draw are new; who may everything, everybody may."""
        if not caller.peer[2] and caller.by is None:
            return False
        drawn = _DRAWN.match(job_id)
        return drawn is None or abs(self.turn.wall - int(drawn[1] + drawn[2], 16) / 1000) > DRAWN_S

    def _end_fault(self, options: JobOptions) -> str | None:
        """Why a service that is to be told of the end cannot be."""
        for option in ("on_complete", "on_failed"):
            name = getattr(options, option)
            service = self.held.services.get(name) if name is not None else None
            if name is not None and (service is None or not service.registered):
                text = f"option '{option}': no worker ever registered the service '{name}'"
                return f"{text} and no configuration names it"
        return None

    def submit_made(self, caller: Caller, job: Job, together: bool) -> None:
        """As `submit`, of a stored job that has been made: the first step of a chain."""
        service = self.held.services[job.service]
        if self._repeated(caller, service, job.id, job.batch, job.chain):
            return None
        options = JobOptions(group=job.group, batch=job.batch)
        refusal = self._stored_limit(caller, service, options) or self._limit(caller)
        return self.insert(caller, job, refusal, together)

    def _refuse(self, caller: Caller, service: Service, job_id: str | None, refusal: tuple[str, str]) -> None:
        code, text = refusal
        self.turn.counters["refused_queue_full"] += code == "queue_full"
        self.watchers.refuse(caller, service.name, job_id, code, text)

    def insert(self, caller: Caller, job: Job, refusal: tuple[str, str] | None, together: bool) -> None:
        """A stored job goes to the store, whose verdict decides. `refusal`: why anything but a repeat of a
        known job is refused. `together`: in one commit with the one before."""
        job.callers.append(caller)
        job.refusal = refusal
        if refusal is None:
            job.submitter = self._keys.submitted(caller.peer[2], caller.by, job.body_bytes)
            if job.submitter is not None:
                self._keys.moved(job.submitter, 1)  # what is under way counts, too
        self.held.inserting[job.id] = job
        self.held.services[job.service].inserting += 1
        write = InsertJob(row_of(job), refusal is not None, together, size=600 + job.body_bytes)
        self.turn.write(write, job)

    # ------------------------------------------------------------ what the store has decided

    def inserted(self, job: Job, answer: Verdict) -> None:
        """The store has decided on an insert."""
        watchers, held = self.watchers, self.held
        callers, job.callers = job.callers, []
        held.services[job.service].inserting -= 1
        if held.inserting.get(job.id) is job:  # else another of the same id came after it
            del held.inserting[job.id]
        if answer.verdict == NEW:
            job.id = answer.job_id  # of what follows from an end it may be the spare one
            self.held.forget_memory(job.id)
            self.life.stored(job)
            for n, caller in enumerate(callers):
                watchers.accepted(job, caller, existing=n > 0)
            return
        if job.submitter is not None and callers:
            self._keys.gave_back(job.submitter, job.body_bytes)
        elif job.submitter is not None:
            self._keys.moved(job.submitter, -1)  # it follows from an end, and used no rate
        for caller in callers:
            if answer.verdict == EXISTING and job.chain != answer.chain and job.chain is not None:
                text = f"job '{job.id}' exists already, and is no step of chain '{job.chain}'"
                watchers.refuse(caller, job.service, job.id, "id_conflict", text)
            elif answer.verdict in (EXISTING, UNIQUE_CONFLICT) and not self._sees(caller, answer.group):
                text = f"job '{job.id}' exists already, or one of its unique key, and is another's"
                watchers.refuse(caller, job.service, job.id, "id_conflict", text)
            elif answer.verdict == EXISTING and answer.service != job.service:
                text = f"job '{job.id}' exists already, for another service"
                watchers.refuse(caller, job.service, job.id, "id_conflict", text)
            elif answer.verdict in (EXISTING, UNIQUE_CONFLICT) and job.batch not in (None, answer.batch):
                self._refuse(caller, held.services[job.service], job.id, _no_member(answer.job_id, job.batch))
            elif answer.verdict in (EXISTING, UNIQUE_CONFLICT):
                self.turn.counters["repeated_requests"] += 1
                # The job that stands for this one may have a write of its own under way.
                holder = held.stored.get(answer.job_id)
                after = holder.last_write if holder is not None else None
                watchers.accepted_as(job.service, answer.job_id, held.durability, caller, after)
            else:
                assert answer.verdict in (FULL, DISK_FULL), answer
                code = "queue_full"
                text = f"{job.service} takes no more jobs: its limit or the store's is reached"
                if answer.verdict == FULL and job.refusal is not None:
                    code, text = job.refusal
                self.turn.counters["refused_queue_full"] += answer.verdict == FULL and code == "queue_full"
                if answer.verdict == DISK_FULL:
                    code, text = "disk_full", "the disk of the job store is full; nothing was accepted"
                watchers.refuse(caller, job.service, job.id if caller.named else None, code, text)

    # ------------------------------------------------------------ repeats

    def _attached(self, caller: Caller, service: Service, sync: bool, job_id: str) -> bool:
        """A repeated memory request is attached to its job, or handed the kept result."""
        other = self.held.stored.get(job_id) or self.held.inserting.get(job_id)
        job = self.held.memory.get(job_id)
        if self._conflicts(caller, service, job_id, job, other):
            return True
        if job is None:
            return False
        self.turn.counters["repeated_requests"] += 1
        if not sync:
            self.watchers.accepted(job, caller, existing=True)
        elif job.final:
            self.watchers.ended(job, caller)
        elif not any(known.same_as(caller) for known in job.callers):
            job.callers.append(caller)
        return True

    def _repeated(
        self,
        caller: Caller,
        service: Service,
        job_id: str,
        batch: str | None,
        chain: str | None = None,
    ) -> bool:
        """A repeated submit of a job in memory is answered from there; the store knows the others."""
        other = self.held.memory.get(job_id)
        inserting = self.held.inserting.get(job_id)
        if inserting is not None and (inserting.service != service.name or inserting.refusal is not None):
            inserting = None  # which of the two is known already, only the store can tell
        job = inserting or self.held.stored.get(job_id)
        if self._conflicts(caller, service, job_id, job, other):
            return True
        if job is None:
            return False
        self.turn.counters["repeated_requests"] += 1
        if chain is not None and job.chain != chain:
            text = f"job '{job_id}' exists already, and is no step of chain '{chain}'"
            self.watchers.refuse(caller, service.name, job_id, "id_conflict", text)
        elif batch is not None and job.batch != batch:
            self._refuse(caller, service, job_id, _no_member(job_id, batch))
        elif inserting is not None:
            # Whether the original is accepted, only its commit knows.
            if not any(known.same_as(caller) for known in inserting.callers):
                inserting.callers.append(caller)
        else:
            self.watchers.accepted(job, caller, existing=True)
        return True

    def _conflicts(
        self, caller: Caller, service: Service, job_id: str, job: Job | None, other: Job | None
    ) -> bool:
        """Refuse an id that another service's or tenant's job has, or a live job of the other kind."""
        fits = job is None or (job.service == service.name and self._sees(caller, job.group))
        if (other is None or other.final) and fits:
            return False
        text = f"job '{job_id}' exists already, as another kind of job or for another service"
        self.watchers.refuse(caller, service.name, job_id, "id_conflict", text)
        return True

    def _sees(self, caller: Caller, group: str | None) -> bool:
        return self._keys.may_see(caller.peer[2], caller.by, group)

    def _limit(self, caller: Caller) -> tuple[str, str] | None:
        user = caller.peer[2]
        more = self.held.overflow.count_by[public_of(user)] if user else 0
        return self._keys.limit(user, caller.by, more)

    def _is_kept(
        self,
        caller: Caller,
        service: Service,
        body: tuple[bytes, ...],
        expires_s: float | None,
        limit: str | None,
    ) -> bool:
        """Keep a strict peer's request that no limit lets in, or that stands behind such."""
        overflow = self.held.overflow
        if limit is None and not (overflow and service.name in overflow):
            return False
        if caller.reply_to.dialect not in (STRICT, MDP01):
            return False
        if size_of(body) > self.turn.limits.waiting_memory_bytes_max:
            return False  # there will never be room
        self.turn.counters["strict_requests_held"] += 1
        self._keys.submitted(caller.peer[2], caller.by, size_of(body))
        overflow.add(service.name, caller.peer, (body, caller.reply_to, self.turn.steady, expires_s))
        return True

    def let_in(self) -> None:
        """What was kept becomes jobs, as far as there is room again."""
        overflow, left = self.held.overflow, LET_IN_MAX
        for name in overflow.services(LOOK_MAX):
            service = self.held.service_of(name)
            while left and (kept := overflow.first(name)) and self._memory_limit(service, kept[0]) is None:
                left -= 1
                peer, (body, reply_to, since, expires_s) = overflow.take(name)
                start = self._making.start(service, NO_OPTIONS, expires_s)
                job = self._making.job(service, NO_OPTIONS, body, start, sync=True, durability="memory")
                if job.expires_at is not None:
                    job.expires_at -= self.turn.steady - since  # it counts from the request
                job.callers.append(Caller(peer, reply_to))
                job.submitter = self._keys.name_of(peer[2])
                self.life.accept_memory(job)
        if not left:
            self.turn.timers.add(self.turn.now, self._let_in, None)  # the rest with the next turn
        elif len(overflow) > LOOK_MAX and self._look_at <= self.turn.now:
            self._look_at = self.turn.now + LOOK_GAP_S
            self.turn.timers.add(self._look_at, self._let_in, None)

    def _memory_limit(self, service: Service, body: tuple[bytes, ...]) -> str | None:
        limits = self.turn.limits
        most = service.options.max_waiting or limits.waiting_memory_max
        if service.waiting_memory >= most:
            return f"{most} jobs wait for {service.name} already (max_waiting)"
        if self.held.unfinished_memory_bytes + size_of(body) > limits.waiting_memory_bytes_max:
            return f"unfinished memory jobs hold {self.held.unfinished_memory_bytes} bytes already"
        return None

    def _stored_limit(self, caller: Caller, service: Service, options: JobOptions) -> tuple[str, str] | None:
        """Why it is refused, as a code and a text, unless it is a repeat."""
        if options.batch is not None:
            batch = self.held.open_batches.get(options.batch)
            if batch is None:
                text = f"there is no open batch '{options.batch}': it was closed, or never opened (zmws.open)"
                return "batch_closed", text
            fault = self._keys.joining_fault(caller.peer[2], caller.by, batch)
            if fault is not None:
                return "not_allowed", fault
        most = service.options.max_waiting
        if most is not None and service.waiting_count + service.inserting >= most:
            return "queue_full", f"{most} jobs wait for {service.name} already (max_waiting)"
        text_or_none = self.held.group_limit(service, options.group)
        return None if text_or_none is None else ("queue_full", text_or_none)


def _no_member(job_id: str, batch: str | None) -> tuple[str, str]:
    text = f"job '{job_id}' exists already, and is no member of batch '{batch}'; it cannot become one"
    return "not_a_member", text
