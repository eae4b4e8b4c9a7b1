"""A lease as a taker."""

from __future__ import annotations

from tests.stage import Scene


def test_a_lease_takes_one_job_and_stands_in_the_ring_of_its_service_until_then() -> None:
    scene = Scene()
    scene.ask("zmws.lease", service="E", lease="l", wait=50)
    (lease,) = scene.service().ring
    assert (lease.name, lease.lease_id, lease.service) == ("lease:l", "l", "E")
    assert lease.has_room("E") and not lease.ours and lease.ttr_s == 60.0
    scene.submit("j")
    assert not lease.has_room("E") and lease not in scene.service().ring and len(lease.holding) == 1
    scene.submit("k")
    assert scene.state("k") == "waiting" and not scene.service().ring


def test_the_answer_with_a_job_waits_for_the_write_of_its_start() -> None:
    scene = Scene()
    scene.submit("j")
    scene.hold = True
    assert scene.ask("zmws.lease", service="E", lease="l") is None
    scene.commit()
    assert scene.answer()[1]["id"] == "j"
