"""Why jobs wait: the clocks themselves, and each reason told while it holds, with its seconds."""

from __future__ import annotations

from typing import Any

import pytest

from tests.stage import Scene
from zmws.core.options import service_options
from zmws.core.reasons import MAX_RUNNING, NO_WORKER, NOTHING, PAUSED, REASONS, Clocks


def why(scene: Scene, job_id: str) -> dict[str, Any]:
    """What zmws.why says of a job."""
    status, told = scene.ask("zmws.why", "viewer", id=job_id)
    assert status == 200, told
    found: dict[str, Any] = told
    sums = sum(one["seconds"] for one in found["reasons"])
    assert sums == pytest.approx(found["waited_s"], abs=0.002), found
    return found


def seconds(scene: Scene, job_id: str) -> dict[str, float]:
    """How long it waited for each reason."""
    told = why(scene, job_id)["reasons"]
    assert [one["seconds"] for one in told] == sorted((one["seconds"] for one in told), reverse=True)
    return {one["reason"]: one["seconds"] for one in told}


def now(scene: Scene, job_id: str) -> str:
    """Why it does not run now."""
    return str(why(scene, job_id)["now"]["reason"])


# ---------------------------------------------------------------- the clocks


def test_one_clock_runs_at_a_time_and_all_of_them_show_the_time_that_something_waited() -> None:
    clocks = Clocks()
    assert clocks.reason == NOTHING and clocks.shown(5.0) == (0.0,) * len(REASONS)
    clocks.turn_to(PAUSED, 10.0)
    clocks.turn_to(PAUSED, 11.0)
    clocks.turn_to(NO_WORKER, 13.0)
    assert clocks.reason == NO_WORKER and clocks.shown(14.0)[:2] == (3.0, 1.0)
    assert clocks.shown(14.0)[:2] == (3.0, 1.0), "to look changes nothing"
    clocks.turn_to(NOTHING, 15.0)
    assert sum(clocks.shown(100.0)) == 5.0
    clocks.turn_to(MAX_RUNNING, 100.0)
    assert clocks.shown(101.5) == (3.0, 2.0, 1.5, 0.0, 0.0, 0.0, 0.0)


def test_no_clock_runs_backwards() -> None:
    clocks = Clocks()
    clocks.turn_to(PAUSED, 10.0)
    assert clocks.shown(9.0)[PAUSED] == 0.0
    clocks.turn_to(NO_WORKER, 8.0)
    assert min(clocks.shown(8.5)) >= 0.0


# ---------------------------------------------------------------- each reason


def test_a_job_of_a_paused_service_waits_for_that() -> None:
    scene = Scene(paused=True)
    scene.ready("W")
    scene.alive.add("W")
    scene.submit("j")
    scene.pass_time(5)
    assert now(scene, "j") == "paused" and seconds(scene, "j") == {"paused": 5.0}
    assert why(scene, "j")["now"]["next"] == "zmws resume E"
    scene.ask("zmws.resume", service="E")
    scene.pass_time(3)
    assert why(scene, "j")["now"] is None and seconds(scene, "j") == {"paused": 5.0}


def test_without_a_worker_that_is_what_a_job_waits_for() -> None:
    scene = Scene()
    scene.submit("j")
    scene.pass_time(3.25)
    assert now(scene, "j") == "no_worker" and seconds(scene, "j") == {"no_worker": 3.25}
    scene.ready("W")
    assert seconds(scene, "j") == {"no_worker": 3.25}


def test_max_running_is_told_with_the_limit() -> None:
    scene = Scene(max_running=1)
    scene.ready("W", slots=3)
    scene.alive.add("W")
    for job_id in ("a", "b"):
        scene.submit(job_id)
    scene.pass_time(4)
    assert now(scene, "b") == "max_running" and "max_running of E is 1" in why(scene, "b")["now"]["text"]
    scene.final("W", scene.job("a").token or b"")
    assert seconds(scene, "b") == {"max_running": 4.0}


def test_the_rate_is_told_until_it_allows_another_start() -> None:
    scene = Scene(rate=0.5)
    scene.ready("W", slots=3)
    scene.alive.add("W")
    for job_id in ("a", "b"):
        scene.submit(job_id)
    scene.pass_time(1.5)
    assert now(scene, "b") == "rate" and "0.5 jobs a second" in why(scene, "b")["now"]["text"]
    scene.pass_time(3)
    assert scene.job("b").state == "running" and seconds(scene, "b") == {"rate": 2.0}


def test_a_job_waits_for_slots_where_all_are_taken() -> None:
    scene = Scene()
    scene.ready("W")
    scene.alive.add("W")
    for job_id in ("a", "b"):
        scene.submit(job_id)
    scene.pass_time(7)
    assert now(scene, "b") == "slots"
    assert why(scene, "b")["now"]["text"] == "all slots of its one worker are taken (1)"
    scene.final("W", scene.job("a").token or b"")
    assert seconds(scene, "b") == {"slots": 7.0}


