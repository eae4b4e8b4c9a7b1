"""What the core writes into the store, and the verdicts that come back.

Rule 1: a write carries values, never a Job: the writer thread may read it while the core goes on.
Rule 2: the gate gives each write its number (`seq`) in the order in which the core made them.
Rule 3: writes apply in order within a batch, so a finish frees its unique key for an insert behind it.
Rule 4: what a write's fate decides (whether an id is new, what a prune forgot) comes back as its verdict,
        from the commit: only the store can know.
Rule 5: a write that is one `unit` with the one before it is in its commit, and all of a unit happens or none:
        when one of its writes is refused, each that takes a verdict is told that refusal.
Rule 6: jobs stand in the store by their `number`, which the core gives out in the order of creation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from zmws.core.job import Job
from zmws.core.rows import KeyRow, Row, ScheduleRow

NEW, EXISTING, UNIQUE_CONFLICT, FULL = "new", "existing", "unique_conflict", "full"
DISK_FULL = "disk_full"  # no room on the host's disk, for now
UNKNOWN = "unknown"  # a revival or removal of what has been deleted or pruned meanwhile
DELETED = "deleted"


@dataclass(slots=True)
class Verdict:
    """What became of an insert, a revival or a removal. `job_id`: the job that stands for it now."""

    verdict: str
    job_id: str
    service: str = ""  # of an existing job: another service means id_conflict
    state: str = ""  # of a deleted job: what it had ended as
    by_unit: bool = False  # this was another write's of the unit, which did not happen for that
    batch: str | None = None  # of which the job that stands for it (EXISTING, UNIQUE_CONFLICT) is a member
    chain: str | None = None  # of an existing one: of which it is a step
    group: str | None = None  # and of which group it is, as that of a UNIQUE_CONFLICT


@dataclass(slots=True)
class Pruned(Verdict):
    """What a prune forgot: how many, by service and state, and when the next job or batch is due to be
    forgotten (None: none that has ended is left). It may be due already: a step is bounded."""

    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    next_at: float | None = None


@dataclass(slots=True)
class Counted(Verdict):
    """What a batch is after the end of a member, or after it was closed, at the end of that commit. `job_id`:
    the member; of a close "". `ended`: it is closed, and all have ended. `concluded`: the job that has
    followed from that in this commit; of several verdicts of one commit one alone has it."""

    ended: bool = False
    forget_at: float | None = None  # of an ended one, as the row has it
    concluded: Row | None = None


Told = Callable[["Verdict"], None]  # what is to be done with a verdict


@dataclass(slots=True, kw_only=True)
class Write:
    """The root of all writes. `seq` is 0 until the gate numbers it."""

    seq: int = 0
    size: int = 200  # bytes it is worth, for the bounds on batches
    void: bool = False  # another write has taken it up
    unit: bool = False  # one unit with the write before it: all of it happens, or nothing
    job: Job | None = field(default=None, repr=False)  # the core's own: whom it is of; no store looks at it
    told: Told | None = field(default=None, repr=False)  # or what is to be done with its verdict


@dataclass(slots=True)
class InsertJob(Write):
    """A new job. Has a verdict. `only_if_known`: the service is full, so anything but a repeat is FULL.
    `together`: of the same message as the write before it, and so in the same commit; but no unit.

    `spare_id` (not ""): it follows from a job's end or from a schedule, so no lack of room refuses it, and
    the job that holds its unique key, or one of its id and its own parent (None is one, too), stands for it
    (UNIQUE_CONFLICT, EXISTING). Where another job has its id, it is given the spare one: the verdict is NEW,
    with that.

    If `row["batch"]` is set and the verdict NEW, the batch has one member more."""

    row: Row
    only_if_known: bool = False
    together: bool = False
    spare_id: str = ""


@dataclass(slots=True)
class UpdateJob(Write):
    """New values for columns of a job's record."""

    job_id: str
    changes: Mapping[str, Any]


@dataclass(slots=True)
class FinishJob(UpdateJob):
    """The job reaches a final state, which frees its unique key. Forgotten at `forget_at`."""

    service: str
    forget_at: float


@dataclass(slots=True)
class FinishMember(FinishJob):
    """A member of a batch reaches a final state: FinishJob, and its batch counts it. Has a verdict: Counted.
    `number`, `at` (wall), `steady` and `spare_id` (where its usual id is taken) are for the job that follows
    if it was the last (conclusion.py)."""

    batch: str
    number: int
    at: float
    steady: float
    spare_id: str


@dataclass(slots=True)
class ReviveJob(UpdateJob):
    """A job that failed, expired or was cancelled waits again. Has a verdict: its unique key may be taken by
    now. If it is a member of a batch, that counts it as unfinished again."""


@dataclass(slots=True)
class AppendToJob(Write):
    """A partial result (`kind` partial, `value` its frames) or a log line (`kind` log, a text) for the
    job's history: its event number `n`, at wall time `at`."""

    job_id: str
    kind: str
    value: Any
    n: int = 0
    at: float = 0.0


@dataclass(slots=True)
class DeleteJob(Write):
    """Remove a job that has ended. Has a verdict: DELETED, or UNKNOWN where there is no such ended job."""

    job_id: str


