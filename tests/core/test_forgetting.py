"""What is kept for a while, what expires, what is pruned."""

from __future__ import annotations

import pytest

from tests.stage import WALL_AT_START, Scene
from zmws.core.forgetting import JOB_BYTES, PRUNE_ROWS_MAX
from zmws.core.writes import PruneJobs


def call(scene: Scene, job_id: str, body: bytes = b"", *result: bytes) -> None:
    """A call that is done at once."""
    scene.submit(job_id, "SYNC-E", body)
    scene.final("W", scene.token("W"), *(result or (b"COMPLETE",)))


def test_a_memory_job_is_kept_for_memory_keep_and_forgotten_then() -> None:
    scene = Scene(limits={"memory_keep_s": 60.0})
    scene.alive.add("W")
    scene.ready("W")
    for n in range(3):
        call(scene, f"j{n}")
        scene.pass_time(10)
    for passed, here in ((29.5, 3), (0.5, 2), (9.5, 2), (0.5, 1), (10, 0)):
        scene.pass_time(passed)
        assert len(scene.core.held.memory) == here
    call(scene, "again")
    scene.pass_time(59.5)
    assert len(scene.core.held.memory) == 1
    scene.pass_time(0.5)
    assert scene.core.held.memory == {}


@pytest.mark.parametrize(("bytes_max", "kept"), [(3 * (JOB_BYTES + 30), 3), (3 * (JOB_BYTES + 30) - 1, 2)])
def test_the_ended_memory_jobs_are_bounded_by_what_they_weigh(bytes_max: int, kept: int) -> None:
    assert JOB_BYTES == 2_000
    scene = Scene(limits={"memory_keep_bytes_max": bytes_max})
    scene.ready("W")
    for n in range(5):
        scene.submit(f"j{n}", "SYNC-E", b"x" * 10)
        token = scene.token("W")
        scene.partial("W", token, b"LOG", b"12345")
        scene.partial("W", token, b"CONT", b"1234567")
        scene.final("W", token, b"COMPLETE", b"12345678")
    assert list(scene.core.held.memory) == [f"j{n}" for n in range(5 - kept, 5)]


def test_a_job_under_an_id_of_a_forgotten_one_is_not_forgotten_with_it() -> None:
    scene = Scene(limits={"memory_keep_s": 10.0})
    scene.alive.add("W")
    scene.ready("W")
    call(scene, "j")
    del scene.core.held.memory["j"]
    scene.submit("j", "SYNC-E")
    scene.pass_time(10)
    assert scene.core.held.memory["j"].state == "running"


def test_each_job_expires_at_its_own_time() -> None:
    scene = Scene()
    for job_id, expires, service in (("a", 5, "E"), ("b", 3, "SYNC-E"), ("c", 4, "E"), ("d", 6, "SYNC-E")):
        scene.submit(job_id, service, expires=expires)
    for passed, ended in ((2.9, ""), (0.1, "b"), (0.9, "b"), (0.1, "bc"), (1, "abc"), (1, "abcd")):
        scene.pass_time(passed)
        assert {job for job in "abcd" if scene.state(job) == "expired"} == set(ended)


def test_the_expiries_of_jobs_that_are_gone_are_let_go_of() -> None:
    scene = Scene()
    expiry = scene.core.life.expiry
    for n in range(2_000):
        scene.submit(f"j{n}", "SYNC-E", expires=100 + n)
        if n % 10:
            scene.ask("zmws.cancel", id=f"j{n}")
        assert len(expiry._expiring) <= 1_001
    scene.pass_time(100)
    assert scene.state("j0") == "expired"
    scene.pass_time(11)
    assert scene.counted("jobs_expired") == 2 and expiry.next_at() == WALL_AT_START + 120


# ---------------------------------------------------------------- pruning


def prunes(scene: Scene) -> list[PruneJobs]:
    """Those since this was asked last."""
    found = [write for write in scene.written if isinstance(write, PruneJobs)]
    scene.written.clear()
    return found


def test_a_prune_comes_within_a_second_of_when_a_record_is_due() -> None:
    scene = Scene()
    for job_id, keep in (("a", 20), ("b", 10), ("c", 30)):
        scene.submit(job_id, keep=keep)
        scene.ask("zmws.cancel", id=job_id)
    scene.pass_time(9)
    assert not prunes(scene)
    scene.pass_time(2)
    (prune,) = prunes(scene)
    assert prune.limit == PRUNE_ROWS_MAX == 500 and prune.at == pytest.approx(WALL_AT_START + 10, abs=1)
    assert scene.ask("zmws.job", id="b")[0] == 404 and scene.state("a") == "cancelled"
    scene.pass_time(8)
    assert not prunes(scene)
    scene.pass_time(2)
    assert len(prunes(scene)) == 1 and scene.ask("zmws.job", id="a")[0] == 404
    scene.restart()
    scene.pass_time(10)
    assert len(prunes(scene)) == 1 and scene.ask("zmws.job", id="c")[0] == 404
    scene.pass_time(10)
    assert not prunes(scene), "no ended job is left"


def test_more_than_a_step_is_pruned_in_steps_one_after_the_other() -> None:
    scene = Scene()
    for n in range(PRUNE_ROWS_MAX + 2):
        scene.submit(f"j{n}", keep=5)
    scene.ask("zmws.cancel", all=True)
    scene.ready("W")
    scene.submit("done", keep=5)
    scene.final("W", scene.token("W"))
    assert scene.row()["complete"] == 1
    scene.hold = True
    scene.pass_time(10)
    scene.hold = False
    scene.settle()
    assert len(prunes(scene)) == 2, "one at a time, and at once when the one before is done"
    assert scene.row()["complete"] == 0 and scene.service().ended["cancelled"] == 0


def test_a_forgotten_service_is_gone_with_its_last_record() -> None:
    scene = Scene()
    scene.ready("W", "X")
    for job_id, keep in (("a", 5), ("b", 10)):
        scene.submit(job_id, "X", keep=keep)
        scene.final("W", scene.token("W"))
    scene.work("W", b"\x06")
    scene.ask("zmws.forget", service="X")
    scene.pass_time(7)
    assert "X" in scene.core.held.services and scene.service("X").ended["complete"] == 1
    scene.pass_time(5)
    assert "X" not in scene.core.held.services


def test_the_next_to_expire_is_known_though_all_were_looked_through() -> None:
    scene = Scene()
    scene.ready("W")
    scene.submit("busy", "SYNC-E")
    for n in range(1_001):
        scene.submit(f"j{n}", "SYNC-E", expires=5_000.0 - n)
    job = scene.core.held.memory["j1000"]
    assert scene.core.life.expiry.next_at() == job.expires_at


def test_a_reminder_of_a_job_before_under_the_same_id_starts_nothing() -> None:
    scene = Scene()
    scene.submit("j", delay=10)
    assert scene.ask("zmws.cancel", id="j")[0] == 200
    assert scene.ask("zmws.delete", id="j")[0] == 200
    scene.submit("j", delay=100)
    scene.pass_time(11)
    assert scene.state("j") == "scheduled"
    scene.pass_time(90)
    assert scene.state("j") == "waiting"
