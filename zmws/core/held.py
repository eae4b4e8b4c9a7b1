"""What memory holds: the jobs by id and by token, the services by name.

Rule 1: a stored job is here while the core has a hand on it, a memory job until it is forgotten; what is on
        its way to the store stands apart, for it may be the repeat of another job.
Rule 2: a token is live while its job runs under it, and then it is here.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable
from itertools import chain
from typing import Any

from zmws.core.figures import OTHER, Figures
from zmws.core.job import Job
from zmws.core.options import LIMITS, ServiceOptions, option, worker_options
from zmws.core.overflow import Overflow
from zmws.core.reasons import NOTHING, Clocks
from zmws.core.rows import KnownBatch, KnownService
from zmws.core.service import Service
from zmws.core.taker import Assignment
from zmws.core.turn import Turn
from zmws.core.writes import ForgetService, RememberService, Write
from zmws.errors import OptionError


class Held:
    """Every job that is not final on disk, and the services they belong to."""

    def __init__(self, turn: Turn, configured: dict[str, ServiceOptions], durability: str) -> None:
        """`configured`: the services that the settings name. `durability`: what a stored job's
        acknowledgement says."""
        self.turn = turn
        self.durability = durability
        self.services: dict[str, Service] = {}
        self.memory: dict[str, Job] = {}
        self.stored: dict[str, Job] = {}
        self.inserting: dict[str, Job] = {}  # its insert is not yet committed; a repeat, perhaps
        self.reviving: set[str] = set()  # ended jobs whose revival is not yet committed
        self.assignments: dict[bytes, Assignment] = {}  # by live token
        self.open_batches: dict[str, KnownBatch] = {}  # to which clients may add
        self.scheduled_services: set[str] = set()  # of which schedules make jobs
        self.overflow = Overflow(turn)
        self._own_figures = 0  # services with figures of their own
        # Of these, those of services that are here no more, until they are written (series.py).
        self.gone: dict[str, tuple[Figures, Clocks]] = {}
        self.history: deque[tuple[str, str, str, float, int]] = deque(maxlen=turn.limits.history_max)
        self.unfinished_memory_bytes = 0
        self.last_number = 0
        self.other = Figures()  # of all services that have none of their own (series.py)
        for name, options in configured.items():
            self.new_service(name, options).registered = True
        self._configured = frozenset(configured)

    # ------------------------------------------------------------ jobs

    def find(self, job_id: str) -> Job | None:
        """A job of either kind, memory jobs first. Not what is on its way to the store."""
        return self.memory.get(job_id) or self.stored.get(job_id)

    def forget_memory(self, job_id: str) -> None:
        """A stored job has the id of a memory job: of one that has ended nothing is told any more."""
        job = self.memory.get(job_id)
        if job is not None and job.final:
            del self.memory[job_id]

    def live(self, token: bytes) -> Job | None:
        """The running job whose live token this is."""
        assignment = self.assignments.get(token)
        return assignment.job if assignment is not None else None

    def assignment_of(self, job: Job) -> Assignment | None:
        """In whose hands a job is, None if it does not run."""
        return self.assignments.get(job.token) if job.token is not None else None

    def next_number(self) -> int:
        """The order among jobs of one rank."""
        self.last_number += 1
        return self.last_number

    def waiting(self) -> Iterable[Job]:
        """All jobs here that wait or are scheduled."""
        services = self.services.values()
        return chain.from_iterable((*s.waiting(), *s.scheduled.values()) for s in services)

    def group_limit(self, service: Service, group: str | None) -> str | None:
        """Why no job of this group may wait for the service, None if one may."""
        limits = self.turn.limits
        if group is None or service.knows_group(group):
            return None
        if len(service.groups) >= limits.groups_max:
            return f"{limits.groups_max} groups of {service.name} have waiting jobs already (groups_max)"
        if service.held_bytes > 2 * limits.window_bytes_max:
            # Each group's first job is held in memory, however large.
            return f"the first jobs of the groups of {service.name} fill its memory (window_bytes_max)"
        return None

    # ------------------------------------------------------------ services

    def service_of(self, name: str) -> Service:
        """The service of a job's record, known or not."""
        return self.services.get(name) or self.new_service(name)

    def new_service(self, name: str, options: ServiceOptions | None = None) -> Service:
        """A service that is not here yet. As many as may have figures of their own; one that is called as the
        others are together is one of them."""
        figures: Figures = self.other
        clocks: Clocks | None = None
        if name in self.gone:
            figures, clocks = self.gone.pop(name)
        elif name != OTHER and self._own_figures < self.turn.limits.series_services_max:
            self._own_figures += 1
            figures, clocks = Figures(), Clocks()
        service = self.services[name] = Service(name, options, figures, clocks)
        return service

    def is_written(self, name: str) -> None:
        """All that a service which is gone has counted is written: another may count in its place."""
        del self.gone[name]
        self._own_figures -= 1

    def known(self, name: str) -> Service:
        """The service of a job out of the store that has not ended, for which it was accepted."""
        service = self.service_of(name)
        service.registered = True
        return service

    @property
    def full(self) -> bool:
        """Whether there are as many services as may be."""
        return len(self.services) >= self.turn.limits.services_max

    def register(self, name: str) -> Service | None:
        """The service a worker registers; from now on it is known. None if there are too many."""
        if name not in self.services and self.full:
            return None
        service = self.service_of(name)
        if not service.registered:
            service.registered = True
            self.remember(service, None)
        return service

    def remember(self, service: Service, paused: bool | None) -> Write:
        """A service, and whether an operator paused it, survive a restart."""
        write = RememberService(service.name, paused)
        self.turn.write_for(write, None)
        return write

    def told(self, service: Service, defaults: dict[str, Any] | None, params: dict[str, Any] | None) -> None:
        """What a worker says of a service's jobs, checked: the newest READY that says so stands, also after a
        restart and without the worker. None changes nothing."""
        write = RememberService(service.name)
        if defaults is not None and defaults != service.defaults:
            service.take_defaults(defaults)
            write.defaults = json.dumps(defaults)
        schema = None if params is None else json.dumps(params)
        if schema is not None and schema != service.params:
            service.params = write.params = schema
        if write.defaults is not None or write.params is not None:
            write.size += len(write.params or "")
            self.turn.write_for(write, None)

    def recall(self, known: KnownService) -> None:
        """A service that an earlier run knew, as it left it."""
        service = self.known(known.name)
        if known.paused is not None:
            service.paused = known.paused
        service.params = known.params
        self._recall_limits(service, known.limits)
        try:
            service.take_defaults(worker_options(json.loads(known.defaults or "{}")))
        except OptionError as wrong:  # the configuration is another by now, or the program
            service.defaults = None
            text = f"what a worker told of {known.name} before is left out: {wrong}"
            self.turn.note("warning", text)

    def _recall_limits(self, service: Service, limits: str | None) -> None:
        for name, value in json.loads(limits or "{}").items():
            try:
                service.limit(service.limited | {name: option(name, LIMITS[name], value)})
            except (KeyError, OptionError) as wrong:  # the program is another by now
                text = f"what an operator set of {service.name} before is left out: {wrong}"
                self.turn.note("warning", text)

    def limit(self, service: Service, limited: dict[str, Any]) -> Write:
        """What an operator sets of a service survives a restart."""
        service.limit(limited)
        write = RememberService(service.name, limits=json.dumps(limited))
        self.turn.write_for(write, None)
        return write

    def forget(self, service: Service) -> Write:
        """It is unknown from now on, until a worker registers it again."""
        service.registered = False
        service.limit({})
        service.take_defaults({})
        service.params = None
        service.paused = service.options.paused
        self.drop_if_unused(service)
        write = ForgetService(service.name)
        self.turn.write_for(write, None)
        return write

    def why_needed(self, service: Service) -> str | None:
        """What keeps a service from being forgotten, None if nothing does."""
        if service.name in self._configured:
            return "the settings name it"
        if service.name in self.scheduled_services:
            return "a schedule makes jobs of it"
        if service.ring.workers or service.ring:
            return "a worker serves it, or somebody waits for a lease of its jobs"
        if service.unfinished_count or service.name in self.overflow:
            return "it has jobs that have not ended"
        return None

    def drop_if_unused(self, service: Service) -> None:
        """A service that only a strict request named is forgotten with its last job, and one that an operator
        has forgotten with the last record."""
        if service.forgotten and not any(service.ended.values()) and service.name not in self.overflow:
            known = self.services.pop(service.name, None)
            if known is not None and known.clocks is not None:
                known.clocks.turn_to(NOTHING, self.turn.steady)
                self.gone[known.name] = (known.figures, known.clocks)