@dataclass(slots=True)
class RememberService(Write):
    """A service that a worker registered: known from now on, also after a restart. `paused` and `limits`: as
    an operator set them; `defaults` and `params`: what a READY told. The last three are JSON as text. None
    changes nothing of it."""

    service: str
    paused: bool | None = None
    defaults: str | None = None
    params: str | None = None
    limits: str | None = None


@dataclass(slots=True)
class ForgetService(Write):
    """A service is not known any more. The records of its jobs stay as they are."""

    service: str


@dataclass(slots=True)
class PruneJobs(Write):
    """Forget ended jobs whose `keep` has passed at the time `at`, the longest due first, then such batches;
    at most `limit` records, pieces of history and batches in all. Has a verdict: Pruned."""

    at: float
    limit: int


@dataclass(slots=True)
class WriteSeries(Write):
    """What was counted in a minute, by the steady time at which it began: for each of these services, "" for
    all together, its figures (series.py). They are added to those of that minute and of its hour that are
    there. Minutes before `minutes_from` and hours and marks before `hours_from` are forgotten."""

    at: int
    figures: list[tuple[str, dict[str, Any]]]
    minutes_from: float
    hours_from: float


@dataclass(slots=True)
class WriteMark(Write):
    """A mark in the series, at steady time `at`: a deploy, a start. `service`: of one alone. `by`: who made
    it."""

    at: float
    kind: str
    text: str
    service: str | None = None
    by: str | None = None


@dataclass(slots=True)
class ForgetActs(Write):
    """What operators did before wall time `acts_from` is forgotten, and all but the newest `acts_max`; a
    bounded number of them by one write."""

    acts_from: float
    acts_max: int


@dataclass(slots=True)
class WriteAct(ForgetActs):
    """What an operator did, at wall time `at` (desk/audit.py). `on`: a job's id, a service, a worker, a
    process. `detail`: JSON as text. `count`: jobs or workers that it was done to. None: there is no such."""

    at: float
    by: str
    verb: str
    on: str | None
    detail: str | None
    count: int | None
    outcome: str


@dataclass(slots=True)
class OpenBatch(Write):
    """A new batch, opened at wall time `at`. Has a verdict: NEW or EXISTING. `then` and `failed`: the record
    of the job that follows (conclusion.py, `template`). `meta`: JSON as text."""

    batch: str
    at: float
    keep: float | None
    then: Row | None
    failed: Row | None
    meta: str | None
    by: str | None
    group: str | None


@dataclass(slots=True)
class CloseBatch(Write):
    """No client adds to a batch any more. Has a verdict: Counted; or UNKNOWN. The rest as in FinishMember."""

    batch: str
    number: int
    at: float
    steady: float
    spare_id: str


@dataclass(slots=True)
class WriteSchedule(Write):
    """A schedule is as it stands here, whatever it was before."""

    schedule: ScheduleRow


@dataclass(slots=True)
class RemoveSchedule(Write):
    """A schedule is no more. The records of its jobs stay as they are."""

    name: str


@dataclass(slots=True)
class FireSchedule(Write):
    """A schedule fires at wall time `at` for its time `nominal`: the insert of its job follows as a unit. Has
    a verdict: NEW, or UNKNOWN where there is no such schedule, or where it has fired for this time or a later
    one (but not for one that is more than `back_s` later: then the clock was wrong). `nominal` None: by
    hand, and `last_at` stays."""

    name: str
    nominal: float | None
    at: float
    job_id: str
    back_s: float


@dataclass(slots=True)
class WriteKey(Write):
    """A key is as it stands here, whatever it was before."""

    key: KeyRow


# But for revivals: nobody waits for them, unless an answer does.
PATIENT = (UpdateJob, AppendToJob, WriteSeries)
WITH_VERDICT = (
    *(InsertJob, ReviveJob, DeleteJob, PruneJobs),
    *(FinishMember, OpenBatch, CloseBatch, FireSchedule),
)
_REFUSALS = frozenset({UNIQUE_CONFLICT, FULL, DISK_FULL, UNKNOWN})


def units(writes: Iterable[Write]) -> list[list[Write]]:
    """The writes as what happens as a whole or not at all; most are a unit of their own."""
    found: list[list[Write]] = []
    for write in writes:
        if write.unit:
            found[-1].append(write)
        else:
            found.append([write])
    return found


def refuses(verdict: Verdict, write: Write) -> bool:
    """Whether the write did not happen, and so no other of its unit may. A repeat is no refusal, for what it
    asks for is there; but it is one if the id is that of another service's job."""
    if isinstance(write, InsertJob) and write.spare_id:
        return False
    if verdict.verdict == EXISTING:
        return isinstance(write, InsertJob) and verdict.service != write.row["service"]
    return verdict.verdict in _REFUSALS


def units_verdicts(unit: Iterable[Write], refused: Write, verdict: Verdict) -> list[Verdict]:
    """What each write of a unit that takes a verdict is told when one of them was refused."""
    told = replace(verdict, by_unit=True)
    return [verdict if write is refused else told for write in unit if isinstance(write, WITH_VERDICT)]
