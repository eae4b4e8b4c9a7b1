"""Who may ask what: for each service inside the broker the right that it needs, and for which services
(docs/security.md).

Rule 1: every verb of the desk stands in this table, or nobody with a key may ask it.
Rule 2: where a question is about a job, what counts is that job's service and group. Of a key that may not do
        it with whatever there is, the job is looked up first.
Rule 3: a refusal says which right is missing, and for what.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from zmws.core.held import Held
from zmws.core.job import Job
from zmws.core.key import LOOK, OPERATE, SPEAK_FOR, SUBMIT, WORK, Key
from zmws.core.keys import REVOKED, Keys, batch_fault, missing, other_group
from zmws.core.question import Question
from zmws.core.reads import ReadJob
from zmws.core.rows import Rows, job_of
from zmws.core.tokens import job_id_of
from zmws.core.turn import Turn
from zmws.core.user import address_of


class Need(NamedTuple):
    """One of these rights. `of`: for what the question is about: the `service` that it names, or if it names
    none all of them; the services of a filter; its `job`; its `batch` (keys.py, `batch_fault`); `all` of
    them; `any` at all; `none`: no right. With `own`, who has submitted a job may do it,
    too, and of many with his own."""

    rights: tuple[str, ...]
    of: Literal["none", "any", "all", "service", "filter", "job", "token", "batch"]
    own: bool = False


_FOLLOW = (LOOK, SUBMIT)
NEEDS: dict[str, Need] = {
    "zmws.hello": Need((), "none"),
    **{f"zmws.{verb}": Need(_FOLLOW, "job") for verb in ("job", "wait", "events", "why")},
    "zmws.family": Need(_FOLLOW, "job", own=True),
    "zmws.batch": Need(_FOLLOW, "batch"),
    "zmws.close": Need((SUBMIT,), "batch"),
    "zmws.service": Need(_FOLLOW, "service"),
    "zmws.jobs": Need((LOOK,), "filter", own=True),
    **{f"zmws.{verb}": Need((LOOK,), "service") for verb in ("peek", "series", "failures")},
    # They show what it may see.
    "zmws.services": Need(_FOLLOW, "any"),
    "zmws.workers": Need((LOOK,), "any"),
    **{f"zmws.{verb}": Need((LOOK,), "all") for verb in ("batches", "schedules", "stats", "metrics")},
    **{f"zmws.{verb}": Need((LOOK,), "all") for verb in ("lanes", "warnings")},
    # What is asked for is looked at one by one (keys.py).
    **{f"zmws.{verb}": Need((SUBMIT,), "any") for verb in ("submit", "open")},
    "zmws.cancel": Need((OPERATE,), "filter", own=True),
    **{f"zmws.{verb}": Need((OPERATE,), "filter") for verb in ("retry", "delete")},
    **{f"zmws.{verb}": Need((OPERATE,), "service") for verb in ("purge", "pause", "resume", "limit")},
    **{f"zmws.{verb}": Need((OPERATE,), "service") for verb in ("forget", "drain", "mark")},
    **{f"zmws.{verb}": Need((OPERATE,), "job") for verb in ("stack", "copy")},
    **{f"zmws.{verb}": Need((OPERATE,), "all") for verb in ("audit", "acted", "schedule", "keys", "key")},
    "zmws.lease": Need((WORK,), "service"),
    **{f"zmws.{verb}": Need((WORK,), "token") for verb in ("extend", "report")},
    **{f"SERVER-{verb}": Need((LOOK,), "all") for verb in ("JOBS", "ACTIVE", "HIST", "WORKERS")},
}


@dataclass(slots=True)
class Permit:
    """A question that waits for the record of the job that it is about: comes back with that."""

    question: Question
    go_on: Callable[[Question], None]


class Permits:
    """Lets questions through, or answers them."""

    def __init__(self, turn: Turn, held: Held, keys: Keys) -> None:
        self._turn = turn
        self._held = held
        self._keys = keys

    def sees(self, question: Question, service: str) -> bool:
        """Whether a list of services may show this one to who has asked."""
        user = question.caller.peer[2]
        key = self._keys.of(user)
        return not user or (key is not None and sees(key, service))

    def group_of(self, question: Question) -> str | None:
        """The tenant that has asked, None if it is none."""
        key = self._keys.of(question.caller.peer[2])
        return None if key is None else key.row.group

    def speaks_for(self, question: Question) -> bool:
        """Whether who has asked may say on whose behalf."""
        user = question.caller.peer[2]
        key = self._keys.of(user)
        return not user or (key is not None and key.has(SPEAK_FOR))

    def batch_fault(self, question: Question, by: str | None, group: str | None) -> str | None:
        """Why who has asked may not do this with a batch, None if it may."""
        user = question.caller.peer[2]
        key = self._keys.of(user)
        if not user:
            return None
        return REVOKED if key is None else batch_fault(key, NEEDS[question.service].rights, by, group)

    def sign(self, question: Question) -> str | None:
        """Write into a question who acts, where that has been proved. Gives where that was said: the key and
        its address."""
        user = question.caller.peer[2]
        key = self._keys.of(user) if user else None
        if key is None:
            return None
        if not key.has(SPEAK_FOR) or "by" not in question.asked:
            question.asked["by"] = key.name
        return f"{key.name} at {address_of(user)}"

    def let(self, question: Question, go_on: Callable[[Question], None]) -> None:
        """Go on with a question, now or when its job is known, or refuse it."""
        user = question.caller.peer[2]
        if not user:
            return go_on(question)
        key = self._keys.of(user)
        fault = REVOKED if key is None else fault_of(key, question.service, question.asked)
        if key is None or fault is not None:
            return question.refuse(403, "not_allowed", str(fault))
        job_id = job_id_in(key, question.service, question.asked)
        if job_id is None:
            return go_on(question)
        job = self._held.find(job_id)
        if job is not None:
            return self._judge(question, key, job, go_on)
        return self._turn.reads.append(ReadJob(Permit(question, go_on), job_id, whole=False))

    def loaded(self, permit: Permit, rows: Rows) -> None:
        """The record of the job was read. Where there is none, it is not looked for again: by then another
        may have made one of that id."""
        key = self._keys.of(permit.question.caller.peer[2])
        if key is None:
            return permit.question.refuse(403, "not_allowed", REVOKED)  # meanwhile
        question = permit.question
        job = job_of(rows.rows[0]) if rows.rows else None
        if job is None and NEEDS[question.service].of != "token":
            text = f"there is no job '{question.asked['id']}', or its record has been forgotten"
            return question.refuse(404, "unknown_job", text)
        return self._judge(question, key, job, permit.go_on)

    def _judge(
        self, question: Question, key: Key, job: Job | None, go_on: Callable[[Question], None]
    ) -> None:
        fault = None
        if job is not None:
            fault = job_fault(key, question.service, job.service, job.group, job.submitter)
        return go_on(question) if fault is None else question.refuse(403, "not_allowed", fault)


# With a group, what is told of a service is told of all groups' jobs.
_SHOW_OTHERS = frozenset(
    f"zmws.{verb}" for verb in ("peek", "failures", "series", "lanes", "services", "service", "workers")
)
_UNKNOWN = Need((OPERATE,), "all")


def sees(key: Key, service: str) -> bool:
    """Whether a list may show this service to a key."""
    return any(key.may(right, service) for right in _FOLLOW)


def fault_of(key: Key, service: str, asked: Any) -> str | None:
    """Why a key may not ask this of a service of the desk, as far as that can be told without its job; None
    if it may. A filter is bound to the group of a tenant, and where that is the way, to what is the key's
    own."""
    need = NEEDS.get(service, _UNKNOWN)
    if _may_whole(key, need) or job_id_in(key, service, asked) is not None:
        return None
    fault = _fault_of(key, need, service, asked)
    if fault is None or need.of != "filter" or not need.own or not key.has(SUBMIT):
        return fault
    group, by_id = key.row.group, any(asked.get(name) is not None for name in _BY_ID)
    if group is not None and asked.get("group", group) != group:
        return fault
    if service == "zmws.jobs" and by_id and "*" in key.row.rights[SUBMIT]:
        return None  # it may follow each of them by its id
    if asked.get("submitter", key.name) != key.name:
        return fault
    asked["submitter"] = key.name
    return None


_BY_ID = ("parent", "chain", "batch")  # of a filter


def _fault_of(key: Key, need: Need, service: str, asked: Any) -> str | None:
    right, group = need.rights[0], key.row.group
    if group is not None and service in _SHOW_OTHERS:
        return _whole(key, need)
    if need.of in ("any", "batch"):
        if any(key.has(right) for right in need.rights):
            return None
        return f"the key '{key.name}' has no right {_named(need)}"
    if need.of == "all" or (group is not None and need.of == "service" and right not in _FOLLOW):
        return _whole(key, need)
    if need.of == "filter" and group is not None:
        if asked.get("group", group) != group:
            return other_group(key)
        asked["group"] = group
    name = asked.get("service")
    if name is None:
        if need.of == "filter" and group is not None and "*" in key.row.rights.get(right, ()):
            return None
        return _whole(key, need, "; name a service that it has it for")
    if any(key.may(right, name) for right in need.rights):
        return None
    return missing(key, right, name)


def job_fault(
    key: Key, service: str, of_service: str, group: str | None, submitter: str | None
) -> str | None:
    """Why a key may not ask this of a job of this service and group; None if it may."""
    need = NEEDS[service]
    if need.own and submitter == key.name:
        return None
    if not any(key.may(right, of_service) for right in need.rights):
        return missing(key, need.rights[0], of_service)
    if key.row.group is not None and group != key.row.group:
        return other_group(key)
    if service == "zmws.family":
        return _whole(key, need)  # its relatives may be of any service
    return None


def job_id_in(key: Key, service: str, asked: Any) -> str | None:
    """The job that has to be looked up before this key may ask; None: none has to be."""
    need = NEEDS.get(service, _UNKNOWN)
    if _may_whole(key, need):
        return None
    if need.of in ("job", "filter"):
        found = asked.get("id")
        return found if isinstance(found, str) else None
    return job_id_of(asked["token"].encode()) if need.of == "token" else None


def _may_whole(key: Key, need: Need) -> bool:
    return need.of == "none" or any(key.may_all(right) for right in need.rights)


def _whole(key: Key, need: Need, more: str = "") -> str:
    group = "" if key.row.group is None else " and all groups"
    return f"the key '{key.name}' has no right {_named(need)} for all services{group} (\"*\"){more}"


def _named(need: Need) -> str:
    return " or ".join(f"'{right}'" for right in need.rights)
