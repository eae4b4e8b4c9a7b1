"""Every store does what the model does, whatever is written and in whatever batches and units."""

from __future__ import annotations

import random
from collections.abc import Iterator
from copy import deepcopy
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.store.contract import delete, finish, follow_up, insert, listed, matching, revive, update
from tests.store.disk import opened
from tests.store.model import ModelStore
from tests.store.test_lists import FILTERS
from zmws.core.options import KEEP_S
from zmws.core.reads import (
    Filter,
    ReadAhead,
    ReadAudit,
    ReadBatch,
    ReadBatches,
    ReadCauses,
    ReadExpired,
    ReadFamily,
    ReadJob,
    ReadJobs,
    ReadScheduled,
    ReadSchedules,
    ReadSearch,
    ReadSeries,
    ReadUnfinished,
    ReadUsual,
    ReadWaiting,
)
from zmws.core.rows import BATCH_STATES, KeyRow, ScheduleRow
from zmws.core.states import FAILED, FINAL_STATES
from zmws.core.writes import (
    AppendToJob,
    CloseBatch,
    FinishMember,
    FireSchedule,
    ForgetActs,
    ForgetService,
    OpenBatch,
    PruneJobs,
    RememberService,
    RemoveSchedule,
    Write,
    WriteAct,
    WriteKey,
    WriteMark,
    WriteSchedule,
    WriteSeries,
)
from zmws.store.base import Store
from zmws.store.sql import reads
from zmws.store.sqlite import upkeep
from zmws.store.sqlite.memory import MemoryStore

JOBS = 8
CAUSES_MAX = 4  # that are told apart: fewer than there are
KINDS = (
    *("insert", "insert", "insert", "update", "start", "finish", "finish", "append", "revive", "delete"),
    *("service", "series", "mark", "act", "open", "close", "schedule", "fire", "key"),
)
BATCHES = ("b0", "b1", "b2")
MESSAGES = ("no table 'a'", "no table 'b' for row 7", "refused", "grün \ud800", "")
BODIES = (b"", b"alpha", b"alpha beta", '{"n": "grün \\ud800"}'.encode(), b'{"n": "gr\\u00fcn"}', b"\xff\xfe")
TEXTS = ("alpha", "beta", "grün", "table 'a'", "\ud800", "j1", "nowhere")
PLACES = ("id", "error", "params", "result")
HOUR_S = 3600
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
    model, memory = ModelStore(CAUSES_MAX), MemoryStore(causes_max=CAUSES_MAX, search_s_max=60.0)
    disk = opened(path, synchronous="OFF", causes_max=CAUSES_MAX, search_s_max=60.0)
    # The model knows no time, and a busy machine may take longer for a page than it is given.
    patience = patch.object(reads, "PAGE_S", 60.0)
    patience.start()
    try:
        for _ in range(batches):
            batch: list[Write] = []
            ahead = deepcopy(model)
            for _ in range(chance.randint(1, 8)):
                unit = unit_by_chance(chance, numbers, ahead)
                ahead.commit(unit)
                batch += unit
            # At once: what follows from a batch of jobs is decided at the end of a commit.
            verdicts = model.commit(batch)
            assert memory.commit(batch) == verdicts
            assert disk.commit(batch) == verdicts
            if chance.random() < 0.1:
                disk.close()
                disk = opened(path, synchronous="OFF", causes_max=CAUSES_MAX, search_s_max=60.0)
            if chance.random() < 0.2:
                compare(model, memory, disk)
        compare(model, memory, disk)
    finally:
        patience.stop()
        disk.close()
        memory.close()
    assert upkeep.check(path) == []


