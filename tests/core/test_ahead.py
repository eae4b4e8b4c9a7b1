"""Jobs sent ahead: how long jobs run, who is next, and what a session takes beyond its slots."""

from __future__ import annotations

from typing import Any

import pytest

from tests.stage import Scene
from zmws.core.ahead import JOBS_MIN, Fewest, RunTime
from zmws.wire import mdp


def quick(prefetch: int = 2, limits: dict[str, Any] | None = None, **info: Any) -> Scene:
    """W is registered, and has ended enough jobs at once for their run time to be known."""
    scene = Scene(limits=limits or {})
    scene.ready("W", prefetch=prefetch, **info)
    warm(scene)
    return scene


def warm(scene: Scene, ran_s: float = 0.0, name: str = "W", service: str = "E") -> None:
    for n in range(JOBS_MIN):
        scene.submit(f"{name}-{service}-{n}", service)
        token = scene.token(name)
        scene.pass_time(ran_s)
        scene.final(name, token)


def given(scene: Scene, name: str = "W") -> list[str]:
    """The ids of the jobs that it was sent since this was asked last."""
    return [frames[2].decode().split("/")[0] for frames in scene.requests(name)]


def test_the_run_time_is_known_when_enough_jobs_have_ended_and_follows_the_last_of_them() -> None:
    time = RunTime()
    for n in range(JOBS_MIN):
        assert time.expected_s is None
        time.note(float(n))
    assert time.expected_s == pytest.approx(3.5), "of few jobs it is their mean"
    for _ in range(200):
        time.note(1.0)
    assert time.expected_s == pytest.approx(1.0, abs=0.001)
    time.note(17.0)
    assert time.expected_s == pytest.approx(2.0, abs=0.001), "one of sixteen"


def test_who_has_the_fewest_is_first_then_who_has_waited_longest() -> None:
    fewest = Fewest[str]()
    assert fewest.first() is None and not fewest
    for one, count in (("a", 2), ("b", 1), ("c", 1)):
        fewest.put(one, count)
    assert fewest.first() == "b" and "c" in fewest
    fewest.put("b", 2)
    assert fewest.first() == "c"
    fewest.put("c", 1)
    fewest.put("c", 3)
    assert fewest.first() == "a"
    fewest.drop("a")
    fewest.drop("never there")
    assert fewest.first() == "b" and "a" not in fewest
    fewest.drop("b")
    fewest.drop("c")
    assert fewest.first() is None and not fewest


def test_a_worker_that_asks_for_nothing_ahead_gets_nothing() -> None:
    scene = quick(prefetch=0)
    for name in "abc":
        scene.submit(name)
    assert given(scene) == ["a"]


def test_jobs_go_ahead_while_run_time_times_jobs_is_below_the_limit() -> None:
    scene = Scene(limits={"prefetch_time_s": 0.01})
    scene.ready("W", prefetch=16)
    warm(scene, ran_s=0.003)
    for n in range(8):
        scene.submit(str(n))
    requests = scene.requests("W")
    assert len(requests) == 4, "three of 3 ms beside the one that is begun"
    scene.pass_time(0.003)
    scene.final("W", requests[0][2])
    assert given(scene) == ["4"], "one has moved up"


def test_a_limit_of_0_turns_it_off() -> None:
    scene = quick(limits={"prefetch_time_s": 0.0})
    for name in "abc":
        scene.submit(name)
    assert given(scene) == ["a"]


def test_long_jobs_do_not_go_ahead_and_nothing_goes_ahead_behind_one() -> None:
    scene = Scene()
    services = {"E": {}, "LONG": {}}
    scene.ready("W", prefetch=2, services=services)
    warm(scene, ran_s=1.0, service="LONG")
    warm(scene)
    for name in "abc":
        scene.submit(name, "LONG")
    assert given(scene) == ["a"]
    scene.submit("short")
    assert given(scene) == []


def test_the_worker_with_the_fewest_jobs_in_hand_is_next() -> None:
    scene = quick(prefetch=3)
    scene.ready("V", prefetch=3)
    for n in range(6):
        scene.submit(str(n))
    first = {"W": given(scene, "W"), "V": given(scene, "V")}
    assert sorted(map(len, first.values())) == [3, 3]
    assert {first["W"][0], first["V"][0]} == {"0", "1"}


def test_what_a_service_takes_ahead_is_its_own() -> None:
    scene = Scene()
    scene.ready("W", prefetch=3, slots=2, services={"E": {"slots": 2, "prefetch": 1}, "F": {"prefetch": 0}})
    warm(scene)
    warm(scene, service="F")
    for name in "abcde":
        scene.submit(name)
    assert given(scene) == ["a", "b", "c"]
    scene.submit("f", "F")
    assert given(scene) == []


