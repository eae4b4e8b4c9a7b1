"""The store that forgets: what is particular to it."""

from __future__ import annotations

import threading
import time

from tests.store.contract import finish, insert, listed, said
from zmws.core.reads import Filter, ReadJob, ReadJobs
from zmws.core.writes import FULL, NEW, AppendToJob, FinishJob, Pruned, PruneJobs
from zmws.store.sqlite.memory import MemoryStore


def prune(store: MemoryStore, at: float) -> Pruned:
    (pruned,) = store.commit([PruneJobs(at=at, limit=10)])
    assert isinstance(pruned, Pruned)
    return pruned


def rows_in(store: MemoryStore) -> int:
    counts = [f"(SELECT count(*) FROM {table})" for table in ("jobs", "bodies", "history")]
    return int(store._connection.execute(f"SELECT {' + '.join(counts)}").fetchone()[0])


def test_only_the_jobs_that_ended_last_are_kept_and_nothing_else_of_the_others() -> None:
    store = MemoryStore(ended_max=10)
    for n in range(300):
        log = AppendToJob(job_id=f"j{n}", kind="log", value="x", n=1, at=1.0)
        end = finish(f"j{n}", forget_at=1000.0 - n, ended_at=float(n))
        store.commit([insert(f"j{n}"), log, end])
    assert listed(store) == [f"j{n}" for n in range(299, 289, -1)]
    assert rows_in(store) == 30


def test_what_it_dropped_by_itself_the_next_prune_reports() -> None:
    store = MemoryStore(ended_max=2)
    for n in range(5):
        store.commit([insert(f"j{n}"), finish(f"j{n}", forget_at=10.0 + n)])
    pruned = prune(store, 0.0)
    assert pruned.counts == {("S", "complete"): 3} and pruned.next_at == 13.0
    pruned = prune(store, 13.0)
    assert pruned.counts == {("S", "complete"): 1} and pruned.next_at == 14.0


def test_it_is_full_by_bytes_and_has_room_again_after_a_prune() -> None:
    store = MemoryStore(bytes_max=400_000)
    body = b"x" * 90_000

    def taken(name: str) -> str:
        write = insert(name, body=body)
        write.size += len(body)
        return store.commit([write])[0].verdict

    assert [taken(name) for name in "abcde"] == [NEW, NEW, NEW, NEW, FULL]
    assert said(store.commit([insert("a")])) == [("existing", "a")]
    store.commit([finish("a")])
    assert taken("e") == FULL
    prune(store, 101.0)
    assert [taken(name) for name in "ef"] == [NEW, FULL]


def test_results_errors_and_histories_fill_it_too() -> None:
    store = MemoryStore(bytes_max=290_000)
    long = "x" * 100_000
    store.commit([insert("a"), insert("b"), insert("c"), insert("d")])
    store.commit([AppendToJob(size=100_000, job_id="a", kind="log", value=long, n=1, at=1.0)])
    store.commit(
        [
            FinishJob(
                "b",
                {"state": "failed", "ended_at": 1.0, "error": {"traceback": long}},
                "S",
                1.0,
                size=100_000,
            )
        ]
    )
    store.commit([FinishJob("c", {"state": "complete", "result": (long.encode(),)}, "S", 1.0, size=100_000)])
    assert said(store.commit([insert("e")])) == [(FULL, "e")]
    prune(store, 1.0)
    assert said(store.commit([insert("e")])) == [(NEW, "e")]
    assert store.read(ReadJob(None, "a")).rows[0]["history"] == [(1, 1.0, "log", long)]


def test_a_commit_waits_for_one_statement_of_a_list_and_not_for_the_list() -> None:
    store = MemoryStore()
    for n in range(0, 100_000, 1_000):
        store.commit([insert(f"j{n + k}") for k in range(1_000)])
    ended = threading.Event()
    pages = 0

    def lists() -> None:
        nonlocal pages
        while not ended.is_set():
            store.read(ReadJobs(None, Filter(group="nobody's")))
            pages += 1

    thread = threading.Thread(target=lists)
    thread.start()
    waits = []
    try:
        for n in range(100):
            begun = time.monotonic()
            store.commit([insert(f"k{n}")])
            waits.append(time.monotonic() - begun)
            time.sleep(0.002)
    finally:
        ended.set()
        thread.join()
    assert pages > 1 and sorted(waits)[50] < 0.005