def suspects(scene: Scene, *job_ids: str) -> None:
    """Jobs whose worker died with them, and a worker of three slots that has one job of F in hand."""
    scene.services["F"] = service_options({})
    scene.ready("X", slots=len(job_ids))
    for job_id in job_ids:
        scene.submit(job_id)
    scene.work("X", b"\x09")
    scene.ask("zmws.pause", service="E")
    scene.ready("W", "E", slots=3, services={"E": {}, "F": {}})
    scene.alive.add("W")
    scene.submit("f", "F")
    scene.ask("zmws.resume", service="E")


def test_a_suspect_waits_for_a_worker_with_nothing_in_hand() -> None:
    scene = Scene()
    suspects(scene, "a", "b")
    scene.pass_time(3)
    assert list(scene.service().parked) == ["a", "b"]
    assert now(scene, "a") == "suspect" and seconds(scene, "a") == {"suspect": 3.0}
    scene.final("W", scene.job("f").token or b"")
    assert scene.job("a").state == "running" and seconds(scene, "a") == {"suspect": 3.0}
    scene.pass_time(2)
    assert seconds(scene, "b") == {"suspect": 5.0}


def test_a_suspect_is_told_so_though_others_wait_for_slots_beside_it() -> None:
    scene = Scene()
    suspects(scene, "a", "b")
    scene.submit("c")
    assert (now(scene, "b"), now(scene, "c")) == ("suspect", "slots")


def test_a_job_in_a_long_backlog_waits_for_its_page() -> None:
    scene = Scene(limits={"window_jobs_max": 2}, paused=True)
    scene.alive.add("W")
    for n in range(12):
        scene.submit(f"j{n}")
    scene.ready("W", slots=20)
    scene.hold = True
    scene.ask("zmws.resume", service="E")
    scene.pass_time(4)
    assert scene.service().beyond and not scene.service().ready
    assert REASONS[scene.service().clocks.reason] == "reading"
    scene.hold = False
    scene.commit()
    assert scene.job("j11").state == "running"
    assert seconds(scene, "j11") == {"reading": 4.0}


def test_a_delay_is_no_wait_for_anybody() -> None:
    scene = Scene()
    scene.submit("j", delay=5)
    scene.pass_time(2)
    assert now(scene, "j") == "scheduled" and why(scene, "j")["now"]["at"] == "2023-11-14T22:13:25.000Z"
    scene.pass_time(5)
    assert seconds(scene, "j") == {"scheduled": 5.0, "no_worker": 2.0} and now(scene, "j") == "no_worker"


def test_the_time_until_the_next_attempt_is_backoff() -> None:
    scene = Scene()
    scene.ready("W")
    scene.alive.add("W")
    scene.submit("j", backoff=4)
    scene.final("W", scene.token("W"), b"FAIL", b'PARAM-JSON: {"code": "job_failed", "error": "bad"}')
    scene.pass_time(1)
    told = why(scene, "j")["now"]
    assert (told["reason"], told["at"]) == ("backoff", "2023-11-14T22:13:24.000Z")
    assert told["text"].startswith("attempt 1 failed (job_failed): it is tried again at ")
    scene.pass_time(9)
    assert seconds(scene, "j") == {"backoff": 4.0}


def test_what_is_being_stored_is_starting() -> None:
    scene = Scene()
    scene.ready("W")
    scene.alive.add("W")
    scene.pass_time(1)
    scene.hold = True
    scene.submit("j")
    scene.pass_time(2)
    scene.commit()
    scene.hold = False
    scene.commit()
    scene.settle()
    assert scene.job("j").state == "running" and seconds(scene, "j") == {"starting": 2.0}


def test_of_a_service_without_figures_of_its_own_the_past_is_not_kept_and_the_present_is_told() -> None:
    scene = Scene(limits={"series_services_max": 0})
    scene.submit("j")
    scene.pass_time(3)
    assert scene.service().clocks is None
    assert now(scene, "j") == "no_worker" and seconds(scene, "j") == {"not_kept": 3.0}


def test_one_reason_follows_the_other() -> None:
    scene = Scene(max_running=1)
    scene.submit("a")
    scene.submit("b")
    scene.pass_time(2)
    scene.ask("zmws.pause", service="E")
    scene.pass_time(3)
    scene.ready("W", slots=2)
    scene.alive.add("W")
    scene.ask("zmws.resume", service="E")
    scene.pass_time(4)
    scene.ask("zmws.limit", service="E", max_running=5)
    assert scene.job("b").state == "running"
    assert seconds(scene, "b") == {"max_running": 4.0, "paused": 3.0, "no_worker": 2.0}
    assert seconds(scene, "a") == {"paused": 3.0, "no_worker": 2.0}


