"""Figures over time, marks, causes of failures, why a job waits and when it will have ended; and jobs by
their cause, or by a text that stands in them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.stage import Scene
from zmws.core.desk.insight import POINTS_MAX
from zmws.core.figures import COUNTED
from zmws.core.reads import FOR_PEOPLE, ReadAhead
from zmws.core.series import SECONDS_KEPT
from zmws.wire import mdp


def series(scene: Scene, **asked: Any) -> dict[str, Any]:
    """What zmws.series answers."""
    status, told = scene.ask("zmws.series", **asked)
    assert status == 200, told
    assert {len(column) for column in told["figures"].values()} == {told["points"]}
    found: dict[str, Any] = told
    return found


def why(scene: Scene, job_id: str) -> dict[str, Any]:
    """What zmws.why answers."""
    status, told = scene.ask("zmws.why", id=job_id)
    assert status == 200, told
    found: dict[str, Any] = told
    return found


def fails(scene: Scene, job_id: str, text: str, **error: Any) -> None:
    """A job is done by W, and fails for good."""
    scene.submit(job_id, retries=0)
    said = json.dumps({"code": "job_failed", "error": text, **error}).encode()
    scene.final("W", scene.job(job_id).token or b"", b"FAIL", b"PARAM-JSON: " + said)


def refused(answer: tuple[int, Any]) -> tuple[int, str]:
    """Status and code of an ERROR."""
    return answer[0], answer[1]["code"]


# ---------------------------------------------------------------- zmws.series


def test_seconds_are_told_from_memory_with_times_that_fit_them() -> None:
    scene = Scene()
    scene.pass_time(3)
    scene.submit("a")
    scene.pass_time(2)
    told = series(scene, service="E")
    assert (told["step"], told["points"], told["service"]) == (1, 5, "E")
    assert (told["from"], told["before"]) == ("2023-11-14T22:13:20.000Z", "2023-11-14T22:13:25.000Z")
    assert told["figures"]["submitted"] == [0, 0, 0, 1, 0]
    assert told["figures"]["waiting"] == [0, 0, 0, 1, 1]
    assert (told["total"]["submitted"], told["total"]["no_worker_s"]) == (1, 2.0)


def test_a_part_of_the_seconds_is_told_and_what_is_not_known_is_null() -> None:
    scene = Scene()
    scene.submit("a")
    scene.pass_time(10)
    part = {"since": "2023-11-14T22:13:18Z", "before": "2023-11-14T22:13:22Z"}
    told = series(scene, service="E", **part)
    assert told["figures"]["submitted"] == [None, None, 1, 0] and told["points"] == 4
    told = series(scene, service="E", since="2023-11-14T22:13:28Z")
    assert told["figures"]["waiting"] == [1, 1]
    assert series(scene, since="2023-11-14T22:20:00Z")["points"] == 0, "nothing of what is to come"
    assert series(scene, before="2023-11-14T22:00:00Z")["points"] == 0, "nor of what was before"


def test_seconds_in_which_the_process_stood_still_are_null() -> None:
    scene = Scene()
    scene.pass_time(2)
    scene.now += 3
    scene.pass_time(1)
    assert series(scene)["figures"]["submitted"] == [0, 0, None, None, 0, 0]


@pytest.mark.parametrize(("step", "seconds"), [("minute", 60), ("hour", 3600)])
def test_minutes_and_hours_are_told_from_the_store_with_quantiles(step: str, seconds: int) -> None:
    scene = Scene()
    scene.ready("W")
    scene.alive.add("W")
    for n in range(4):
        scene.submit(f"j{n}")
        scene.pass_time(15)
        scene.final("W", scene.job(f"j{n}").token or b"")
    scene.pass_time(200)
    told = series(scene, service="E", step=step, figures="submitted,complete,run_p50,run_p99,wait_p95")
    assert told["step"] == seconds and set(told["figures"]) == {
        *("submitted", "complete", "run_p50", "run_p99", "wait_p95")
    }
    complete = told["figures"]["complete"]
    assert complete[:2] == ([2, 2] if step == "minute" else [4]) and sum(complete) == 4
    assert told["figures"]["run_p50"][0] == 15.0 and told["run"]["p50"] == 15.0
    assert told["total"]["run_s"] == 60.0
    whole = series(scene, step=step)
    assert whole["service"] is None and whole["total"]["complete"] == 4 and whole["run"]["p50"] == 15.0


def test_a_minute_in_which_there_was_no_broker_is_null_and_a_quiet_one_is_not() -> None:
    scene = Scene()
    scene.submit("a")
    scene.pass_time(41)
    scene.ask("zmws.cancel", id="a")
    scene.pass_time(125)
    scene.node.stop()
    scene.settle()
    scene.now += 200
    scene.restart()
    scene.pass_time(200)
    told = series(scene, service="E", step="minute")
    submitted = told["figures"]["submitted"]
    assert submitted[0] == 1 and submitted[1:3] == [0, 0]
    assert submitted[4:6] == [None, None] and submitted[-1] == 0


def test_what_is_asked_for_alone_is_told() -> None:
    scene = Scene()
    scene.pass_time(2)
    told = series(scene, service="E", figures=" paused_s , oldest_s")
    assert told["figures"] == {"paused_s": [0, 0], "oldest_s": [0, 0]}
    assert set(series(scene)["figures"]) >= set(COUNTED)


@pytest.mark.parametrize(
    ("asked", "refusal"),
    [
        ({"service": "nobody's"}, (404, "unknown_service")),
        ({"figures": "submited"}, (400, "bad_request")),
        ({"step": "day"}, (400, "bad_request")),
        ({"since": "yesterday"}, (400, "bad_request")),
        ({"since": "2023-11-14T20:00:00Z"}, (400, "bad_request")),
        ({"since": "2023-11-01T20:00:00Z", "step": "minute"}, (400, "bad_request")),
        ({"since": "2003-11-01T20:00:00Z", "step": "hour"}, (400, "bad_request")),
    ],
)
def test_what_cannot_be_told_is_refused(asked: dict[str, Any], refusal: tuple[int, str]) -> None:
    scene = Scene()
    scene.pass_time(2)
    assert refused(scene.ask("zmws.series", **asked)) == refusal
    assert scene.core.desk._lists._lists_asked == 0


def test_no_answer_has_more_than_its_points() -> None:
    scene = Scene()
    scene.pass_time(1)
    since = "2023-11-14T21:23:21Z"  # as many seconds before the end of the last one
    assert series(scene, since=since)["points"] == POINTS_MAX
    status, told = scene.ask("zmws.series", since="2023-11-14T21:23:20Z")
    assert status == 400 and told["error"].startswith(f"that is {POINTS_MAX + 1} points, and there are")
    scene.pass_time(SECONDS_KEPT + 50)
    assert series(scene)["points"] == SECONDS_KEPT


def test_a_step_of_the_wall_shifts_times_and_figures_alike() -> None:
    scene = Scene()
    scene.pass_time(2)
    scene.submit("a")
    scene.pass_time(1)
    scene.stepped += 3600
    scene.pass_time(1)
    told = series(scene, service="E", since="2023-11-14T23:13:22Z")
    assert told["figures"]["submitted"] == [1, 0] and told["from"] == "2023-11-14T23:13:22.000Z"


# ---------------------------------------------------------------- zmws.mark


def test_a_mark_stands_beside_the_figures_of_its_time() -> None:
    scene = Scene()
    scene.pass_time(2)
    told = scene.ask("zmws.mark", text="deploy 1.4", by="me")
    assert told == (200, {"at": "2023-11-14T22:13:22.000Z", "text": "deploy 1.4", "service": None})
    scene.pass_time(3)
    scene.ask("zmws.mark", text="of E", service="E")
    found = [(mark["text"], mark["at"][17:], mark["by"]) for mark in series(scene, service="E")["marks"]]
    deploy, of_e = ("deploy 1.4", "22.000Z", "me"), ("of E", "25.000Z", None)
    assert found[1:] == [deploy, of_e], "also one that was made just now"
    marks = series(scene, service="E", since="2023-11-14T22:13:23Z")["marks"]
    assert [mark["text"] for mark in marks] == ["of E"]
    before = {"before": "2023-11-14T22:13:22Z", "since": "2023-11-14T22:13:00Z"}
    assert [mark["kind"] for mark in series(scene, **before)["marks"]] == ["broker"]


def test_a_mark_of_one_service_is_not_told_of_another() -> None:
    scene = Scene()
    scene.services["F"] = scene.services["E"]
    scene.ask("zmws.mark", text="of F", service="F")
    scene.pass_time(1)
    assert [mark["kind"] for mark in series(scene, service="E")["marks"]] == ["broker"]
    assert [mark["kind"] for mark in series(scene, service="F")["marks"]] == ["broker", "mark"]
    assert [mark["kind"] for mark in series(scene)["marks"]] == ["broker", "mark"]


def test_a_mark_is_answered_when_it_is_on_disk_and_made_once_by_repeats() -> None:
    scene = Scene()
    scene.hold = True
    assert scene.ask("zmws.mark", text="deploy", ask="m1") is None
    assert scene.ask("zmws.mark", text="deploy", ask="m1") is None
    scene.commit()
    assert scene.answer() is not None
    scene.hold = False
    scene.settle()
    assert [mark["text"] for mark in series(scene)["marks"]].count("deploy") == 1


def test_a_mark_of_a_service_that_there_is_not_is_refused() -> None:
    assert refused(Scene().ask("zmws.mark", text="x", service="nobody's")) == (404, "unknown_service")


def test_a_mark_keeps_its_place_when_the_wall_is_stepped() -> None:
    scene = Scene()
    scene.stepped += 3600
    scene.pass_time(1)
    assert scene.ask("zmws.mark", text="deploy")[1]["at"] == "2023-11-14T23:13:21.000Z"
    scene.pass_time(1)
    assert series(scene)["marks"][-1]["at"] == "2023-11-14T23:13:21.000Z"


# ---------------------------------------------------------------- zmws.failures


def test_failures_are_told_by_cause_those_of_late_first() -> None:
    scene = Scene()
    scene.ready("W")
    for n in range(3):
        fails(scene, f"bad{n}", f"no row {n} in table 'x{n}'", type="LookupError")
        scene.pass_time(1)
    fails(scene, "worse", "the disk is full", type="OSError")
    status, told = scene.ask("zmws.failures")
    assert status == 200 and told["next"] is None
    worse, bad = told["causes"]
    assert (bad["type"], bad["message"], bad["count"], bad["total"]) == (
        *("LookupError", "no row # in table '…'"),
        *(3, 3),
    )
    assert (bad["first_at"], bad["last_at"]) == ("2023-11-14T22:13:20.000Z", "2023-11-14T22:13:22.000Z")
    assert (bad["last_job"], bad["service"], bad["frame"]) == ("bad2", "E", None)
    assert bad["trend"] == [0] * 23 + [3] and worse["message"] == "the disk is full"
    assert scene.record("bad0")["cause"] == bad["cause"]


def test_failures_come_in_pages_and_each_once() -> None:
    scene = Scene()
    scene.ready("W")
    for n, letter in enumerate("abcdefg"):
        fails(scene, letter, f"cause {letter}")
        scene.pass_time(n % 2)  # some at the same time
    found: list[str] = []
    asked: dict[str, Any] = {"limit": 2}
    while True:
        told = scene.ask("zmws.failures", **asked)[1]
        assert len(told["causes"]) <= 2
        found += [cause["last_job"] for cause in told["causes"]]
        if told["next"] is None:
            break
        asked["cursor"] = told["next"]
    assert sorted(found) == list("abcdefg") and found[0] == "g" and found[-1] in "ab"


@pytest.mark.parametrize("cursor", ["x", "1.5", "a/b", "/"])
def test_a_cursor_that_was_never_given_is_refused(cursor: str) -> None:
    assert refused(Scene().ask("zmws.failures", cursor=cursor)) == (400, "bad_request")


def test_failures_of_one_service_and_of_one_that_there_is_not() -> None:
    scene = Scene()
    scene.services["F"] = scene.services["E"]
    scene.ready("W")
    fails(scene, "bad", "alas")
    assert len(scene.ask("zmws.failures", service="E")[1]["causes"]) == 1
    assert scene.ask("zmws.failures", service="F")[1] == {"causes": [], "next": None}
    assert refused(scene.ask("zmws.failures", service="nobody's")) == (404, "unknown_service")


def test_a_trend_has_the_last_24_hours_by_the_hour() -> None:
    scene = Scene()
    scene.ready("W")
    fails(scene, "old", "alas")
    scene.pass_time(3600)
    scene.ready("W")
    fails(scene, "new", "alas")
    (cause,) = scene.ask("zmws.failures")[1]["causes"]
    assert cause["trend"] == [0] * 22 + [1, 1]


# ---------------------------------------------------------------- jobs by their cause


def some_failures(scene: Scene) -> str:
    """Three jobs that failed for one cause, which it gives, and two for another."""
    scene.ready("W")
    for n in range(3):
        fails(scene, f"bad{n}", f"no row {n}")
    for n in range(2):
        fails(scene, f"worse{n}", "the disk is full")
    found: str = scene.record("bad0")["cause"]
    return found


def counts(scene: Scene) -> dict[str, int]:
    """How many are failed now, by the message."""
    return {one["message"]: one["count"] for one in scene.ask("zmws.failures")[1]["causes"]}


def test_jobs_are_listed_by_their_cause() -> None:
    scene = Scene()
    cause = some_failures(scene)
    page = scene.ask("zmws.jobs", cause=cause)[1]
    assert [job["id"] for job in page["jobs"]] == ["bad2", "bad1", "bad0"]
    page = scene.ask("zmws.jobs", cause=cause, limit=2)[1]
    rest = scene.ask("zmws.jobs", cause=cause, cursor=page["next"])[1]
    assert [job["id"] for job in rest["jobs"]] == ["bad0"]
    assert scene.ask("zmws.jobs", cause=cause, state="complete")[1]["jobs"] == []
    assert scene.ask("zmws.jobs", cause=cause, memory=True)[1]["jobs"] == []


def test_all_of_one_cause_are_retried_and_counted_no_more() -> None:
    scene = Scene()
    cause = some_failures(scene)
    scene.ask("zmws.pause", service="E")
    assert scene.ask("zmws.retry", cause=cause, dry_run=True)[1]["count"] == 3
    assert counts(scene) == {"no row #": 3, "the disk is full": 2}
    assert scene.ask("zmws.retry", cause=cause)[1] == {"count": 3, "passed_over": 0}
    assert counts(scene) == {"no row #": 0, "the disk is full": 2}
    assert {scene.state(f"bad{n}") for n in range(3)} == {"waiting"}
    assert scene.ask("zmws.jobs", cause=cause)[1]["jobs"] == [] and scene.record("bad0")["cause"] is None
    scene.ask("zmws.resume", service="E")
    token = scene.job("bad0").token or b""
    scene.final("W", token, b"FAIL", b'PARAM-JSON: {"code": "job_failed", "error": "no row 9"}')
    told = {one["message"]: (one["count"], one["total"]) for one in scene.ask("zmws.failures")[1]["causes"]}
    assert told["no row #"] == (1, 4)


def test_all_of_one_cause_are_deleted_and_counted_no_more() -> None:
    scene = Scene()
    cause = some_failures(scene)
    assert scene.ask("zmws.delete", cause=cause)[1] == {"count": 3, "passed_over": 0}
    assert counts(scene) == {"no row #": 0, "the disk is full": 2}
    assert scene.ask("zmws.job", id="bad0")[0] == 404 and scene.state("worse0") == "failed"


def test_a_text_is_found_in_the_parts_of_stored_jobs_that_are_asked_for() -> None:
    scene = Scene()
    scene.ready("W")
    fails(scene, "one", "the needle was lost")
    scene.submit("needle-2")
    scene.submit("three", body=b"with a needle in it")
    scene.submit("four")
    told = scene.ask("zmws.jobs", q="needle")[1]
    assert [job["id"] for job in told["jobs"]] == ["three", "needle-2", "one"]
    assert told["looked"] == 4 and told["looked_to"] == "2023-11-14T22:13:20.000Z"
    told = scene.ask("zmws.jobs", q="needle", places="names")[1]
    assert [job["id"] for job in told["jobs"]] == ["needle-2", "one"]
    told = scene.ask("zmws.jobs", q="needle", state="failed")[1]
    assert [job["id"] for job in told["jobs"]] == ["one"]
    page = scene.ask("zmws.jobs", q="needle", limit=2)[1]
    assert [job["id"] for job in scene.ask("zmws.jobs", q="needle", cursor=page["next"])[1]["jobs"]] == [
        "one"
    ]


def test_memory_jobs_are_not_searched() -> None:
    assert refused(Scene().ask("zmws.jobs", q="x", memory=True)) == (400, "bad_request")


# ---------------------------------------------------------------- zmws.why


def test_a_job_that_waits_is_told_how_many_are_before_it() -> None:
    scene = Scene()
    for n in range(3):
        scene.submit(f"j{n}")
    scene.submit("g", group="g")
    scene.submit("first", priority=9)
    assert why(scene, "j2")["ahead"] == {"jobs": 3, "at_least": False, "groups": 1}
    assert why(scene, "first")["ahead"] == {"jobs": 0, "at_least": False, "groups": 1}
    assert why(scene, "g")["ahead"] == {"jobs": 0, "at_least": False, "groups": 1}
    told = why(scene, "j0")
    assert (told["state"], told["attempt"], told["now"]["reason"]) == ("waiting", 0, "no_worker")
    assert told["now"]["next"] and told["left_s"] is None and told["running_s"] is None
    assert told["usual"] == {"wait": dict.fromkeys(("p50", "p95", "p99")), "run": told["usual"]["run"]}


def test_more_than_are_counted_are_told_as_so_many_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("insight", "why_page"):
        monkeypatch.setattr(f"zmws.core.desk.{module}.AHEAD_MAX", 2)
    scene = Scene()
    for n in range(4):
        scene.submit(f"j{n}")
    assert why(scene, "j3")["ahead"] == {"jobs": 2, "at_least": True, "groups": 0}


def test_a_running_job_is_told_by_how_long_its_like_run_when_it_will_have_ended() -> None:
    scene = Scene()
    scene.ready("W")
    scene.alive.add("W")
    for n in range(5):
        scene.submit(f"j{n}")
        scene.pass_time(15)
        scene.final("W", scene.job(f"j{n}").token or b"")
    scene.submit("j")
    scene.pass_time(4)
    told = why(scene, "j")
    assert (told["running_s"], told["left_s"], told["left_by"]) == (4.0, 11.0, "usual")
    assert told["now"] is None and told["ahead"] is None
    scene.pass_time(20)
    assert why(scene, "j")["left_s"] == 0.0, "it takes longer than usual"


def test_the_progress_of_a_job_says_more_than_what_is_usual() -> None:
    scene = Scene()
    scene.ready("W")
    scene.alive.add("W")
    scene.submit("j")
    scene.pass_time(4)
    assert (why(scene, "j")["left_s"], why(scene, "j")["left_by"]) == (None, None), "nothing is known yet"
    scene.partial("W", scene.job("j").token or b"", b"PROGRESS", b'{"done": 0.25}')
    told = why(scene, "j")
    assert (told["progress"], told["left_s"], told["left_by"]) == (0.25, 12.0, "progress")


def test_the_progress_of_an_attempt_before_is_none_of_this_one() -> None:
    scene = Scene()
    scene.ready("W")
    scene.alive.add("W")
    scene.submit("j", backoff=1)
    scene.pass_time(4)
    token = scene.job("j").token or b""
    scene.partial("W", token, b"PROGRESS", b'{"done": 0.9}')
    scene.final("W", token, b"FAIL", b'PARAM-JSON: {"code": "job_failed", "error": "x"}')
    scene.pass_time(5)
    told = why(scene, "j")
    assert (told["state"], told["attempt"], told["running_s"]) == ("running", 2, 4.0)
    assert (told["left_s"], told["left_by"]) == (0.0, "usual"), "its like run 4 s"


def test_a_job_that_has_ended_is_told_from_its_record() -> None:
    scene = Scene()
    scene.submit("j")
    scene.pass_time(5)
    scene.ready("W")
    scene.final("W", scene.token("W"))
    scene.pass_time(100)
    told = why(scene, "j")
    assert (told["state"], told["now"], told["ahead"], told["left_s"]) == ("complete", None, None, None)
    assert told["waited_s"] == 5.0 and told["reasons"] == [{"reason": "no_worker", "seconds": 5.0}]


def test_a_job_that_is_cancelled_waited_until_then() -> None:
    scene = Scene()
    scene.submit("j")
    scene.pass_time(5)
    scene.ask("zmws.cancel", id="j")
    scene.pass_time(7)
    assert why(scene, "j")["waited_s"] == 5.0


def test_a_memory_job_is_told_while_it_is_kept() -> None:
    scene = Scene()
    scene.submit("j", durability="memory")
    scene.pass_time(3)
    told = why(scene, "j")
    assert told["now"]["reason"] == "no_worker" and told["waited_s"] == 3.0
    assert told["reasons"] == [{"reason": "no_worker", "seconds": 3.0}]
    scene.ready("W")
    scene.final("W", scene.token("W"))
    assert why(scene, "j")["waited_s"] == 3.0


def test_a_job_that_there_is_not_is_refused() -> None:
    assert refused(Scene().ask("zmws.why", id="nobody")) == (404, "unknown_job")


def test_who_asks_of_a_job_whose_service_is_known_no_more_makes_none_of_it() -> None:
    scene = Scene(limits={"unknown_service_ttl_s": 3.0})
    scene.receive("mdp", "S", [mdp.MDPC02, b"\x01", b"U", b"x"])
    (job_id,) = scene.core.held.memory
    scene.pass_time(5)
    told = why(scene, job_id)
    assert (told["service"], told["state"], told["usual"]) == ("U", "expired", None)
    assert told["waited_s"] == 3.0 and "U" not in scene.core.held.services


def test_a_fault_of_the_disk_is_told_to_whoever_asked() -> None:
    scene = Scene()
    scene.submit("j")
    scene.unreadable = FOR_PEOPLE
    for verb, asked in (("why", {"id": "j"}), ("series", {}), ("failures", {}), ("jobs", {"q": "x"})):
        status, told = scene.ask(f"zmws.{verb}", **asked)
        assert status >= 500 and told["code"], verb
    assert scene.core.desk._lists._lists_asked == 0
    scene.unreadable = ()
    assert why(scene, "j")["state"] == "waiting"


@pytest.mark.parametrize("verb", ["why", "series", "failures"])
def test_what_is_read_for_people_is_bounded_as_lists_are(verb: str) -> None:
    scene = Scene(limits={"lists_max": 2})
    scene.submit("j")
    scene.core.desk._lists._lists_asked = 2
    asked = {"id": "j"} if verb == "why" else {}
    assert refused(scene.ask(f"zmws.{verb}", **asked)) == (429, "too_many_lists")
    scene.core.desk._lists._lists_asked = 1
    for _ in range(3):
        assert scene.ask(f"zmws.{verb}", **asked)[0] == 200


def test_of_the_past_that_is_read_which_the_job_has_lived() -> None:
    scene = Scene(limits={"series_minutes_keep_s": 600.0})
    scene.submit("j")
    scene.pass_time(100)
    why(scene, "j")
    read = [one for one in scene.reads if isinstance(one, ReadAhead)][-1]
    assert read.since == 1_700_000_000.0 - 60.0
    scene.pass_time(2_000)
    why(scene, "j")
    read = [one for one in scene.reads if isinstance(one, ReadAhead)][-1]
    assert read.since == 1_700_000_000.0 + 2_100.0 - 600.0, "no more than is kept"