def unit_by_chance(chance: random.Random, numbers: Iterator[int], model: ModelStore) -> list[Write]:
    """Writes that a core could make of what the model holds: none is for a job that is not there."""
    if chance.random() < 0.08:
        n = next(numbers)
        # When causes may be as old as they become, too.
        at = chance.random() * n if chance.random() < 0.6 else KEEP_S[FAILED] + chance.random() * n * HOUR_S
        return [PruneJobs(at=at, limit=chance.randint(1, 6))]
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
    if kind == "series":
        return series_by_chance(chance)
    if kind == "mark":
        service = chance.choice((None, "S", "T"))
        return WriteMark(float(n % 7 * HOUR_S), "mark", f"m{n}", service, chance.choice((None, "me")))
    if kind == "act":
        kept = (chance.choice((0.0, 0.0, 3.0)), chance.choice((2, 9, 100)))
        if chance.random() < 0.2:
            return ForgetActs(*kept)
        by, verb, on = (
            chance.choice(("a", "b")),
            chance.choice(("cancel", "stop")),
            chance.choice((None, "S")),
        )
        return WriteAct(*kept, float(n % 7), by, verb, on, chance.choice((None, '{"n": 1}')), None, "done")
    if kind == "key":
        return WriteKey(key_row(chance.choice(("ann", "bob")), n, chance.choice((None, float(n)))))
    if kind in ("open", "close", "schedule", "fire"):
        return workflow_by_chance(chance, n, kind)
    if kind == "delete":
        return delete(job_id)
    if kind == "insert" or row is None:
        write = insert(
            job_id,
            number=n,
            body=chance.choice(BODIES),
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
            **kin_by_chance(chance) if chance.random() < 0.6 else {},
        )
        write.spare_id = f"spare{n}" if chance.random() < 0.3 else ""
        return write
    if kind == "append":
        value: Any = chance.choice(("line", (b"a", b"b")))
        kind = "log" if isinstance(value, str) else "partial"
        return AppendToJob(job_id=job_id, kind=kind, value=value, n=n, at=float(n))
    if kind == "revive" or row["state"] in FINAL_STATES:
        return revive(job_id, rank=rank, error=None, attempt=0)
    if kind == "finish":
        state = chance.choice(("complete", "failed", "failed", "cancelled", "expired"))
        # Times differ: which of two that are due at once goes first is no store's promise.
        error: Any = {"code": "c", "error": chance.choice(MESSAGES), "e": n}
        if state == "failed" and chance.random() < 0.1:
            error = chance.choice((None, {}, {"code": "c", "cause": {"type": "T", "message": "told"}}))
        ended_at = float((n + chance.randrange(5)) * HOUR_S)
        forget_at = n + chance.random()
        result = (chance.choice(BODIES),)
        end = finish(job_id, state, forget_at, row["service"], result=result, error=error, ended_at=ended_at)
        if row["batch"] is None:
            return end
        given = (job_id, end.changes, row["service"], forget_at, row["batch"], n, ended_at)
        return FinishMember(*given, n + chance.random(), f"spare-{n}")
    changes = {
        "state": chance.choice(("waiting", "scheduled", "running")),
        "rank": rank,
        "progress": n / 1000,
    }
    if kind == "start":
        changes |= {"attempt": n, "attempts": ({"attempt": n},), "group": chance.choice((None, "g"))}
    return update(job_id, **changes)


def kin_by_chance(chance: random.Random) -> dict[str, Any]:
    """How a new job stands to others."""
    return {
        "parent": chance.choice((None, "j0", "j1", "b0:then")),
        "parent_number": chance.choice((0, 0, 7)),
        "batch": chance.choice((None, *BATCHES)),
        "chain": chance.choice((None, None, "c")),
        "step": chance.randrange(3),
        "on_failed": chance.choice((None, "OFF")),
        "meta": chance.choice((None, '{"m": 1}')),
        "rest": chance.choice((None, "[1]")),
        "submitter": chance.choice((None, None, "ann", "bob")),
    }


def key_row(name: str, n: int, revoked_at: float | None) -> KeyRow:
    return KeyRow(
        name=name,
        kind="curve",
        proof=f"{name}-{n}",
        role="client",
        rights={"submit": ("S", "T-*")},
        rate=n / 2,
        made_at=float(n),
        revoked_at=revoked_at,
    )


def workflow_by_chance(chance: random.Random, n: int, kind: str) -> Write:
    """Of a batch or a schedule."""
    batch, name = chance.choice(BATCHES), chance.choice(("daily", "often"))
    if kind == "open":
        then, failed = (
            follow_up(chance.choice("ST"), chance.choice(BODIES)) if chance.random() < 0.7 else None
            for _ in range(2)
        )
        # Soon forgotten, and so opened anew while members of the one before are left.
        keep = chance.choice((None, 0.0, 20.0)) if chance.random() < 0.8 else chance.random()
        whose = (chance.choice((None, "ann")), chance.choice((None, "acme")))
        return OpenBatch(batch, float(n), keep, then, failed, chance.choice((None, "{}")), *whose)
    if kind == "close":
        return CloseBatch(batch, n, float(n), n + chance.random(), f"spare-{n}")
    if kind == "fire":
        nominal = chance.choice((None, float(n), float(n - chance.randrange(60))))
        return FireSchedule(name, nominal, float(n), f"j{chance.randrange(JOBS)}", chance.choice((5.0, 40.0)))
    if chance.random() < 0.3:
        return RemoveSchedule(name)
    return WriteSchedule(
        ScheduleRow(name=name, service="S", every=float(n), anchor=1.0, body=(chance.choice(BODIES),))
    )


