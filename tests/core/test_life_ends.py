"""The end of a job's life, and its next one: records, expiry, revivals."""

from __future__ import annotations

import json

import pytest

from tests.core.test_life import FAIL, at, lose
from tests.stage import WALL_AT_START, Scene
from zmws.core.writes import FinishJob

# ---------------------------------------------------------------- ends


@pytest.mark.parametrize(
    ("end", "keep_s"),
    [("complete", 86_400), ("failed", 2_592_000), ("cancelled", 86_400), ("expired", 86_400)],
)
@pytest.mark.parametrize("own", [False, True])
def test_a_record_is_kept_as_long_as_its_end_says(end: str, keep_s: float, own: bool) -> None:
    scene = Scene(retries=0)
    keep = {"keep": 100} if own else {}
    if end == "expired":
        scene.submit("j", expires=1, **keep)
        scene.pass_time(1)
    else:
        scene.ready("W")
        scene.submit("j", **keep)
        if end == "cancelled":
            scene.ask("zmws.cancel", id="j")
        else:
            scene.final("W", scene.token("W"), *(() if end == "complete" else FAIL))
    assert scene.state("j") == end
    count = {"complete": (1, 0), "failed": (0, 1)}.get(end, (0, 0))
    assert (scene.row()["complete"], scene.row()["failed"]) == count
    keep_s = 100 if own else keep_s
    scene.suspended += keep_s - 5 - scene.now + 1000
    scene.pass_time(2)
    assert scene.state("j") == end
    scene.suspended += 10
    scene.pass_time(2)
    assert scene.ask("zmws.job", id="j")[0] == 404
    assert (scene.row()["complete"], scene.row()["failed"]) == (0, 0)


def test_the_record_of_an_end_has_all_that_the_job_said() -> None:
    scene = Scene()
    scene.ready("W")
    scene.submit("j")
    token = scene.token("W")
    scene.pass_time(1)
    scene.partial("W", token, b"PROGRESS", b'{"done": 0.5, "text": "half"}')
    scene.partial("W", token, b"LOG", b"a line")
    scene.partial("W", token, b"CONT", b"PARAM-JSON: 1")
    scene.final("W", token, b"COMPLETE", b"PARAM-JSON: 2")
    record = scene.record("j")
    assert (record["state"], record["result"], record["result_kind"]) == ("complete", 2, "json")
    assert (record["progress"], record["progress_text"]) == (0.5, "half")
    assert (record["partials"], record["log"]) == ([1], ["a line"])
    assert (record["created_at"], record["started_at"], record["ended_at"]) == (at(0), at(0), at(1))
    (attempt,) = record["attempts"]
    assert attempt == {"attempt": 1, "worker": "w", "started_at": at(0), "ended_at": at(1)}
    row = scene.stored("j")
    assert row["nonce"] is not None and row["partials_count"] == 1 and row["log_bytes"] == 6


def test_a_call_is_counted_and_memory_lets_go_of_a_stored_job_that_has_ended() -> None:
    scene = Scene(retries=0)
    scene.ready("W")
    for job_id, service, said in (
        ("a", "SYNC-E", ()),
        ("b", "SYNC-E", FAIL),
        ("c", "E", ()),
    ):
        scene.submit(job_id, service)
        assert scene.core.held.unfinished_memory_bytes == (2_001 if service == "SYNC-E" else 0)
        scene.final("W", scene.token("W"), *said)
    assert (scene.row()["calls_complete"], scene.row()["calls_failed"], scene.row()["complete"]) == (1, 1, 1)
    assert scene.core.held.unfinished_memory_bytes == 0
    assert scene.core.held.stored == {} and set(scene.core.held.memory) == {"a", "b"}
    assert scene.core.held.assignments == {} and scene.service().running == {}


def test_a_cancelled_job_is_over_for_its_worker_and_its_record_says_so() -> None:
    scene = Scene()
    scene.ready("W")
    scene.submit("j")
    token = scene.token("W")
    assert scene.ask("zmws.cancel", id="j") == (200, {"count": 1})
    assert scene.sent["W"] == [[b"MDPW02", b"\x05", b"CANCEL " + token]]
    record = scene.record("j")
    assert record["error"] == {"code": "cancelled", "error": "the job was cancelled", "attempts": 1}
    assert record["attempts"][0]["error"] == {"code": "cancelled", "error": "cancelled"}
    assert scene.counted("jobs_cancelled") == 1
    scene.submit("waiting")
    scene.ask("zmws.cancel", id="waiting")
    assert scene.record("waiting")["attempts"] == [] and scene.row()["waiting"] == 0


