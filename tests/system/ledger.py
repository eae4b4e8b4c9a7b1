"""What clients attempted and were told, what workers ran, and whether the store agrees: a set checker.

Rule 1: whoever has a part in a run writes down what it knows, at the time at which it knows it; times are
        of the machine's one monotonic clock, so that those of different processes compare.
Rule 2: `check` looks when all has ended. It trusts nothing that the broker says, only its store's file.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import sqlite3
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path

from zmws.core.states import FINAL_STATES
from zmws.store.sqlite import upkeep

SHOWN_MAX = 5  # of the jobs that are wrong in one way


class Ledger:
    """What the clients attempted, and what they were told. Thread-safe."""

    def __init__(self) -> None:
        self.attempted: dict[str, str | None] = {}  # stored jobs: id -> unique key
        self.calls: set[str] = set()  # synchronous calls, which no store knows
        self.acknowledged: dict[str, float] = {}  # id -> when
        self.held: dict[str, str] = {}  # an id whose submit was answered with another's: that one
        self.complete: dict[str, float] = {}  # confirmed to have completed: id -> when, the first time
        self.cancelled: dict[str, float] = {}  # cancels that were acknowledged
        self.faults: list[str] = []  # what should not have been answered
        self.counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def count(self, what: str) -> None:
        """One more of these."""
        with self._lock:
            self.counts[what] += 1

    def fault(self, text: str) -> None:
        """Something was answered that should not have been."""
        with self._lock:
            self.faults.append(text)

    def attempt(self, job_id: str, unique: str | None = None) -> None:
        """A stored job is about to be submitted."""
        with self._lock:
            self.attempted[job_id] = unique

    def called(self, job_id: str) -> None:
        """A synchronous call is about to be made."""
        with self._lock:
            self.calls.add(job_id)

    def accepted(self, asked_id: str, job_id: str, durability: str) -> None:
        """A submit was acknowledged: as this job."""
        now = time.monotonic()
        with self._lock:
            self.acknowledged.setdefault(job_id, now)
            self.counts["acknowledgements"] += 1
            if durability != "disk":
                self.faults.append(f"job {job_id} was acknowledged as durable in '{durability}'")
            if job_id != asked_id:
                self.held[asked_id] = job_id

    def confirmed(self, job_id: str) -> None:
        """Somebody was told that the job is complete."""
        now = time.monotonic()
        with self._lock:
            self.complete.setdefault(job_id, now)

    def was_cancelled(self, job_id: str) -> None:
        """A cancel was acknowledged."""
        now = time.monotonic()
        with self._lock:
            self.cancelled.setdefault(job_id, now)

    def some(self, most: int) -> list[str]:
        """The jobs acknowledged last."""
        with self._lock:
            return list(itertools.islice(reversed(self.acknowledged), most))


@dataclass(slots=True)
class Run:
    """A line of a worker's own file."""

    what: str  # "start", "end" (with a result) or "fail"
    job_id: str
    attempt: int
    token: str
    at: float


def run_line(what: str, job_id: str, attempt: int, token: str, at: float) -> bytes:
    """A line of such a file, to be written in one piece."""
    return f"{what} {job_id} {attempt} {token} {at!r}\n".encode()


def read_runs(folder: Path) -> list[Run]:
    """What all workers have written down; a line that a kill cut off is none."""
    runs: list[Run] = []
    for file in folder.glob("ran-*"):
        for line in file.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                what, job_id, attempt, token, at = line.split()
                runs.append(Run(what, job_id, int(attempt), token, float(at)))
    return sorted(runs, key=lambda run: run.at)


@dataclass(slots=True)
class Stored:
    """A job in the store."""

    id: str
    service: str
    state: str
    attempt: int
    nonce: str | None
    unique: str | None
    created_at: float
    ended_at: float | None
    attempts: str | None

    @property
    def token(self) -> str:
        return f"{self.id}/{self.attempt}/{self.nonce}"

    def ends(self) -> list[str]:
        """What its attempts ended with: a code, or a result."""
        return [one.get("error", {}).get("code", "a result") for one in json.loads(self.attempts or "[]")]


def read_store(path: Path) -> dict[str, Stored]:
    """All jobs of a store's file, by id."""
    columns = ", ".join(f'"{one.name}"' for one in fields(Stored))
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return {row[0]: Stored(*row) for row in connection.execute(f"SELECT {columns} FROM jobs")}


@dataclass
class Findings:
    """What `check` found: the sizes of the sets, and per kind of wrong the jobs that it happened to."""

    sizes: dict[str, int] = field(default_factory=dict)
    wrong: dict[str, list[str]] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not any(self.wrong.values())

    def lines(self) -> list[str]:
        """For people."""
        told = [f"{n:>9}  {what}" for what, n in self.sizes.items()]
        told.append("        -")
        for what, whom in self.wrong.items():
            told.append(f"{len(whom):>9}  {what}")
            told += [f"           {one}" for one in whom[:SHOWN_MAX]]
        return told


