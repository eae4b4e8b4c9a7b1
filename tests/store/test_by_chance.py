"""Every store does what the model does, whatever is written and in whatever batches and units."""

from __future__ import annotations

import random
from collections.abc import Iterator
from copy import deepcopy
from itertools import count
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.store.contract import delete, finish, insert, listed, matching, revive, update
from tests.store.disk import opened
from tests.store.model import ModelStore
from tests.store.test_lists import FILTERS
from zmws.core.states import FINAL_STATES
from zmws.core.writes import (
    AppendToJob,
    Filter,
    ForgetService,
    PruneJobs,
    ReadExpired,
    ReadJob,
    ReadJobs,
    ReadScheduled,
    ReadUnfinished,
    ReadWaiting,
    RememberService,
    Write,
)
from zmws.store.base import Store
from zmws.store.sqlite import upkeep
from zmws.store.sqlite.memory import MemoryStore

JOBS = 8
KINDS = ("insert", "insert", "insert", "update", "start", "finish", "append", "revive", "delete", "service")
_paths = count()


@settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(st.randoms(use_true_random=False), st.integers(1, 25))
def test_all_stores_answer_as_the_model_does(tmp_path: Path, chance: random.Random, batches: int) -> None:
    path = tmp_path / str(next(_paths)) / "zmws.db"
    numbers = count(1)
    model, memory, disk = ModelStore(), MemoryStore(), opened(path, synchronous="OFF")
    try:
        for _ in range(batches):
            batch: list[Write] = []
            verdicts = []
            for _ in range(chance.randint(1, 8)):
                unit = unit_by_chance(chance, numbers, model)
                verdicts += model.commit(unit)
                batch += unit
            assert memory.commit(batch) == verdicts
            assert disk.commit(batch) == verdicts
            if chance.random() < 0.1:
                disk.close()
                disk = opened(path, synchronous="OFF")
            if chance.random() < 0.2:
                compare(model, memory, disk)
        compare(model, memory, disk)
    finally:
        disk.close()
        memory.close()
    assert upkeep.check(path) == []


def unit_by_chance(chance: random.Random, numbers: Iterator[int], model: ModelStore) -> list[Write]:
    """Writes that a core could make of what the model holds: none is for a job that is not there."""
    if chance.random() < 0.05:
        return [PruneJobs(at=chance.random() * next(numbers), limit=chance.randint(1, 6))]
    ahead, unit = deepcopy(model), []
    for n in range(chance.choice((1, 1, 1, 2, 3, 4))):
        write = write_by_chance(chance, numbers, ahead)
        ahead.commit([write])
        write.unit = n > 0
        unit.append(write)
    return unit


def write_by_chance(chance: random.Random, numbers: Iterator[int], model: ModelStore) -> Write:
    n = next(numbers)
    job_id = f"j{chance.randrange(JOBS)}"
    row, kind = model.rows.get(job_id), chance.choice(KINDS)
    rank = float(chance.randrange(4))
    if kind == "service":
        if chance.random() < 0.3:
            return ForgetService(service=chance.choice("ST"))
        return RememberService(
            service=chance.choice("ST"),
            paused=chance.choice((None, True, False)),
            defaults=chance.choice((None, "{}", '{"retries": 1}')),
            params=chance.choice((None, '{"type": "object"}', '{"title": "\\ud800"}')),
            limits=chance.choice((None, "{}", '{"rate": 2}')),
        )
    if kind == "delete":
        return delete(job_id)
    if kind == "insert" or row is None:
        return insert(
            job_id,
            number=n,
            body=b"x" * chance.randrange(40),
            only_if_known=chance.random() < 0.1,
            service=chance.choice("ST"),
            unique=chance.choice((None, None, "u", "v")),
            group=chance.choice((None, "g", "h")),
            state=chance.choice(("waiting", "waiting", "scheduled")),
            by_wall=chance.random() < 0.3,
            rank=rank,
            ready_at=float(chance.randrange(4)),
            created_at=float(chance.randrange(50)),
            expires_at=chance.choice((None, 1.0, 2.0)),
        )
    if kind == "append":
        value: Any = chance.choice(("line", (b"a", b"b")))
        kind = "log" if isinstance(value, str) else "partial"
        return AppendToJob(job_id=job_id, kind=kind, value=value, n=n, at=float(n))
    if kind == "revive" or row["state"] in FINAL_STATES:
        return revive(job_id, rank=rank, error=None, attempt=0)
    if kind == "finish":
        state = chance.choice(("complete", "failed", "failed", "cancelled", "expired"))
        # Times differ: which of two that are due at once goes first is no store's promise.
        return finish(job_id, state, n + chance.random(), row["service"], result=(b"r",), error={"e": n})
    changes = {
        "state": chance.choice(("waiting", "scheduled", "running")),
        "rank": rank,
        "progress": n / 1000,
    }
    if kind == "start":
        changes |= {"attempt": n, "attempts": ({"attempt": n},), "group": chance.choice((None, "g"))}
    return update(job_id, **changes)


def compare(model: Store, *stores: Store) -> None:
    expected = everything(model)
    for store in stores:
        for one, other in zip(everything(store), expected, strict=True):
            assert one == other


def everything(store: Store) -> list[Any]:
    """All that reads bring, in a form that can be compared."""
    seen: list[Any] = [store.read(ReadUnfinished(None))]
    rows = store.read(ReadJobs(None, Filter(), 1000)).rows
    seen.append(rows)
    seen += [store.read(ReadJob(None, row["id"])) for row in rows]
    for where in FILTERS:
        seen.append((where, listed(store, 4, **where), matching(store, ("waiting", "failed"), 4, **where)))
    for service in "ST":
        for group in (None, "g", "h"):
            for limit, bytes_max, since in ((3, 1 << 20, (0.0, 0)), (9, 30, (1.0, 5)), (1, 1, (2.0, 1))):
                seen.append(store.read(ReadWaiting(None, service, group, since, limit, bytes_max)))
    for limit, since in ((3, (0.0, 0)), (9, (1.0, 5)), (1, (2.0, 1))):
        for by_wall in (False, True):
            seen.append(store.read(ReadScheduled(None, by_wall, since, limit, 50)))
        seen.append(store.read(ReadExpired(None, since[0], limit)))
    return seen
