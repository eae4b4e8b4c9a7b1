"""Forgetting, services, and what an earlier run left."""

from __future__ import annotations

from tests.store.contract import (
    finish,
    found,
    has,
    ids,
    insert,
    listed,
    matching,
    unfinished,
    update,
    waiting,
)
from zmws.core.reads import ReadUnfinished
from zmws.core.rows import KnownService, Unfinished
from zmws.core.writes import AppendToJob, ForgetService, Pruned, PruneJobs, RememberService
from zmws.store.base import Store


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
        row = found(store, "b")
        steps.append((listed(store), None if row is None else len(row["history"]), pruned.next_at))
    assert steps == [
        (["c", "b"], 4, 1.0),
        (["c", "b"], 0, 1.0),
        ([], None, None),
        ([], None, None),
        ([], None, None),
    ]


def test_services_are_known_and_paused_as_an_operator_said(store: Store) -> None:
    store.commit([RememberService(service="B"), RememberService(service="A", paused=True)])
    store.commit([RememberService(service="A"), RememberService(service="B")])
    assert unfinished(store).services == [KnownService("A", True), KnownService("B", None)]
    store.commit([RememberService(service="A", paused=False), RememberService(service="A", paused=None)])
    assert unfinished(store).services == [KnownService("A", False), KnownService("B", None)]


def test_what_a_worker_told_of_a_service_stands_until_another_tells_more(store: Store) -> None:
    schema = '{"title": "\\ud800 caf\u00e9"}'
    store.commit([RememberService(service="A", defaults='{"ttr": 1}', params=schema)])
    store.commit([RememberService(service="A", paused=True), RememberService(service="B", defaults="{}")])
    assert unfinished(store).services == [
        KnownService("A", True, '{"ttr": 1}', schema),
        KnownService("B", None, "{}", None),
    ]
    store.commit([RememberService(service="A", defaults="{}"), RememberService(service="B", params="{}")])
    store.commit([RememberService(service="A", paused=False)])
    assert unfinished(store).services == [
        KnownService("A", False, "{}", schema),
        KnownService("B", None, "{}", "{}"),
    ]
    store.commit([ForgetService(service="A")])
    store.commit([RememberService(service="A")])
    assert unfinished(store).services[0] == KnownService("A")


def test_a_forgotten_service_is_unknown_and_its_records_stay(store: Store) -> None:
    store.commit([RememberService(service="A"), RememberService(service="B", paused=True)])
    store.commit([insert("a", service="B"), finish("a", service="B"), ForgetService(service="B")])
    store.commit([ForgetService(service="never known")])
    left = unfinished(store)
    assert left.services == [KnownService("A", None)] and left.ended == {("B", "complete"): 1}
    assert has(store, "a")
    store.commit([RememberService(service="B")])
    assert unfinished(store).services == [KnownService("A", None), KnownService("B", None)]


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