def test_a_call_expires_at_its_time_and_a_stored_job_only_before_its_first_start() -> None:
    scene = Scene(backoff=20)
    scene.submit("never", expires=5)
    scene.submit("lost", "SYNC-E", expires=5)
    scene.submit("failed", expires=5)
    scene.pass_time(1)
    scene.ready("W")
    jobs = {scene.job(name).state: name for name in ("never", "lost", "failed")}
    assert jobs["running"] == "never"
    scene.final("W", scene.token("W"), *FAIL)  # then the call runs
    lose(scene, "W")
    assert scene.state("lost") == "expired", "it waited for another worker"
    (answer,) = (frames for frames in scene.sent["C"] if frames[3] == b"FAIL: E [lost]")
    said = json.loads(answer[4].removeprefix(b"PARAM-JSON: "))
    assert said["error"].startswith("attempt 1 ended (the worker w was lost: ")
    assert said["error"].endswith("), and no worker of E began another in time")
    assert scene.state("failed") == "expired" and scene.state("never") == "scheduled"
    assert scene.record("failed")["error"]["error"] == "no worker of E began it in time"
    assert scene.counted("jobs_expired") == 2


# ---------------------------------------------------------------- revivals


@pytest.mark.parametrize("end", ["failed", "cancelled", "expired"])
def test_a_job_that_is_retried_waits_with_all_its_retries_and_no_expiry(end: str) -> None:
    scene = Scene(retries=0)
    if end == "expired":
        scene.submit("j", expires=1, priority=3)
        scene.pass_time(1)
    else:
        scene.ready("W")
        scene.submit("j", priority=3, expires=50)
        scene.pass_time(1)
        if end == "cancelled":
            scene.ask("zmws.cancel", id="j")
        else:
            scene.final("W", scene.token("W"), *FAIL)
        scene.work("W", b"\x06")
    assert scene.state("j") == end
    assert scene.row()["failed"] == (end == "failed")
    scene.pass_time(2)
    assert scene.ask("zmws.retry", id="j") == (200, {"count": 1})
    record = scene.record("j")
    assert (record["state"], record["failures"], record["error"]) == ("waiting", 0, None)
    assert (record["ended_at"], record["expires_at"], record["ready_at"]) == (None, None, at(3))
    assert (scene.row()["failed"], scene.row()["waiting"]) == (0, 1)
    row = scene.stored("j")
    assert (row["rank"], row["losses"], row["nonce"]) == (WALL_AT_START + 3 - 180, 0, None)
    scene.ready("V")
    assert scene.requests("V")[0][4].startswith(b'JOB-JSON: {"id": "j"')


def test_a_job_of_a_forgotten_service_that_is_retried_makes_it_known_again() -> None:
    scene = Scene(retries=0)
    scene.ready("W", "X")
    scene.submit("j", "X", retries=0)
    scene.final("W", scene.token("W"), *FAIL)
    scene.work("W", b"\x06")
    assert scene.ask("zmws.forget", service="X")[0] == 200
    assert scene.submit("k", "X")[3] == b"FAIL: X [k]"
    assert scene.ask("zmws.retry", id="j") == (200, {"count": 1})
    assert b"JOB: k X" in scene.submit("k", "X")[3]
    scene.restart()
    assert scene.row("X")["waiting"] == 2


def test_what_an_attempt_saved_is_there_until_the_job_is_complete() -> None:
    scene = Scene(backoff=0.5)
    scene.ready("W")
    scene.submit("j")
    scene.partial("W", scene.token("W"), b"SAVE", b"[1]")
    scene.final("W", scene.job("j").token or b"", *FAIL)
    assert scene.stored("j")["saved"] == "[1]"
    scene.pass_time(1)
    scene.final("W", scene.token("W"))
    assert scene.state("j") == "complete" and scene.stored("j")["saved"] is None


def test_what_was_saved_last_is_there_for_the_next_attempt_though_less_is_on_its_way() -> None:
    scene = Scene()
    scene.ready("W")
    scene.submit("j", backoff=60)
    token = scene.token("W")
    scene.hold = True
    for n in (1, 2, 3):
        scene.partial("W", token, b"SAVE", b"%d" % n)
    scene.final("W", token, b"FAIL")
    scene.hold = False
    scene.settle()
    assert scene.stored("j")["saved"] == "3"


def test_an_extension_is_cleared_with_its_attempt_and_not_written_again() -> None:
    scene = Scene(backoff=0.5)
    scene.ready("W")
    scene.submit("j")
    scene.partial("W", scene.token("W"), b"TOUCH", b"50")
    scene.final("W", scene.job("j").token or b"", *FAIL)
    scene.pass_time(1)
    scene.written.clear()
    scene.final("W", scene.token("W"))
    (finish,) = [write for write in scene.written if isinstance(write, FinishJob)]
    assert finish.changes["state"] == "complete" and "deadline_at" not in finish.changes
    assert finish.size == 400 and finish.service == "E" and finish.forget_at == WALL_AT_START + 1 + 86_400
