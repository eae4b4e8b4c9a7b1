"""Units: all of it happens, or nothing, and each of its writes that takes a verdict is told why."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.store.contract import delete, finish, found, insert, listed, revive, said, unfinished, unit, update
from zmws.core.writes import (
    DELETED,
    EXISTING,
    FULL,
    NEW,
    UNIQUE_CONFLICT,
    UNKNOWN,
    AppendToJob,
    ForgetService,
    RememberService,
    Verdict,
    Write,
)
from zmws.store.base import Store


def state(store: Store, job_id: str) -> str | None:
    row = found(store, job_id)
    return None if row is None else row["state"]


def told(verdicts: list[Verdict]) -> list[tuple[str, str, bool]]:
    return [(verdict.verdict, verdict.job_id, verdict.by_unit) for verdict in verdicts]


def test_what_follows_a_jobs_end_is_inserted_by_the_commit_that_ends_it(store: Store) -> None:
    store.commit([insert("a", unique="u")])
    # A finish frees its key for what follows.
    verdicts = store.commit(unit(finish("a"), insert("b", unique="u"), insert("c")))
    assert told(verdicts) == [(NEW, "b", False), (NEW, "c", False)]
    assert [state(store, job_id) for job_id in "abc"] == ["complete", "waiting", "waiting"]


REFUSED: dict[str, tuple[Callable[[], Write], tuple[str, str, str]]] = {
    "unique key": (lambda: insert("x", unique="held"), (UNIQUE_CONFLICT, "holder", "S")),
    "full": (lambda: insert("x", only_if_known=True), (FULL, "x", "S")),
    "another's id": (lambda: insert("holder", service="T"), (EXISTING, "holder", "S")),
    "revive nobody": (lambda: revive("nobody"), (UNKNOWN, "nobody", "")),
    "revive": (lambda: revive("failed"), (UNIQUE_CONFLICT, "holder", "S")),
    "delete": (lambda: delete("holder"), (UNKNOWN, "holder", "")),
}


@pytest.mark.parametrize("why", REFUSED)
@pytest.mark.parametrize("place", range(4))
def test_one_refusal_refuses_all_of_the_unit_and_nothing_else(store: Store, why: str, place: int) -> None:
    refused, verdict = REFUSED[why]
    store.commit(
        [insert("failed", unique="held"), finish("failed", "failed"), insert("holder", unique="held")]
    )
    store.commit([insert("a"), RememberService(service="S", paused=True), RememberService(service="T")])
    before = unfinished(store)
    log = AppendToJob(job_id="a", kind="log", value="x", n=1, at=1.0)
    writes: list[Write] = [finish("a", result=(b"r",)), insert("new"), log]
    writes.insert(place, refused())
    verdicts = store.commit([insert("c"), *unit(*writes), insert("d")])
    assert said(verdicts)[0] == (NEW, "c") and said(verdicts)[-1] == (NEW, "d")
    inner = verdicts[1:-1]
    assert [(one.verdict, one.job_id, one.service) for one in inner] == [verdict] * 2
    assert [one.by_unit for one in inner] == ([True, False] if place > 1 else [False, True])
    row = found(store, "a")
    assert row is not None and (row["state"], row["result"], row["history"]) == ("waiting", (), [])
    assert state(store, "new") is None
    left = unfinished(store)
    assert (left.ended, left.services, left.forget_at) == (before.ended, before.services, before.forget_at)
    assert listed(store) == ["d", "c", "a", "holder", "failed"]


def test_a_repeat_is_no_refusal(store: Store) -> None:
    store.commit([insert("a"), insert("b")])
    verdicts = store.commit(unit(finish("a"), insert("b"), insert("c")))
    assert told(verdicts) == [(EXISTING, "b", False), (NEW, "c", False)]
    assert state(store, "a") == "complete"


def test_a_unit_that_is_refused_leaves_the_next_ones_their_way(store: Store) -> None:
    store.commit([insert("a", unique="u"), insert("b"), insert("c"), insert("d"), finish("d")])
    verdicts = store.commit(
        [
            *unit(update("b", state="running"), insert("e", unique="u"), delete("d")),
            *unit(finish("a"), insert("f", unique="u")),
            *unit(insert("g"), update("g", state="running"), finish("g", "failed"), revive("g")),
            *unit(ForgetService(service="S"), delete("d"), insert("d")),
            update("c", state="running"),
        ]
    )
    assert told(verdicts) == [
        (UNIQUE_CONFLICT, "a", False),
        (UNIQUE_CONFLICT, "a", True),
        (NEW, "f", False),
        (NEW, "g", False),
        (NEW, "g", False),
        (DELETED, "d", False),
        (NEW, "d", False),
    ]
    states = {job_id: state(store, job_id) for job_id in "abcdefg"}
    waiting, running = dict.fromkeys("bdfg", "waiting"), {"c": "running"}
    assert states == {"a": "complete", "e": None} | waiting | running
    assert unfinished(store).ended == {("S", "complete"): 1}


def test_the_jobs_of_one_message_are_no_unit(store: Store) -> None:
    writes = [insert("a", unique="u"), insert("b", unique="u"), insert("c")]
    writes[1].together = writes[2].together = True
    assert said(store.commit(writes)) == [(NEW, "a"), (UNIQUE_CONFLICT, "a"), (NEW, "c")]