def check(ledger: Ledger, path: Path, runs: Iterable[Run]) -> Findings:
    """Compare what was told and run with the store's file, which no broker has open."""
    runs = list(runs)
    jobs = read_store(path)
    states = Counter(job.state for job in jobs.values())
    started = {run.job_id for run in runs if run.what == "start"}
    tokens: dict[tuple[str, int], set[str]] = defaultdict(set)
    for run in runs:
        if run.job_id not in ledger.calls:
            tokens[run.job_id, run.attempt].add(run.token)
    ends = Counter(end for job in jobs.values() for end in job.ends())
    sizes = {
        "jobs attempted": len(ledger.attempted),
        "acknowledged": len(ledger.acknowledged),
        "answered with the job that holds their unique key": len(ledger.held),
        "in the store": len(jobs),
        **{f"of them {state}": n for state, n in sorted(states.items())},
        "executed": len(started & ledger.attempted.keys()),
        "starts of work()": sum(run.what == "start" for run in runs),
        "attempts begun anew, for the broker died before they were on disk": sum(
            len(given) - 1 for given in tokens.values()
        ),
        **{f"attempts that ended with {end}": n for end, n in sorted(ends.items())},
        "completions that were confirmed": len(ledger.complete),
        "cancels that were acknowledged": len(ledger.cancelled),
        "synchronous calls": len(ledger.calls),
        **dict(sorted(ledger.counts.items())),
    }
    return Findings(sizes, dict(_wrong(ledger, path, jobs, runs)))


def _wrong(
    ledger: Ledger, path: Path, jobs: dict[str, Stored], runs: list[Run]
) -> Iterable[tuple[str, list[str]]]:
    state = lambda job_id: jobs[job_id].state if job_id in jobs else "not there"  # noqa: E731
    lost = [f"{one}: {state(one)}" for one in ledger.acknowledged if state(one) not in FINAL_STATES]
    yield "acknowledged jobs lost", lost
    yield (
        "unexpected: in the store, and never attempted",
        [one for one in jobs if one not in ledger.attempted],
    )
    known = ledger.attempted.keys() | ledger.calls
    yield "unexpected: run, and never attempted", [run.job_id for run in runs if run.job_id not in known]
    # News tell of calls as well; who got no answer to one asks again, and it is run again.
    confirmed = {one: at for one, at in ledger.complete.items() if one not in ledger.calls}
    late = [run for run in runs if run.what == "start" and run.at > confirmed.get(run.job_id, run.at)]
    yield "jobs that ran after their completion was confirmed", [f"{one}" for one in late]
    undone = [f"{one}: {state(one)}" for one in confirmed if state(one) != "complete"]
    yield "completions that were confirmed and are not in the store", undone
    # An attempt that was given out before the cancel may start a moment after it; a later one may not.
    late = [
        run
        for run in runs
        if run.what == "start"
        and run.at > ledger.cancelled.get(run.job_id, run.at)
        and (run.job_id not in jobs or run.attempt > jobs[run.job_id].attempt)
    ]
    yield "jobs that ran after their cancel was acknowledged", [f"{one}" for one in late]
    undone = [f"{one}: {state(one)}" for one in ledger.cancelled if state(one) != "cancelled"]
    yield "cancels that were acknowledged and are not in the store", undone
    yield "unique keys of two jobs at a time", list(_keys_held_twice(jobs.values()))
    wrong = [
        f"{one} was answered with {holder}"
        for one, holder in ledger.held.items()
        if holder not in jobs
        or jobs[holder].unique != ledger.attempted.get(one)
        or (one in jobs and one not in ledger.acknowledged)  # (if asked again, it may have been made then)
    ]
    yield "answered with a job that does not hold their key", wrong
    ended = {run.token for run in runs if run.what == "end"}
    unearned = [one.token for one in jobs.values() if one.state == "complete" and one.token not in ended]
    yield "complete, and no worker completed that attempt", unearned
    yield "answers that should not have come", ledger.faults
    yield "problems of the store's file", upkeep.check(path)


def _keys_held_twice(jobs: Iterable[Stored]) -> Iterable[str]:
    by_key: dict[tuple[str, str], list[Stored]] = defaultdict(list)
    for job in jobs:
        if job.unique is not None:
            by_key[job.service, job.unique].append(job)
    for (_, key), holders in by_key.items():
        holders.sort(key=lambda job: job.created_at)
        for one, next_one in itertools.pairwise(holders):
            if one.ended_at is None or next_one.created_at < one.ended_at:
                yield f"{key}: {one.id} until {one.ended_at}, {next_one.id} from {next_one.created_at}"
