"""Who has a lane: what each worker did, how its attempts ended, and when and why it went."""

from __future__ import annotations

from typing import Any

from tests.stage import Scene
from zmws.core.ahead import JOBS_MIN
from zmws.core.lane import BURST_S, STEP_S
from zmws.core.lanes import Laned
from zmws.wire import mdp


def laned(scene: Scene) -> dict[str, Laned]:
    """Those that have a lane, by their ids."""
    return {one.id: one for one in scene.core.lanes.all()}


def ends(scene: Scene, worker: str = "w") -> list[tuple[str | None, int, int, int]]:
    """Id, jobs, failed and other of each of its bars."""
    lane = laned(scene)[worker].lane
    return [(one.job_id, one.jobs, one.failed, one.other) for one in lane.bars]


def working(*jobs: str, limits: dict[str, Any] | None = None, **options: Any) -> Scene:
    """W runs the first of these, for two seconds."""
    scene = Scene(limits=limits)
    scene.ready("W")
    scene.alive.add("W")
    for job_id in jobs:
        scene.submit(job_id, **options)
    scene.pass_time(2)
    return scene


def test_an_attempt_that_completes_and_one_that_fails_are_told_apart() -> None:
    scene = working("a", "b", retries=0)
    scene.final("W", scene.token("W"))
    scene.pass_time(1)
    scene.final("W", scene.token("W"), b"FAIL", b'PARAM-JSON: {"error": "x"}')
    assert ends(scene) == [("a", 1, 0, 0), ("b", 1, 1, 0)]
    first, second = laned(scene)["w"].lane.bars
    assert (first.end - first.start, second.end - second.start) == (2.0, 1.0)


def test_a_call_is_in_it_as_a_job_is() -> None:
    scene = Scene()
    scene.ready("W")
    scene.submit("c", service="SYNC-E")
    scene.final("W", scene.token("W"))
    assert ends(scene) == [("c", 1, 0, 0)]


def test_a_job_that_is_cancelled_or_given_back_is_neither_complete_nor_failed() -> None:
    scene = working("a")
    scene.ask("zmws.cancel", id="a")
    assert ends(scene) == [("a", 1, 0, 1)]
    scene = working("a")
    scene.work("W", mdp.W_DISCONNECT)
    assert ends(scene) == [("a", 1, 0, 1)]


def test_a_ttr_that_passes_has_failed() -> None:
    scene = working("a", ttr=1.5, retries=0)
    assert ends(scene) == [("a", 1, 1, 0)]


def test_what_a_worker_was_lost_with_is_neither_and_the_lane_says_when_and_why_it_went() -> None:
    scene = working("a")
    scene.alive.clear()
    scene.unreach("W", "gone")
    scene.pass_time(5)
    assert ends(scene) == [("a", 1, 0, 1)]
    gone = laned(scene)["w"]
    assert gone.session is None and gone.why == "its connection is gone"
    assert 2.0 < gone.gone_at - 1_700_000_000.0 < 7.0


def test_why_it_went_is_what_the_news_say() -> None:
    scene = Scene()
    scene.news_wanted = True
    scene.ready("W")
    scene.work("W", mdp.W_DISCONNECT)
    (news,) = [body for topic, body in scene.sent["news"] if topic == b"worker.gone"]
    assert b'"why": "left"' in news and laned(scene)["w"].why == "left"


def test_what_was_sent_ahead_and_never_begun_is_no_bar() -> None:
    scene = Scene()
    scene.ready("W", slots=1, prefetch=2)
    for n in range(JOBS_MIN):
        scene.submit(f"q{n}")
        scene.now += 0.001
        scene.final("W", scene.token("W"))
    before = sum(jobs for _, jobs, *_ in ends(scene))
    for n in range(3):
        scene.submit(f"j{n}")
    session = scene.core.roster.sessions.by_id["w"]
    assert len(session.holding) > 1, "some are sent ahead"
    ahead = [token for token, one in session.holding.items() if one.ahead]
    scene.beat("W", b"RELEASE " + ahead[-1])
    assert sum(jobs for _, jobs, *_ in ends(scene)) == before
    scene.work("W", mdp.W_DISCONNECT)
    assert sum(jobs for _, jobs, *_ in ends(scene)) == before + 1, "but what it had begun is"


