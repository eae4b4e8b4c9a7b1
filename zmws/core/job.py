"""A job: its record, and what only memory knows of it. Its states are in states.py.

Rule 1: a state changes by `Job.move` alone, and only as TRANSITIONS says.
Rule 2: `attempt` counts dispatches and always rises; `failures` counts against `retries`.
Rule 3: a token is live while its job runs under it and at no other time (`Job.token`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, Protocol

from zmws.core.record import Record, marked
from zmws.core.states import COMPLETE, FINAL_STATES, TRANSITIONS
from zmws.wire.messages import Peer, ReplyTo
from zmws.wire.values import shown

STORED, MEMORY = "stored", "memory"
LISTED_ERROR_CHARS = 200  # of a text, in lists
STATES_KEPT = 100  # changes of state that a record keeps, the newest
Event = tuple[int, float, str, Any]  # number, wall time, `partial` or `log`, its frames or its text


class Pending(Protocol):
    """A write that is not known to be on disk (writes.py), by its number: 0 until the gate gives it one."""

    seq: int


@dataclass(slots=True, kw_only=True)
class Job(Record):
    """One job, as the broker holds it: its record, and what a restart forgets. Times that end in `_mono` are
    the monotonic clock's."""

    kind: str
    sync: bool = False
    history: list[Event] | tuple[()] = ()  # partials and log lines: of a memory job, or read from the store
    light: bool = False  # read without its body, to be ended and no more
    body_bytes: int = 0
    partials_bytes: int = 0
    stacks_bytes: int = 0  # of the log
    token: bytes | None = None  # live while running, else None
    refusal: tuple[str, str] | None = None  # why its insert is refused if it is no repeat: code, text
    callers: list[Caller] = field(default_factory=list)
    deadline_mono: float = 0.0
    last_write: Pending | None = None  # what an answer about this job has to wait for
    final_token: bytes | None = None  # the token whose FINAL was taken last
    lease_written: bool = False  # the store has a lease or a deadline of the attempt
    saved_written: str | None = None  # of that, what is on its way to the store
    progress_written_n: int = 0  # of the progress on its way to the store, 0 if none is
    progress_new: bool = False  # there is more since, which has no number yet

    def move(self, event: str, at: float) -> None:
        """Change the state at wall time `at`, as the table says; any other change is our own fault."""
        state = TRANSITIONS[self.state].get(event)
        assert state is not None, f"job {self.id}: {event} in state {self.state}"
        self.state = state
        self.enter(at)

    def enter(self, at: float) -> None:
        """Write the state it is in now into the list of its events."""
        self.number_progress()
        self.events += 1
        # Of a job that was given back and retried without end the newest are kept.
        kept = self.states if len(self.states) < STATES_KEPT else self.states[1:]
        self.states = (*kept, (self.events, at, self.state, self.attempt))

    def number_progress(self) -> None:
        """Progress that was said last is an event from now on."""
        if self.progress_new:
            self.progress_new = False
            self.events += 1
            self.progress_n = self.events

    @property
    def final(self) -> bool:
        """Whether it has ended (what did not complete may still be revived)."""
        return self.state in FINAL_STATES

    @property
    def suspect(self) -> bool:
        """Whether its worker died with it at the last attempt: it may do so again (taker.py). An attempt that
        was given back tells nothing."""
        for attempt in reversed(self.attempts):
            code = attempt.get("error", {}).get("code")
            if code != "given_back":
                return bool(code == "worker_lost")
        return False

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
        kept = self.attempts[-(kept_max - 1) :] if kept_max > 1 else ()
        self.attempts = (*kept, entry)


class Bundle(Protocol):
    """The answers to one message, which go out together (desk/submitting.py)."""

    def put(self, place: int, told: dict[str, Any], after: Pending | None = None) -> None:
        """What became of one job; `after`: the write that this speaks of."""


@dataclass(slots=True, eq=False)
class Caller:
    """Who waits for an answer: a peer, and how the answer goes back."""

    peer: Peer = field(repr=False)  # a failed assertion shows no routing id
    reply_to: ReplyTo
    named: bool = False  # the request gave the id
    bundle: Bundle | None = None  # one of many that are answered together
    place: int = 0  # and its place among them
    chain: str | None = None  # it asked for a chain, and this is its id
    by: str | None = None  # for whom it says that it asks
    tells_life: bool = False  # its answer says of which life of the broker the events are

    def same_as(self, other: Caller) -> bool:
        """Whether an answer to one is an answer to the other."""
        return (
            self.peer == other.peer
            and self.reply_to == other.reply_to
            and self.bundle is other.bundle
            and self.place == other.place
        )