# ---------------------------------------------------------------- what has gone


@pytest.mark.parametrize("way", ["cancel", "expire", "purge"])
def test_no_clock_runs_when_nothing_waits_any_more(way: str) -> None:
    scene = Scene()
    scene.submit("j", **({"expires": 2} if way == "expire" else {}))
    scene.pass_time(2)
    if way == "cancel":
        scene.ask("zmws.cancel", id="j")
    elif way == "purge":
        scene.ask("zmws.purge", service="E")
    scene.pass_time(10)
    clocks = scene.service().clocks
    assert clocks is not None and clocks.reason == NOTHING
    assert seconds(scene, "j") == {"no_worker": 2.0}


def test_a_worker_that_leaves_while_others_slots_were_taken_is_noticed_with_the_next_sample() -> None:
    scene = Scene()
    scene.services["F"] = service_options({})
    scene.ready("W", "E", services={"E": {}, "F": {}}, slots=1)
    scene.submit("f", "F", retries=1)
    scene.submit("j")
    scene.alive.add("W")
    scene.pass_time(3)
    assert now(scene, "j") == "slots"
    scene.alive.clear()
    scene.work("W", b"\x06")
    assert now(scene, "j") == "no_worker"
    scene.pass_time(5)
    found = seconds(scene, "j")
    assert sum(found.values()) == 8.0 and 4.0 <= found["no_worker"] <= 5.0


# ---------------------------------------------------------------- restarts, and clocks of the host


def test_the_reasons_of_an_earlier_life_of_the_broker_are_told_and_that_it_was_down_is_unknown() -> None:
    scene = Scene()
    scene.submit("j")
    scene.pass_time(130)
    scene.node.stop()
    scene.settle()
    scene.now += 600
    scene.restart()
    scene.pass_time(90)
    found = seconds(scene, "j")
    assert sum(found.values()) == pytest.approx(820.0, abs=0.01)
    assert found["no_worker"] == pytest.approx(220.0, abs=1.0)
    # Of the minutes in which it stopped and started the rows do not say where.
    assert found["unknown"] + found.get("starting", 0.0) == pytest.approx(600.0, abs=1.0)
    assert found["unknown"] >= 480.0


def test_a_crash_takes_the_reasons_of_the_minute_under_way_along() -> None:
    scene = Scene()
    scene.submit("j")
    scene.pass_time(130)  # the minutes end at 40 and at 100
    scene.restart()
    scene.pass_time(10)
    found = seconds(scene, "j")
    assert found["no_worker"] == pytest.approx(110.0, abs=1.0) and sum(found.values()) == 140.0
    assert min(found.values()) >= 0.0


@pytest.mark.parametrize("step", [3600.0, 5.0, -5.0, -3600.0])
def test_a_step_of_the_wall_makes_no_wait_less_than_nothing(step: float) -> None:
    scene = Scene()
    scene.submit("j")
    scene.pass_time(3)
    scene.stepped += step
    scene.pass_time(7)
    for _ in range(2):
        found = seconds(scene, "j")
        assert min(found.values(), default=0.0) >= 0.0
        assert sum(found.values()) == max(0.0, 10.0 + step)
        if step > 0:
            assert found["no_worker"] == 10.0 and found["unknown"] == step
        scene.ready("W")


def test_of_a_minute_the_part_in_which_it_waited_counts() -> None:
    scene = Scene()
    scene.submit("a")
    scene.pass_time(25)
    scene.submit("b")
    scene.pass_time(800)  # by now that minute stands in the store alone
    assert len(scene.core.series.all.lines) == 600
    assert seconds(scene, "b") == {"no_worker": 800.0} and seconds(scene, "a") == {"no_worker": 825.0}


def test_a_suspend_counts_with_the_reason_that_held_before() -> None:
    scene = Scene()
    scene.submit("j")
    scene.pass_time(3)
    scene.suspended += 100
    scene.pass_time(2)
    assert seconds(scene, "j") == {"no_worker": 105.0}


def test_of_a_minute_in_which_the_broker_was_there_for_a_part_the_rest_is_unknown() -> None:
    scene = Scene()
    scene.pass_time(60 - scene.core.turn.steady % 60 + 20)  # 20 s into a minute
    scene.submit("j")
    scene.pass_time(10)
    scene.node.stop()
    scene.settle()
    scene.now += 30  # the broker is down until the next minute
    scene.restart()
    scene.pass_time(120)
    told = scene.ask("zmws.why", id="j")[1]
    seconds = {one["reason"]: one["seconds"] for one in told["reasons"]}
    assert seconds["unknown"] == pytest.approx(30, abs=4)
    assert seconds["no_worker"] == pytest.approx(130, abs=4)
    assert sum(seconds.values()) == pytest.approx(told["waited_s"], abs=0.01)