def test_the_time_to_run_counts_from_when_a_job_is_moved_up() -> None:
    scene = quick()
    scene.alive.add("W")
    scene.submit("a", ttr=100)
    scene.submit("b", ttr=2)
    a, b = (frames[2] for frames in scene.requests("W"))
    scene.pass_time(10)
    assert scene.state("b") == "running", "its time has not begun"
    scene.final("W", a)
    scene.pass_time(1.9)
    assert scene.state("b") == "running"
    scene.pass_time(0.1)
    assert scene.record("b")["attempts"][0]["error"]["code"] == "timeout"
    assert scene.record("b")["failures"] == 1
    scene.final("W", b)


def test_a_job_that_has_asked_for_more_time_keeps_it_when_it_is_moved_up() -> None:
    scene = quick()
    scene.alive.add("W")
    scene.submit("a")
    scene.submit("b", ttr=2)
    a, b = (frames[2] for frames in scene.requests("W"))
    scene.partial("W", b, b"TOUCH", b"50")
    scene.final("W", a)
    scene.pass_time(49.5)
    assert scene.state("b") == "running"


def test_nothing_goes_ahead_to_who_waits_for_results_to_be_confirmed_is_drained_or_leaves() -> None:
    for keeps_off in (b"CONFIRM 1/1/a", b"SLOTS 0"):
        scene = quick()
        scene.submit("a")
        assert given(scene) == ["a"]
        scene.hold = True
        scene.beat("W", keeps_off.replace(b"1/1/a", next(iter(scene.core.held.assignments))))
        scene.hold = False
        scene.submit("b")
        assert given(scene) == [], keeps_off
    scene = quick()
    scene.submit("a")
    assert given(scene) == ["a"]
    assert scene.ask("zmws.drain", worker="w")[0] == 200
    scene.submit("b")
    assert given(scene) == []


def test_what_lies_is_taken_back_once_somebody_is_free_and_stays_where_nobody_is() -> None:
    scene = quick(limits={"prefetch_patience_s": 0.5})
    scene.submit("a")
    scene.submit("b")
    _, b = (frames[2] for frames in scene.requests("W"))
    scene.pass_time(3)
    assert scene.record("b")["attempts"] == [], "nobody else could have it"
    scene.ready("V")
    assert given(scene, "V") == ["b"]
    assert scene.counted("taken_back") == 1
    record = scene.record("b")
    assert (record["attempt"], record["failures"]) == (2, 0)
    assert record["attempts"][0]["error"]["code"] == "given_back"
    assert [mdp.MDPW02, mdp.W_HEARTBEAT, b"CANCEL " + b] in scene.sent["W"]


def test_what_was_moved_up_is_not_taken_back() -> None:
    scene = quick(limits={"prefetch_patience_s": 0.5})
    scene.submit("a")
    scene.submit("b")
    a, _ = (frames[2] for frames in scene.requests("W"))
    scene.pass_time(0.6)
    scene.final("W", a)
    scene.ready("V")
    assert given(scene, "V") == [] and scene.counted("taken_back") == 0


def test_with_several_in_hand_nobody_is_charged_though_but_one_had_begun() -> None:
    scene = quick()
    scene.submit("a")
    scene.submit("b")
    scene.unreach("W", "gone")
    scene.pass_time(1.5)
    for name in "ab":
        record = scene.record(name)
        assert record["failures"] == 0 and record["attempts"][0]["error"]["code"] == "worker_lost"
    scene.ready("V", prefetch=2)
    assert given(scene, "V") == ["a"], "suspects are alone"


def test_a_worker_that_comes_back_names_what_it_has_ahead() -> None:
    scene = quick()
    scene.alive.add("W")
    scene.submit("a", ttr=1)
    scene.submit("b", ttr=1)
    a, b = (frames[2] for frames in scene.requests("W"))
    scene.ready("W2", id="w", prefetch=2, holding=[a.decode(), b.decode()])
    scene.alive.add("W2")
    scene.pass_time(0.9)
    scene.final("W2", a)
    scene.pass_time(0.9)
    assert scene.state("b") == "running"
    scene.final("W2", b)
    assert scene.state("a") == scene.state("b") == "complete"


# ---------------------------------------------------------------- at most once


def test_the_request_of_a_job_that_may_run_only_once_leaves_when_its_start_is_on_disk() -> None:
    scene = Scene()
    scene.submit("once", retries=0)
    scene.hold = True
    scene.ready("W")
    assert given(scene) == []
    while not scene.stored("once")["attempt"]:
        scene.commit()
    assert given(scene) == ["once"]


