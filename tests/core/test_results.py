"""What workers say of their jobs: ends, notes, what is late, and DONE."""

from __future__ import annotations

from typing import Any

import pytest

from tests.stage import Scene
from zmws.wire import mdp


def dones(scene: Scene, name: str) -> list[bytes]:
    """The tokens that a worker was told to forget since this was asked last."""
    found = [
        frames[2] for frames in scene.sent.pop(name, []) if frames[2:] and frames[2].startswith(b"DONE ")
    ]
    return [token for frame in found for token in frame.split()[1:]]


def test_ends_are_counted_for_their_worker() -> None:
    scene = Scene(retries=0)
    scene.ready("W")
    for n, said in enumerate(((), (b"FAIL",), ())):
        scene.submit(f"j{n}")
        scene.final("W", scene.token("W"), *said)
    (row,) = scene.ask("zmws.workers")[1]
    assert (row["done"], row["failed"]) == (2, 1)


@pytest.mark.parametrize("session", [True, False])
def test_a_late_result_is_refused_counted_and_noted_once(session: bool) -> None:
    scene = Scene()
    if session:
        scene.ready("W")
    for _ in range(3):
        scene.final("W", b"j/1/dead")
    assert scene.counted("results_refused") == 3
    assert scene.counted("final_without_session") == (0 if session else 3)
    noted = [text for level, text in scene.log if "a late result of" in text and level == "warning"]
    assert len(noted) == 1 and "b'j/1/dead'" in noted[0]
    assert scene.sent["W"][-1] == [b"MDPW02", b"\x06"] or session


def test_a_repeat_of_a_result_that_was_taken_is_not_refused() -> None:
    scene = Scene(retries=0)
    scene.ready("W")
    for job_id, service, said in (
        ("a", "E", b"COMPLETE"),
        ("b", "E", b"FAIL"),
        ("c", "SYNC-E", b"COMPLETE"),
        ("d", "SYNC-E", b"FAIL"),
    ):
        scene.submit(job_id, service)
        token = scene.token("W")
        for _ in range(3):
            scene.final("W", token, said)
    assert scene.counted("results_refused") == 0
    (row,) = scene.ask("zmws.workers")[1]
    assert (row["done"], row["failed"]) == (2, 2), "each is counted once"


def test_a_live_result_is_taken_from_whoever_brings_it() -> None:
    scene = Scene()
    scene.ready("W")
    scene.submit("j")
    token = scene.token("W")
    scene.ready("V")
    scene.submit("k")
    scene.requests("V")
    scene.final("V", token)
    assert scene.state("j") == "complete"
    states = {row["id"]: row["state"] for row in scene.ask("zmws.workers")[1]}
    assert states == {"w": "idle", "v": "busy"}
    scene.submit("l")
    scene.final("nobody", scene.token("W"))
    assert scene.state("l") == "complete" and scene.counted("results_refused") == 0
    assert scene.counted("final_without_session") == 1
    assert scene.sent["nobody"] == [[b"MDPW02", b"\x06"]]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ((b"PROGRESS", b'{"done": 0.5, "text": "half"}'), {"progress": 0.5, "progress_text": "half"}),
        ((b"LOG", b"a line"), {"log": ["a line"]}),
        ((b"CONT", b"PARAM-JSON: 3"), {"partials": [3]}),
        ((b"NONSENSE",), {"log": [], "partials": [], "progress": None}),
        ((), {"log": [], "partials": [], "progress": None}),
    ],
)
@pytest.mark.parametrize("name", ["W", "nobody"])
def test_what_a_job_says_on_its_way_is_noted_whoever_brings_it(
    name: str, said: tuple[bytes, ...], shown: dict[str, Any]
) -> None:
    scene = Scene()
    scene.ready("W")
    scene.submit("j")
    token = scene.token("W")
    scene.partial(name, token, *said)
    record = scene.record("j")
    assert {key: record[key] for key in shown} == shown
    assert (
        scene.counted("bad_partials") == (said in ((b"NONSENSE",), ()))
        and scene.counted("partials_refused") == 0
    )
    assert ([b"MDPW02", b"\x06"] in scene.sent.get(name, [])) is (name == "nobody")
    scene.partial("W", b"j/9/dead", *said)
    assert scene.counted("partials_refused") == 1


