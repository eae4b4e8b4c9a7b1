"""What the lanes show is what the jobs' own records say of their attempts, and who vanished is shown as gone.

Rule: an attempt whose worker was seen to run it before it ended must be in that worker's lane. Others may be:
      one that began and ended in the same moment, or was sent ahead.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any, NamedTuple

from tests.simulation.violation import demand
from zmws.core.broker import Broker
from zmws.core.job import Job
from zmws.core.lane import BURST_S, NEITHER, SLACK_S, STEP_S
from zmws.core.session import Session
from zmws.core.states import COMPLETE, FAILED

NEITHER_CODES = ("given_back", "cancelled", "worker_lost")
ROUNDED_S = 0.001  # of sums of floats


class Ended(NamedTuple):
    """An attempt that has ended, by the steady clock."""

    at: float
    how: str
    certain: bool


class Lanes:
    """One per history; each life of a broker begins anew."""

    def __init__(self) -> None:
        self.compared = 0  # lanes with bars that were compared
        self.restarted()

    def restarted(self) -> None:
        self._ended: defaultdict[str, list[Ended]] = defaultdict(list)  # by worker
        self._running: dict[tuple[str, str, int], str] = {}  # who ran what, after the last input
        self._here: dict[Session, None] = {}

    def ended(self, core: Broker, job: Job, attempt: dict[str, Any]) -> None:
        """A record says that an attempt has ended, with the input that was just taken."""
        worker = self._running.get((job.kind, job.id, attempt["attempt"]))
        code = attempt.get("error", {}).get("code")
        how = COMPLETE if "error" not in attempt else NEITHER if code in NEITHER_CODES else FAILED
        whose = worker if worker is not None else attempt["worker"]
        self._ended[whose].append(Ended(core.turn.steady, how, worker is not None))

    def look(self, core: Broker) -> None:
        """After an input: who runs what now, and who has gone with it."""
        self._running = {
            (job.kind, job.id, job.attempt): assignment.taker.name
            for assignment in core.held.assignments.values()
            if (job := assignment.job) is not None
            and isinstance(assignment.taker, Session)
            and not assignment.ahead
        }
        here = dict.fromkeys(core.roster.sessions.by_peer.values())
        left = [session for session in self._here if session not in here]
        self._here = here
        if left and _all_have_one(core):
            self._shown_as_gone(core, left)

    def _shown_as_gone(self, core: Broker, left: list[Session]) -> None:
        shown = list(core.lanes.all())
        back = {_process(session) for session in self._here}
        for session in left:
            if _process(session) in back:
                continue
            gone = [one for one in shown if one.id == session.id and one.session is None]
            now = [one for one in gone if one.gone_at == core.turn.steady and one.why]
            demand(bool(now), f"{session.id} has just gone, and its lane says {gone}")

    def compare(self, core: Broker) -> None:
        """The sums over the lanes of each worker."""
        if not core.recovered:
            return
        limits, steady = core.turn.limits, core.turn.steady
        since, all_have_one = steady - limits.lanes_s, _all_have_one(core)
        told: defaultdict[str, Counter[str]] = defaultdict(Counter)
        shown = list(core.lanes.all())
        demand(len(shown) <= limits.lanes_workers_max, f"{len(shown)} workers have a lane")
        for one in shown:
            most = (limits.lanes_s + BURST_S) / STEP_S + 2
            demand(len(one.lane.bars) <= most, f"{len(one.lane.bars)} bars of {one.id}")
            for bar in one.lane.since(since):
                counts = {COMPLETE: bar.jobs - bar.failed - bar.other, FAILED: bar.failed, NEITHER: bar.other}
                told[one.id].update(counts)
                self.compared += 1
            demand((one.session is None) != (one.session in self._here), f"{one.id} is here, or not")
        for worker in {*told, *self._ended}:
            ended = self._ended[worker]
            for how in (COMPLETE, FAILED, NEITHER):
                least = sum(one.certain and one.how == how and one.at >= since + ROUNDED_S for one in ended)
                most = sum(one.how == how and one.at >= since - SLACK_S - ROUNDED_S for one in ended)
                count = told[worker][how]
                least = least if all_have_one else 0
                text = f"{worker}: {count} attempts in its lane are {how}, of {least} to {most}"
                demand(least <= count <= most, text)


def _all_have_one(core: Broker) -> bool:
    """Whether so many workers are kept that each has a lane."""
    return core.turn.limits.lanes_workers_max > 100


def _process(session: Session) -> tuple[Any, ...]:
    info = session.info
    return (session.id,) if info is None else (session.id, info.host, info.pid)
