"""What a new job has of the options that it does not tell itself: the configuration's, else those that the
newest READY told, else the built-in ones.

A crash may undo what a READY told and was not on disk: until the next READY, or the next job that shows which
it is, any that was told since all was on disk may hold.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from tests.simulation.violation import demand
from zmws.core.broker import Broker
from zmws.core.job import Job
from zmws.core.options import ServiceOptions
from zmws.wire.messages import ClientRequest, Ready

BUILT_IN = {"retries": 3, "ttr": 3600.0, "backoff": 2.0, "keep": None, "priority": 0}

Told = dict[str, Any]


class Defaults:
    """Follows READYs and requests, and looks at each job that is made."""

    def __init__(self, services: dict[str, ServiceOptions]) -> None:
        self._given = {
            name: {one: value for one, value in options.values().items() if value != BUILT_IN.get(one)}
            for name, options in services.items()
        }
        self._told: defaultdict[str, list[Told]] = defaultdict(lambda: [{}])  # the newest last
        self._unsure: set[str] = set()  # services of which any of these may hold
        self._asked: dict[str, Told] = {}  # by job id
        self._seen: dict[str, Job] = {}

    def ready(self, message: Ready) -> None:
        """A READY has been taken."""
        services = message.info.services if message.info is not None else None
        for name, service in (services or {}).items():
            if service.defaults is not None:
                self._told[name].append(service.defaults)
                self._unsure.discard(name)

    def requested(self, message: ClientRequest) -> None:
        """A request has come: the options that its jobs tell."""
        jobs = [json.loads(message.options)] if message.options else []
        if message.service == "zmws.submit":
            jobs = json.loads(message.body[0])
            jobs += [job["chain"][0] | {"id": f"{job['id']}:1"} for job in jobs if "chain" in job]
        self._asked.update((job["id"], job) for job in jobs if isinstance(job, dict) and "id" in job)

    def settled(self) -> None:
        """All that the broker has written is on disk."""
        for name, told in self._told.items():
            if name not in self._unsure:
                del told[:-1]

    def crashed(self) -> None:
        self._seen.clear()
        self._unsure |= {name for name, told in self._told.items() if len(told) > 1}

    def made(self, core: Broker) -> None:
        """Look at the jobs that have been made."""
        for jobs in (core.held.inserting, core.held.memory):
            for job in jobs.values():
                follows = job.parent is not None or job.id.startswith("cron:")
                if self._seen.get(job.id) is not job and not follows:
                    self._seen[job.id] = job
                    self._look(job)

    def _look(self, job: Job) -> None:
        own, given = self._asked.get(job.id, {}), self._given.get(job.service, {})
        told = self._told[job.service]
        has = {name: getattr(job, name) for name in BUILT_IN}
        may = told if job.service in self._unsure else told[-1:]
        fits = [one for one in may if has == {n: _first(n, own, given, one, BUILT_IN) for n in BUILT_IN}]
        demand(bool(fits), f"{job.id} of {job.service} has {has}; it told {own}, and workers {may}")
        if job.service in self._unsure:
            told[:] = fits


def _first(name: str, *places: Told) -> Any:
    """The value in the first of these that has one."""
    return next(place[name] for place in places if name in place)
