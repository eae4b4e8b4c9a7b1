"""A job: its states, the one table of transitions, and its record.

                  due                 dispatch                complete
    scheduled ----------> waiting ----------------> running ------------> complete
        ^                  |   ^                    |  |  |
        |                  |   |     give_back      |  |  |   exhaust
        |                  |   +--------------------+  |  +-------------> failed --revive--> waiting
        |                  |          back_off         |
        +------------------|---------------------------+
     cancel: scheduled, waiting, running --> cancelled
     expire: scheduled, waiting          --> expired

Rule 1: a state changes by `Job.move` alone, and only as TRANSITIONS says.
Rule 2: `attempt` counts dispatches and always rises; `failures` counts against `retries`.
Rule 3: a token is live while its job runs under it and at no other time (`Job.token`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from zmws.core.mdp import json_or_base64

SCHEDULED, WAITING, RUNNING = "scheduled", "waiting", "running"
COMPLETE, FAILED, CANCELLED, EXPIRED = "complete", "failed", "cancelled", "expired"
STATES = (SCHEDULED, WAITING, RUNNING, COMPLETE, FAILED, CANCELLED, EXPIRED)
FINAL_STATES = frozenset({COMPLETE, FAILED, CANCELLED, EXPIRED})

TRANSITIONS: dict[str, dict[str, str]] = {
    SCHEDULED: {"due": WAITING, "cancel": CANCELLED, "expire": EXPIRED},
    WAITING: {"dispatch": RUNNING, "cancel": CANCELLED, "expire": EXPIRED},
    RUNNING: {
        "complete": COMPLETE,
        "give_back": WAITING,  # no failure: a restart, a drain, a job that never arrived
        "back_off": SCHEDULED,  # a failure that it survives
        "exhaust": FAILED,
        "cancel": CANCELLED,
    },
    FAILED: {"revive": WAITING},
    COMPLETE: {},
    CANCELLED: {},
    EXPIRED: {},
}

STORED, MEMORY = "stored", "memory"


@dataclass(slots=True)
class Job:
    """One job, as the broker holds it. Times ending in `_at` are wall seconds since 1970 and go into
    the record; those ending in `_mono` are the broker's monotonic clock and do not."""

    id: str
    service: str
    kind: str
    body: tuple[bytes, ...]
    created_at: float
    ready_at: float
    rank: float
    sync: bool = False
    state: str = WAITING
    durability: str = "disk"
    attempt: int = 0
    failures: int = 0
    losses: int = 0
    retries: int = 3
    priority: int = 0
    group: str | None = None
    unique: str | None = None
    ttr: float = 3600.0
    backoff: float = 2.0
    keep: float | None = None
    expires_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    nonce: str | None = None
    worker: str | None = None
    worker_ours: bool = False
    result: tuple[bytes, ...] = ()
    result_plain: bool = False
    error: dict[str, Any] | None = None
    progress: float | None = None
    progress_text: str | None = None
    attempts: tuple[dict[str, Any], ...] = ()
    partials: list[tuple[bytes, ...]] | tuple[()] = ()  # most jobs have none: no list is made for them
    partials_cut: int = 0
    log: list[str] | tuple[()] = ()
    log_bytes: int = 0
    log_cut: int = 0

    # What a restart forgets.
    body_bytes: int = 0
    partials_bytes: int = 0
    token: bytes | None = None  # live while running, else None
    number: int = 0  # order among jobs of one rank
    session: Any = None  # the session.Session that runs it; this layer does not know sessions
    callers: list[Caller] = field(default_factory=list)
    deadline_mono: float = 0.0
    expires_mono: float | None = None
    last_write: Any = None  # the writes.Write that an answer about this job has to wait for
    final_token: bytes | None = None  # the token whose FINAL was taken last
    progress_in_flight: bool = False

    def move(self, event: str) -> None:
        """Change the state as the table says; any other change is our own fault."""
        state = TRANSITIONS[self.state].get(event)
        assert state is not None, f"job {self.id}: {event} in state {self.state}"
        self.state = state

    @property
    def final(self) -> bool:
        """Whether it has ended for good (a dead letter may still be revived)."""
        return self.state in FINAL_STATES

    def ends_attempt(self, at: float, error: dict[str, Any] | None, kept_max: int) -> None:
        """Write the attempt that just ended into the history; times are wall seconds there too."""
        self.token = None
        entry: dict[str, Any] = {
            "attempt": self.attempt,
            "worker": self.worker,
            "started_at": self.started_at,
            "ended_at": at,
        }
        if error is not None:
            entry["error"] = error
        self.attempts = (*self.attempts[-kept_max + 1 :], entry) if self.attempts else (entry,)


@dataclass(slots=True, eq=False)
class Caller:
    """Who waits for an answer: a peer, and how the answer goes back."""

    peer: tuple[str, bytes]
    reply_to: Any  # messages.ReplyTo
    named: bool = False  # the request gave the id

    def same_as(self, other: Caller) -> bool:
        """Whether an answer to one is an answer to the other."""
        return self.peer == other.peer and self.reply_to == other.reply_to


def make_token(job_id: str, attempt: int, nonce: str) -> bytes:
    """`ID/ATTEMPT/NONCE`: printable ASCII, the address that a worker echoes (DESIGN section 6)."""
    return f"{job_id}/{attempt}/{nonce}".encode()


def job_id_of(token: bytes) -> str | None:
    """The job a token speaks of, parsed from the right; None if it is no token."""
    try:
        parts = token.decode("ascii").rsplit("/", 2)
    except UnicodeDecodeError:
        return None
    return parts[0] if len(parts) == 3 else None


def iso(at: float | None) -> str | None:
    """A wall time in ISO 8601 UTC with milliseconds, None for none."""
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def summary(job: Job) -> dict[str, Any]:
    """A job as lists show it: flat, the shape of WIRE section 4 without its last six fields."""
    return {
        "id": job.id,
        "service": job.service,
        "state": job.state,
        "kind": job.kind,
        "attempt": job.attempt,
        "failures": job.failures,
        "retries": job.retries,
        "priority": job.priority,
        "group": job.group,
        "unique": job.unique,
        "created_at": iso(job.created_at),
        "ready_at": iso(job.ready_at),
        "started_at": iso(job.started_at),
        "ended_at": iso(job.ended_at),
        "expires_at": iso(job.expires_at),
        "ttr": job.ttr,
        "worker": job.worker,
        "progress": job.progress,
        "progress_text": job.progress_text,
    }


def record(job: Job) -> dict[str, Any]:
    """The whole record: WIRE section 4, "a job"."""
    return {
        **summary(job),
        "params": json_or_base64(job.body),
        "result": json_or_base64(job.result) if job.state == COMPLETE else None,
        "error": job.error,
        "attempts": [
            {**entry, "started_at": iso(entry["started_at"]), "ended_at": iso(entry["ended_at"])}
            for entry in job.attempts
        ],
        "partials": [json_or_base64(partial) for partial in job.partials],
        "partials_cut": job.partials_cut,
        "log": list(job.log),
        "log_cut": job.log_cut,
    }


def error_json(error: dict[str, Any]) -> bytes:
    """ERROR of WIRE section 2 as it goes out."""
    return json.dumps(error, default=str).encode()