def test_who_is_gone_keeps_the_lane_for_a_while() -> None:
    scene = working(limits={"lanes_s": 30.0})
    scene.alive.clear()
    scene.work("W", mdp.W_DISCONNECT)
    scene.pass_time(29)
    assert laned(scene)["w"].why == "left"
    scene.pass_time(2)
    assert laned(scene) == {}


def test_the_same_process_that_comes_back_goes_on_in_its_lane_and_another_does_not() -> None:
    scene = working("a")
    scene.final("W", scene.token("W"))
    scene.work("W", mdp.W_DISCONNECT)
    scene.ready("W")
    assert ends(scene) == [("a", 1, 0, 0)]
    assert [one.session is None for one in scene.core.lanes.all()] == [False]
    scene.ready("W", pid=7, host="elsewhere")
    here, gone = scene.core.lanes.all()
    assert (here.session is None, gone.session is None) == (False, True)
    assert gone.why == "registered anew" and not here.lane.bars and gone.lane.bars


def test_no_more_workers_than_so_many_are_kept_and_the_next_has_the_place_of_who_went_first() -> None:
    scene = Scene(limits={"lanes_workers_max": 2})
    for name in ("A", "B", "C"):
        scene.ready(name)
    assert set(laned(scene)) == {"a", "b"} and [one.id for one in scene.core.lanes.without] == ["c"]
    scene.ready("Z")
    scene.work("Z", mdp.W_DISCONNECT)
    assert [one.id for one in scene.core.lanes.without] == ["c"], "who has gone waits for none"
    scene.alive |= {"B", "C", "D"}
    scene.work("A", mdp.W_DISCONNECT)
    assert set(laned(scene)) == {"a", "b"}, "one sees that it went"
    scene.ready("D")
    assert set(laned(scene)) == {"b", "c"}, "who has waited longest is next"
    scene.submit("j")
    assert laned(scene)["c"].session is scene.core.roster.sessions.by_id["c"]
    scene.work("B", mdp.W_DISCONNECT)
    scene.alive.discard("B")
    scene.pass_time(301)
    assert set(laned(scene)) == {"c", "d"} and not list(scene.core.lanes.without)
    scene.work("D", mdp.W_DISCONNECT)
    scene.ready("D")
    assert set(laned(scene)) == {"c", "d"}, "its own place"


def test_many_workers_that_come_and_go_take_no_more_memory() -> None:
    scene = Scene(limits={"lanes_workers_max": 5, "lanes_s": 20.0})
    for n in range(40):
        name = f"W{n}"
        scene.ready(name)
        for m in range(60):
            scene.submit(f"j{n}-{m}")
            scene.now += 0.6
            scene.final(name, scene.token(name))
        scene.work(name, mdp.W_DISCONNECT)
        lanes = scene.core.lanes
        assert len(list(lanes.all())) <= 5 and not list(lanes.without)
        assert all(len(one.lane.bars) <= (20.0 + BURST_S) / STEP_S + 2 for one in lanes.all())


def test_nothing_is_kept_where_the_setting_says_so() -> None:
    scene = working("a", limits={"lanes_s": 0.0})
    scene.final("W", scene.token("W"))
    assert laned(scene) == {} and not list(scene.core.lanes.without)
    assert scene.core.roster.sessions.by_id["w"].lane is None
    assert scene.ask("zmws.lanes")[1]["lanes"] == []


def test_a_lease_has_no_lane() -> None:
    scene = Scene()
    scene.submit("a")
    token = scene.ask("zmws.lease", service="E", lease="l")[1]["token"]
    assert scene.ask("zmws.report", token=token, kind="complete")[0] == 200
    assert laned(scene) == {}