def iso(at: float | None) -> str | None:
    """A wall time in ISO 8601 UTC with milliseconds, None for none."""
    if at is None or not -6e10 < at < 2.5e11:  # what no calendar here has
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


_SHOWN = marked("shown")
_SHOWN = (*_SHOWN[:3], "kind", *_SHOWN[3:])
_shown = attrgetter(*_SHOWN)
_TIMES = tuple(name for name in _SHOWN if name.endswith("_at"))


def summary(job: Job, lead: float) -> dict[str, Any]:
    """A job as lists show it: flat, as docs/protocol.md says, without its last fields. `lead`: turn.lead."""
    values = dict(zip(_SHOWN, _shown(job), strict=True))
    if not job.by_wall:
        values["ready_at"] += lead
    if job.expires_at is not None:
        values["expires_at"] += lead
    for name in _TIMES:
        values[name] = iso(values[name])
    values["error"] = listed_error(job.error)
    return values


def listed_error(error: dict[str, Any] | None) -> dict[str, Any] | None:
    """An ERROR as lists show it: code, the beginning of the text, and the type if there is one. A peer has
    written it, so it may be as long as a message."""
    if error is None:
        return None
    shown = {name: str(error.get(name) or "")[:LISTED_ERROR_CHARS] for name in ("code", "error")}
    if error.get("type"):
        shown["type"] = str(error["type"])[:LISTED_ERROR_CHARS]
    return shown


def record(job: Job, lead: float) -> dict[str, Any]:
    """The whole record: docs/protocol.md, "A job is"."""
    params, params_kind = shown(job.body, params=True)
    result, result_kind = shown(job.result) if job.state == COMPLETE else (None, None)
    return {
        **summary(job, lead),
        "meta": None if job.meta is None else json.loads(job.meta),
        "params": params,
        "params_kind": params_kind,
        "result": result,
        "result_kind": result_kind,
        "error": job.error,
        "step": job.step or None,
        "steps": job.steps or None,
        "on_complete": job.on_complete,
        "on_failed": job.on_failed,
        "concludes": job.concludes,
        "submitter": job.submitter,
        "cause": job.cause,
        "attempts": [
            {**entry, "started_at": iso(entry["started_at"]), "ended_at": iso(entry["ended_at"])}
            for entry in job.attempts
        ],
        "partials": [shown(value)[0] for _, _, kind, value in job.history if kind == "partial"],
        "partials_cut": job.partials_cut,
        "log": [value for _, _, kind, value in job.history if kind == "log"],
        "log_cut": job.log_cut,
    }


def kin_json(job: Job) -> str:
    """How it stands to other jobs, as JOB-JSON has it: behind what stands there, and "" for most."""
    if job.parent is None and job.batch is None and job.chain is None and job.concludes is None:
        return ""
    told = {name: getattr(job, name) for name in ("parent", "batch", "chain", "step", "concludes")}
    return ", " + json.dumps({name: value for name, value in told.items() if value})[1:-1]


def leased(job: Job, lead: float, now: float) -> dict[str, Any]:
    """What zmws.lease answers: the record, its token, the seconds that are left to run (a repeat comes
    later than the start), and what an attempt before has saved, if one has."""
    assert job.token is not None, job
    ttr = round(max(0.0, job.deadline_mono - now), 3)
    told = {**record(job, lead), "token": job.token.decode(), "ttr": ttr}
    return told if job.saved is None else told | {"saved": json.loads(job.saved)}


def events(job: Job, after: int) -> list[dict[str, Any]]:
    """What happened to a job, past event number `after`, in order: docs/protocol.md, zmws.events.

    Of its progress the last is kept, of what was cut nothing.
    """
    found: list[dict[str, Any]] = []
    for n, at, state, attempt in job.states:
        found.append(_event(n, at, "state") | {"state": state, "attempt": attempt})
    for number, moment, kind, value in job.history:
        said = {"text": value} if kind == "log" else dict(zip(_VALUE, shown(value), strict=True))
        found.append(_event(number, moment, kind) | said)
    if job.progress_at is not None:
        said = {"done": job.progress, "text": job.progress_text}
        found.append(_event(job.progress_n, job.progress_at, "progress") | said)
    return sorted((event for event in found if event["n"] > after), key=lambda event: int(event["n"]))


_VALUE = ("value", "value_kind")


def _event(n: int, at: float, kind: str) -> dict[str, Any]:
    return {"n": n, "at": iso(at), "kind": kind}


def error_json(error: dict[str, Any]) -> bytes:
    """ERROR of docs/errors.md as it goes out."""
    return json.dumps(error, default=str).encode()
