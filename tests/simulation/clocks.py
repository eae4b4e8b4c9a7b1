"""What is due, and when: times to run, backoffs, how long records are kept (docs/options.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.simulation.violation import demand
from tests.simulation.world import World
from tests.store.model import ModelStore
from zmws.core.broker import Broker
from zmws.core.options import KEEP_S
from zmws.core.states import FINAL_STATES, SCHEDULED
from zmws.core.writes import FinishJob, InsertJob, ReviveJob, UpdateJob, Write

BACKOFF_S_MAX = 3600.0
AGEING_S = 60.0
SLACK_S = 3.0  # what a commit and a prune may take


class Clocks:
    """Compares what happens with the times that were given."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.steady: Callable[[], float] = lambda: 0.0  # the broker's steady clock
        self.excused = False  # a restart has taken a stepped wall's word for the time
        self.crashed = False
        self.delays: dict[bytes, float] = {}  # by token: until the next try, as its worker said
        self._adopted = 0  # attempts that the broker has, in this life
        self._latest: dict[bytes, float] = {}  # by token: when its attempt is over, at the latest
        self._ends: dict[str, tuple[float, float]] = {}  # by job: when its end was written, and its keep
        self._ready_at: dict[str, float] = {}  # by job: when its backoff is over

    # ------------------------------------------------------------ ttr

    def started(self, token: bytes, ttr_s: float) -> None:
        """An attempt begins."""
        self._latest[token] = self.world.now + ttr_s

    def over_at(self, token: bytes) -> float:
        """When its attempt is over, as far as is known."""
        return self._latest.get(token, 0.0)

    def extended(self, token: bytes, seconds: float) -> None:
        """It may run so long from now."""
        self._latest[token] = max(self._latest.get(token, 0.0), self.world.now + seconds)

    def restarted(self, ttr_s: float, grace_s: float) -> None:
        """Nothing is enforced before the grace is over; and where the wall was stepped, nobody knows how long
        an attempt has run."""
        self.crashed |= self.world.now > 0.0
        self.excused |= self.world.clock_jumped
        least = self.world.now + (ttr_s if self.world.clock_jumped else grace_s)
        for token, at in self._latest.items():
            self._latest[token] = max(at, least)

    def look(self, core: Broker) -> None:
        """No attempt runs past its time. Of one that was adopted nobody knows when it began."""
        adopted, self._adopted = self._adopted, core.turn.counters["adopted"]
        if self._adopted != adopted:
            for token, assignment in core.held.assignments.items():
                if assignment.job is not None:
                    until = self.world.now + assignment.job.ttr
                    self._latest[token] = max(self._latest.get(token, 0.0), until)
        for token in core.held.assignments:
            late = self.world.now - self._latest.get(token, self.world.now)
            demand(late < 0.5, f"{token!r} runs {late:.1f} s past its ttr")

    # ------------------------------------------------------------ backoff

    def may_start(self, job_id: str) -> None:
        """A job is given out: not before its backoff is over."""
        early = self._ready_at.pop(job_id, 0.0) - self.steady()
        demand(self.excused or early < 0.001, f"{job_id} was tried again {early:.2f} s early")

    def _backs_off(self, write: UpdateJob, row: dict[str, Any]) -> None:
        changes = write.changes
        if changes.get("state") != SCHEDULED or "attempts" not in changes:
            return
        last = changes["attempts"][-1]
        self._ready_at[write.job_id] = changes["ready_at"]
        if self.world.clock_jumped:
            return
        gap = changes["ready_at"] - last["ended_at"]
        given = [
            s for t, s in self.delays.items() if t.startswith(f"{row['id']}/{last['attempt']}/".encode())
        ]
        doubled = row["backoff"] * 2.0 ** max(changes["failures"] - 1, 0)
        least, most = 0.75 * min(doubled, BACKOFF_S_MAX), 1.25 * min(doubled, BACKOFF_S_MAX)
        if last["error"]["code"] == "job_failed" and any(abs(gap - seconds) < 0.01 for seconds in given):
            return
        if given and not self.crashed:
            least = most = given[-1]  # else the number of an attempt may have come again
        text = f"{row['id']} backs off for {gap:.2f} s, and not {least:.2f} to {most:.2f}"
        demand(least - 0.01 <= gap <= most + 0.01, text)

    # ------------------------------------------------------------ keep

    def committed(self, write: Write, disk: ModelStore) -> None:
        """A write is on disk."""
        if isinstance(write, InsertJob):
            row, head_start = write.row, write.row["priority"] * AGEING_S
            ranked = abs(row["rank"] - (row["ready_at"] - head_start)) < 1e-6
            demand(ranked, f"{row['id']} of priority {row['priority']} has the rank {row['rank']}")
        elif isinstance(write, ReviveJob):
            self._ends.pop(write.job_id, None)
            self._ready_at.pop(write.job_id, None)
        elif isinstance(write, FinishJob):
            row = disk.rows.get(write.job_id)
            if row is not None and row["state"] in FINAL_STATES:
                keep = row["keep"] if row["keep"] is not None else KEEP_S[row["state"]]
                self._ends[write.job_id] = (self.steady(), keep)
        elif isinstance(write, UpdateJob):
            row = disk.rows.get(write.job_id)
            if row is not None:
                self._backs_off(write, row)

    def kept(self, disk: ModelStore, punctual: bool) -> None:
        """A record is kept as long as its `keep` says, and then forgotten."""
        now = self.steady()
        if self.excused:
            self._ends.clear()
        for job_id, (at, keep) in list(self._ends.items()):
            if job_id not in disk.rows:
                early = at - (SLACK_S if punctual else 30.0) + keep - now
                demand(early < 0.0, f"the record of {job_id} was forgotten {early:.1f} s early")
                del self._ends[job_id]
            elif disk.rows[job_id]["state"] not in FINAL_STATES:
                del self._ends[job_id]  # it was forgotten, and has come again since the last look
            elif punctual:
                late = now - at - keep
                demand(late < SLACK_S, f"the record of {job_id} is kept {late:.1f} s too long")
