"""One worker's session as the broker sees it (RFC 18, MDP/Worker).

Rule 1: a session remembers the tokens *it* holds apart from the jobs' live tokens: a FINAL for a
        token it holds that is no longer live is refused and frees that slot.
Rule 2: it holds as many jobs as it has slots, of each service as many as that has. A foreign worker has one.
Rule 3: an idle worker is expired for silence, one that holds a job is not while its connection lives.
Rule 4: a worker of ours names what it holds in its heartbeats. What it has not named two intervals after the
        REQUEST never reached it: it is `deaf`.
Rule 5: what it was sent ahead (ahead.py) counts as begun when a FINAL, or a RELEASE, has moved it up into a
        slot. Nothing of it is late before that.
Rule 6: a slot of ours whose job is over and that has not let go of it within `cancel_grace` is `hung`, and
        stays taken. The worker is not disconnected: whether to give up is for it to decide.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from functools import lru_cache

from zmws.core.job import STORED, Job, kin_json
from zmws.core.limits import Limits
from zmws.core.taker import Assignment, Ring, Taker
from zmws.core.timers import Reminder
from zmws.core.turn import Turn
from zmws.wire.messages import MDP01, RFC, Heartbeat, Link, Peer, WorkerInfo, WorkerRequest

NO_DEADLINE = float("inf")  # of a job that was sent ahead: its time to run has not begun
NAMED_WITHIN = 2.0  # heartbeat intervals, and a worker of ours has named what it was given
PINGS_MISSED = 2.5  # a busy worker's connection is dead when so many of its PINGs have not come


class Session(Taker):
    """What the broker knows of one registered worker. Times are monotonic unless named `_at`."""

    def __init__(
        self,
        turn: Turn,
        peer: Peer,
        link: Link,
        worker_id: str,
        slots: Mapping[Ring, int | None],
        info: WorkerInfo | None,
        check: Reminder[Session],
    ) -> None:
        """`slots`: how many jobs of each of its services it takes at once, None: as many as it has slots.
        `check`: reminds of it."""
        super().__init__(turn, slots)
        self.peer = peer
        self.link = link
        self.id = self.name = worker_id
        self.ours = link.ours
        self.info = info
        self.slots = self._ready_slots = info.slots if info is not None else 1  # of all its services
        self._slots = {ring.service: most for ring, most in slots.items()}
        self.prefetch = info.prefetch if info is not None else 0  # jobs beyond its slots
        self._prefetch = _prefetch_of(info)
        self._ahead: dict[bytes, Assignment] = {}  # what was sent ahead, the oldest first
        self._deaf = False  # its heartbeats do not name what it was given
        self._moved = float("-inf")  # when it began or ended a job
        self._of_service: Counter[str | None] = Counter()  # how many it holds of each
        self._ahead_s = 0.0  # how long they will run, together
        self._slow = 0  # of what it holds, what is not known to be over in a moment
        self._ahead_of: Counter[str | None] = Counter()  # and how many of those were sent ahead
        self._alone = 0  # how many of them suffer no other beside them
        self._check = check
        self.done: dict[bytes, None] = {}  # tokens to be told DONE with the next HEARTBEAT
        self.confirming: set[bytes] = set()  # tokens that it wants DONE for before it takes a job
        self.late_noted = False  # the log has a late result of it
        self.draining = False  # an operator wants it to leave: it is given nothing more
        self._was = "idle"  # its state when that was looked at last
        self.lost_until: float | None = None  # its connection is gone; what it holds waits until then
        self.blocked_until = 0.0
        self.heard = turn.now
        self.timer_at = 0.0
        self.registered_at = turn.wall
        self.done_count = 0
        self.failed_count = 0
        self.memory_bytes: int | None = None
        self.expiry_s, self.heartbeat_interval_s = _pace(turn.limits, peer, link)
        self.heartbeat_due = turn.now + self.heartbeat_interval_s
        self.silence_s = self.expiry_s  # without a byte from a busy worker's connection: it is cut
        if info is not None and info.ping_s is not None:
            self.silence_s = max(self.expiry_s, PINGS_MISSED * info.ping_s)

    @property
    def service_names(self) -> list[str]:
        """The services it serves."""
        return [ring.service for ring in self.rings]

    # ------------------------------------------------------------ as a taker

    def has_room(self, service: str) -> bool:
        """Whether a slot for this service is free, and nothing else keeps it from a job."""
        holding = self.holding
        if self.confirming or self.lost_until is not None or self.draining or self.gone:
            return False
        if len(holding) - len(self._ahead) >= self.slots or len(holding) >= self.slots + self.prefetch:
            return False
        if not holding:
            return True
        if self.reserved is not None or self._alone:
            return False
        most = self._slots[service]
        return most is None or self._of_service[service] < most

    @property
    def stalled(self) -> bool:
        """A worker of several slots has one free, and is silent or deaf: a job would but lie there."""
        silent = self.turn.now >= self.heard + self.expiry_s
        return bool(self.holding) and (silent or self._deaf)

    @property
    def can_be_emptied(self) -> bool:
        """A hung slot may never be free, and who takes no more jobs takes no suspect."""
        leaves = self.draining or self.slots == 0
        return not (self.gone or self.hung or self.lost_until is not None or leaves)

    def stand_in_line(self) -> None:
        super().stand_in_line()
        if self.prefetch:
            self._offer_ahead()
            for ring in self._turns:
                if self in ring.ahead:
                    self.turn.woken[ring.service] = None
        if self.draining and not self.ours and not self.holding:
            self.ends_by(self.turn.now)  # it knows no DRAIN: it is sent away (Roster.check)

    def takes_ahead(self, service: str, expected_s: float) -> bool:
        """Only where what it holds and this will be done in a moment, and it has just now moved."""
        now, limits = self.turn.now, self.turn.limits
        if self.confirming or self.lost_until is not None or self.gone or self.draining or not self.slots:
            return False
        if self.reserved is not None or self._alone or self.blocked_until > now or self.stalled:
            return False
        if now - self._moved >= limits.prefetch_time_s:
            return False
        most = self._slots[service]
        if most is not None and self._of_service[service] >= most + self._prefetch[service]:
            return False
        return not self._slow and self._ahead_s + expected_s < limits.prefetch_time_s

    def _offer_ahead(self) -> None:
        """Stand among those who may be sent something ahead, or do not."""
        count = len(self.holding)
        room = 0 < self.slots <= count < self.slots + self.prefetch
        for ring in self.rings:
            if room and self._prefetch[ring.service]:
                ring.ahead.put(self, count)
            else:
                ring.ahead.drop(self)

    def give(self, assignment: Assignment, job: Job) -> None:
        """REQUEST, which is not held for the write of the start: a crash in between runs the job again. That
        of a job that may run only once is."""
        assignment.ttr_s = job.ttr
        if self.ours:
            assignment.name_by = self.turn.now + NAMED_WITHIN * self.turn.limits.heartbeat_interval_s
        assignment.unsent = job.retries == 0 and job.kind == STORED
        if assignment.unsent:
            assignment.expected_s = None  # nothing is sent ahead behind it: that would come before it
        self.now_holds(assignment)
        if not assignment.unsent:
            self._send(assignment, job)

    def send_late(self, assignment: Assignment, job: Job) -> bool:
        assignment.unsent = False
        if self.confirming or self.lost_until is not None or self.draining or not self.slots:
            self.let_go(assignment.token)
            self.stand_in_line()
            return False
        self._send(assignment, job)
        return True

    def _send(self, assignment: Assignment, job: Job) -> None:
        several = (
            f'"service": {_as_json(job.service)}, ' if self.info is not None and self.info.services else ""
        )
        saved = f', "saved": {job.saved}' if job.saved is not None else ""
        meta = f', "meta": {job.meta}' if job.meta is not None else ""
        kin = kin_json(job)
        described = (
            f'{{"id": "{job.id}", {several}"attempt": {job.attempt}, "ttr": {job.ttr}{saved}{meta}{kin}}}'
        )
        request = WorkerRequest(assignment.token, job.service, described.encode(), job.body)
        self.turn.command(self.peer, request, self.link)

    def drop(self, assignment: Assignment, deadline: float) -> None:
        """CANCEL to a worker of ours, whose slot is hung if it has not let go after `cancel_grace`; a foreign
        one knows no CANCEL and keeps the job until its FINAL or its ttr. What was not sent never is."""
        if assignment.unsent:
            self.let_go(assignment.token)
            return self.stand_in_line()
        if self.ours:
            self.turn.command(self.peer, Heartbeat((b"CANCEL " + assignment.token,)), self.link)
            assignment.drop_by = self.turn.now + self.turn.limits.cancel_grace_s
        else:
            assignment.drop_by = deadline
        return self.ends_by(assignment.drop_by)

    def let_lie(self, assignment: Assignment) -> None:
        """CANCEL, to which it says RELEASE."""
        self.turn.command(self.peer, Heartbeat((b"CANCEL " + assignment.token,)), self.link)

    def leave_line(self) -> None:
        super().leave_line()
        for ring in self.rings:
            ring.ahead.drop(self)

    def ends_by(self, at: float) -> None:
        """Be looked at then, at the latest."""
        if at < self.timer_at:
            self.timer_at = at
            self.turn.timers.add(at, self._check, self)

    # ------------------------------------------------------------ what it holds

    def hold(self, token: bytes, service: str | None) -> Assignment:
        """It says that it holds this, or it must: the slot is taken. Of no job, unless one is given it."""
        assignment = Assignment(token, service, None, self)
        self.now_holds(assignment)
        return assignment

    def now_holds(self, assignment: Assignment) -> None:
        """This takes a slot, until it lets go of it."""
        self.let_go(assignment.token)  # a READY may name a token twice
        assignment.given = self.turn.now
        assignment.ahead = bool(self.prefetch) and not self._may_begin(assignment)
        if assignment.ahead:
            self._ahead[assignment.token] = assignment
            self._ahead_of[assignment.service] += 1
            self._ahead_s += assignment.expected_s or 0.0
            if assignment.job is not None:
                assignment.job.deadline_mono = NO_DEADLINE
            self.ends_by(assignment.given + self.turn.limits.prefetch_patience_s)
        else:
            self._moved = assignment.given
        self.holding[assignment.token] = assignment
        self._slow += self._is_slow(assignment)
        self._of_service[assignment.service] += 1
        self._alone += assignment.alone
        if self.prefetch:
            self._offer_ahead()

    def let_go(self, token: bytes) -> None:
        """It does not hold this token any more."""
        assignment = self.holding.pop(token, None)
        if assignment is not None:
            self._of_service[assignment.service] -= 1
            self._alone -= assignment.alone
            self._slow -= self._is_slow(assignment)
            if self.prefetch:
                self._move_up(assignment)

    def ended(self, token: bytes) -> float:
        """A FINAL has come for what it holds; how long that ran, as far as can be seen from here."""
        assignment = self.holding[token]
        ran_s = self.turn.now - max(assignment.given, self._moved)
        self._moved = self.turn.now
        return ran_s

    def _move_up(self, gone: Assignment) -> None:
        """Something has left: what was sent ahead moves up into the free slot."""
        if self._ahead.pop(gone.token, None) is not None:
            self._left_ahead(gone)
        while len(self.holding) - len(self._ahead) < self._ready_slots:
            assignment = next(filter(self._may_begin, self._ahead.values()), None)
            if assignment is None:
                return
            del self._ahead[assignment.token]
            self._left_ahead(assignment)
            assignment.ahead, assignment.begun = False, self.turn.now
            job = assignment.job
            if job is not None and job.deadline_mono == NO_DEADLINE:
                job.deadline_mono = self.turn.now + job.ttr
                self.ends_by(job.deadline_mono)

    def _is_slow(self, assignment: Assignment) -> bool:
        """Whether it is not known to be over in a moment: nothing is sent ahead behind it."""
        expected_s = assignment.expected_s
        return expected_s is None or expected_s >= self.turn.limits.prefetch_time_s

    def _may_begin(self, assignment: Assignment) -> bool:
        """Whether a slot for it is free of what has begun. By the slots that READY told: who takes fewer from
        now on (SLOTS) goes on with what it has."""
        if len(self.holding) - len(self._ahead) >= self._ready_slots:
            return False
        service = assignment.service
        most = self._slots.get(service) if service is not None else None
        return most is None or self._of_service[service] - self._ahead_of[service] < most

    def _left_ahead(self, assignment: Assignment) -> None:
        """It was moved up, or has gone."""
        self._ahead_of[assignment.service] -= 1
        self._ahead_s = self._ahead_s - (assignment.expected_s or 0.0) if self._ahead else 0.0
        for ring in self.rings:
            if ring.overdue:
                ring.overdue.pop(assignment.token, None)

    def look_ahead(self) -> None:
        """What was sent ahead, and was to be moved up by now, may be given to another."""
        patience_s = self.turn.limits.prefetch_patience_s
        for token, assignment in self._ahead.items():
            if self.turn.now < assignment.given + patience_s:
                return
            for ring in self.rings:
                if ring.service == assignment.service and assignment.job is not None:
                    ring.overdue[token] = assignment
                    self.turn.wake(ring.service)

    def names(self, tokens: list[bytes]) -> None:
        """A HEARTBEAT of ours says that it holds these."""
        named = set(tokens)
        for token, assignment in self.holding.items():
            if assignment.name_by is None:
                continue
            if token in named:
                assignment.name_by, assignment.unheard = None, False
            elif self.turn.now > assignment.name_by:
                assignment.unheard = True
        self._deaf = any(assignment.unheard for assignment in self.holding.values())

    @property
    def jobs(self) -> list[Job]:
        """The live jobs among what it holds."""
        return [one.job for one in self.holding.values() if one.job is not None]

    # ------------------------------------------------------------ time

    def beat(self) -> None:
        """A HEARTBEAT, with what the worker may forget, all tokens in one frame."""
        frames: tuple[bytes, ...] = ()
        if self.done:
            frames = (b"DONE " + b" ".join(self.done),)
            self.done = {}
        self.turn.command(self.peer, Heartbeat(frames), self.link)

    def plan(self) -> None:
        """Be reminded of when the next thing is due."""
        now = self.turn.now
        due = max(self._next_due(), now)
        if due < self.timer_at or self.timer_at <= now:
            self.timer_at = due
            self.turn.timers.add(due, self._check, self)

    def _next_due(self) -> float:
        due = self.heartbeat_due
        silent_at = self.heard + self.expiry_s
        if not self.holding or silent_at > self.turn.now:
            due = min(due, silent_at)
        for assignment in self.holding.values():
            if assignment.job is not None:
                due = min(due, assignment.job.deadline_mono)
            if assignment.drop_by is not None:
                due = min(due, assignment.drop_by)
            if assignment.ahead:
                overdue_at = assignment.given + self.turn.limits.prefetch_patience_s
                if overdue_at > self.turn.now:
                    due = min(due, overdue_at)
        return due if self.lost_until is None else min(due, self.lost_until)

    @property
    def hung(self) -> bool:
        """Whether a slot of it is."""
        return any(assignment.hung for assignment in self.holding.values())

    def state(self) -> str:
        """One of docs/protocol.md, zmws.workers: idle busy draining silent hung deaf lost."""
        now = self.turn.now
        if self.lost_until is not None:
            return "lost"
        if self.hung:
            return "hung"
        silent = bool(self.holding) and now >= self.heard + self.expiry_s
        unheard = not silent and any(assignment.unheard for assignment in self.holding.values())
        if self.blocked_until > now or unheard:
            return "deaf"
        if self.draining or self.confirming or not self.slots:
            return "draining"
        if not self.holding:
            return "idle"
        return "silent" if silent else "busy"

    def look(self) -> None:
        """Count the state that it has come into; those that an event brings are counted there."""
        state = self.state()
        if state != self._was and state in _COUNTED:
            self.turn.counters[f"workers_{state}"] += 1
        self._was = state


@lru_cache(maxsize=1_024)
def _as_json(text: str) -> str:
    """A text in JSON: a name may hold quotes. The same few come again and again."""
    return json.dumps(text)


_COUNTED = ("deaf", "draining", "silent")


def _prefetch_of(info: WorkerInfo | None) -> Mapping[str, int]:
    """How many jobs of each service it takes beyond its slots."""
    if info is None or info.services is None:
        return defaultdict(lambda: 0 if info is None else info.prefetch)
    return {
        name: info.prefetch if told.prefetch is None else told.prefetch
        for name, told in info.services.items()
    }


def _pace(limits: Limits, peer: Peer, link: Link) -> tuple[float, float]:
    """After which silence an idle worker is gone, and how often it gets a HEARTBEAT, in seconds."""
    interval = limits.heartbeat_interval_s
    expiry_s = interval * limits.heartbeat_liveness
    if not link.ours:
        expiry_s = max(expiry_s, limits.foreign_expiry_min_s * limits.heartbeat_liveness)
    if peer[0] == "mdp" or (not link.ours and link.dialect in (RFC, MDP01)):
        # Some programs of the RFCs give a broker up after 4 s. The PHP program's expect 5 s.
        interval = min(interval, limits.foreign_heartbeat_interval_s)
    return expiry_s, interval
