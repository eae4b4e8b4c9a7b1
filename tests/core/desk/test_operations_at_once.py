"""Operators' requests that meet: each acts on the job as it is when its turn comes."""

from __future__ import annotations

from typing import Any

from tests.stage import Scene


def beyond() -> Scene:
    """A scene in which j8 to j11 wait in the store alone, and commits wait."""
    scene = Scene(limits={"window_jobs_max": 8})
    for n in range(12):
        scene.submit(f"j{n}")
    assert "j11" not in scene.core.held.stored
    scene.hold = True
    scene.ask("zmws.pause", "first", service="E")  # a commit is under way, so reads wait for the next
    return scene


def go(scene: Scene, *names: str) -> list[Any]:
    scene.hold = False
    scene.settle()
    return [scene.answer(name) for name in names]


def test_of_two_who_cancel_one_job_the_second_is_told_that_it_is_cancelled() -> None:
    scene = beyond()
    for name in "AB":
        assert scene.ask("zmws.cancel", name, id="j11") is None
    first, second = go(scene, "A", "B")
    assert (
        first == (200, {"count": 1}) and second[0] == 409 and "it is cancelled already" in second[1]["error"]
    )
    assert scene.row()["waiting"] == 11 and scene.counted("jobs_cancelled") == 1


def test_of_two_filters_each_job_is_counted_once() -> None:
    scene = beyond()
    for name in "AB":
        assert scene.ask("zmws.cancel", name, service="E") is None
    assert go(scene, "A", "B") == [(200, {"count": 12}), (200, {"count": 0})]
    assert scene.row()["waiting"] == 0 and scene.service().beyond == 0


def test_of_two_who_delete_one_job_the_second_finds_no_record() -> None:
    scene = beyond()
    go(scene)
    scene.ask("zmws.cancel", id="j0")
    scene.hold = True
    scene.ask("zmws.resume", "first", service="E")
    for name in "AB":
        scene.ask("zmws.delete", name, id="j0")
    first, second = go(scene, "A", "B")
    assert first == (200, {"count": 1}) and (second[0], second[1]["code"]) == (404, "unknown_job")
    assert scene.service().ended["cancelled"] == 0


def test_a_filter_passes_over_a_job_that_is_being_retried_or_has_been_deleted() -> None:
    scene = Scene()
    for job_id in "jkl":
        scene.submit(job_id)
    scene.ask("zmws.cancel", service="E")
    scene.hold = True
    scene.ask("zmws.pause", "first", service="E")
    scene.ask("zmws.retry", "A", id="j")
    scene.ask("zmws.delete", "B", id="k")
    scene.ask("zmws.delete", "D", service="E")
    answers = go(scene, "A", "B", "D")
    assert answers == [(200, {"count": 1}), (200, {"count": 1}), (200, {"count": 1, "passed_over": 1})]
    assert scene.state("j") == "waiting" and scene.row()["waiting"] == 1


def test_a_job_on_its_way_to_the_store_is_cancelled_when_it_is_there() -> None:
    scene = Scene()
    scene.hold = True
    scene.submit("j")
    assert scene.ask("zmws.cancel", "A", id="j") is None
    assert go(scene, "A") == [(200, {"count": 1})]
    assert scene.state("j") == "cancelled"


def test_who_waits_for_a_job_that_is_cancelled_meanwhile_has_its_record() -> None:
    scene = beyond()
    scene.ask("zmws.cancel", "A", id="j11")
    scene.ask("zmws.wait", "B", id="j11", timeout=50)
    first, second = go(scene, "A", "B")
    assert first == (200, {"count": 1}) and (second[0], second[1]["state"]) == (200, "cancelled")


def test_what_a_filter_has_cancelled_is_told_when_all_of_it_is_on_disk() -> None:
    scene = Scene(limits={"batch_rows_max": 1})
    for job_id in "jk":
        scene.submit(job_id)
    scene.hold = True
    scene.ask("zmws.cancel", "A", service="E")
    scene.commit()
    for _ in range(2):
        assert scene.answer("A") is None
        scene.commit()
    assert scene.answer("A") == (200, {"count": 2})
