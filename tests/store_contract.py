"""What every store does, whatever it keeps its jobs in. test_stores.py runs this over each of them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any

import pytest

from zmws.core.job import FINAL_STATES, REVIVABLE, STATES, Job
from zmws.core.writes import (
    DELETED,
    EXISTING,
    FULL,
    NEW,
    UNIQUE_CONFLICT,
    UNKNOWN,
    AppendToJob,
    DeleteJob,
    Filter,
    FinishJob,
    ForgetService,
    InsertJob,
    Pruned,
    PruneJobs,
    ReadExpired,
    ReadJob,
    ReadJobs,
    ReadMatching,
    ReadScheduled,
    ReadUnfinished,
    ReadWaiting,
    RememberService,
    ReviveJob,
    Row,
    Unfinished,
    UpdateJob,
    Verdict,
    Write,
    job_of,
    row_of,
)
from zmws.store.base import Store

NUMBERS = count(1)
LAST = 1 << 40


def insert(job_id: str, body: bytes = b"body", only_if_known: bool = False, **changes: Any) -> InsertJob:
    values = {"service": "S", "number": next(NUMBERS), "created_at": 1.0, "ready_at": 2.0, "rank": 3.0}
    job = Job(id=job_id, kind="stored", body=(body,), **(values | changes))  # type: ignore[arg-type]
    job.enter(1.0)
    return InsertJob(row=row_of(job), only_if_known=only_if_known)


def update(job_id: str, **changes: Any) -> UpdateJob:
    return UpdateJob(job_id=job_id, changes=changes)


def finish(
    job_id: str, state: str = "complete", forget_at: float = 100.0, service: str = "S", **changes: Any
) -> FinishJob:
    return FinishJob(job_id, {"state": state, **changes}, service, forget_at)


def revive(job_id: str, **changes: Any) -> ReviveJob:
    return ReviveJob(job_id=job_id, changes={"state": "waiting", **changes})


def delete(job_id: str) -> DeleteJob:
    return DeleteJob(job_id=job_id)


def said(verdicts: Sequence[Verdict]) -> list[tuple[str, str]]:
    return [(verdict.verdict, verdict.job_id) for verdict in verdicts]


def ids(rows: Iterable[Row]) -> list[str]:
    return [row["id"] for row in rows]


def job(store: Store, job_id: str, whole: bool = True) -> Row | None:
    rows = store.read(ReadJob(None, job_id, whole)).rows
    return rows[0] if rows else None


def unfinished(store: Store) -> Unfinished:
    found = store.read(ReadUnfinished(None)).unfinished
    assert found is not None
    return found


def waiting(store: Store, limit: int = 100, bytes_max: int = 1 << 20, **keys: Any) -> Any:
    known = {"service": "S", "group": None, "since": (float("-inf"), 0)} | keys
    return store.read(ReadWaiting(None, limit=limit, bytes_max=bytes_max, **known))


def listed(store: Store, limit: int = 100, **where: Any) -> list[str]:
    """A whole list, page after page."""
    found: list[str] = []
    cursor = None
    while True:
        page = store.read(ReadJobs(None, Filter(**where), limit, cursor))
        assert len(page.rows) <= limit and all(row["body"] == () for row in page.rows)
        found += ids(page.rows)
        if page.next is None:
            return found
        assert cursor is None or page.next < cursor
        cursor = page.next


def matching(
    store: Store,
    states: tuple[str, ...] = STATES,
    limit: int = 100,
    after: int = 0,
    last: int = LAST,
    **where: Any,
) -> list[str]:
    """All that a filter names, page after page."""
    found: list[str] = []
    while True:
        page = store.read(ReadMatching(None, Filter(**where), states, after, last, limit))
        assert len(page.rows) <= limit and all(row["body"] == () for row in page.rows)
        found += ids(page.rows)
        if page.next is None:
            return found
        assert page.next > after
        after = page.next


# ------------------------------------------------------------ new jobs


def test_a_job_comes_back_as_it_went_in(store: Store) -> None:
    write = insert("a", group="g", unique="u", priority=-3, keep=7.5, expires_at=99.5, retries=0)
    write.row["body"] = (b"", b"\x00\xff", b"frame")
    assert said(store.commit([write])) == [(NEW, "a")]
    row = job(store, "a")
    assert row == write.row | {"history": []}
    assert row_of(job_of(row)) == write.row


def test_a_job_that_has_a_past_comes_back_as_it_went_in(store: Store) -> None:
    error = {"error": "böse", "code": "job_failed", "traceback": None}
    write = insert(
        "a",
        state="running",
        attempt=2,
        failures=1,
        losses=1,
        started_at=5.0,
        deadline_at=6.0,
        nonce="n",
        worker="w\x00é",
        worker_ours=True,
        lease="l",
        result=(b"", b"x"),
        result_plain=True,
        error=error,
        progress=0.5,
        progress_text="half\nway",
        progress_at=5.5,
        progress_n=3,
        attempts=({"attempt": 1, "error": error, "ended_at": 4.25},),
        partials_count=1,
        partials_cut=2,
        log_bytes=3,
        log_cut=4,
    )
    store.commit([write])
    assert job(store, "a") == write.row | {"history": []}
    assert store.read(ReadUnfinished(None)).rows == [write.row]


def test_a_job_without_a_body_frame_and_one_with_an_empty_frame_differ(store: Store) -> None:
    nothing, empty = insert("a"), insert("b")
    nothing.row["body"], empty.row["body"] = (), (b"",)
    store.commit([nothing, empty])
    assert [job(store, job_id)["body"] for job_id in "ab"] == [(), (b"",)]  # type: ignore[index]


def test_a_repeat_is_existing_and_changes_nothing(store: Store) -> None:
    first = insert("a", body=b"first")
    again = insert("a", body=b"second", service="T")
    store.commit([first])
    (verdict,) = store.commit([again])
    assert (verdict.verdict, verdict.job_id, verdict.service) == (EXISTING, "a", "S")
    assert job(store, "a")["body"] == (b"first",)  # type: ignore[index]


def test_a_repeat_is_existing_within_one_batch_and_among_new_ones_and_of_an_ended_job(store: Store) -> None:
    assert said(store.commit([insert("a"), insert("a"), insert("b")])) == [
        (NEW, "a"),
        (EXISTING, "a"),
        (NEW, "b"),
    ]
    assert said(store.commit([finish("a"), insert("c"), insert("a"), insert("d")])) == [
        (NEW, "c"),
        (EXISTING, "a"),
        (NEW, "d"),
    ]
    assert listed(store) == ["d", "c", "b", "a"]


def test_only_a_repeat_is_taken_when_it_is_to_be_known(store: Store) -> None:
    store.commit([insert("a", unique="u")])
    verdicts = store.commit(
        [
            insert("a", only_if_known=True),
            insert("b", only_if_known=True),
            insert("c", unique="u", only_if_known=True),
            insert("d"),
        ]
    )
    assert said(verdicts) == [(EXISTING, "a"), (FULL, "b"), (UNIQUE_CONFLICT, "a"), (NEW, "d")]
    assert job(store, "b") is None


def test_a_unique_key_is_one_jobs_of_its_service_while_it_is_not_final(store: Store) -> None:
    verdicts = store.commit(
        [insert("a", unique="u"), insert("b", unique="u"), insert("c", unique="u", service="T")]
    )
    assert said(verdicts) == [(NEW, "a"), (UNIQUE_CONFLICT, "a"), (NEW, "c")]
    for state in ("running", "scheduled", "waiting"):
        store.commit([update("a", state=state)])
        assert said(store.commit([insert("b", unique="u")])) == [(UNIQUE_CONFLICT, "a")]


def test_a_unique_key_is_free_behind_the_finish_in_the_same_batch(store: Store) -> None:
    store.commit([insert("a", unique="u")])
    assert said(store.commit([finish("a"), insert("b", unique="u"), insert("c", unique="u")])) == [
        (NEW, "b"),
        (UNIQUE_CONFLICT, "b"),
    ]
    assert said(store.commit([insert("d", unique="u"), finish("b"), insert("e", unique="u")])) == [
        (UNIQUE_CONFLICT, "b"),
        (NEW, "e"),
    ]


def test_jobs_of_one_message_are_committed_together(store: Store) -> None:
    writes = [insert("a"), insert("b"), insert("a")]
    writes[1].together = writes[2].together = True
    assert said(store.commit(writes)) == [(NEW, "a"), (NEW, "b"), (EXISTING, "a")]


def test_a_batch_of_nothing_is_nothing(store: Store) -> None:
    assert store.commit([]) == []


# ------------------------------------------------------------ changes and ends


def test_an_update_changes_what_it_names(store: Store) -> None:
    write = insert("a")
    store.commit([write, insert("b")])
    changes = {
        "state": "running",
        "attempt": 1,
        "worker": "w",
        "worker_ours": True,
        "group": "g",
        "nonce": None,
    }
    assert store.commit([update("a", **changes)]) == []
    assert job(store, "a") == write.row | changes | {"history": []}
    assert job(store, "b")["worker"] is None  # type: ignore[index]


def test_many_updates_go_each_to_its_own_job(store: Store) -> None:
    store.commit([insert(f"j{n}") for n in range(50)])
    store.commit([update(f"j{n}", progress=n / 50, progress_text=f"{n}") for n in range(50)])
    assert [job(store, f"j{n}")["progress_text"] for n in range(50)] == [str(n) for n in range(50)]  # type: ignore[index]


def test_an_ended_job_keeps_result_error_and_body(store: Store) -> None:
    write = insert("a")
    error = {"error": "e"}
    store.commit([write, update("a", state="running"), finish("a", "failed", result=(b"r",), error=error)])
    expected = write.row | {"state": "failed", "result": (b"r",), "error": error}
    assert job(store, "a", whole=False) == expected | {"body": (), "result": ()}
    assert job(store, "a") == expected | {"history": []}


def test_a_dead_letter_waits_again_and_has_not_ended(store: Store) -> None:
    store.commit([insert("a"), finish("a", "failed", error={"error": "e"}, expires_at=5.0)])
    assert unfinished(store).ended == {("S", "failed"): 1}
    (verdict,) = store.commit([revive("a", failures=0, error=None, expires_at=None, rank=9.0)])
    assert (verdict.verdict, verdict.job_id, verdict.service) == (NEW, "a", "S")
    assert ids(waiting(store).rows) == ["a"]
    left = unfinished(store)
    assert (left.ended, left.forget_at, left.waiting) == ({}, None, [("S", None, 1)])
    # Its first end no longer counts.
    (pruned,) = store.commit([PruneJobs(at=1e9, limit=100)])
    assert isinstance(pruned, Pruned) and pruned.counts == {} and pruned.next_at is None
    store.commit([finish("a", "complete", 300.0)])
    assert unfinished(store).ended == {("S", "complete"): 1}
    assert unfinished(store).forget_at == 300.0


def test_a_revival_whose_unique_key_is_taken_meanwhile_is_refused(store: Store) -> None:
    store.commit([insert("a", unique="u"), finish("a", "failed"), insert("b", unique="u")])
    assert said(store.commit([revive("a")])) == [(UNIQUE_CONFLICT, "b")]
    assert job(store, "a")["state"] == "failed"  # type: ignore[index]
    assert said(store.commit([finish("b"), revive("a"), insert("c", unique="u")])) == [
        (NEW, "a"),
        (UNIQUE_CONFLICT, "a"),
    ]


@pytest.mark.parametrize("state", ["failed", "cancelled", "expired"])
def test_whatever_ended_without_a_result_waits_again_and_keeps_its_key_if_that_is_free(
    store: Store, state: str
) -> None:
    store.commit([insert("a", unique="u"), finish("a", state), insert("b", unique="u")])
    assert said(store.commit([revive("a")])) == [(UNIQUE_CONFLICT, "b")]
    assert unfinished(store).ended == {("S", state): 1}
    assert said(store.commit([finish("b", state), revive("a")])) == [(NEW, "a")]
    left = unfinished(store)
    assert left.ended == {("S", state): 1} and left.waiting == [("S", None, 1)]
    assert said(store.commit([insert("c", unique="u")])) == [(UNIQUE_CONFLICT, "a")]
    assert said(store.commit([PruneJobs(at=1e9, limit=10)])) == [("pruned", "")]  # of "b" alone
    assert job(store, "a") is not None and job(store, "b") is None


def test_only_what_ended_without_a_result_is_revived(store: Store) -> None:
    store.commit([insert("a"), insert("b"), finish("b"), insert("c"), finish("c", "failed")])
    verdicts = store.commit([revive("a"), revive("b"), revive("x"), delete("c"), revive("c")])
    assert said(verdicts) == [(UNKNOWN, "a"), (UNKNOWN, "b"), (UNKNOWN, "x"), (DELETED, "c"), (UNKNOWN, "c")]


def test_only_an_ended_job_is_deleted_and_its_verdict_says_what_it_was(store: Store) -> None:
    store.commit([insert("a", service="T"), insert("b")])
    assert said(store.commit([delete("a"), delete("x")])) == [(UNKNOWN, "a"), (UNKNOWN, "x")]
    verdicts = store.commit([finish("a", "cancelled", service="T"), delete("a"), delete("a")])
    assert verdicts[0] == Verdict(DELETED, "a", "T", "cancelled")
    assert said(verdicts[1:]) == [(UNKNOWN, "a")]
    assert job(store, "a") is None and unfinished(store).ended == {}
    assert said(store.commit([insert("a")])) == [(NEW, "a")]


def test_a_history_comes_back_in_the_order_of_its_events(store: Store) -> None:
    store.commit([insert("a"), insert("b")])
    log = AppendToJob(job_id="a", kind="log", value="zwölf\ud800", n=12, at=1.5)
    store.commit([log, AppendToJob(job_id="a", kind="partial", value=(b"x", b""), n=11, at=1.25)])
    store.commit([AppendToJob(job_id="a", kind="log", value="", n=13, at=2.0)])
    assert job(store, "a")["history"] == [  # type: ignore[index]
        (11, 1.25, "partial", (b"x", b"")),
        (12, 1.5, "log", "zwölf\ud800"),
        (13, 2.0, "log", ""),
    ]
    assert job(store, "b")["history"] == []  # type: ignore[index]
    assert "history" not in job(store, "a", whole=False)  # type: ignore[operator]


def test_a_deleted_jobs_history_is_not_that_of_the_next_job_of_that_id(store: Store) -> None:
    store.commit([insert("a"), AppendToJob(job_id="a", kind="log", value="x", n=1, at=1.0), finish("a")])
    store.commit([delete("a"), insert("a")])
    assert job(store, "a")["history"] == []  # type: ignore[index]


# ------------------------------------------------------------ forgetting


def test_a_prune_forgets_what_is_due_the_longest_due_first_and_reports_it(store: Store) -> None:
    for n, state in enumerate(("complete", "failed", "complete", "cancelled")):
        store.commit([insert(f"j{n}", service="ST"[n % 2]), finish(f"j{n}", state, 40.0 - n, "ST"[n % 2])])
    (pruned,) = store.commit([PruneJobs(at=39.0, limit=2)])
    assert isinstance(pruned, Pruned)
    assert pruned.counts == {("T", "cancelled"): 1, ("S", "complete"): 1} and pruned.next_at == 39.0
    assert listed(store) == ["j1", "j0"]
    (pruned,) = store.commit([PruneJobs(at=39.0, limit=2)])
    assert isinstance(pruned, Pruned)
    assert pruned.counts == {("T", "failed"): 1} and pruned.next_at == 40.0
    assert unfinished(store).ended == {("S", "complete"): 1}
    (pruned,) = store.commit([PruneJobs(at=40.0, limit=2)])
    assert isinstance(pruned, Pruned)
    assert pruned.counts == {("S", "complete"): 1} and pruned.next_at is None
    assert listed(store) == []


def test_a_prune_counts_histories_and_takes_a_long_one_in_steps(store: Store) -> None:
    store.commit([insert("a"), insert("b"), insert("c")])
    store.commit([AppendToJob(job_id="b", kind="log", value=f"{n}", n=n, at=1.0) for n in range(1, 8)])
    store.commit([finish(job_id, forget_at=n) for n, job_id in enumerate("abc")])
    steps = []
    for _ in range(5):
        (pruned,) = store.commit([PruneJobs(at=9.0, limit=4)])
        assert isinstance(pruned, Pruned)
        row = job(store, "b")
        steps.append((listed(store), None if row is None else len(row["history"]), pruned.next_at))
    assert steps == [
        (["c", "b"], 4, 1.0),
        (["c", "b"], 0, 1.0),
        ([], None, None),
        ([], None, None),
        ([], None, None),
    ]


# ------------------------------------------------------------ services and recovery


def test_services_are_known_and_paused_as_an_operator_said(store: Store) -> None:
    store.commit([RememberService(service="B"), RememberService(service="A", paused=True)])
    store.commit([RememberService(service="A"), RememberService(service="B")])
    assert unfinished(store).services == [("A", True), ("B", None)]
    store.commit([RememberService(service="A", paused=False), RememberService(service="A", paused=None)])
    assert unfinished(store).services == [("A", False), ("B", None)]


def test_a_forgotten_service_is_unknown_and_its_records_stay(store: Store) -> None:
    store.commit([RememberService(service="A"), RememberService(service="B", paused=True)])
    store.commit([insert("a", service="B"), finish("a", service="B"), ForgetService(service="B")])
    store.commit([ForgetService(service="never known")])
    left = unfinished(store)
    assert left.services == [("A", None)] and left.ended == {("B", "complete"): 1}
    assert job(store, "a") is not None
    store.commit([RememberService(service="B")])
    assert unfinished(store).services == [("A", None), ("B", None)]


def test_an_empty_store_has_nothing_left(store: Store) -> None:
    assert store.read(ReadUnfinished(None)).rows == []
    assert unfinished(store) == Unfinished()
    assert listed(store) == [] and matching(store) == [] and waiting(store).rows == []


def test_what_an_earlier_run_left_is_running_jobs_with_bodies_and_numbers_of_the_rest(store: Store) -> None:
    store.commit(
        [
            insert("a", group="g"),
            insert("b", group="g"),
            insert("c"),
            insert("d", service="T", state="scheduled"),
            insert("e", service="T", state="scheduled"),
            insert("f"),
            insert("g", body=b"G"),
            insert("h"),
            insert("i"),
        ]
    )
    last = insert("j")
    store.commit([last, update("g", state="running"), update("f", state="running")])
    store.commit([finish("h", "failed", 70.0), finish("i", "complete", 60.0), finish("j", "complete", 80.0)])
    rows = store.read(ReadUnfinished(None)).rows
    assert ids(rows) == ["f", "g"] and rows[1]["body"] == (b"G",)
    left = unfinished(store)
    assert left.waiting == [("S", None, 1), ("S", "g", 2)] and left.scheduled == [("T", 2)]
    assert left.ended == {("S", "complete"): 2, ("S", "failed"): 1}
    assert left.number == last.row["number"] and left.forget_at == 60.0


# ------------------------------------------------------------ pages


def test_a_page_of_a_group_is_in_the_order_of_rank_and_number(store: Store) -> None:
    store.commit(
        [insert("a", rank=2.0), insert("b", rank=1.0), insert("c", rank=1.0), insert("d", rank=-5.0)]
    )
    store.commit([insert("e", rank=0.0, group="g"), insert("f", rank=0.0, service="T")])
    page = waiting(store)
    assert ids(page.rows) == ["d", "b", "c", "a"] and page.more is None
    assert page.rows[0]["body"] == (b"body",)
    assert ids(waiting(store, group="g").rows) == ["e"] and ids(waiting(store, service="T").rows) == ["f"]


def test_a_page_begins_at_its_key_and_names_the_first_that_it_left_out(store: Store) -> None:
    writes = [insert(f"j{n}", rank=float(n // 3)) for n in range(7)]
    keys = [(write.row["rank"], write.row["number"]) for write in writes]
    store.commit(writes)
    for start in range(7):
        page = waiting(store, since=keys[start], limit=3)
        assert ids(page.rows) == [f"j{n}" for n in range(start, min(7, start + 3))]
        assert page.more == (keys[start + 3] if start + 3 < 7 else None)
    assert ids(waiting(store, since=(1.0, 0), limit=1).rows) == ["j3"]
    assert waiting(store, since=(2.0, keys[6][1] + 1)).rows == []


def test_a_page_is_bounded_in_bytes_but_never_empty(store: Store) -> None:
    writes = [insert(f"j{n}", body=b"x" * 100, rank=float(n)) for n in range(4)]
    store.commit(writes)
    for bytes_max, there in ((1, 1), (100, 1), (199, 1), (200, 2), (399, 3), (400, 4)):
        page = waiting(store, bytes_max=bytes_max)
        assert len(page.rows) == there
        assert page.more == (None if there == 4 else (float(there), writes[there].row["number"]))


def test_a_job_leaves_its_page_when_it_starts_and_comes_back_by_its_new_rank(store: Store) -> None:
    store.commit([insert("a", rank=1.0), insert("b", rank=2.0), update("a", state="running", attempt=1)])
    assert ids(waiting(store).rows) == ["b"]
    store.commit([update("a", state="scheduled", ready_at=50.0)])
    assert ids(waiting(store).rows) == ["b"]
    store.commit([update("a", state="waiting", rank=3.0), update("b", rank=4.0)])
    assert ids(waiting(store).rows) == ["a", "b"]


def test_scheduled_jobs_come_by_their_time_over_all_services(store: Store) -> None:
    writes = [
        insert("a", state="scheduled", ready_at=30.0, body=b"x" * 10),
        insert("b", state="scheduled", ready_at=10.0, service="T", body=b"x" * 10),
        insert("c", state="scheduled", ready_at=30.0, body=b"x" * 10),
        insert("d", ready_at=5.0),
    ]
    store.commit(writes)
    page = store.read(ReadScheduled(None, False, (float("-inf"), 0), 2, 1 << 20))
    assert ids(page.rows) == ["b", "a"] and page.more == (30.0, writes[2].row["number"])
    assert page.rows[0]["body"] == (b"x" * 10,)
    page = store.read(ReadScheduled(None, False, page.more, 2, 1 << 20))
    assert ids(page.rows) == ["c"] and page.more is None
    page = store.read(ReadScheduled(None, False, (10.0, 0), 9, 15))
    assert ids(page.rows) == ["b"] and page.more == (30.0, writes[0].row["number"])


def test_scheduled_jobs_of_either_clock_come_apart(store: Store) -> None:
    store.commit(
        [
            insert("steady", state="scheduled", ready_at=20.0),
            insert("wall", state="scheduled", ready_at=10.0, by_wall=True),
            insert("failed", state="scheduled", ready_at=30.0, by_wall=True),
            update("failed", ready_at=40.0, by_wall=False),
        ]
    )
    start = (float("-inf"), 0)
    assert ids(store.read(ReadScheduled(None, False, start, 9, 1 << 20)).rows) == ["steady", "failed"]
    (row,) = store.read(ReadScheduled(None, True, start, 9, 1 << 20)).rows
    assert row["id"] == "wall" and row["by_wall"] is True


def test_expired_are_those_that_never_ran_the_earliest_first(store: Store) -> None:
    store.commit(
        [
            insert("a", expires_at=20.0),
            insert("b", expires_at=10.0, state="scheduled"),
            insert("c", expires_at=5.0),
            insert("d", expires_at=5.0, attempt=1),
            insert("e", expires_at=20.5),
            insert("f"),
            insert("g", expires_at=1.0),
            update("g", state="running", attempt=1),
            insert("h", expires_at=2.0),
            finish("h", "cancelled"),
        ]
    )
    rows = store.read(ReadExpired(None, 20.0, 10)).rows
    assert ids(rows) == ["c", "b", "a"] and rows[0]["body"] == ()
    assert ids(store.read(ReadExpired(None, 20.0, 2)).rows) == ["c", "b"]
    store.commit([update("c", expires_at=None), update("a", expires_at=50.0)])
    assert ids(store.read(ReadExpired(None, 20.5, 10)).rows) == ["b", "e"]


# ------------------------------------------------------------ lists


def test_lists_are_newest_first_and_go_on_where_they_stopped(store: Store) -> None:
    store.commit([insert(f"j{n}") for n in range(25)])
    newest_first = [f"j{n}" for n in reversed(range(25))]
    for limit in (1, 3, 5, 24, 25, 100):
        assert listed(store, limit=limit) == newest_first
        assert matching(store, limit=limit) == newest_first[::-1]
    page = store.read(ReadJobs(None, Filter(), 25))
    assert page.next is None and "history" not in page.rows[0]


def test_lists_show_of_an_error_its_code_its_type_and_the_beginning_of_its_text(store: Store) -> None:
    error = {"code": "job_failed", "error": "half \ud800 " + "x" * 10_000_000, "type": "Oh", "traceback": "t"}
    store.commit([insert("a"), insert("b"), insert("c")])
    store.commit([finish("a", "failed", error=error), finish("b", "failed", error={"code": "mine"})])
    for where in (Filter(), Filter(state="failed"), Filter(service="S")):
        rows = {row["id"]: row for row in store.read(ReadJobs(None, where, 10)).rows}
        shown = {"code": "job_failed", "error": error["error"][:200], "type": "Oh"}
        assert rows["a"]["error"] == shown
        assert rows["b"]["error"] == {"code": "mine", "error": ""}
        assert "c" not in rows or rows["c"]["error"] is None
    assert job(store, "a")["error"] == error  # type: ignore[index]


def test_lists_are_filtered_by_all_that_is_given(store: Store) -> None:
    populate(store)
    rows = store.read(ReadJobs(None, Filter(), 1000)).rows
    for where in FILTERS:
        kept = [row["id"] for row in rows if matches(row, where)]
        for limit in (2, 1000):
            assert listed(store, limit, **where) == kept, where
            assert matching(store, limit=limit, **where) == kept[::-1], where


def test_what_an_operator_names_is_of_some_states_and_between_two_numbers(store: Store) -> None:
    populate(store)
    rows = store.read(ReadJobs(None, Filter(), 1000)).rows[::-1]
    numbers = [row["number"] for row in rows]
    for states in (("failed",), ("waiting", "scheduled"), ("running", "complete"), (), STATES):
        for where in FILTERS:
            kept = [row for row in rows if row["state"] in states and matches(row, where)]
            assert matching(store, states, 3, **where) == ids(kept)
            some = [row for row in kept if numbers[4] < row["number"] <= numbers[-5]]
            assert matching(store, states, 3, numbers[4], numbers[-5], **where) == ids(some)


FILTERS: list[dict[str, Any]] = [
    {},
    {"service": "S"},
    {"service": "nobody"},
    {"group": "g"},
    {"since": 20.0},
    {"before": 20.0},
    {"since": 10.0, "before": 30.0, "service": "T"},
    *({"state": state} for state in STATES),
    *({"state": state, "service": "T"} for state in STATES),
    {"state": "waiting", "group": "g", "service": "S"},
    {"state": "failed", "since": 20.0},
]


def matches(row: Row, where: dict[str, Any]) -> bool:
    since, before = where.get("since"), where.get("before")
    return (
        all(row[name] == where[name] for name in ("service", "state", "group") if name in where)
        and (since is None or row["created_at"] >= since)
        and (before is None or row["created_at"] < before)
    )


def populate(store: Store) -> None:
    """42 jobs: each state, two services, with and without a group."""
    writes: list[Write] = []
    for n in range(42):
        state = STATES[n % 7]
        first = "waiting" if state in FINAL_STATES else state
        writes.append(
            insert(
                f"j{n}", service="ST"[n % 2], group=["g", None, "h"][n % 3], created_at=float(n), state=first
            )
        )
        if state in FINAL_STATES:
            writes.append(finish(f"j{n}", state, service="ST"[n % 2]))
    store.commit(writes)


# ------------------------------------------------------------ by chance


def batches_by_chance(chance: random.Random, jobs: int = 30) -> list[list[Write]]:
    """Writes that a core could have made: none is for a job that the store does not have."""
    numbers = count(1)
    states: dict[str, str] = {}
    keys: dict[str, tuple[str, str | None]] = {}
    batches: list[list[Write]] = []
    n = 0

    def key_is_free(key: tuple[str, str | None]) -> bool:
        return key[1] is None or all(keys[one] != key or states[one] in FINAL_STATES for one in states)

    for _ in range(chance.randint(5, 40)):
        batch: list[Write] = []
        for _ in range(chance.randint(1, 12)):
            n += 1
            job_id = f"j{chance.randrange(jobs)}"
            state = states.get(job_id)
            what = chance.choice(
                ("insert", "insert", "update", "start", "finish", "append", "revive", "rest")
            )
            if what == "insert":
                key = (chance.choice("ST"), chance.choice((None, None, "u", "v")))
                write = insert(
                    job_id,
                    body=chance.randbytes(chance.randrange(40)),
                    only_if_known=chance.random() < 0.1,
                    number=next(numbers),
                    service=key[0],
                    unique=key[1],
                    group=chance.choice((None, "g", "h")),
                    state=chance.choice(("waiting", "waiting", "scheduled")),
                    rank=float(chance.randrange(4)),
                    ready_at=float(chance.randrange(4)),
                    created_at=float(chance.randrange(50)),
                    expires_at=chance.choice((None, 1.0, 2.0)),
                )
                batch.append(write)
                if state is None and key_is_free(key) and not write.only_if_known:
                    states[job_id], keys[job_id] = write.row["state"], key
            elif what == "rest":
                batch.append(
                    chance.choice(
                        (
                            DeleteJob(job_id=job_id),
                            RememberService(
                                service=chance.choice("ST"), paused=chance.choice((None, True, False))
                            ),
                            ForgetService(service=chance.choice("ST")),
                        )
                    )
                )
                if isinstance(batch[-1], DeleteJob) and state in FINAL_STATES:
                    del states[job_id]
            elif state is None:
                batch.append(revive(job_id))
            elif what == "append":
                value: Any = chance.choice(("line", (b"a", b"b")))
                kind = "log" if isinstance(value, str) else "partial"
                batch.append(AppendToJob(job_id=job_id, kind=kind, value=value, n=n, at=float(n)))
            elif what == "revive":
                batch.append(revive(job_id, rank=float(chance.randrange(4)), error=None, attempt=0))
                if state in REVIVABLE and key_is_free(keys[job_id]):
                    states[job_id] = "waiting"
            elif state in FINAL_STATES:
                continue
            elif what == "finish":
                states[job_id] = chance.choice(("complete", "failed", "failed", "cancelled", "expired"))
                # Times differ: which of two that are due at once goes first is no store's promise.
                forget_at, service = n + chance.random(), keys[job_id][0]
                batch.append(
                    finish(job_id, states[job_id], forget_at, service, result=(b"r",), error={"e": n})
                )
            else:
                states[job_id] = chance.choice(("waiting", "scheduled", "running"))
                changes = {"state": states[job_id], "rank": float(chance.randrange(4)), "progress": n / 1000}
                if what == "start":
                    changes |= {
                        "attempt": n,
                        "attempts": ({"attempt": n},),
                        "group": chance.choice((None, "g")),
                    }
                batch.append(update(job_id, **changes))
        if chance.random() < 0.2:
            # By itself, for the rest of the batch has to know what it forgot.
            batches.append(batch)
            batch = [PruneJobs(at=float(chance.randrange(n)), limit=chance.randint(1, 6))]
            batches.append(batch)
            return batches
        batches.append(batch)
    return batches


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
        seen.append(store.read(ReadScheduled(None, False, since, limit, 50)))
        seen.append(store.read(ReadExpired(None, since[0], limit)))
    return seen