def test_a_foreign_workers_frames_are_values_for_strict_clients_as_they_are() -> None:
    scene = Scene()
    scene.foreign("F")
    scene.receive("mdp", "M", [mdp.MDPW02, b"\x01", b"E"])
    scene.receive("mdp", "C", [mdp.MDPC02, b"\x01", b"E", b"x"])
    token = scene.token("F")
    scene.partial("F", token, b"PARAM-JSON: 1")
    scene.final("F", token, b"PARAM-JSON: 2")
    assert [frames[1:] for frames in scene.sent["C"]] == [
        [b"\x02", b"E", b"PARAM-JSON: 1"],
        [b"\x03", b"E", b"PARAM-JSON: 2"],
    ]


# ---------------------------------------------------------------- DONE


def test_done_comes_when_the_end_is_on_disk_and_for_a_memory_job_at_once() -> None:
    scene = Scene()
    scene.ready("W")
    scene.submit("j")
    token = scene.token("W")
    scene.hold = True
    scene.final("W", token)
    scene.beat("W", b"CONFIRM " + token)
    assert dones(scene, "W") == []
    assert scene.ask("zmws.workers")[1][0]["state"] == "draining"
    scene.submit("k", "SYNC-E")
    assert not scene.requests("W"), "no job until that is known"
    scene.hold = False
    scene.settle()
    messages = scene.sent["W"]
    assert messages[0][2] == b"DONE " + token and messages[1][2].startswith(b"k/")
    memory = scene.token("W")
    scene.final("W", memory)
    scene.beat("W", b"CONFIRM " + memory)
    assert dones(scene, "W") == [memory]


def test_done_goes_to_the_session_that_has_the_token_now() -> None:
    scene = Scene()
    scene.ready("W")
    scene.submit("j")
    token = scene.token("W")
    scene.hold = True
    scene.final("W", token)
    scene.ready("W2", id="w", finished=[token.decode()])
    scene.beat("W2", b"CONFIRM " + token)
    scene.sent.clear()
    scene.hold = False
    scene.settle()
    assert dones(scene, "W2") == [token] and "W" not in scene.sent


def test_a_worker_that_asks_is_told_of_all_that_it_need_not_keep() -> None:
    scene = Scene()
    scene.ready("W", slots=2)
    scene.submit("j")
    token = scene.token("W")
    scene.sent.clear()
    scene.beat("W", b"CONFIRM old/1/x " + token)
    assert "W" not in scene.sent, "one of them is to come yet"
    scene.final("W", token)
    assert dones(scene, "W") == [b"old/1/x", token]
    scene.beat("W", b"CONFIRM")
    assert scene.sent.get("W") is None or dones(scene, "W") == []


def test_a_lost_worker_that_brings_all_it_held_is_there_and_one_that_brings_a_part_is_not() -> None:
    for held, there in ((1, True), (2, False)):
        scene = Scene()
        scene.ready("W", slots=2)
        for n in range(held):
            scene.submit(f"j{n}", retries=0)
        token = scene.job("j0").token or b""
        scene.unreach("W", "gone")
        scene.pass_time(0.2)
        del scene.unreachable["W"]
        scene.final("W", token)
        scene.pass_time(1.5)
        assert bool(scene.core.roster.sessions.by_peer) is there
        assert scene.state("j0") == "complete"


def test_a_thousand_results_that_may_be_forgotten_are_told_at_once() -> None:
    scene = Scene(limits={"heartbeat_interval_s": 60.0})
    scene.ready("W")
    told = 0
    for n in range(1_001):
        scene.submit(f"j{n}", "SYNC-E")
        scene.final("W", scene.token("W"))
        found = dones(scene, "W")
        assert len(found) == (1_000 if n == 999 else 0), n
        told += len(found)
    assert told == 1_000, "with what came after the wait is for the next heartbeat again"
