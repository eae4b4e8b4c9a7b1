"""Why jobs have failed: causes that move with the transaction, and the jobs of each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.store.contract import (
    delete,
    finish,
    insert,
    job,
    listed,
    matching,
    revive,
    said,
    unit,
    update,
)
from tests.store.disk import by_hand, opened
from tests.store.model import ModelStore
from zmws.core.options import KEEP_S
from zmws.core.reads import Filter, ReadCauses, ReadJobs, ReadMatching
from zmws.core.rows import Cause
from zmws.core.states import FAILED
from zmws.core.writes import EXISTING, NEW, UNIQUE_CONFLICT, FinishJob, PruneJobs, Write
from zmws.store.base import Store
from zmws.store.sqlite import upkeep
from zmws.store.sqlite.memory import MemoryStore
from zmws.wire.causes import cause_of

HOUR_S = 3600
KEPT_S = KEEP_S[FAILED]
FEW = 3  # the causes that a small store tells apart


@pytest.fixture(params=["model", "memory", "disk"])
def small(request: pytest.FixtureRequest, path: Path) -> Iterator[Store]:
    """A store that tells a few causes apart."""
    if request.param == "disk":
        on_disk = opened(path, causes_max=FEW)
        yield on_disk
        on_disk.close()
        assert upkeep.check(path) == []
    else:
        yield ModelStore(FEW) if request.param == "model" else MemoryStore(causes_max=FEW)


def error(message: str = "oh", kind: str = "ValueError", line: int = 7, **more: Any) -> dict[str, Any]:
    trace = f'> File "/srv/workers/mix.py", line {line}, in work\n'
    return {"code": "job_failed", "error": message, "type": kind, "traceback": trace, **more}


def fails(job_id: str, message: str = "oh", at: float = 50.0, service: str = "S", **more: Any) -> FinishJob:
    told = more.pop("error", None) or error(message)
    return finish(job_id, "failed", more.pop("forget_at", 100.0), service, error=told, ended_at=at, **more)


def failed(
    job_id: str, message: str = "oh", at: float = 50.0, service: str = "S", **more: Any
) -> list[Write]:
    """A new job, and its failure."""
    forget_at = more.pop("forget_at", 100.0)
    return [insert(job_id, service=service, **more), fails(job_id, message, at, service, forget_at=forget_at)]


def causes(store: Store, service: str | None = None, limit: int = 100) -> list[Cause]:
    """All of them, page after page."""
    found: list[Cause] = []
    cursor = None
    while True:
        page = store.read(ReadCauses(None, service, limit, cursor))
        assert len(page.causes) <= limit
        found += page.causes
        if page.next is None:
            return found
        last = found[-1].last_at, found[-1].cause
        assert cursor is None or last < cursor
        cursor = last


def counted(store: Store) -> dict[str, tuple[int, int]]:
    """How many are failed for each, and ever were, by the message."""
    return {cause.message: (cause.failed, cause.total) for cause in causes(store)}


def key(message: str = "oh", service: str = "S") -> str:
    return cause_of(error(message)).key(service)


# ---------------------------------------------------------------- counting


def test_jobs_that_failed_for_one_cause_are_found_together(store: Store) -> None:
    store.commit([insert(job_id) for job_id in "abc"])
    store.commit([fails("a", "bad row 7 of 'orders'", HOUR_S * 5.0), fails("b", "bad row 8", HOUR_S * 5.5)])
    store.commit([fails("c", "bad row 12 of 'customers'", HOUR_S * 7.0)])
    one, other = causes(store)
    assert one == Cause(
        cause_of(error("bad row 1 of 'x'")).key("S"),
        "S",
        "ValueError",
        "bad row # of '…'",
        "workers/mix.py:7 in work",
        2,
        2,
        HOUR_S * 5.0,
        HOUR_S * 7.0,
        "c",
        {5: 1, 7: 1},
    )
    assert (other.message, other.failed, other.last_job) == ("bad row #", 1, "b")
    assert job(store, "a")["cause"] == job(store, "c")["cause"] == one.cause


def test_the_same_error_of_two_services_has_two_causes(store: Store) -> None:
    store.commit([*failed("a"), *failed("b", service="T")])
    assert {(cause.service, cause.failed) for cause in causes(store)} == {("S", 1), ("T", 1)}
    assert len({cause.cause for cause in causes(store)}) == 2


def test_a_line_that_moved_is_shown_as_it_is_now_and_is_no_new_cause(store: Store) -> None:
    store.commit([insert("a"), insert("b")])
    store.commit([fails("a", error=error(line=7), at=60.0)])
    store.commit([fails("b", error=error(line=1007), at=55.0)])
    (cause,) = causes(store)
    assert (cause.frame, cause.failed, cause.last_job) == ("workers/mix.py:1007 in work", 2, "b")
    assert (cause.first_at, cause.last_at) == (60.0, 60.0)  # the wall may have been set back


def test_of_many_in_one_commit_the_last_time_is_the_latest(store: Store) -> None:
    store.commit([*failed("a", at=20.0), *failed("b", at=70.0), *failed("c", at=40.0)])
    (cause,) = causes(store)
    assert (cause.first_at, cause.last_at, cause.last_job) == (20.0, 70.0, "c")


def test_only_what_failed_has_a_cause(store: Store) -> None:
    ends = ("complete", "failed", "cancelled", "expired", "failed")
    store.commit([insert(f"j{n}") for n in range(len(ends))])
    store.commit([finish(f"j{n}", state, error=error()) for n, state in enumerate(ends)])
    assert counted(store) == {"oh": (2, 2)}
    shown = [job(store, f"j{n}")["cause"] for n in range(len(ends))]
    assert shown == [None, key(), None, None, key()]


def test_a_failure_without_words_has_a_cause_too(store: Store) -> None:
    store.commit([insert("a"), insert("b"), insert("c")])
    store.commit([finish("a", "failed", error=None), finish("b", "failed", error={})])
    store.commit([finish("c", "failed", error={"code": "timeout", "error": "ttr of 3 s passed"})])
    found = {(cause.type, cause.message, cause.frame, cause.failed) for cause in causes(store)}
    assert found == {(None, "", None, 2), ("timeout", "ttr of # s passed", None, 1)}


def test_whatever_is_told_as_a_cause_is_stored_bounded_and_printable(store: Store) -> None:
    store.commit([insert(job_id) for job_id in "abc"])
    told: list[Any] = [
        {"type": "T\ud800", "message": "half \udfff " + "x" * 10_000, "frame": "f\ud83d.py:1 in g\ud800"},
        {"type": ["no"], "message": {"a": 1}, "frame": 7.5},
        "no object",
    ]
    for job_id, cause in zip("abc", told, strict=True):
        store.commit([fails(job_id, error={"code": "c", "error": "e", "cause": cause})])
    found = {cause.last_job: cause for cause in causes(store)}
    assert (found["b"].type, found["b"].message, found["b"].frame) == (None, "", None)
    assert (found["c"].type, found["c"].message, found["c"].frame) == ("c", "e", None)
    assert len(found["a"].message) == 200
    if not isinstance(store, ModelStore):
        assert (found["a"].type, found["a"].frame) == ("T?", "f?.py:1 in g?")
    assert listed(store, cause=found["a"].cause) == ["a"]


def test_many_ends_at_once_are_counted_each(store: Store) -> None:
    store.commit([insert(f"j{n}") for n in range(300)])
    store.commit([fails(f"j{n}", "abc"[n % 3] * 2, float(n)) for n in range(300)])
    assert counted(store) == {"aa": (100, 100), "bb": (100, 100), "cc": (100, 100)}
    assert [cause.last_job for cause in causes(store)] == ["j299", "j298", "j297"]
    assert listed(store, 7, cause=key("bb")) == [f"j{n}" for n in range(298, 0, -3)]


def test_the_hours_are_the_last_day_of_those_in_which_one_failed(store: Store) -> None:
    for n in range(30):
        store.commit(failed(f"a{n}", at=n * HOUR_S * 2.0) + failed(f"b{n}", at=n * HOUR_S * 2.0 + 1))
    (cause,) = causes(store)
    assert cause.hours == {2 * n: 2 for n in range(6, 30)}
    assert (cause.total, cause.first_at, cause.last_at) == (60, 0.0, 29 * HOUR_S * 2.0 + 1)


# ---------------------------------------------------------------- jobs that are failed no longer


def test_a_job_that_waits_again_is_failed_for_nothing(store: Store) -> None:
    store.commit(failed("a") + failed("b"))
    store.commit([revive("a", error=None)])
    assert counted(store) == {"oh": (1, 2)}
    assert job(store, "a")["cause"] is None
    assert listed(store, cause=key()) == ["b"]
    # And is counted once more when it fails anew, for whatever it is then.
    store.commit([update("a", state="running"), fails("a", "ah", 60.0)])
    assert counted(store) == {"ah": (1, 1), "oh": (1, 2)}
    store.commit([revive("a", error=None), revive("b", error=None)])
    store.commit([fails("a", at=70.0), fails("b", at=65.0)])
    assert counted(store) == {"oh": (2, 4), "ah": (0, 1)}
    assert listed(store, cause=key()) == ["b", "a"] and listed(store, cause=key("ah")) == []


def test_all_within_one_commit_is_counted_as_if_it_were_many(store: Store) -> None:
    store.commit(
        [
            *failed("a"),
            revive("a", error=None),
            fails("a", "ah", 60.0),
            delete("a"),
            *failed("a", "ih", 70.0),
            *failed("b", "ah", 80.0),
        ]
    )
    assert counted(store) == {"ah": (1, 2), "ih": (1, 1), "oh": (0, 1)}
    assert listed(store, cause=key("ah")) == ["b"] and listed(store, cause=key("ih")) == ["a"]


def test_a_deleted_or_forgotten_job_is_counted_in_the_total_alone(store: Store) -> None:
    for n in range(4):
        store.commit(failed(f"j{n}", forget_at=100.0 + n))
    store.commit([delete("j1"), PruneJobs(at=100.0, limit=10)])
    assert counted(store) == {"oh": (2, 4)}
    assert listed(store, cause=key()) == ["j3", "j2"] == matching(store, cause=key())[::-1]
    store.commit([PruneJobs(at=200.0, limit=10)])
    assert counted(store) == {"oh": (0, 4)}
    assert listed(store, cause=key()) == []


# ---------------------------------------------------------------- what did not happen


def test_a_refused_unit_leaves_no_cause_and_what_was_before_it_stays(store: Store) -> None:
    store.commit([insert("holder", unique="u"), insert("a"), insert("b"), insert("c"), *failed("d", "ih")])
    verdicts = store.commit(
        [
            fails("a", at=50.0),
            *unit(fails("b", at=90.0), delete("d"), insert("x", unique="u")),
            *unit(insert("y"), fails("c", "ah", 60.0)),
        ]
    )
    assert [one.verdict for one in verdicts] == [UNIQUE_CONFLICT, UNIQUE_CONFLICT, NEW]
    assert counted(store) == {"ah": (1, 1), "oh": (1, 1), "ih": (1, 1)}
    (oh,) = [cause for cause in causes(store) if cause.message == "oh"]
    assert (oh.last_at, oh.last_job, oh.hours) == (50.0, "a", {0: 1})
    assert job(store, "b")["cause"] is None and listed(store, cause=oh.cause) == ["a"]
    assert listed(store, cause=key("ih")) == ["d"]


def test_units_one_by_one_are_counted_once(store: Store) -> None:
    store.commit([insert("known"), *failed("d", "ih")])
    writes: list[Write] = []
    for n in range(5):
        writes += unit(insert(f"j{n}"), fails(f"j{n}", "oh", 50.0 + n), insert(f"k{n}"))
    # A repeat: what was done at a run is undone, and done again one by one.
    verdicts = store.commit([*writes, revive("d", error=None), insert("known"), *failed("e", "ah", 99.0)])
    assert said(verdicts)[-3:] == [(NEW, "d"), (EXISTING, "known"), (NEW, "e")]
    assert counted(store) == {"ah": (1, 1), "oh": (5, 5), "ih": (0, 1)}
    assert listed(store, 2, cause=key()) == ["j4", "j3", "j2", "j1", "j0"]


def test_a_commit_that_fails_leaves_the_causes_as_they_were(path: Path) -> None:
    for broken in (MemoryStore(causes_max=2), opened(path, causes_max=2)):
        broken.commit(failed("a", at=10.0) + failed("b", at=20.0))
        before = causes(broken)
        with pytest.raises(AssertionError):
            broken.commit([*failed("c", "ah"), delete("a"), PruneJobs(1e9, 9), fails("nobody", "ih")])
        assert causes(broken) == before and listed(broken, cause=key()) == ["b", "a"]
        # What it had told apart it did not: there is room for one more.
        broken.commit(failed("c", "uh") + failed("d", "oh", 60.0))
        assert counted(broken) == {"oh": (3, 3), "uh": (1, 1)}
        broken.close()
    assert upkeep.check(path) == []


# ---------------------------------------------------------------- lists


def test_a_list_of_a_cause_is_filtered_by_what_else_is_given(store: Store) -> None:
    for n in range(40):
        more = {"group": ("g", None)[n % 2], "created_at": float(n)}
        store.commit(failed(f"j{n}", ("oh", "ah")[n % 4 == 3], **more))
    ohs = [n for n in range(40) if n % 4 != 3]
    for where, kept in (
        ({}, ohs),
        ({"group": "g"}, [n for n in ohs if n % 2 == 0]),
        ({"since": 10.0, "before": 20.0}, [n for n in ohs if 10 <= n < 20]),
        ({"state": "failed", "service": "S"}, ohs),
        ({"state": "waiting"}, []),
        ({"service": "T"}, []),
        ({"group": "nobody's"}, []),
    ):
        for limit in (1, 4, 1_000):
            expected = [f"j{n}" for n in kept]
            assert listed(store, limit, cause=key(), **where) == expected[::-1], where
            assert matching(store, limit=limit, cause=key(), **where) == expected, where
    assert matching(store, ("waiting", "cancelled"), cause=key()) == []
    numbers = [job(store, f"j{n}")["number"] for n in (4, 17)]
    between = matching(store, ("failed",), 3, numbers[0], numbers[1], cause=key())
    assert between == [f"j{n}" for n in ohs if 4 < n <= 17]
    assert listed(store, cause="0" * 12) == []


def test_a_page_with_the_last_job_of_a_cause_is_the_last(store: Store) -> None:
    store.commit([one for n in range(6) for one in failed(f"j{n}")])
    for limit, further in ((5, True), (6, False), (7, False)):
        page = store.read(ReadJobs(None, Filter(cause=key()), limit))
        assert (page.next is not None) == further
        found = store.read(ReadMatching(None, Filter(cause=key()), (FAILED,), 0, 1 << 40, limit))
        assert (found.next is not None) == further


def test_lists_of_more_jobs_than_a_window_holds_go_on() -> None:
    store = MemoryStore()  # whose windows are small, in lists
    store._reads._rows_max = 100
    store.commit([insert(f"j{n}", group="g" if n % 100 in (0, 99) else None) for n in range(500)])
    store.commit([fails(f"j{n}") for n in range(500)])
    kept = [f"j{n}" for n in range(500) if n % 100 in (0, 99)]  # at both ends of each window
    assert listed(store, 3, cause=key(), group="g") == kept[::-1]
    assert len(listed(store, 100, cause=key())) == 500
    assert matching(store, limit=3, cause=key(), group="g") == kept


def test_a_job_that_waits_again_while_a_list_is_read_is_not_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list is read beside the commits, and between any two of its statements there may be one."""
    store = MemoryStore()
    store.commit(failed("a") + failed("b"))
    lists = store._lists
    fetch = lists._fetch

    def fetched(*given: Any) -> list[Any]:
        found = fetch(*given)
        store.commit([revive("a", error=None)])
        return found

    monkeypatch.setattr(lists, "_fetch", fetched)
    assert listed(store, cause=key()) == ["b"]


