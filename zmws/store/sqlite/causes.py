"""Why jobs have failed, counted with the transaction that moves them.

Rule 1: a job is noted for its cause from the commit of its end until it waits again or is forgotten: the
        counts are those of the jobs that there are.
Rule 2: past `causes_max` causes what is new counts for its service as one without words.
Rule 3: a cause for which no job is failed any more is kept as long as a failed job would be.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from zmws.core.options import KEEP_S
from zmws.core.states import FAILED
from zmws.core.writes import Cause
from zmws.wire.causes import FailureCause, cause_of

HOURS_KEPT = 24
_OTHERS = FailureCause(None, "other causes: there are more than causes_max", None)


@dataclass(slots=True)
class _News:
    """What the transaction under way has of a cause."""

    service: str
    why: FailureCause
    first_at: float
    last_at: float = 0.0
    last_job: str = ""
    hours: Counter[int] | None = None
    count: int = 0


class Causes:
    """The causes of one store; used by its writer alone."""

    def __init__(self, connection: sqlite3.Connection, queries: Mapping[str, str], causes_max: int) -> None:
        self._execute = connection.execute
        self._many = connection.executemany
        self._queries = queries
        self._max = causes_max
        self._known = {cause for (cause,) in self._execute(queries["known_causes"]).fetchall()}
        self._failed: dict[str, _News] = {}
        self._less: Counter[str] = Counter()
        self._added: list[str] = []

    def begin(self) -> None:
        """A transaction begins; whatever an earlier one has left is void."""
        if not (self._failed or self._less or self._added):
            return
        self._failed, self._less, self._added = {}, Counter(), []

    def so_far(self) -> tuple[Any, ...]:
        """What the transaction has, to go back to (a unit is undone)."""
        return deepcopy((self._failed, self._less, self._added))

    def back_to(self, so_far: tuple[Any, ...]) -> None:
        """What came after that did not happen."""
        self._failed, self._less, self._added = so_far

    def failed(self, job_id: str, service: str, error: dict[str, Any] | None, at: float) -> str:
        """A job has failed: the key of its cause, which its record is to have."""
        why = cause_of(error)
        cause = why.key(service)
        new = cause not in self._known and cause not in self._failed
        if new and len(self._known) + len(self._failed) >= self._max:
            why = _OTHERS
            cause = why.key(service)
        news = self._failed.get(cause)
        if news is None:
            news = self._failed[cause] = _News(service, why, at)
        if news.hours is None:
            news.hours = Counter()
        news.count += 1
        news.last_at, news.last_job, news.why = max(news.last_at, at), job_id, why
        news.hours[int(at // 3600)] += 1
        self._added.append(job_id)
        return cause

    def no_longer(self, cause: str | None, number: int) -> None:
        """A job that was failed for this waits again, or is forgotten."""
        if cause is not None:
            self._less[cause] += 1
            self._execute(self._queries["delete_caused"], (cause, number))

    def note_jobs(self) -> None:
        """The records of those that have failed have their causes by now."""
        added, self._added = self._added, []
        self._many(self._queries["add_caused"], [(job_id,) for job_id in added])

    def write(self) -> None:
        """The counts of the transaction; before it is committed."""
        for cause, news in self._failed.items():
            found = self._execute(self._queries["hours_of_cause"], (cause,)).fetchone()
            hours = Counter({int(hour): n for hour, n in json.loads(found[0]).items()} if found else {})
            hours.update(news.hours or {})
            kept = {str(hour): hours[hour] for hour in sorted(hours)[-HOURS_KEPT:]}
            words = [None if word is None else _storable(word) for word in news.why]
            counts = (news.count, news.count, news.first_at, news.last_at)
            self._execute(
                self._queries["count_cause"],
                (cause, news.service, *words, *counts, news.last_job, json.dumps(kept)),
            )
        if self._less:
            self._many(self._queries["less_of_cause"], [(n, cause) for cause, n in self._less.items()])

    def committed(self) -> None:
        """The transaction is on disk."""
        self._known.update(self._failed)

    def forget_old(self, at: float, limit: int) -> None:
        """Forget causes for which no job is failed any more, and was none for long."""
        before = at - KEEP_S[FAILED]
        found = self._execute(self._queries["old_causes"], (before, limit)).fetchall()
        gone = [cause for (cause,) in found if cause not in self._failed]
        self._many(self._queries["forget_cause"], [(cause,) for cause in gone])
        self._known.difference_update(gone)  # known anew if the commit fails: it only counts them


def cause_from(values: Sequence[Any]) -> Cause:
    """A row of the table."""
    told: list[Any] = [*values]
    told[-1] = {int(hour): n for hour, n in json.loads(told[-1]).items()}
    return Cause._make(told)


def _storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
