"""Why jobs have failed, counted with the transaction that moves them.

Rule 1: a job is noted for its cause from the commit of its end until it waits again or is forgotten: the
        counts are those of the jobs that there are.
Rule 2: past `causes_max` causes the one that came last longest ago, and for which no job is failed any more,
        makes way for a new one; where there is none, what is new counts for its service as one without words.
        A tenth of them is kept for services that have few: one that fails in ever new ways hides no other.
Rule 3: a cause for which no job is failed any more is kept as long as a failed job would be.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from zmws.core.options import KEEP_S
from zmws.core.rows import Cause
from zmws.core.states import FAILED
from zmws.store.sql.dialect import Connection
from zmws.wire.causes import FailureCause, cause_of

HOURS_KEPT = 24
KEPT_FREE = 10  # of so many places for causes one
_OTHERS = FailureCause(None, "other causes: there are more than causes_max", None)


class _Failure(NamedTuple):
    """A job that has failed, in the transaction under way."""

    cause: str
    service: str
    why: FailureCause
    at: float
    job_id: str


class Causes:
    """The causes of one store; used by its writer alone."""

    def __init__(self, connection: Connection, queries: Mapping[str, str], causes_max: int) -> None:
        self._execute = connection.execute
        self._many = connection.executemany
        self._queries = queries
        self._max = causes_max
        self._known: dict[str, str] = dict(self._execute(queries["known_causes"]).fetchall())  # its service
        self._of_service = Counter(self._known.values())
        # Of the transaction under way: what is not counted yet, and which causes came and went.
        self._failed: list[_Failure] = []
        self._less: list[str] = []
        self._added: list[str] = []
        self._new: dict[str, str] = {}
        self._gone: dict[str, None] = {}

    def begin(self) -> None:
        """A transaction begins; whatever one that failed has left is void."""
        if not (self._failed or self._less or self._added or self._new or self._gone):
            return  # most have nothing of it
        self._failed, self._less, self._added = [], [], []
        self._new, self._gone = {}, {}

    def so_far(self) -> tuple[dict[str, str], dict[str, None]]:
        """A unit begins: count what there is, outside of it. To go back to, if the unit is undone."""
        self.write()
        return self._new.copy(), self._gone.copy()

    def back_to(self, so_far: tuple[dict[str, str], dict[str, None]]) -> None:
        """What came after that did not happen, and what of it was counted is undone."""
        self._failed, self._less, self._added = [], [], []
        self._new, self._gone = so_far

    def failed(self, job_id: str, service: str, error: dict[str, Any] | None, at: float) -> str:
        """A job has failed: the key of its cause, which its record is to have."""
        why = cause_of(error)
        cause = why.key(service)
        if not self._knows(cause) and not self._has_room(service):
            why = _OTHERS
            cause = why.key(service)
        if not self._knows(cause):
            self._new[cause] = service
        self._failed.append(_Failure(cause, service, why, at, job_id))
        self._added.append(job_id)
        return cause

    def _has_room(self, service: str) -> bool:
        """Whether a new cause of this service is told apart; one that is needed no more makes way for it."""
        gone = [self._known[cause] for cause in self._gone]
        mine = self._of_service[service] - gone.count(service) + [*self._new.values()].count(service)
        kept_free = self._max // KEPT_FREE
        most = self._max if mine < kept_free else self._max - kept_free
        if len(self._known) - len(gone) + len(self._new) < most:
            return True
        self.write()
        found = self._execute(self._queries["old_causes"], (math.inf, 1)).fetchall()
        self._forget(found)
        return bool(found)

    def no_longer(self, cause: str | None, number: int) -> None:
        """A job that was failed for this waits again, or is forgotten."""
        if cause is not None:
            self._less.append(cause)
            self._execute(self._queries["delete_caused"], (cause, number))

    def note_jobs(self) -> None:
        """The records of those that have failed have their causes by now."""
        added, self._added = self._added, []
        self._many(self._queries["add_caused"], [(job_id,) for job_id in added])

    def write(self) -> None:
        """Count what is not counted yet; before the transaction is committed."""
        failed: dict[str, list[_Failure]] = {}
        for one in self._failed:
            failed.setdefault(one.cause, []).append(one)
        for cause, some in failed.items():
            found = self._execute(self._queries["hours_of_cause"], (cause,)).fetchone()
            hours = Counter({int(hour): n for hour, n in json.loads(found[0]).items()} if found else {})
            hours.update([int(one.at // 3600) for one in some])
            kept = {str(hour): hours[hour] for hour in sorted(hours)[-HOURS_KEPT:]}
            last = some[-1]
            words = [None if word is None else _storable(word) for word in last.why]
            counts = (len(some), len(some), some[0].at, max([one.at for one in some]))
            self._execute(
                self._queries["count_cause"],
                (cause, last.service, *words, *counts, last.job_id, json.dumps(kept)),
            )
        if self._less:
            less = Counter(self._less)
            self._many(self._queries["less_of_cause"], [(n, cause) for cause, n in less.items()])
        self._failed, self._less = [], []

    def committed(self) -> None:
        """The transaction is on disk."""
        for cause in self._gone:
            self._of_service[self._known.pop(cause)] -= 1
        self._known.update(self._new)
        self._of_service.update(self._new.values())

    def forget_old(self, at: float, limit: int) -> None:
        """Forget causes for which no job is failed any more, and was none for long."""
        self.write()
        found = self._execute(self._queries["old_causes"], (at - KEEP_S[FAILED], limit)).fetchall()
        self._forget(found)

    def _forget(self, found: Sequence[tuple[str, str]]) -> None:
        self._many(self._queries["forget_cause"], [(cause,) for cause, _ in found])
        for cause, _ in found:
            if cause in self._new:
                del self._new[cause]
            if cause in self._known:
                self._gone[cause] = None

    def _knows(self, cause: str) -> bool:
        return cause in self._new or (cause in self._known and cause not in self._gone)


def cause_from(values: Sequence[Any]) -> Cause:
    """A row of the table."""
    told: list[Any] = [*values]
    told[-1] = {int(hour): n for hour, n in json.loads(told[-1]).items()}
    return Cause._make(told)


def _storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