def series_by_chance(chance: random.Random) -> WriteSeries:
    """The figures of a minute; now and then others are forgotten."""
    figures: list[tuple[str, dict[str, Any]]] = []
    for name in ("", "S", "T"):
        if chance.random() < 0.6:
            told: dict[str, Any] = {"waiting": chance.randint(1, 9), "started": chance.randint(1, 3)}
            told["run"] = {str(chance.randrange(3)): 1}
            told["run_s"] = chance.randint(1, 100) / 8  # what is 0 is not told
            figures.append((name, {key: told[key] for key in told if chance.random() < 0.7}))
    at = chance.randrange(5) * HOUR_S + chance.randrange(3) * 60
    forgotten = chance.random() < 0.2
    return WriteSeries(at, figures, forgotten * 2.0 * HOUR_S, forgotten * 1.0 * HOUR_S)


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
    for name in BATCHES:
        seen.append(store.read(ReadBatch(None, name)))
    for state in (None, *BATCH_STATES):
        seen += [store.read(ReadBatches(None, state, 2)), store.read(ReadBatches(None, state, 9, 4))]
    seen += [store.read(ReadFamily(None, row["id"], limit)) for row in rows for limit in (3, 1000)]
    seen += [store.read(ReadSchedules(None, name)) for name in (None, "often")]
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
    seen += causes_of(store)
    for cause in store.read(ReadCauses(None, None, 1_000)).causes:
        for where in ({}, {"service": "T"}, {"since": 20.0}, {"batch": "b0"}):
            where = {"cause": cause.cause, **where}
            seen.append(
                (where, listed(store, 2, **where), matching(store, ("waiting", "failed"), 2, **where))
            )
            seen.append((where, searched(store, "alpha", **where)))
    seen += [searched(store, text, state=state) for text in TEXTS for state in (None, "failed", "waiting")]
    seen += [searched(store, text, service="T", before=30.0) for text in TEXTS]
    seen += [searched(store, "alpha", **{name: value}) for name, value in (("batch", "b0"), ("parent", "j0"))]
    for name in (None, "S", "T", "nobody"):
        for step in (0, 60, HOUR_S):
            for since, before, most in ((0.0, 1e9, 100), (HOUR_S + 60.0, 4.0 * HOUR_S, 100), (0.0, 1e9, 2)):
                seen.append(store.read(ReadSeries(None, name, step, since, before, most)))
        for group in (None, "g"):
            for key in (None, (0.0, 0), (2.0, 20), (9.0, 0)):
                seen.append(store.read(ReadAhead(None, name or "S", group, key, 60.0, 3)))
    for by, on in ((None, None), ("a", None), ("b", "S")):
        for since, before, most in ((None, None, 100), (2.0, 5.0, 2), (None, None, 1)):
            seen.append(store.read(ReadAudit(None, by, None, on, since, before, most)))
            seen.append(store.read(ReadAudit(None, None, "stop", on, since, before, most, 9)))
    seen.append(sorted(store.read(ReadUsual(None, 1.0 * HOUR_S)).series, key=lambda one: one[:2]))
    return seen


def causes_of(store: Store) -> list[Any]:
    """Why jobs have failed, in pages. Half a surrogate pair is stored as nearly as a database can."""
    seen: list[Any] = []
    for service in (None, "S", "nobody"):
        cursor = None
        while True:
            page = store.read(ReadCauses(None, service, 3, cursor))
            seen.append(
                [
                    (*cause[:3], cause.message.encode("utf-8", "replace").decode(), *cause[4:])
                    for cause in page.causes
                ]
            )
            if page.next is None:
                break
            last = page.causes[-1].last_at, page.causes[-1].cause
            assert cursor is None or last < cursor
            cursor = last
    return seen


def searched(store: Store, text: str, **where: Any) -> list[Any]:
    """What is found; and of a search of all jobs at how many it has looked, and how far back."""
    rows, looked, looked_to, cursor = [], 0, [], None
    while True:
        page = store.read(ReadSearch(None, Filter(**where), text, PLACES, 3, cursor))
        rows += page.rows
        looked += page.looked
        looked_to += [page.looked_to] * (page.looked_to is not None)
        if page.next is None:
            break
        assert cursor is None or page.next < cursor
        cursor = page.next
    if any(value is not None for value in where.values()):
        return rows
    return [*rows, looked, min(looked_to, default=None)]
