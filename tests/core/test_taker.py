"""Who stands in the line of a service."""

from __future__ import annotations

from tests.stage import Scene
from zmws.core.taker import Assignment


def test_a_worker_stands_once_in_the_line_of_each_service_that_it_has_room_for() -> None:
    scene = Scene()
    scene.ready("W", "A", slots=2, services={"A": {"slots": 1}, "B": {}})
    rings = [scene.service(name).ring for name in "AB"]
    (worker,) = scene.core.roster.sessions.by_peer.values()
    for _ in range(2):
        worker.stand_in_line()
        assert [list(ring) for ring in rings] == [[worker], [worker]]
    scene.submit("a", "A")
    assert [list(ring) for ring in rings] == [[], [worker]]
    scene.submit("b", "B")
    assert [list(ring) for ring in rings] == [[], []]
    scene.final("W", scene.job("a").token or b"")
    assert [list(ring) for ring in rings] == [[worker], [worker]]
    worker.leave_line()
    assert [list(ring) for ring in rings] == [[], []]
    worker.go_to_the_tail(rings[0])
    assert [list(ring) for ring in rings] == [[], []], "who stood nowhere goes nowhere"


def test_who_was_given_a_job_goes_to_the_tail() -> None:
    scene = Scene()
    for name in "WV":
        scene.ready(name, slots=3)
    first, second = scene.core.roster.sessions.by_peer.values()
    ring = scene.service().ring
    assert list(ring) == [first, second]
    for order in ([second, first], [first, second]):
        scene.submit(f"j{order[0].id}")
        assert list(ring) == order


def test_an_assignment_tells_its_job_though_that_is_over() -> None:
    assert Assignment(b"j/1/x", "E", None).job_id == "j" and Assignment(b"x", "E", None).job_id == ""
    fresh = Assignment(b"j/1/x", "E", None)
    assert (fresh.taker, fresh.since_at, fresh.ttr_s, fresh.drop_by, fresh.hung) == (
        None,
        None,
        0.0,
        None,
        False,
    )
