"""Changes, ends, revivals and removals, and the histories of jobs."""

from __future__ import annotations

import pytest

from tests.store.contract import (
    delete,
    finish,
    has,
    ids,
    insert,
    job,
    revive,
    said,
    unfinished,
    update,
    waiting,
)
from zmws.core.writes import DELETED, NEW, UNIQUE_CONFLICT, UNKNOWN, AppendToJob, Pruned, PruneJobs, Verdict
from zmws.store.base import Store
from zmws.wire.causes import cause_of


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
    assert job(store, "b")["worker"] is None


def test_many_updates_go_each_to_its_own_job(store: Store) -> None:
    store.commit([insert(f"j{n}") for n in range(50)])
    store.commit([update(f"j{n}", progress=n / 50, progress_text=f"{n}") for n in range(50)])
    assert [job(store, f"j{n}")["progress_text"] for n in range(50)] == [str(n) for n in range(50)]


def test_an_ended_job_keeps_result_error_and_body(store: Store) -> None:
    write = insert("a")
    error = {"error": "e"}
    store.commit([write, update("a", state="running"), finish("a", "failed", result=(b"r",), error=error)])
    expected = write.row | {"state": "failed", "ended_at": 50.0, "result": (b"r",), "error": error}
    expected["cause"] = cause_of(error).key("S")
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
    assert job(store, "a")["state"] == "failed"
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
    assert has(store, "a") and not has(store, "b")


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
    assert not has(store, "a") and unfinished(store).ended == {}
    assert said(store.commit([insert("a")])) == [(NEW, "a")]


def test_a_history_comes_back_in_the_order_of_its_events(store: Store) -> None:
    store.commit([insert("a"), insert("b")])
    log = AppendToJob(job_id="a", kind="log", value="zwölf\ud800", n=12, at=1.5)
    store.commit([log, AppendToJob(job_id="a", kind="partial", value=(b"x", b""), n=11, at=1.25)])
    store.commit([AppendToJob(job_id="a", kind="log", value="", n=13, at=2.0)])
    assert job(store, "a")["history"] == [
        (11, 1.25, "partial", (b"x", b"")),
        (12, 1.5, "log", "zwölf\ud800"),
        (13, 2.0, "log", ""),
    ]
    assert job(store, "b")["history"] == []
    assert "history" not in job(store, "a", whole=False)


def test_a_deleted_jobs_history_is_not_that_of_the_next_job_of_that_id(store: Store) -> None:
    store.commit([insert("a"), AppendToJob(job_id="a", kind="log", value="x", n=1, at=1.0), finish("a")])
    store.commit([delete("a"), insert("a")])
    assert job(store, "a")["history"] == []
