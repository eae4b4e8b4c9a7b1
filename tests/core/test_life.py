"""What becomes of a job: backoff, losses, times to run, ends, revivals, and what is written and told."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.stage import WALL_AT_START, Scene

FAIL = (b"FAIL", b'PARAM-JSON: {"error": "no luck"}')


def fails(scene: Scene, job_id: str, **said: Any) -> float:
    """Its running attempt fails; after how many seconds it starts again."""
    job = scene.job(job_id)
    assert job.token is not None
    scene.final("W", job.token, b"FAIL", b"PARAM-JSON: " + json.dumps({"error": "no luck", **said}).encode())
    return round(scene.job(job_id).ready_at - scene.core.turn.steady, 6)


def at(seconds: float) -> str:
    """So many seconds after the start, as records have it."""
    text = datetime.fromtimestamp(WALL_AT_START + seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


# ---------------------------------------------------------------- backoff


@pytest.mark.parametrize(
    ("backoff", "jitter", "waits"),
    [
        (2, 0.5, [2, 4, 8, 16]),
        (2, 0.0, [1.5, 3, 6, 12]),
        (2, 1.0, [2.5, 5, 10, 20]),
        (1_800, 0.5, [1_800, 3_600, 3_600, 3_600]),
        (3_601, 0.0, [2_700, 2_700]),
        (0.02, 0.5, [0.02, 0.04]),
    ],
)
def test_the_backoff_doubles_up_to_an_hour_and_is_spread(
    backoff: float, jitter: float, waits: list[float]
) -> None:
    scene = Scene()
    scene.jitter = jitter
    scene.ready("W")
    scene.submit("j", backoff=backoff, retries=9)
    for wait in waits:
        scene.alive.add("W")
        assert fails(scene, "j") == wait
        scene.pass_time(wait - 0.01)
        assert scene.job("j").state == "scheduled"
        scene.pass_time(0.01)
        assert scene.job("j").state == "running"


def test_a_job_that_has_failed_thousands_of_times_still_has_a_backoff() -> None:
    scene = Scene()
    scene.ready("W")
    scene.submit("j", retries=1_000_000, backoff=1)
    scene.job("j").failures = 5_000
    assert fails(scene, "j") == 3_600


def test_a_failure_may_say_its_own_delay_and_that_it_does_not_count() -> None:
    scene = Scene(retries=1, backoff=2)
    scene.alive.add("W")
    scene.ready("W")
    scene.submit("j")
    assert fails(scene, "j", delay=0.25, count=False) == 0.25
    scene.pass_time(0.25)
    assert fails(scene, "j", count=False) == 2, "as if nothing had failed yet"
    scene.pass_time(2)
    assert fails(scene, "j") == 2
    assert scene.record("j")["failures"] == 1
    scene.pass_time(2)
    scene.final("W", scene.job("j").token or b"", *FAIL)
    assert scene.state("j") == "failed"


@pytest.mark.parametrize(("retries", "attempts"), [(0, 1), (1, 2), (2, 3)])
def test_a_job_survives_as_many_failures_as_it_has_retries(retries: int, attempts: int) -> None:
    scene = Scene(backoff=0)
    scene.ready("W")
    scene.submit("j", retries=retries)
    for n in range(attempts):
        assert scene.job("j").attempt == n + 1
        scene.final("W", scene.token("W"), *FAIL)
        scene.pass_time(0)
    record = scene.record("j")
    assert (record["state"], record["failures"], record["attempt"]) == ("failed", attempts, attempts)
    assert record["error"] == {"code": "job_failed", "error": "no luck", "attempts": attempts}
    assert scene.counted("attempts_reported") == attempts


def test_a_failure_that_says_so_is_for_good() -> None:
    scene = Scene()
    scene.ready("W")
    scene.submit("j", retries=5)
    scene.final("W", scene.token("W"), b"FAIL", b'PARAM-JSON: {"retry": false}')
    assert scene.state("j") == "failed"


def test_a_job_of_a_given_time_counts_from_its_failure_like_any_other() -> None:
    scene = Scene(backoff=4)
    scene.ready("W")
    scene.submit("j", at=at(1).replace("Z", "+00:00"), priority=2)
    job = scene.job("j")
    assert (job.by_wall, job.ready_at) == (True, WALL_AT_START + 1)
    scene.pass_time(1)
    assert (job.state, job.by_wall, job.rank) == ("running", False, WALL_AT_START + 1 - 2 * 60)
    assert fails(scene, "j") == 4
    row = scene.stored("j")
    assert row["by_wall"] is False and row["ready_at"] == WALL_AT_START + 5
    assert row["rank"] == WALL_AT_START + 5 - 2 * 60


# ---------------------------------------------------------------- lost workers


def lose(scene: Scene, name: str) -> None:
    scene.unreach(name, "gone")
    scene.pass_time(5)
    del scene.unreachable[name]


def test_the_first_loss_of_a_worker_waits_at_the_head_and_the_second_backs_off() -> None:
    scene = Scene(backoff=2, retries=5)
    scene.ready("W")
    scene.submit("j")
    rank = scene.job("j").rank
    lose(scene, "W")
    job = scene.job("j")
    assert (job.state, job.rank, job.failures, job.losses) == ("waiting", rank, 1, 1)
    scene.ready("W")
    assert job.state == "running"
    lost_at = scene.now + 1 + 1  # the probe, and the reattach window
    lose(scene, "W")
    assert (job.state, job.failures, job.losses) == ("scheduled", 2, 2)
    assert job.ready_at == pytest.approx(WALL_AT_START + lost_at - 1000 + 4, abs=1.1)
    assert scene.counted("attempts_lost") == 2
    row = scene.stored("j")
    assert (row["failures"], row["losses"], row["state"], row["rank"]) == (2, 2, "scheduled", job.rank)


def test_a_call_whose_worker_was_lost_is_tried_again_and_one_that_failed_is_not() -> None:
    scene = Scene()
    scene.ready("W")
    scene.submit("lost", "SYNC-E")
    lose(scene, "W")
    assert scene.state("lost") == "waiting"
    scene.ready("W")
    scene.final("W", scene.token("W"), *FAIL)
    assert scene.state("lost") == "failed"
    scene.sent.clear()
    scene.submit("late", "SYNC-E", ttr=2)
    scene.alive.add("W")
    scene.pass_time(2)
    assert scene.sent["C"][-1][3] == b"FAIL: E [late]"
    assert json.loads(scene.sent["C"][-1][4].removeprefix(b"PARAM-JSON: "))["code"] == "timeout"
    assert scene.counted("attempts_ttr") == 1


# ---------------------------------------------------------------- times to run


def test_an_attempt_ends_at_its_ttr_and_not_before() -> None:
    scene = Scene(retries=0)
    scene.ready("W")
    scene.alive.add("W")
    scene.submit("j", ttr=7.5)
    scene.pass_time(7.25)
    assert scene.state("j") == "running"
    scene.pass_time(0.25)
    record = scene.record("j")
    assert record["state"] == "failed"
    assert record["error"]["error"] == "the attempt ran past its ttr of 7.5 s"


def test_an_extension_counts_from_now_and_is_written() -> None:
    scene = Scene(retries=0)
    scene.ready("W")
    scene.alive.add("W")
    scene.submit("j", ttr=10)
    scene.pass_time(4)
    scene.partial("W", scene.token("W"), b"TOUCH", b"20")
    assert scene.job("j").deadline_at == WALL_AT_START + 24
    assert scene.stored("j")["deadline_at"] == WALL_AT_START + 24
    scene.pass_time(19.5)
    assert scene.state("j") == "running"
    scene.pass_time(0.5)
    assert scene.state("j") == "failed"
    row = scene.stored("j")
    assert row["deadline_at"] is None and row["lease"] is None


def test_a_lease_ends_at_its_own_ttr_and_an_extension_moves_that() -> None:
    scene = Scene(retries=0)
    scene.submit("j", ttr=1_000)
    status, job = scene.ask("zmws.lease", service="E", lease="l", ttr=6)
    assert (status, job["ttr"]) == (200, 6)
    row = scene.stored("j")
    assert (row["lease"], row["deadline_at"]) == ("l", WALL_AT_START + 6)
    scene.pass_time(5)
    assert scene.ask("zmws.extend", token=job["token"], seconds=4) == (200, {})
    scene.pass_time(3.5)
    assert scene.state("j") == "running"
    scene.pass_time(0.5)
    record = scene.record("j")
    assert (record["state"], record["error"]["error"]) == ("failed", "the lease ran past its ttr")
    assert record["error"]["code"] == "timeout" and scene.counted("attempts_ttr") == 1
    assert scene.stored("j")["lease"] is None


# ---------------------------------------------------------------- given back, taken back


def test_a_job_that_is_given_back_counts_no_failure_and_keeps_its_rank() -> None:
    scene = Scene()
    scene.ready("W")
    scene.submit("j")
    rank = scene.job("j").rank
    scene.work("W", b"\x06")
    job, record = scene.job("j"), scene.record("j")
    assert (job.state, job.rank, job.failures, job.attempt) == ("waiting", rank, 0, 1)
    assert record["attempts"][0]["error"] == {"code": "given_back", "error": "its worker left"}
    assert scene.counted("given_back") == 1
    assert scene.stored("j")["state"] == "waiting"


def test_a_released_job_is_as_if_it_had_not_been_given() -> None:
    scene = Scene(rate=1, max_running=5)
    scene.ready("W")
    scene.submit("j")
    token = scene.token("W")
    scene.beat("W", b"SLOTS 0")
    scene.beat("W", b"RELEASE " + token)
    job, record = scene.job("j"), scene.record("j")
    assert (job.state, job.attempt, job.worker, job.started_at, job.token) == ("waiting", 0, None, None, None)
    assert (record["attempts"], record["worker"], record["started_at"]) == ([], None, None)
    row = scene.stored("j")
    assert (row["state"], row["attempt"], row["worker"], row["nonce"]) == ("waiting", 0, None, None)
    scene.beat("W", b"SLOTS 1")
    assert job.state == "running" and job.attempt == 1, "its start has used up nothing of the rate"
    assert scene.token("W") != token
    assert scene.row()["running"] == 1


def test_a_job_released_at_its_second_attempt_has_the_worker_of_the_first() -> None:
    scene = Scene(backoff=0)
    scene.ready("W")
    scene.submit("j")
    started = scene.record("j")["started_at"]
    scene.pass_time(1)
    scene.ready("V", id="v")
    scene.beat("W", b"SLOTS 0")
    scene.final("W", scene.token("W"), *FAIL)
    scene.pass_time(0)
    token = scene.token("V")
    scene.beat("V", b"SLOTS 0")
    scene.beat("V", b"RELEASE " + token)
    record = scene.record("j")
    assert (record["attempt"], record["worker"], record["started_at"]) == (1, "w", started)
    row = scene.stored("j")
    assert (row["attempt"], row["worker"], row["started_at"]) == (1, "w", WALL_AT_START)


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
