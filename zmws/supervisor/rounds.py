"""The supervisor's rounds: again and again it asks the broker how it is, and acts on what it sees.

Who is ready, who is to be killed (health.py), how many copies there are to be (scaling.py).
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

from zmws.supervisor.broker import own_key
from zmws.supervisor.health import Health
from zmws.supervisor.keeper import Copy, State
from zmws.supervisor.kept import Kept
from zmws.supervisor.processes import GATEWAY, SERVERS
from zmws.supervisor.scaling import Scaling
from zmws.supervisor.vitals import memory_by_session
from zmws.supervisor.watch import Look, Watch

_SCALING_S = 1.0  # while the count of a worker follows what waits
_ANSWER_S = 10.0  # a question takes no longer
_STARTING_S = 0.05  # between two looks, while something is to become ready


class Rounds:
    """Those over what one supervisor keeps. `wake` as for Watch."""

    def __init__(self, kept: Kept, wake: Callable[[], None]) -> None:
        self._kept = kept
        self._watch = Watch(wake)
        self._looked_at = 0.0
        self._hosts: set[str] = set()  # this machine's names, so far
        self._weighed_at = self._scaled_at = 0.0
        given = kept.installation.settings.supervisor
        self._health = Health(given.silence_max, given.ready_timeout)
        self.scaling = Scaling(kept)

    def due(self) -> float | None:
        """When to look next; None while a look goes on, or there is nothing to look at."""
        if self._watch.is_looking or self._kept.is_idle():
            return None
        starting = any(one.state is State.STARTING for one in self._kept.keeper.copies.values())
        return self._looked_at + (min(_STARTING_S, self._interval_s) if starting else self._interval_s)

    def go_on(self, now: float) -> None:
        """Take what was seen, or look, if it is time for that."""
        seen = self._watch.take(now)
        if seen is not None:
            self._on_look(seen, now)
        elif (due := self.due()) is not None and now >= due:
            here = self._kept.installation
            key = own_key(here, "operator", here.settings.broker.client)
            self._watch.turn_to(self._kept.address, key)
            more = ["zmws.services"] if self.scaling.workers() else []
            self._watch.look(now, ["zmws.stats", "zmws.workers", *more])

    def close(self) -> None:
        """Look no more."""
        self._watch.close()

    @property
    def _interval_s(self) -> float:
        given = self._kept.installation.settings.supervisor.check_interval
        return min(given, _SCALING_S) if self.scaling.workers() else given

    def _on_look(self, seen: Look, now: float) -> None:
        keeper = self._kept.keeper
        keeper.broker_answers(seen.stats is not None, now)
        # What is longer is none of the broker's doing: this process, or the machine, has stood still.
        looked_s = min(now - self._looked_at, 2 * self._interval_s + min(seen.took_s, _ANSWER_S))
        self._looked_at = now
        running = [one for one in keeper.copies.values() if one.state is State.RUNNING]
        self._weigh(running, now)
        for copy in running:
            if copy.is_broker and (why := self._health.of_broker(seen.stats is not None, looked_s)):
                keeper.kill(copy.name, why, now)
        gateway = keeper.copies.get(GATEWAY)
        if gateway is not None and gateway.state is State.STARTING and self._kept.gateway_is_ready():
            keeper.ready(GATEWAY, now)
        if seen.stats is not None:
            self._hosts.add(socket.gethostname())
            # Another machine's worker may have the number of one of ours; and this one may have been given
            # another name since a worker has told it.
            rows = {row["pid"]: row for row in seen.workers if row["host"] in self._hosts}
            anywhere = {row["pid"]: row for row in seen.workers} | rows
            for name, copy in keeper.copies.items():
                if name == GATEWAY:
                    continue
                # At this address another broker may answer, while ours fails to bind it.
                is_ready = copy.pid == seen.stats.get("pid") if copy.is_broker else copy.pid in rows
                if is_ready and copy.state is State.STARTING:
                    keeper.ready(name, now)
            workers = {one.name: one.pid for one in running if one.name not in SERVERS}
            known = {name: anywhere[pid] for name, pid in workers.items() if pid in anywhere}
            wrong = self._health.of_workers(workers, known, seen.stats, time.time(), looked_s)
            for name, why in wrong.items():
                keeper.kill(name, why, now)
            if self.scaling.workers() and now >= self._scaled_at + self._interval_s:
                self._scaled_at = now
                self.scaling.look(seen.services, anywhere, now)
        self._kept.carry_out()

    def _weigh(self, running: list[Copy], now: float) -> None:
        """Kill those that have more in memory than they may."""
        most_of = {}
        for copy in running:
            plan = self._kept.plans.get(copy.name)
            worker = plan.process.worker if plan is not None else None
            if worker is not None and worker.memory_max is not None and copy.pid is not None:
                most_of[copy.name] = (copy.pid, worker.memory_max)
        if not most_of or now < self._weighed_at + self._interval_s:
            return
        self._weighed_at = now
        sizes = memory_by_session()
        for name, (pid, most) in most_of.items():
            size = sizes.get(pid, 0)
            if size > most:
                why = f"it has {size >> 20} MiB in memory, and memory_max is {most >> 20} MiB"
                self._kept.keeper.kill(name, why, now)
