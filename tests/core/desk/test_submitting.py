"""Many jobs in one message: one commit, one answer with a verdict for each."""

from __future__ import annotations

from typing import Any

import pytest

from tests.stage import Scene
from zmws.core.desk.submitting import Bundle
from zmws.core.job import Caller
from zmws.core.writes import DeleteJob, InsertJob
from zmws.wire.messages import ReplyTo


def test_each_job_has_its_verdict_at_its_place() -> None:
    scene = Scene(max_waiting=4)
    scene.submit("known")
    status, told = scene.asked(
        "zmws.submit",
        [
            {"service": "E", "id": "a", "params": {"x": 1}},
            {"service": "NOPE", "id": "b"},
            {"service": "E", "id": "known"},
            {"service": "E", "id": "c", "retries": -1},
            {"service": "E", "id": 7},
            {"service": "E", "id": "d", "params_base64": "!"},
            "nonsense",
            {"service": 7},
            {"service": "E", "id": "m", "durability": "memory"},
            {"service": "E", "id": "a"},
            {"service": "E"},
            {"service": "E"},
            {"service": "E"},
        ],
    )
    assert status == 200
    codes = [(one["id"], one.get("code") or ("again" if one["existing"] else "job")) for one in told]
    assert codes[:10] == [
        *(
            ("a", "job"),
            ("b", "unknown_service"),
            ("known", "again"),
            ("c", "bad_option"),
            (None, "bad_option"),
        ),
        *(("d", "bad_option"), (None, "bad_request"), (None, "bad_request"), ("m", "job"), ("a", "again")),
    ]
    assert [code for _, code in codes[10:]] == ["job", "queue_full", "queue_full"]
    assert told[0] == {"id": "a", "existing": False, "durability": "disk"}
    assert told[8]["durability"] == "memory"
    assert scene.record("a")["params"] == {"x": 1}


@pytest.mark.parametrize(
    ("numbers", "last"), [((3, 5, 0), 2), ((0, 3), 0), ((5, 3), 0), ((3, 5), 1), ((None, 5, None), 1)]
)
def test_the_answer_waits_for_the_last_of_the_writes_that_it_speaks_of(
    numbers: tuple[int | None, ...], last: int
) -> None:
    """0: a write of this very turn, which has no number yet; it is later than all that have one."""
    turn = Scene().core.turn
    bundle = Bundle(turn, Caller(("client", b"C", ""), ReplyTo("native", (b"1", b""))), len(numbers))
    writes = [None if number is None else DeleteJob(job_id="j", seq=number) for number in numbers]
    for place, write in enumerate(writes):
        bundle.put(place, {}, write)
    (answer,) = turn.sends
    assert answer.after is writes[last]


def test_the_jobs_of_one_message_are_in_one_commit_and_answered_when_all_are() -> None:
    scene = Scene(limits={"batch_rows_max": 2})
    scene.hold = True
    assert scene.asked("zmws.submit", [{"service": "E"}] * 5) is None
    scene.commit()
    status, told = scene.answer()
    assert status == 200 and len({one["id"] for one in told}) == 5
    assert len([write for write in scene.written if isinstance(write, InsertJob)]) == 5
    assert [write.together for write in scene.written if isinstance(write, InsertJob)] == [False] + [True] * 4


def test_the_answer_waits_for_the_last_of_its_writes() -> None:
    scene = Scene()
    scene.hold = True
    scene.submit("first", name="D")
    assert scene.asked("zmws.submit", [{"service": "E", "id": "first"}, {"service": "E"}]) is None
    scene.commit()
    assert scene.answer() is None, "the second is in the next commit"
    scene.commit()
    assert [one["existing"] for one in scene.answer()[1]] == [True, False]


@pytest.mark.parametrize(
    ("asked", "status"), [([], 200), ([{"service": "E"}] * 3, 200), ([{"service": "E"}] * 4, 400), ({}, 400)]
)
def test_a_message_has_at_most_so_many_jobs(asked: Any, status: int) -> None:
    scene = Scene(limits={"submit_many_max": 3})
    found, told = scene.asked("zmws.submit", asked)
    assert found == status and (status == 400 or len(told) == len(asked))
    assert scene.row()["waiting"] == (len(asked) if status == 200 else 0)


def test_a_job_of_a_list_starts_before_the_next_is_let_in() -> None:
    scene = Scene(max_waiting=1, durability="memory")
    scene.ready("W", slots=3)
    told = scene.asked("zmws.submit", [{"service": "E"}] * 3)[1]
    assert all("code" not in one for one in told) and scene.row()["running"] == 3
