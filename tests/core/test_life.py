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


def test_a_job_released_at_a_later_attempt_has_the_worker_of_the_one_before() -> None:
    scene = Scene(backoff=0)
    scene.ready("U")
    scene.submit("j")
    scene.pass_time(1)
    scene.ready("W")
    scene.beat("U", b"SLOTS 0")
    scene.final("U", scene.token("U"), *FAIL)
    scene.pass_time(0)
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
    assert (record["attempt"], record["worker"], record["started_at"]) == (2, "w", started)
    row = scene.stored("j")
    assert (row["attempt"], row["worker"], row["started_at"]) == (2, "w", WALL_AT_START + 1)
