"""After a restart of the broker: what is taken in, and how workers find their jobs again."""

from __future__ import annotations

import pytest

from tests.stage import WALL_AT_START, Scene
from zmws.core.recovery import NONCE_CHARS_MAX

# ---------------------------------------------------------------- a restart


def test_after_a_restart_a_running_job_waits_for_its_worker_for_the_grace() -> None:
    scene = Scene(limits={"reattach_grace_s": 6.0})
    scene.ready("W")
    scene.submit("j", ttr=3)
    scene.pass_time(1)
    scene.restart()
    assert scene.row()["running"] == 1
    scene.pass_time(5.5)
    assert scene.state("j") == "running", "not before the grace is over, though its ttr is"
    scene.pass_time(0.5)
    record = scene.record("j")
    assert (record["state"], record["failures"]) == ("waiting", 0)
    text = "its worker did not come back after the broker's restart"
    assert record["attempts"][0]["error"] == {"code": "given_back", "error": text}


@pytest.mark.parametrize("stepped", [0.0, -50.0])
def test_after_a_restart_a_lease_has_the_rest_of_its_time(stepped: float) -> None:
    scene = Scene(retries=0)
    scene.submit("j")
    job = scene.ask("zmws.lease", service="E", lease="l", ttr=30)[1]
    scene.pass_time(10)
    scene.stepped = stepped
    scene.restart()
    left = 20 if not stepped else 30  # no longer than it had, though the clock was set back
    assert scene.ask("zmws.lease", service="E", lease="l")[1]["token"] == job["token"]
    scene.pass_time(left - 0.5)
    assert scene.state("j") == "running"
    scene.pass_time(0.5)
    assert scene.state("j") == "failed"


def test_after_a_restart_a_worker_that_comes_back_has_the_rest_of_the_ttr() -> None:
    scene = Scene(retries=0)
    scene.ready("W")
    scene.submit("j", ttr=100)
    token = scene.token("W")
    scene.pass_time(40)
    scene.restart()
    scene.ready("W", holding=[token.decode()])
    assert scene.counted("reattached") == 1
    scene.alive.add("W")
    scene.pass_time(59.5)
    assert scene.state("j") == "running"
    scene.pass_time(0.5)
    assert scene.state("j") == "failed"


def test_after_a_restart_the_numbers_and_counts_go_on() -> None:
    scene = Scene(retries=0)
    scene.ready("W")
    for job_id in ("a", "b", "c"):
        scene.submit(job_id, delay=1_000 if job_id == "c" else 0)
    scene.final("W", scene.token("W"), b"FAIL")
    scene.restart()
    row = scene.row()
    assert (row["failed"], row["running"], row["waiting"], row["scheduled"]) == (1, 1, 0, 1)
    scene.submit("d")
    assert scene.job("d").number == 4
    assert [job["id"] for job in scene.ask("zmws.jobs")[1]["jobs"]] == ["d", "c", "b", "a"]
    scene.ask("zmws.pause", service="E")
    scene.restart()
    assert scene.row()["paused"] is True
    assert any("3 unfinished jobs recovered, 1 of them running" in text for _, text in scene.log)


def test_after_a_restart_an_extended_attempt_that_ends_leaves_no_deadline() -> None:
    scene = Scene()
    scene.ready("W")
    scene.submit("j")
    token = scene.token("W")
    scene.partial("W", token, b"TOUCH", b"50")
    assert scene.stored("j")["deadline_at"] == WALL_AT_START + 50
    scene.restart()
    scene.ready("W", holding=[token.decode()])
    scene.work("W", b"\x06")
    assert scene.state("j") == "waiting" and scene.stored("j")["deadline_at"] is None


# ---------------------------------------------------------------- after a crash


def undone(scene: Scene) -> bytes:
    """A job is given to W, and the broker ends before that is on disk."""
    scene.submit("j")
    scene.hold = True
    scene.ready("W")
    token = scene.token("W")
    scene.restart()
    scene.hold = False
    scene.settle()
    assert scene.state("j") == "waiting" and scene.record("j")["attempt"] == 0
    return token


@pytest.mark.parametrize(
    ("told", "adopted"),
    [
        ("{id}/1/{nonce}", True),
        ("{id}/2/{nonce}", False),
        ("{id}/0/{nonce}", False),
        ("{id}/1/", False),
        ("{id}/1/" + "x" * NONCE_CHARS_MAX, True),
        ("{id}/1/" + "x" * (NONCE_CHARS_MAX + 1), False),
        ("other/1/{nonce}", False),
    ],
)
def test_a_start_that_a_crash_has_undone_goes_on_if_it_is_just_that_attempt(told: str, adopted: bool) -> None:
    assert NONCE_CHARS_MAX == 64
    scene = Scene(retries=1)
    nonce = undone(scene).decode().rsplit("/", 1)[1]
    token = told.format(id="j", nonce=nonce)
    scene.ready("W", holding=[token], slots=2)
    assert scene.counted("adopted") == adopted
    if not adopted:
        assert [b"MDPW02", b"\x05", b"CANCEL " + token.encode()] in scene.sent["W"]
        return
    assert scene.counted("reattached") == 1
    record = scene.record("j")
    assert (record["state"], record["attempt"], record["worker"]) == ("running", 1, "w")
    assert (scene.row()["waiting"], scene.row()["running"]) == (0, 1)
    assert not scene.requests("W"), "it has it already"
    scene.final("W", token.encode())
    assert scene.state("j") == "complete" and scene.service().groups == {}


def test_a_start_is_taken_over_only_by_a_worker_of_that_service() -> None:
    scene = Scene()
    token = undone(scene)
    scene.ready("V", "F", holding=[token.decode()])
    assert scene.counted("adopted") == 0 and scene.state("j") == "waiting"


def test_behind_taken_over_starts_the_next_page_comes_in() -> None:
    scene = Scene(limits={"window_jobs_max": 8})
    for n in range(10):
        scene.submit(f"j{n}")
    scene.hold = True
    scene.ready("W", slots=4)
    tokens = [frames[2] for frames in scene.requests("W")]
    scene.restart()
    scene.hold = False
    scene.settle()
    assert scene.service().held == len(tokens) == 4, "a page, and all of it was given out"
    scene.ready("W", slots=4, holding=[token.decode() for token in tokens])
    assert scene.counted("adopted") == 4
    scene.final("W", tokens[0])
    assert scene.token("W").startswith(b"j4/")


def test_a_taken_over_start_has_its_time_to_run() -> None:
    scene = Scene(retries=1)
    scene.submit("j", ttr=10)
    scene.hold = True
    scene.ready("W")
    token = scene.token("W")
    scene.restart()
    scene.hold = False
    scene.settle()
    scene.ready("W", holding=[token.decode()])
    scene.alive.add("W")
    scene.pass_time(9.5)
    assert scene.state("j") == "running" and scene.stored("j")["state"] == "running"
    assert scene.stored("j")["nonce"] == token.decode().rsplit("/", 1)[1]
    scene.pass_time(0.5)
    assert scene.state("j") == "scheduled"
