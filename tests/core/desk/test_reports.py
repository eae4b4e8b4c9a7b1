"""zmws.report and zmws.extend over the whole broker: bounds of texts, what waits for the disk, times."""

from __future__ import annotations

from typing import Any

import pytest

from tests.stage import Scene
from zmws.wire import mdp


def leased(scene: Scene, job_id: str = "j", ttr: float = 60.0, **options: Any) -> str:
    """Submit a job, and lease it."""
    scene.submit(job_id, **options)
    status, job = scene.ask("zmws.lease", "L", service="E", lease=f"l-{job_id}", ttr=ttr)
    assert status == 200
    return str(job["token"])


@pytest.mark.parametrize("durability", ["disk", "memory"])
def test_the_texts_of_a_report_are_bounded(durability: str) -> None:
    scene = Scene()
    token = leased(scene, durability=durability)
    scene.ask("zmws.report", token=token, kind="progress", done=0.5, text="x" * 1_001)
    scene.ask("zmws.report", token=token, kind="log", text="y" * 30_000)
    job = scene.record("j")
    assert job["progress_text"] == "x" * 1_000 and job["log"] == ["y" * 30_000]
    scene.ask("zmws.report", token=token, kind="progress", done=1, text="")
    job = scene.record("j")
    assert (job["progress"], job["progress_text"]) == (1.0, None)
    long = {name: name[0] * 20_001 for name in ("code", "error", "type", "traceback")}
    scene.ask("zmws.report", token=token, kind="fail", retry=False, **long)
    error = scene.record("j")["error"]
    assert {name: error[name] for name in long} == {name: name[0] * 20_000 for name in long}


def test_a_failure_may_say_when_it_is_tried_again() -> None:
    scene = Scene(backoff=100)
    token = leased(scene)
    assert scene.ask("zmws.report", token=token, kind="fail", delay=7, error="why") == (200, {})
    assert scene.record("j")["ready_at"] == "2023-11-14T22:13:27.000Z"
    scene.pass_time(6.9)
    assert scene.state("j") == "scheduled"
    scene.pass_time(0.1)
    assert scene.state("j") == "waiting"


@pytest.mark.parametrize("kind", ["complete", "fail", "release", "log", "partial", "progress"])
def test_the_answer_to_a_report_waits_for_the_disk(kind: str) -> None:
    scene = Scene()
    token = leased(scene)
    scene.hold = True
    given: dict[str, Any] = {"log": {"text": "x"}, "partial": {"value": 1}, "progress": {"done": 0.5}}.get(
        kind, {}
    )
    assert scene.ask("zmws.report", token=token, kind=kind, **given) is None
    if kind == "complete":
        assert scene.ask("zmws.report", "B", token=token, kind=kind) is None, "nor is a repeat answered"
    scene.hold = False
    scene.settle()
    assert scene.answer() == (200, {}) and (kind != "complete" or scene.answer("B") == (200, {}))


def test_a_lease_is_bounded_by_its_ttr_which_extend_moves_from_now() -> None:
    scene = Scene(retries=0)
    token = leased(scene, ttr=10)
    scene.pass_time(9)
    assert scene.ask("zmws.extend", token=token, seconds=5) == (200, {})
    scene.pass_time(4.9)
    assert scene.state("j") == "running"
    scene.pass_time(0.1)
    job = scene.record("j")
    assert (job["state"], job["error"]["code"]) == ("failed", "timeout")
    status, error = scene.ask("zmws.extend", token=token, seconds=5)
    assert (status, error["code"]) == (409, "token_dead") and scene.counted("reports_refused") == 1


def test_a_lease_that_says_no_ttr_has_that_of_the_settings() -> None:
    scene = Scene(limits={"lease_ttr_s": 7.0}, ttr=99)
    scene.submit("j")
    status, job = scene.ask("zmws.lease", service="E", lease="l")
    assert (status, job["ttr"]) == (200, 7.0)
    scene.pass_time(7)
    assert scene.state("j") == "scheduled"


def test_an_extension_is_on_disk_before_it_is_told_and_holds_over_a_restart() -> None:
    scene = Scene(retries=0)
    token = leased(scene, ttr=10)
    scene.hold = True
    assert scene.ask("zmws.extend", token=token, seconds=50) is None
    scene.hold = False
    scene.settle()
    assert scene.answer() == (200, {})
    scene.restart()
    scene.pass_time(49.9)
    assert scene.state("j") == "running"
    scene.pass_time(0.1)
    assert scene.state("j") == "failed"


def test_a_lease_is_answered_again_after_a_restart_and_only_as_long_as_its_token_is_live() -> None:
    scene = Scene()
    token = leased(scene)
    scene.restart()
    again = scene.ask("zmws.lease", service="E", lease="l-j")
    assert again[0] == 200 and again[1]["token"] == token
    scene.ask("zmws.report", token=token, kind="complete")
    assert scene.ask("zmws.lease", service="E", lease="l-j") is None
    scene.pass_time(0)
    assert scene.answer() == (202, {})


def test_a_strict_request_of_a_service_that_nobody_knows_becomes_a_job_when_there_is_room() -> None:
    scene = Scene(limits={"waiting_memory_bytes_max": 10, "unknown_service_ttl_s": 30.0})
    scene.submit("fills", "SYNC-E", body=b"x" * 10)
    scene.receive("mdp", "S", [mdp.MDPC02, b"\x01", b"LATER", b"strict"])
    assert scene.core.held.overflow.count == 1 and "S" not in scene.sent
    scene.pass_time(10)
    scene.ask("zmws.cancel", id="fills")
    assert scene.core.held.overflow.count == 0 and scene.row("LATER")["waiting"] == 1
    scene.pass_time(19.9)
    assert "S" not in scene.sent
    scene.pass_time(0.1)
    assert b'"code": "expired"' in scene.sent["S"][-1][-1], "its time counts from the request"
