"""One worker's session as the broker sees it (RFC 18, MDP/Worker).

Rule 1: a session remembers the tokens *it* holds apart from the jobs' live tokens: a FINAL for a
        token it holds that is no longer live is refused and frees the worker.
Rule 2: a worker that holds something gets nothing new.
Rule 3: an idle worker is expired for silence, one that holds a job is not while its connection lives.
Rule 4: a worker of ours that does not let go of a job that is over is `hung`, and holds its place, until it
        says FINAL or is lost. It is not disconnected: whether to give up is for the worker to decide.
"""

from __future__ import annotations

from zmws.core.job import Job, job_id_of
from zmws.core.limits import Limits
from zmws.core.service import Service
from zmws.wire.messages import MDP01, RFC, Link

Peer = tuple[str, bytes]


class Session:
    """What the broker knows of one registered worker. Times are monotonic unless named `_at`."""

    __slots__ = (
        "blocked_until",
        "confirming",
        "done",
        "done_count",
        "drop_at",
        "expiry_s",
        "failed_count",
        "heard",
        "heartbeat_due",
        "heartbeat_interval_s",
        "held",
        "hung",
        "id",
        "info",
        "job",
        "job_since_at",
        "late_noted",
        "link",
        "lost_until",
        "memory_bytes",
        "peer",
        "registered_at",
        "service",
        "silence_s",
        "timer_at",
        "ttr_s",
    )

    def __init__(self, peer: Peer, service: Service, link: Link, worker_id: str, limits: Limits) -> None:
        self.peer = peer
        self.service = service
        self.link = link
        self.id = worker_id
        self.info: dict[str, object] = {}
        self.held: dict[bytes, None] = {}  # tokens it holds, live or not
        self.job: Job | None = None  # the live job among them
        self.job_since_at: float | None = None
        self.done: dict[bytes, None] = {}  # tokens to be told DONE with the next HEARTBEAT
        self.confirming: set[bytes] = set()  # tokens that it wants DONE for before it takes a job
        self.drop_at: float | None = None  # until then it may let go of a job that is over
        self.hung = (
            False  # it has not; a foreign one: it came back, and owes that job's FINAL until `drop_at`
        )
        self.late_noted = False  # the log has a late result of it
        self.lost_until: float | None = None  # its connection is gone; its job waits until then
        self.blocked_until = 0.0  # a REQUEST could not be sent: passed over until then
        self.heard = 0.0
        self.timer_at = 0.0
        self.ttr_s = 0.0  # of the job that it was given last
        self.heartbeat_due = 0.0
        self.registered_at = 0.0
        self.done_count = 0
        self.failed_count = 0
        self.memory_bytes: int | None = None
        interval = limits.heartbeat_interval_s
        self.expiry_s = interval * limits.heartbeat_liveness
        if not link.ours:
            self.expiry_s = max(self.expiry_s, limits.foreign_expiry_min_s * limits.heartbeat_liveness)
        if peer[0] == "mdp" or (not link.ours and link.dialect in (RFC, MDP01)):
            # Some programs of the RFCs give a broker up after 4 s. The PHP program's expect 5 s.
            interval = min(interval, limits.foreign_heartbeat_interval_s)
        self.heartbeat_interval_s = interval
        self.silence_s = self.expiry_s  # without a byte from a busy worker's connection: it is cut

    @property
    def free(self) -> bool:
        """Whether it may get a job."""
        return not self.held and not self.confirming and self.lost_until is None

    @property
    def job_id(self) -> str | None:
        """The job it runs, or the one that is over and that it has not let go of."""
        if self.job is not None:
            return self.job.id
        return next((job_id_of(token) for token in self.held), None)

    def let_go(self, token: bytes) -> None:
        """It does not hold this token any more."""
        self.held.pop(token, None)
        if not self.held:
            self.hung, self.drop_at = False, None

    def next_due(self) -> float:
        """The earliest monotonic time at which something is due for it."""
        due = self.heartbeat_due
        if not self.held:
            due = min(due, self.heard + self.expiry_s)
        if self.job is not None:
            due = min(due, self.job.deadline_mono)
        for at in (self.drop_at, self.lost_until):
            if at is not None:
                due = min(due, at)
        return due

    def state(self, now: float) -> str:
        """One of docs/protocol.md, zmws.workers: idle busy draining silent hung deaf lost."""
        if self.lost_until is not None:
            return "lost"
        if self.hung:
            return "hung"
        if self.blocked_until > now:
            return "deaf"
        if self.confirming:
            return "draining"
        if not self.held:
            return "idle"
        return "silent" if now - self.heard > self.expiry_s else "busy"