@pytest.mark.parametrize("ends", ["cancel", "gone", "leaves"])
def test_what_was_never_sent_is_no_failure(ends: str) -> None:
    scene = Scene()
    scene.submit("once", retries=0)
    scene.hold = True
    scene.ready("W")
    if ends == "cancel":
        scene.ask("zmws.cancel", id="once")
    elif ends == "gone":
        scene.unreach("W", "gone")
    else:
        scene.work("W", mdp.W_DISCONNECT)
    scene.hold = False
    scene.settle()
    scene.pass_time(1.5)
    assert given(scene) == []
    record = scene.record("once")
    assert record["state"] == ("cancelled" if ends == "cancel" else "waiting") and record["failures"] == 0
    if ends != "cancel":
        scene.ready("V")
        assert given(scene, "V") == ["once"]


def test_a_call_that_may_run_only_once_waits_for_nothing() -> None:
    scene = Scene()
    scene.hold = True
    scene.ready("W")
    scene.submit("call", "SYNC-E", retries=0)
    assert given(scene) == ["call"]


@pytest.mark.parametrize("word", [b"SLOTS 0", b"CONFIRM 9/9/x", b"DRAIN"])
def test_who_takes_nothing_any_more_is_not_sent_what_has_waited_for_the_disk(word: bytes) -> None:
    scene = Scene()
    scene.ready("W", finished=["9/9/x"])
    scene.submit("first", retries=1)
    first = scene.token("W")
    scene.hold = True
    scene.submit("once", retries=0)
    while "once" not in scene.core.held.stored:
        scene.commit()
    scene.final("W", first)
    assert given(scene) == []
    if word == b"DRAIN":
        scene.core.roster.drain(scene.core.roster.sessions.named("w")[0])
    else:
        scene.beat("W", word.replace(b"9/9/x", first))
    scene.hold = False
    scene.settle()
    assert given(scene) == [] or word.startswith(b"CONFIRM")
    record = scene.record("once")
    assert record["attempts"] == [] and record["failures"] == 0
    if not word.startswith(b"CONFIRM"):
        assert not scene.core.roster.sessions.named("w")[0].holding, "its slot is free again"


def test_a_worker_that_has_a_slot_free_beside_what_it_runs_takes_what_lies_elsewhere() -> None:
    scene = quick(limits={"prefetch_patience_s": 0.5})
    scene.ready("V", slots=2)
    for name in "abcd":
        scene.submit(name)
    first = {"W": given(scene, "W"), "V": scene.requests("V")}
    assert len(first["W"]) == 2 and len(first["V"]) == 2, "each has begun what it can; one lies with W"
    scene.pass_time(0.6)
    assert given(scene, "V") == []
    scene.final("V", first["V"][0][2])
    assert given(scene, "V") == first["W"][1:], "though it runs another"


# ---------------------------------------------------------------- who moves up


def both(scene: Scene, name: str = "W") -> None:
    """A worker of two services, two slots each, and jobs ahead."""
    told = {"slots": 2, "prefetch": 4}
    scene.ready(name, slots=4, prefetch=4, services={"E": told, "F": told})


def test_only_a_slot_of_its_own_service_moves_a_job_up_and_it_takes_none_of_another() -> None:
    scene = Scene()
    both(scene)
    for service in ("E", "F"):
        warm(scene, service=service)
    for n in range(2):
        scene.submit(f"e{n}")
        scene.submit(f"f{n}", "F")
    scene.submit("f2", "F", ttr=1)
    tokens = {frames[2].decode().split("/")[0]: frames[2] for frames in scene.requests("W")}
    assert list(tokens) == ["e0", "f0", "e1", "f1", "f2"]
    scene.final("W", tokens["e0"])
    rows = scene.ask("zmws.workers", "viewer")[1][0]["jobs"]
    assert {row["id"]: row["state"] for row in rows}["f2"] == "ahead"
    scene.submit("e2")
    assert given(scene) == ["e2"], "a slot of E is free"
    scene.final("W", tokens["f0"])
    rows = scene.ask("zmws.workers", "viewer")[1][0]["jobs"]
    assert {row["id"]: row["state"] for row in rows}["f2"] == "running"


def test_who_takes_fewer_from_now_on_goes_on_with_what_it_has() -> None:
    scene = quick()
    scene.alive.add("W")
    scene.submit("a")
    scene.submit("b", ttr=2)
    a, b = (frames[2] for frames in scene.requests("W"))
    # It is told to stop just when it has begun b, and before it says that a is done.
    scene.beat("W", b"SLOTS 0", b"HOLDS " + a + b" " + b)
    scene.final("W", a)
    scene.ready("V")
    scene.pass_time(1.5)
    assert given(scene, "V") == [] and scene.state("b") == "running", "it is not taken for unbegun"
    scene.pass_time(0.5)
    assert scene.record("b")["attempts"][0]["error"]["code"] == "timeout"