def test_causes_are_in_pages_those_that_failed_last_first(store: Store) -> None:
    for n in range(12):
        service = "STU"[n % 3]
        store.commit(failed(f"j{n}", "abcdefghijkl"[n] * 2, float(n // 4), service))
    everything = causes(store)
    order = [(cause.last_at, cause.cause) for cause in everything]
    assert len(order) == 12 and order == sorted(order, reverse=True)
    for limit in (1, 3, 4, 5, 11, 12):
        assert causes(store, limit=limit) == everything
        assert causes(store, "T", limit) == [cause for cause in everything if cause.service == "T"]
    assert causes(store, "nobody") == []
    assert store.read(ReadCauses(None, None, 12)).next is None
    assert store.read(ReadCauses(None, None, 11)).next is not None
    store.commit(failed("k", "aa", 99.0))
    assert causes(store)[0].cause == key("aa")


# ---------------------------------------------------------------- too many, and too old


def test_past_the_most_causes_what_is_new_counts_for_its_service_as_other(small: Store) -> None:
    for n, message in enumerate(("aa", "bb", "cc", "dd", "ee", "aa")):
        small.commit(failed(f"j{n}", message, float(n)))
    small.commit(failed("k", "aa", 9.0, "T"))
    found = {(cause.service, cause.message): cause.failed for cause in causes(small)}
    other = "other causes: there are more than causes_max"
    assert found == {("S", "aa"): 2, ("S", "bb"): 1, ("S", "cc"): 1, ("S", other): 2, ("T", other): 1}
    shared = job(small, "j3")["cause"]
    assert listed(small, cause=shared) == ["j4", "j3"]
    small.commit([revive("j3", error=None), delete("j4")])
    assert counted(small)[other] in ((0, 2), (1, 1))
    assert listed(small, cause=shared) == []


def test_causes_that_are_known_take_no_room_from_one_that_is_new(small: Store) -> None:
    small.commit(failed("a", "aa") + failed("b", "bb"))
    small.commit(failed("c", "aa") + failed("d", "bb") + failed("e", "cc") + failed("f", "dd"))
    assert set(counted(small)) == {"aa", "bb", "cc", "other causes: there are more than causes_max"}


def test_a_cause_that_a_refused_unit_had_takes_no_room(small: Store) -> None:
    small.commit([insert("holder", unique="u"), insert("a"), insert("b"), *failed("x", "xx")])
    small.commit(
        [
            *unit(fails("a", "aa"), insert("n", unique="u")),
            *unit(fails("a", "bb"), insert("n", unique="u")),
            *unit(fails("a", "cc"), fails("b", "dd"), insert("n")),
        ]
    )
    assert set(counted(small)) == {"xx", "cc", "dd"}


def test_a_cause_is_forgotten_when_no_job_is_failed_for_it_and_none_was_for_long(small: Store) -> None:
    small.commit(failed("a", "aa", 10.0) + failed("b", "bb", 20.0) + failed("c", "cc", 30.0, forget_at=1e12))
    prune = PruneJobs(at=KEPT_S + 20.0, limit=100)
    small.commit([revive("a", error=None), PruneJobs(at=KEPT_S + 10.0, limit=100)])
    assert set(counted(small)) == {"aa", "bb", "cc"}  # only just
    # The job of "bb" is forgotten by the prune, and so is its cause as soon as it is old enough.
    small.commit([prune])
    assert counted(small) == {"bb": (0, 1), "cc": (1, 1)}
    small.commit([PruneJobs(at=KEPT_S + 20.5, limit=100)])
    assert counted(small) == {"cc": (1, 1)}
    small.commit([PruneJobs(at=KEPT_S * 10, limit=100)])
    assert counted(small) == {"cc": (1, 1)}  # a job is failed for it
    # There is room for others again.
    small.commit(failed("d", "dd", 40.0) + failed("e", "ee", 50.0) + failed("f", "ff", 60.0))
    assert set(counted(small)) == {"cc", "dd", "ee", "other causes: there are more than causes_max"}


def test_a_job_forgotten_by_the_very_prune_takes_its_old_cause_along(store: Store) -> None:
    store.commit(failed("a", "aa", 10.0) + failed("b", "bb", 20.0))
    store.commit([PruneJobs(at=KEPT_S + 15.0, limit=100)])
    assert counted(store) == {"bb": (0, 1)}


def test_a_prune_forgets_no_more_causes_than_it_may_the_oldest_first(store: Store) -> None:
    store.commit([one for n in range(5) for one in failed(f"j{n}", "abcde"[n] * 2, 10.0 + n)])
    store.commit([delete(f"j{n}") for n in range(5)])
    store.commit([PruneJobs(at=KEPT_S * 2, limit=2)])
    assert set(counted(store)) == {"cc", "dd", "ee"}
    store.commit([PruneJobs(at=KEPT_S * 2, limit=2), PruneJobs(at=KEPT_S * 2, limit=2)])
    assert counted(store) == {}


def test_a_cause_that_is_forgotten_and_comes_back_in_one_commit_is_new(small: Store) -> None:
    small.commit(failed("a", "aa", 10.0) + failed("b", "bb", 11.0) + failed("c", "cc", 12.0))
    small.commit([delete("a"), delete("b")])
    at = KEPT_S * 2
    small.commit(
        [
            *failed("d", "bb", at, forget_at=at * 2),  # before the prune, which so leaves it
            PruneJobs(at=at, limit=100),
            *failed("e", "aa", at + 1, forget_at=at * 2),
        ]
    )
    assert counted(small) == {"aa": (1, 1), "bb": (1, 2)}
    (aa, bb) = causes(small)
    assert (aa.first_at, bb.first_at) == (at + 1, 11.0)
    small.commit(failed("f", "ff", at, forget_at=at * 2) + failed("g", "gg", at, forget_at=at * 2))
    assert set(counted(small)) == {"aa", "bb", "ff", "other causes: there are more than causes_max"}


def test_a_cause_that_comes_and_is_forgotten_in_one_commit_takes_no_room(small: Store) -> None:
    prune = PruneJobs(at=KEPT_S * 2, limit=100)
    small.commit([*failed("a", "aa", 10.0), *failed("b", "bb", 11.0), delete("a"), delete("b"), prune])
    assert counted(small) == {}
    at = KEPT_S * 2
    for n, message in enumerate(("cc", "dd", "ee", "ff")):
        small.commit(failed(f"j{n}", message, at, forget_at=at * 2))
    other = "other causes: there are more than causes_max"
    assert set(counted(small)) == {"cc", "dd", "ee", other}
    # Also within one commit.
    small.commit([delete(f"j{n}") for n in range(4)])
    prune = PruneJobs(at=at * 2, limit=100)
    four = [
        failed(f"k{n}", message, at * 2, forget_at=at * 9)
        for n, message in enumerate(("gg", "hh", "ii", "jj"))
    ]
    small.commit([*failed("x", "xx", at), delete("x"), prune, *(write for both in four for write in both)])
    assert set(counted(small)) == {"gg", "hh", "ii", other}


# ---------------------------------------------------------------- of one store alone


def test_causes_are_known_after_the_file_was_opened_again(path: Path) -> None:
    store = opened(path, causes_max=2)
    store.commit(failed("a", "aa") + failed("b", "bb"))
    before = causes(store)
    store.close()
    store = opened(path, causes_max=2)
    assert causes(store) == before
    store.commit(failed("c", "aa") + failed("d", "dd"))
    assert counted(store)["aa"] == (2, 2) and "dd" not in counted(store)
    store.close()
    assert upkeep.check(path) == []


def test_what_the_memory_store_drops_by_itself_is_failed_no_longer() -> None:
    store = MemoryStore(ended_max=3)
    for n in range(10):
        store.commit(failed(f"j{n}", ("aa", "bb")[n % 2], float(n)))
    assert listed(store) == ["j9", "j8", "j7"]
    assert counted(store) == {"bb": (2, 5), "aa": (1, 5)}
    assert listed(store, cause=key("bb")) == ["j9", "j7"]
    assert store._connection.execute("SELECT count(*) FROM caused").fetchone() == (3,)


def test_nothing_is_noted_of_what_was_forgotten(path: Path) -> None:
    store = opened(path)
    for n in range(10):
        store.commit(failed(f"j{n}", "aa", 10.0, forget_at=float(n)))
    store.commit([revive("j3", error=None), delete("j4"), PruneJobs(at=KEPT_S * 2, limit=1_000)])
    store.close()
    with by_hand(path) as connection:
        for table in ("caused", "causes"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


NOT_THEIRS = "1 jobs are noted for a cause that is not theirs"
DAMAGES = {
    "UPDATE causes SET n = n + 1 WHERE message = 'oh'": "3 jobs are counted, but there are 2",
    "UPDATE causes SET n = -1 WHERE message = 'ah'": "-1 jobs are counted, but there are 1",
    "DELETE FROM causes WHERE message = 'oh'": "2 jobs are noted for a cause that is not known",
    "DELETE FROM caused WHERE number = (SELECT number FROM jobs WHERE id = 'a')": "1 jobs are not noted",
    "INSERT INTO caused VALUES ('nobody', 1 << 40)": NOT_THEIRS,
    "UPDATE caused SET cause = (SELECT cause FROM causes WHERE message = 'ah') "
    "WHERE number = (SELECT number FROM jobs WHERE id = 'a')": NOT_THEIRS,
    "UPDATE jobs SET cause = NULL WHERE id = 'a'": NOT_THEIRS,
    "UPDATE jobs SET cause = 'x' WHERE id = 'd'": "1 jobs are not noted for their cause, the first is d",
    "UPDATE jobs SET state = 'cancelled' WHERE id = 'a'": NOT_THEIRS,
    "UPDATE causes SET hours = '{\"1\": ' WHERE message = 'oh'": "1 causes have hours that cannot be read",
    "UPDATE causes SET hours = '[1, 2]' WHERE message = 'oh'": "1 causes have hours that cannot be read",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_check_notices_damage_to_causes(path: Path, damage: str) -> None:
    store = opened(path)
    store.commit(failed("a") + failed("b") + failed("c", "ah") + [insert("d")])
    store.close()
    assert upkeep.check(path) == []
    with by_hand(path) as connection:
        connection.execute(damage)
    problems = upkeep.check(path)
    assert any(DAMAGES[damage] in problem for problem in problems), problems


def test_a_cause_that_no_job_is_failed_for_makes_way_for_a_new_one(path: Path) -> None:
    store = MemoryStore(causes_max=2)
    for n, word in enumerate(("aa", "bb")):
        store.commit([insert(f"j{n}"), finish(f"j{n}", "failed", error={"error": word}, ended_at=float(n))])
    store.commit([delete("j0"), delete("j1")])
    store.commit([insert("k"), finish("k", "failed", error={"error": "cc"})])
    found = {one.message for one in store.read(ReadCauses(None, None, 10)).causes}
    assert found == {"bb", "cc"}, "the one that came last longest ago is gone"


def test_a_service_that_fails_in_ever_new_ways_hides_no_other(path: Path) -> None:
    store = MemoryStore(causes_max=30)
    for n in range(40):
        word = "x" * (n + 1)
        store.commit([insert(f"j{n}"), finish(f"j{n}", "failed", error={"error": word})])
    for n, word in enumerate(("aa", "bb")):
        write = insert(f"k{n}", service="T")
        store.commit([write, finish(f"k{n}", "failed", service="T", error={"error": word})])
    found = {(one.service, one.message) for one in store.read(ReadCauses(None, None, 50)).causes}
    assert {("T", "aa"), ("T", "bb")} <= found
    assert ("S", "other causes: there are more than causes_max") in found
