"""How long jobs wait, and why: the clocks of a service run while something of it waits, and what zmws.why
says of a job is what its states say.

Rule: it is measured here, between each two things that happen to the broker.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tests.simulation.violation import demand
from tests.simulation.world import World
from tests.store.model import ModelStore
from zmws.core.broker import Broker
from zmws.core.reasons import MAX_RUNNING, NO_WORKER, NOTHING, PAUSED, RATE, READING, SLOTS, SUSPECT, Clocks
from zmws.core.service import Service
from zmws.core.session import Session
from zmws.core.states import FINAL_STATES, SCHEDULED, WAITING

SLACK_S = 0.001  # of sums of many differences
WRONG_S_MAX = 1.1  # until a sample looks again
ROUNDED_S = 0.001  # as answers are
UNKNOWN_S_MAX = 0.01  # while there was a broker, and its clocks told the same time
REASONS = {
    *("paused", "no_worker", "max_running", "rate", "slots", "suspect", "reading"),
    *("scheduled", "backoff", "starting", "unknown", "not_kept"),
}


class Waits:
    """One per history."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.asked = 0  # answers of zmws.why that were looked at
        self.restarted(0.0)

    def restarted(self, steady: float) -> None:
        """A new life: its clocks begin."""
        self._last = steady
        self._waited: dict[Clocks, float] = {}  # while a job waited
        self._wrong_since: dict[Clocks, float] = {}  # by `now`

    def passed(self, core: Broker, steady: float) -> None:
        """Until now all was as it is."""
        elapsed, self._last = steady - self._last, steady
        for service in core.held.services.values():
            if service.clocks is not None:
                waited = self._waited.get(service.clocks, 0.0)
                self._waited[service.clocks] = waited + (elapsed if service.waiting_count else 0.0)

    def named(self, core: Broker) -> None:
        """The clock that runs is that of a reason that holds; no other for longer than to the next sample."""
        now = self.world.now
        for service in core.held.services.values():
            clocks = service.clocks
            if clocks is None or not core.recovered:
                continue
            if clocks.reason in _may_be(service, core):
                self._wrong_since.pop(clocks, None)
                continue
            wrong_s = now - self._wrong_since.setdefault(clocks, now)
            text = f"{service.name} waits for {_may_be(service, core)}, and {clocks.reason} is counted"
            demand(wrong_s <= WRONG_S_MAX, f"{text} for {wrong_s:.1f} s")

    def look(self, core: Broker) -> None:
        """The clocks have run as long as something waited, to within a look at what has come."""
        steady = self._last
        for service in core.held.services.values():
            clocks = service.clocks
            if clocks is None:
                continue
            shown, waited = clocks.shown(steady), self._waited.get(clocks, 0.0)
            demand(min(shown) >= 0.0, f"a clock of {service.name} runs backwards: {shown}")
            off = sum(shown) - waited
            text = f"the clocks of {service.name} have run {sum(shown):.3f} s, and jobs waited {waited:.3f} s"
            demand(abs(off) <= SLACK_S, text)

    def answered(self, told: dict[str, Any], core: Broker, disk: ModelStore, lives: int) -> None:
        """zmws.why has answered: the seconds for each reason add up to what the states of the job say."""
        job_id = told["id"]
        job, row = core.held.find(job_id), disk.rows.get(job_id)
        if job is None and row is None:
            return
        states = job.states if job is not None else row["states"] if row is not None else ()
        state = states[-1][2]
        self.asked += 1
        seconds = {one["reason"]: one["seconds"] for one in told["reasons"]}
        demand(seconds.keys() <= REASONS, f"{job_id}: there is no reason among {seconds}")
        demand(len(seconds) == len(told["reasons"]), f"{job_id}: a reason stands twice: {told['reasons']}")
        demand(min(seconds.values(), default=0.0) >= 0.0, f"{job_id}: less than no time: {seconds}")
        at = datetime.fromisoformat(told["at"]).timestamp()
        # The answer is of a moment ago: what has become of the job since is not in it.
        moved_on = states[-1][1] > at + ROUNDED_S
        waited = self._waited_by(states, at)
        off = sum(seconds.values()) - told["waited_s"]
        text = f"{job_id}: {seconds} make {sum(seconds.values()):.3f} s, and it waited {told['waited_s']} s"
        demand(abs(off) <= ROUNDED_S * (1 + len(seconds)), text)
        if state == told["state"] and not moved_on:
            text = f"{job_id}: it waited {told['waited_s']} s, and its states say {waited:.3f}: {states}"
            demand(abs(told["waited_s"] - waited) <= 2 * ROUNDED_S, text)
        service = core.held.services.get(told["service"])
        clocked = service is not None and service.clocks is not None
        if clocked and lives == 1 and not self.world.clock_jumped and not self.world.suspended:
            text = f"{job_id}: why it waited is unknown for {seconds.get('unknown')} s: {seconds}"
            demand(seconds.get("unknown", 0.0) <= UNKNOWN_S_MAX, text)
        waits = told["state"] in (WAITING, SCHEDULED)
        demand((told["now"] is not None) == waits, f"{job_id}: it is {told['state']}, and {told['now']}")

    def _waited_by(self, states: Any, at: float) -> float:
        """As its states say, at wall time `at`; a wall that was set back makes no wait less than nothing."""
        until = states[-1][1] if states[-1][2] in FINAL_STATES else at
        ends = [at for _, at, *_ in states[1:]] + [until]
        waits = [(state, end - at) for (_, at, state, _), end in zip(states, ends, strict=True)]
        return float(sum(max(0.0, took) for state, took in waits if state in (WAITING, SCHEDULED)))


def _may_be(service: Service, core: Broker) -> tuple[int, ...]:
    """Why what waits of a service does not start; several, where it takes the rings to tell."""
    if not service.waiting_count:
        return (NOTHING,)
    if not (service.ready or service.parked):
        return (READING,)
    if service.paused:
        return (PAUSED,)
    workers = [one for one in core.roster.sessions.by_peer.values() if service.name in one.service_names]
    leases = [one for one in service.ring if not isinstance(one, Session)]
    if not (workers or leases):
        return (NO_WORKER,)
    limit = service.options.max_running
    if limit is not None and len(service.running) >= limit:
        return (MAX_RUNNING,)
    return (SLOTS, SUSPECT) if service.options.rate is None else (SLOTS, SUSPECT, RATE)
