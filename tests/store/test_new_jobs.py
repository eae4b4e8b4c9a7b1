"""What becomes of new jobs."""

from __future__ import annotations

from tests.store.contract import (
    finish,
    has,
    insert,
    job,
    listed,
    said,
    update,
)
from zmws.core.reads import ReadUnfinished
from zmws.core.rows import job_of, row_of
from zmws.core.writes import EXISTING, FULL, NEW, UNIQUE_CONFLICT
from zmws.store.base import Store


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
        worker="w\x01é",
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
    assert [job(store, job_id)["body"] for job_id in "ab"] == [(), (b"",)]


def test_a_repeat_is_existing_and_changes_nothing(store: Store) -> None:
    first = insert("a", body=b"first")
    again = insert("a", body=b"second", service="T")
    store.commit([first])
    (verdict,) = store.commit([again])
    assert (verdict.verdict, verdict.job_id, verdict.service) == (EXISTING, "a", "S")
    assert job(store, "a")["body"] == (b"first",)


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
    assert not has(store, "b")


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
