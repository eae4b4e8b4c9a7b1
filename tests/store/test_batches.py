"""Batches: members are counted in the commits of their ends, and what follows is inserted by the last."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.store.contract import (
    NUMBERS,
    batch_of,
    close_batch,
    delete,
    finish,
    finish_member,
    follow_up,
    found,
    has,
    insert,
    job,
    listed,
    open_batch,
    revive,
    said,
    unfinished,
    unit,
    update,
    waiting,
)
from tests.store.disk import by_hand, opened
from zmws.core.options import KEEP_S
from zmws.core.reads import ReadBatch, ReadBatches
from zmws.core.rows import BATCH_FIRST_MAX, BATCH_STATES, BATCH_WAITS_S, BatchRow, KnownBatch
from zmws.core.writes import (
    EXISTING,
    FULL,
    NEW,
    UNIQUE_CONFLICT,
    UNKNOWN,
    AppendToJob,
    Counted,
    Pruned,
    PruneJobs,
    Verdict,
    Write,
)
from zmws.store.base import Store
from zmws.store.sql import reads
from zmws.store.sql.sql_files import queries
from zmws.store.sqlite import upkeep
from zmws.store.sqlite.memory import MemoryStore

THEN, FAILED = "AFTER", "MEND"  # services of what follows


def members(*names: str, batch: str = "b", **more: Any) -> list[Write]:
    return [insert(name, batch=batch, **more) for name in names]


def opened_with(store: Store, *names: str, then: bool = True, failed: bool = True, **more: Any) -> None:
    """A batch with these members, which is closed."""
    row = open_batch(
        "b", follow_up(THEN) if then else None, follow_up(FAILED, b"mine") if failed else None, **more
    )
    store.commit([row, *members(*names), close_batch()])


def counts(batch: BatchRow) -> tuple[int, ...]:
    return batch.total, batch.complete, batch.failed, batch.cancelled, batch.expired


def counted(verdicts: Sequence[Verdict]) -> list[Counted]:
    return [one for one in verdicts if isinstance(one, Counted)]


def concluded(verdicts: Sequence[Verdict]) -> list[str]:
    return [one.concluded["id"] for one in counted(verdicts) if one.concluded is not None]


# ---------------------------------------------------------------- opening, members, closing


def test_a_batch_is_opened_once_and_is_as_it_was_opened(store: Store) -> None:
    write = open_batch("b", follow_up(THEN), None, keep=9.0, meta='{"a": "\\ud800"}', by="anna", group="acme")
    assert said(store.commit([write, open_batch("c")])) == [(NEW, "b"), (NEW, "c")]
    again = open_batch("b", None, follow_up(FAILED), keep=1.0, at=8.0)
    assert said(store.commit([again, open_batch("d")])) == [(EXISTING, "b"), (NEW, "d")]
    assert batch_of(store) == BatchRow(
        **{"number": 1, "id": "b", "created_at": 7.0, "then_service": THEN, "keep": 9.0},
        **{"meta": '{"a": "\\ud800"}', "by": "anna", "group": "acme"},
    )
    assert batch_of(store, "d").number == 3
    assert store.read(ReadBatch(None, "nobody")).batches == []
    others = [KnownBatch("c", 7.0), KnownBatch("d", 7.0)]
    assert unfinished(store).batches == [KnownBatch("b", 7.0, "anna", "acme"), *others]


def test_each_new_member_is_counted_and_no_repeat(store: Store) -> None:
    store.commit([open_batch(), *members("a", "b")])
    assert counts(batch_of(store)) == (2, 0, 0, 0, 0) and batch_of(store).state == "open"
    verdicts = store.commit([*members("a", "c"), *members("d", unique="u"), *members("e", unique="u")])
    assert [one.verdict for one in verdicts] == [EXISTING, NEW, NEW, UNIQUE_CONFLICT]
    assert counts(batch_of(store)) == (4, 0, 0, 0, 0)
    assert job(store, "a")["batch"] == "b" and job(store, "a", whole=False)["batch"] == "b"
    assert batch_of(store).unfinished == 4


def test_members_among_others_at_a_run_are_counted_each_for_its_batch(store: Store) -> None:
    store.commit([open_batch("b"), open_batch("c")])
    writes: list[Write] = []
    for n in range(300):
        kin: dict[str, Any] = {} if n % 3 == 0 else {"batch": "bc"[n % 2]}
        writes.append(insert(f"j{n}", **kin))
    assert {one.verdict for one in store.commit(writes)} == {NEW}
    assert (batch_of(store, "b").total, batch_of(store, "c").total) == (100, 100)
    writes = [finish_member(f"j{n}", batch="bc"[n % 2]) if n % 3 else finish(f"j{n}") for n in range(300)]
    verdicts = store.commit(writes)
    assert [one.job_id for one in verdicts] == [f"j{n}" for n in range(300) if n % 3]
    assert all(isinstance(one, Counted) and not one.ended and one.batch in "bc" for one in verdicts)
    assert counts(batch_of(store, "b")) == counts(batch_of(store, "c")) == (100, 100, 0, 0, 0)
    assert unfinished(store).ended == {("S", "complete"): 300}


def test_each_end_is_counted_by_its_state_and_the_first_that_did_not_complete_are_named(store: Store) -> None:
    names = [f"j{n}" for n in range(20)]
    store.commit([open_batch(), *members(*names)])
    states = ["complete", "failed", "cancelled", "expired"]
    store.commit([finish_member(name, states[n % 4]) for n, name in enumerate(names)])
    assert counts(batch_of(store)) == (20, 5, 5, 5, 5) and batch_of(store).unfinished == 0
    otherwise = tuple(name for n, name in enumerate(names) if n % 4)
    assert batch_of(store).first == otherwise[:BATCH_FIRST_MAX]
    assert batch_of(store).state == "open" and batch_of(store).ended_at is None
    # A member of it is counted among all that have ended as any other job is.
    assert unfinished(store).ended == {("S", state): 5 for state in states}
    assert unfinished(store).forget_at == 100.0


def test_a_batch_ends_when_it_is_closed_and_all_have_ended(store: Store) -> None:
    store.commit([open_batch(), *members("a", "b")])
    (verdict,) = counted(store.commit([finish_member("a")]))
    assert (verdict.job_id, verdict.batch, verdict.service, verdict.ended) == ("a", "b", "S", False)
    (verdict,) = counted(store.commit([close_batch(at=62.0)]))
    assert (verdict.job_id, verdict.ended, verdict.concluded) == ("", False, None)
    assert (batch_of(store).state, batch_of(store).closed) == ("running", True)
    assert unfinished(store).batches == [] and unfinished(store).forget_at == 100.0
    (verdict,) = counted(store.commit([finish_member("b", at=65.0)]))
    assert verdict.ended and verdict.concluded is None
    batch = batch_of(store)
    assert (batch.state, batch.ended_at) == ("complete", 65.0)
    assert batch.forget_at == -935.0 + KEEP_S["complete"]
    # To close it again is no end.
    (verdict,) = counted(store.commit([close_batch(at=99.0)]))
    assert verdict.ended and batch_of(store) == batch


def test_a_close_may_be_what_ends_it_and_one_of_nobody_is_unknown(store: Store) -> None:
    store.commit([open_batch("b", follow_up(THEN), keep=3.0), *members("a"), finish_member("a", at=60.0)])
    verdicts = store.commit([close_batch("x"), close_batch("b", at=75.0)])
    assert said(verdicts)[0] == (UNKNOWN, "") and concluded(verdicts) == ["b:then"]
    batch = batch_of(store)
    assert (batch.ended_at, batch.forget_at, batch.then_at) == (75.0, -922.0, 75.0)


def test_a_batch_of_nobody_is_complete_when_it_is_closed(store: Store) -> None:
    store.commit([open_batch("b", follow_up(THEN), follow_up(FAILED))])
    assert concluded(store.commit([close_batch()])) == ["b:then"]
    assert (batch_of(store).state, counts(batch_of(store))) == ("complete", (0, 0, 0, 0, 0))


# ---------------------------------------------------------------- what follows


def test_then_follows_when_all_are_complete_and_failed_when_not(store: Store) -> None:
    for name, state, kind in (("b", "complete", "then"), ("c", "failed", "failed")):
        row = open_batch(name, follow_up(THEN), follow_up(FAILED, b"mine", priority=2, meta='{"m": 1}'))
        store.commit([row, *members(f"{name}1", f"{name}2", batch=name), close_batch(name)])
        assert concluded(store.commit([finish_member(f"{name}1", batch=name)])) == []
        last = finish_member(f"{name}2", state, name, at=2000.0)
        (verdict,) = counted(store.commit([last]))
        assert verdict.ended and verdict.concluded is not None
        row_there = job(store, f"{name}:{kind}")
        assert row_there == verdict.concluded | {"history": []}
        told = {"batch": name, "as": kind, "total": 2, "cancelled": 0, "expired": 0}
        told |= {"complete": 2, "failed": 0, "first": []} if kind == "then" else {"complete": 1, "failed": 1}
        told |= {} if kind == "then" else {"first": [f"{name}2"]}
        assert row_there["concludes"] == told
        assert row_there["number"] == last.number and row_there["created_at"] == 2000.0
        assert (row_there["ready_at"], row_there["rank"]) == (1005.0, 1004.5)
        assert row_there["expires_at"] == 1100.0 and row_there["states"] == ((1, 2000.0, "waiting", 0),)
        if kind == "then":
            assert json.loads(row_there["body"][0].removeprefix(b"PARAM-JSON: ")) == told
        else:
            assert row_there["body"] == (b"mine",)
            assert (row_there["priority"], row_there["meta"]) == (2, '{"m": 1}')
        batch = batch_of(store, name)
        made = [batch.then_id, batch.failed_id, batch.then_at, batch.failed_at]
        where = 0 if kind == "then" else 1
        assert made == [
            *(f"{name}:{kind}" if n == where else None for n in range(2)),
            *(2000.0 if n == where else None for n in range(2)),
        ]
    assert [row["id"] for row in waiting(store, service=THEN).rows] == ["b:then"]


def test_what_follows_is_lossless_whatever_its_record_holds(store: Store) -> None:
    row = follow_up(THEN, group="g", unique=None, keep=1.5, retries=0, on_failed="OH", ttr=0.25, backoff=1e-9)
    row |= {"body": (b"\0\xff", b"", b"two"), "meta": '{"x": "\\ud800\u00e9"}', "on_complete": "F\u00fcr"}
    store.commit([open_batch("b", row), close_batch(at=3000.0)])
    there = job(store, "b:then")
    given = {"id", "number", "created_at", "concludes", "ready_at", "rank", "expires_at", "events", "states"}
    assert {name: there[name] for name in row if name not in given} == {
        name: value for name, value in row.items() if name not in given
    }


def test_where_another_job_has_its_id_it_has_one_of_its_own(store: Store) -> None:
    store.commit([insert("b:then"), insert("b:failed")])
    opened_with(store, "a")
    last = finish_member("a")
    assert concluded(store.commit([last])) == [last.spare_id]
    assert batch_of(store).then_id == last.spare_id
    assert job(store, last.spare_id)["concludes"]["batch"] == "b"


def test_each_follows_once_ever_and_then_may_follow_failed(store: Store) -> None:
    opened_with(store, "a", "b", "c", keep=None)
    states = {"a": "failed", "b": "cancelled", "c": "complete"}
    verdicts = store.commit([finish_member(name, state, at=80.0) for name, state in states.items()])
    assert concluded(verdicts) == ["b:failed"]
    assert batch_of(store).forget_at == -920.0 + KEEP_S["failed"]
    assert said(store.commit([revive("a", rank=1.0)])) == [(NEW, "a")]
    batch = batch_of(store)
    assert (batch.state, batch.ended_at, batch.forget_at) == ("running", None, None)
    assert counts(batch) == (3, 1, 0, 1, 0) and batch.first == ("b",)
    # It fails once more: that is an end, but nothing follows.
    verdicts = store.commit([finish_member("a", "failed", at=90.0)])
    assert [one.ended for one in counted(verdicts)] == [True] and concluded(verdicts) == []
    assert batch_of(store).first == ("b", "a") and batch_of(store).ended_at == 90.0
    store.commit([revive("a"), revive("b")])
    verdicts = store.commit([finish_member("a"), finish_member("b", at=95.0)])
    assert concluded(verdicts) == ["b:then"] and batch_of(store).first == ()
    batch = batch_of(store)
    assert (batch.state, batch.failed_id, batch.failed_at) == ("complete", "b:failed", 80.0)
    assert (batch.then_id, batch.then_at) == ("b:then", 95.0)
    # And what comes after that follows nothing.
    store.commit([finish("b:then", service=THEN), delete("b:then"), *members("d")])
    assert batch_of(store).state == "running" and batch_of(store).forget_at is None
    assert concluded(store.commit([finish_member("d", at=99.0)])) == []
    assert batch_of(store).state == "complete" and found(store, "b:then") is None


def test_what_a_member_makes_by_its_end_joins_before_the_batch_could_end(store: Store) -> None:
    opened_with(store, "a")
    more = insert("a:1", batch="b", parent="a")
    more.spare_id = "spare"
    verdicts = store.commit(unit(finish_member("a"), more))
    assert [one.ended for one in counted(verdicts)] == [False] and concluded(verdicts) == []
    assert counts(batch_of(store)) == (2, 1, 0, 0, 0)
    assert concluded(store.commit([finish_member("a:1")])) == ["b:then"]


def test_all_of_it_in_one_commit_and_the_last_of_several_ends_tells_what_follows(store: Store) -> None:
    end, last = finish_member("a", at=60.0), finish_member("c", at=61.0)
    writes: list[Write] = [open_batch("b", follow_up(THEN)), *members("a", "c")]
    verdicts = store.commit([*writes, close_batch(at=59.0), end, last, insert("z")])
    told = counted(verdicts)
    assert [(one.job_id, one.ended, one.concluded is None) for one in told] == [
        ("", True, True),
        ("a", True, True),
        ("c", True, False),
    ]
    assert job(store, "b:then")["number"] == last.number and batch_of(store).ended_at == 61.0
    assert [one.verdict for one in verdicts] == [NEW, NEW, NEW, "counted", "counted", "counted", NEW]


def test_an_end_and_its_revival_in_one_commit_are_no_end(store: Store) -> None:
    opened_with(store, "a")
    verdicts = store.commit([finish_member("a", "failed"), revive("a")])
    assert [one.ended for one in counted(verdicts)] == [False] and concluded(verdicts) == []
    batch = batch_of(store)
    assert (counts(batch), batch.first, batch.ended_at) == ((1, 0, 0, 0, 0), (), None)
    verdicts = store.commit([finish_member("a", "failed"), revive("a"), finish_member("a", at=88.0)])
    assert concluded(verdicts) == ["b:then"] and batch_of(store).ended_at == 88.0


def test_two_batches_end_in_one_commit_each_by_itself(store: Store) -> None:
    for name in "bc":
        store.commit([open_batch(name, follow_up(THEN), follow_up(FAILED)), *members(f"{name}1", batch=name)])
        store.commit([close_batch(name)])
    verdicts = store.commit([finish_member("b1"), finish_member("c1", "expired", "c"), close_batch("b")])
    told = [(one.batch, one.job_id, one.concluded and one.concluded["id"]) for one in counted(verdicts)]
    assert told == [("b", "b1", None), ("c", "c1", "c:failed"), ("b", "", "b:then")]


# ---------------------------------------------------------------- units


REFUSED = {
    FULL: lambda: insert("x", only_if_known=True),
    UNIQUE_CONFLICT: lambda: insert("x", unique="held"),
    UNKNOWN: lambda: close_batch("nobody"),
}


@pytest.mark.parametrize("why", REFUSED)
@pytest.mark.parametrize("place", range(5))
def test_what_is_refused_with_its_unit_is_counted_nowhere(store: Store, why: str, place: int) -> None:
    store.commit([insert("holder", unique="held")])
    store.commit([open_batch("b", follow_up(THEN)), *members("a", "c", "f"), close_batch()])
    store.commit([finish_member("f", "failed")])
    before = batch_of(store)
    some: list[Write] = [finish_member("a"), revive("f"), *members("new"), open_batch("e")]
    some.insert(place, REFUSED[why]())
    verdicts = store.commit([finish_member("c", at=63.0), *unit(*some)])
    assert [one.verdict for one in verdicts] == ["counted", *[why] * 5]
    assert [one.by_unit for one in verdicts] == [False, *(n != place for n in range(5))]
    batch = batch_of(store)
    assert counts(batch) == (3, 1, 1, 0, 0) and counts(before) == (3, 0, 1, 0, 0)
    assert batch.first == ("f",) and store.read(ReadBatch(None, "e")).batches == []
    assert concluded(store.commit([revive("f"), finish_member("a"), finish_member("f")])) == ["b:then"]


def test_a_unit_that_happens_is_counted_when_another_of_the_commit_does_not(store: Store) -> None:
    opened_with(store, "a", "c")
    refused = unit(finish_member("c"), insert("x", only_if_known=True))
    verdicts = store.commit([*unit(finish_member("a"), *members("a:1")), *refused])
    assert [one.verdict for one in verdicts] == ["counted", NEW, FULL, FULL]
    assert not counted(verdicts)[0].ended and counts(batch_of(store)) == (3, 1, 0, 0, 0)
    assert counted(store.commit(unit(finish_member("c"), finish_member("a:1"))))[1].concluded is not None


# ---------------------------------------------------------------- forgetting


def test_records_of_members_come_and_go_and_the_counters_stay(store: Store) -> None:
    opened_with(store, "a", "c", keep=1e6)
    store.commit([finish_member("a", forget_at=5.0), finish_member("c", "failed", forget_at=6.0)])
    before = batch_of(store)
    store.commit([delete("a"), PruneJobs(at=7.0, limit=9)])
    assert listed(store, batch="b") == [] and batch_of(store) == before


def test_a_prune_forgets_batches_that_are_due_in_bounded_steps(store: Store) -> None:
    for n in range(5):
        store.commit([open_batch(f"b{n}", keep=float(n)), close_batch(f"b{n}", at=1100.0 - 2 * n)])
    store.commit([insert("a"), finish("a", forget_at=97.0), insert("c"), finish("c", forget_at=99.5)])
    store.commit([open_batch("open", follow_up(THEN))])
    assert unfinished(store).forget_at == 96.0
    left = []
    for at in (95.0, 98.5, 98.5, 98.5, 1e9, 1e9):
        (pruned,) = store.commit([PruneJobs(at=at, limit=2)])
        assert isinstance(pruned, Pruned)
        names = [one.id for one in store.read(ReadBatches(None, None, 10)).batches]
        left.append((len(names), has(store, "a"), has(store, "c"), pruned.next_at, pruned.counts))
    one = {("S", "complete"): 1}
    assert left == [
        (6, True, True, 96.0, {}),
        (5, False, True, 97.0, one),  # the record and b4
        (3, False, True, 99.0, {}),
        (3, False, True, 99.0, {}),
        (2, False, False, 100.0, one),
        (1, False, False, None, {}),
    ]
    assert unfinished(store).batches == [KnownBatch("open", 7.0)] and unfinished(store).forget_at is None


def test_a_prune_that_stays_in_a_long_history_forgets_no_batch(store: Store) -> None:
    store.commit([open_batch(keep=0.0), close_batch(at=1000.0), insert("a")])
    store.commit([AppendToJob(job_id="a", kind="log", value="x", n=n, at=1.0) for n in range(1, 6)])
    store.commit([finish("a", forget_at=1.0)])
    there = []
    for _ in range(3):
        store.commit([PruneJobs(at=9.0, limit=4)])
        there.append((has(store, "a"), len(store.read(ReadBatch(None, "b")).batches)))
    assert there == [(True, 1), (False, 0), (False, 0)]


def test_one_whose_id_was_given_twice_is_named_no_more_when_it_waits_again(store: Store) -> None:
    store.commit([open_batch(), *members("a", "c")])
    store.commit([finish_member("a", "failed"), finish_member("c", "failed"), delete("a"), *members("a")])
    store.commit([finish_member("a", "failed")])
    assert batch_of(store).first == ("a", "c", "a")
    store.commit([revive("a")])
    assert batch_of(store).first == ("c",) and counts(batch_of(store)) == (3, 0, 2, 0, 0)


def test_a_batch_stays_as_long_as_there_is_a_record_of_it(store: Store) -> None:
    store.commit([open_batch("b", follow_up(THEN), follow_up(FAILED), keep=0.0)])
    store.commit([*members("a", "c"), close_batch()])
    store.commit([finish_member("a", "failed", forget_at=1e9), finish_member("c", forget_at=1e9)])
    (pruned,) = store.commit([PruneJobs(at=1e6, limit=9)])
    assert isinstance(pruned, Pruned) and pruned.next_at == 1e6 + BATCH_WAITS_S
    assert batch_of(store).forget_at == 1e6 + BATCH_WAITS_S
    assert said(store.commit([open_batch()])) == [(EXISTING, "b")]  # so no other has its id
    store.commit([revive("a")])
    (verdict,) = counted(store.commit([finish_member("a")]))
    assert verdict.ended and verdict.concluded is not None and batch_of(store).then_id == "b:then"


def test_one_that_is_forgotten_is_another_when_its_id_comes_again(store: Store) -> None:
    store.commit([open_batch(keep=0.0), *members("a"), close_batch()])
    store.commit([finish_member("a", "failed"), delete("a")])
    store.commit([PruneJobs(at=1e6, limit=9)])
    assert store.read(ReadBatch(None, "b")).batches == []
    assert said(store.commit([*members("d"), close_batch()])) == [(NEW, "d"), (UNKNOWN, "")]
    # A new one of that id begins at nothing, and what was never its own takes it to nothing less.
    store.commit([open_batch(), finish_member("d", "failed", forget_at=1e9)])
    assert counts(batch_of(store)) == (0, 0, 0, 0, 0) and batch_of(store).number == 2
    store.commit([revive("d"), *members("e")])
    assert counts(batch_of(store)) == (1, 0, 0, 0, 0)


def test_a_store_in_memory_that_drops_members_keeps_the_counters() -> None:
    store = MemoryStore(ended_max=3)
    store.commit([open_batch("b", follow_up(THEN)), *members(*(f"j{n}" for n in range(9))), close_batch()])
    for n in range(9):
        store.commit([finish_member(f"j{n}", at=float(n))])
    assert listed(store, batch="b") == ["j8", "j7", "j6"]
    batch = batch_of(store)
    assert (counts(batch), batch.then_id) == ((9, 9, 0, 0, 0), "b:then")
    assert said(store.commit([revive("j1")])) == [(UNKNOWN, "j1")]


def test_what_was_before_a_batch_is_not_counted_by_it_though_it_is_of_one_commit(store: Store) -> None:
    store.commit([*members("a"), open_batch(), *members("c")])
    assert counts(batch_of(store)) == (1, 0, 0, 0, 0)


# ---------------------------------------------------------------- reads


def test_batches_are_listed_newest_first_by_state_and_in_pages(store: Store) -> None:
    for n in range(12):
        store.commit([open_batch(f"b{n}"), *members(f"j{n}", batch=f"b{n}")])
        if n % 4:
            store.commit([close_batch(f"b{n}")])
        if n % 4 > 1:
            store.commit([finish_member(f"j{n}", ("complete", "expired")[n % 4 - 2], f"b{n}")])
    for state in (None, *BATCH_STATES):
        expected = [f"b{n}" for n in range(11, -1, -1) if state in (None, BATCH_STATES[n % 4])]
        for limit in (1, 2, 3, 11, 12, 13):
            assert batches(store, limit, state) == expected, (state, limit)
    assert store.read(ReadBatches(None, None, 12)).next is None
    page = store.read(ReadBatches(None, "running", 2))
    assert page.next == page.batches[-1].number and {one.state for one in page.batches} == {"running"}


def batches(store: Store, limit: int, state: str | None) -> list[str]:
    names: list[str] = []
    cursor = None
    while True:
        page = store.read(ReadBatches(None, state, limit, cursor))
        assert len(page.batches) <= limit
        names += [one.id for one in page.batches]
        if page.next is None:
            return names
        assert cursor is None or page.next < cursor
        cursor = page.next


def test_a_long_list_of_batches_goes_on_where_its_time_was_up(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reads, "PAGE_S", 0.0)
    monkeypatch.setattr(reads, "WINDOW_ROWS", 3)
    store = opened(path)
    store.commit([open_batch(f"b{n}") for n in range(40)])
    store.commit([close_batch("b1"), close_batch("b30")])
    assert batches(store, 5, "complete") == ["b30", "b1"]
    assert store.read(ReadBatches(None, "complete", 5)).next is not None
    store.close()


@pytest.mark.parametrize(
    ("name", "values", "index"),
    [
        ("batch", ("b",), "sqlite_autoindex_batches_1 (id=?)"),
        ("batches", (0, 9, None, 9), "INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        ("batches_edge", (9, 9), "INTEGER PRIMARY KEY (rowid<?)"),
        ("batches_due", (9, 9), "batches_ended (forget_at"),
        ("first_batch_due", (), "batches_ended"),
        ("open_batches", (), "batches_open"),
        ("close_batch", ("b",), "sqlite_autoindex_batches_1 (id=?)"),
        ("forget_conclusions", (1,), "sqlite_autoindex_conclusions_1 (batch=?)"),
        ("children", ("a", 1), "jobs_of_parent (parent=?)"),
    ],
)
def test_batches_go_by_their_indexes(path: Path, name: str, values: tuple[Any, ...], index: str) -> None:
    opened(path).close()
    with by_hand(path) as connection:
        text = "EXPLAIN QUERY PLAN " + queries()[name]
        plan = [row[3] for row in connection.execute(text, values)]
    assert any(index in step for step in plan), plan
    assert not any("TEMP B-TREE" in step for step in plan), plan


def test_a_restart_finds_batches_as_they_were(path: Path) -> None:
    store = opened(path)
    store.commit([open_batch("b", follow_up(THEN, b"x")), *members("a"), open_batch("c"), close_batch("b")])
    store.close()
    store = opened(path)
    assert unfinished(store).batches == [KnownBatch("c", 7.0)]
    store.commit([update("a", state="running", attempt=1)])
    assert concluded(store.commit([finish_member("a")])) == ["b:then"]
    store.close()
    store = opened(path)
    assert batch_of(store).then_id == "b:then" and has(store, "b:then")
    store.close()
    assert upkeep.check(path) == []


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("UPDATE batches SET failed = -1, total = total + 5 WHERE id = 'c'", "count more ends than members"),
        ("UPDATE batches SET complete = total + 1, ended_at = NULL", "count more ends than members"),
        (
            "UPDATE batches SET ended_at = NULL, forget_at = NULL WHERE id = 'b'",
            "have ended and are not kept",
        ),
        ("UPDATE batches SET ended_at = 1.0, forget_at = 1.0 WHERE id = 'c'", "have ended and are not kept"),
        ("UPDATE batches SET forget_at = NULL WHERE id = 'b'", "have ended and are not kept"),
        ("UPDATE batches SET first = '{}'", "name members in a way"),
        ("UPDATE batches SET meta = '[]'", "have a meta that cannot be read"),
        ("DELETE FROM conclusions", "are without the job that is to follow"),
        (
            "UPDATE batches SET failed_id = 'x' WHERE id = 'c'",
            "are without the job that is to follow, or keep",
        ),
        ("INSERT INTO conclusions VALUES (99, 'then', '{}')", "belong to no batch"),
        ("UPDATE conclusions SET job = '[]'", "belong to no batch or cannot be read"),
        ("UPDATE jobs SET concludes = 'x' WHERE id = 'b:then'", "tell of their batch"),
    ],
)
def test_a_check_notices_damage_to_batches(path: Path, damage: str, told: str) -> None:
    store = opened(path)
    opened_with(store, "a")
    store.commit([finish_member("a"), open_batch("c", None, follow_up(FAILED)), *members("d", batch="c")])
    store.close()
    assert upkeep.check(path) == []
    with by_hand(path) as connection:
        connection.execute(damage)
    assert any(told in problem for problem in upkeep.check(path)), upkeep.check(path)


def test_numbers_of_what_follows_are_those_of_the_last_end(store: Store) -> None:
    """Or two jobs would have one number."""
    opened_with(store, "a", "c")
    first, last = finish_member("a", number=next(NUMBERS)), finish_member("c", number=next(NUMBERS))
    store.commit([first, last])
    assert unfinished(store).number == last.number == job(store, "b:then")["number"]
