"""Jobs to takers: in turn, within the limits on starts; suspects alone; starts that a crash has undone."""

from __future__ import annotations

import pytest

from tests.stage import Scene
from zmws.core.options import service_options

FAIL = (b"FAIL",)


def given(scene: Scene, *names: str) -> dict[str, list[str]]:
    """The jobs that these workers were given since this was asked last."""
    found = {name: [request[2].decode().split("/")[0] for request in scene.requests(name)] for name in names}
    return {name: jobs for name, jobs in found.items() if jobs}


def test_the_worker_that_has_waited_longest_is_next_slots_or_not() -> None:
    scene = Scene()
    scene.ready("P", slots=2)
    scene.ready("Q")
    scene.ready("R")
    for n in range(3):
        scene.submit(f"j{n}")
    assert given(scene, "P", "Q", "R") == {"P": ["j0"], "Q": ["j1"], "R": ["j2"]}
    scene.submit("j3")
    assert given(scene, "P", "Q", "R") == {"P": ["j3"]}
    scene.final("R", scene.job("j2").token or b"")
    scene.final("P", scene.job("j0").token or b"")
    for n in (4, 5, 6):
        scene.submit(f"j{n}")
    assert given(scene, "P", "Q", "R") == {"R": ["j4"], "P": ["j5"]}
    assert scene.row()["idle"] == 0 and scene.row()["workers"] == 3


def test_max_running_lets_the_next_start_when_one_has_ended() -> None:
    scene = Scene(max_running=2)
    scene.ready("W", slots=5)
    for n in range(4):
        scene.submit(f"j{n}")
    assert given(scene, "W") == {"W": ["j0", "j1"]}
    scene.final("W", scene.job("j0").token or b"")
    assert given(scene, "W") == {"W": ["j2"]}
    scene.ask("zmws.cancel", id="j1")
    assert given(scene, "W") == {"W": ["j3"]}


def test_the_rate_spreads_the_starts() -> None:
    scene = Scene(rate=2)
    scene.ready("W", slots=9)
    scene.alive.add("W")
    for n in range(4):
        scene.submit(f"j{n}")
    assert given(scene, "W") == {"W": ["j0"]}
    for n in (1, 2, 3):
        scene.pass_time(0.25)
        assert not scene.requests("W")
        scene.pass_time(0.25)
        assert given(scene, "W") == {"W": [f"j{n}"]}
    scene.pass_time(10)
    for n in range(4, 8):
        scene.submit(f"j{n}")
    assert given(scene, "W") == {"W": ["j4", "j5"]}, "a second's worth is saved up"


def test_a_paused_service_starts_nothing_until_it_is_resumed() -> None:
    scene = Scene(paused=True)
    scene.ready("W")
    scene.submit("j")
    assert not scene.requests("W")
    assert scene.ask("zmws.resume", service="E") == (200, {"service": "E", "paused": False})
    assert given(scene, "W") == {"W": ["j"]}


def test_a_job_that_is_late_is_passed_over_when_its_turn_comes() -> None:
    scene = Scene()
    scene.submit("late", expires=5)
    scene.submit("next")
    scene.now += 6  # nothing has reminded of it yet
    scene.ready("W")
    assert given(scene, "W") == {"W": ["next"]} and scene.state("late") == "expired"


# ---------------------------------------------------------------- suspects


def suspects(scene: Scene, *job_ids: str) -> None:
    """Jobs whose worker died with them, with nobody charged."""
    scene.ready("X", slots=len(job_ids))
    for job_id in job_ids:
        scene.submit(job_id)
    scene.work("X", b"\x09")
    assert all(scene.job(job_id).suspect for job_id in job_ids)


def test_a_suspect_is_given_only_to_a_worker_with_nothing_in_hand_and_is_alone_there() -> None:
    scene = Scene()
    suspects(scene, "a", "b")
    scene.ready("W", slots=5)
    assert given(scene, "W") == {"W": ["a"]}
    scene.submit("c")
    assert not scene.requests("W") and scene.service().waiting_count == 2
    scene.ready("V", slots=5)
    assert given(scene, "V") == {"V": ["b"]}
    scene.final("V", scene.job("b").token or b"")
    assert given(scene, "V") == {"V": ["c"]}


def test_with_the_last_suspect_started_as_many_may_start_as_the_limit_lets() -> None:
    scene = Scene(max_running=2)
    suspects(scene, "bad")
    scene.ask("zmws.pause", service="E")
    scene.services["F"] = service_options({})
    scene.ready("W", "E", slots=2, services={"E": {}, "F": {}})
    scene.submit("other", "F")
    scene.ask("zmws.resume", service="E")
    assert list(scene.service().parked) == ["bad"]
    scene.submit("plain")
    scene.ask("zmws.pause", service="E")
    scene.ready("U")
    scene.requests("W")
    scene.ask("zmws.resume", service="E")
    assert given(scene, "U", "W") == {"U": ["bad"], "W": ["plain"]}


def parked(scene: Scene, **holding: int) -> None:
    """Two suspects wait, and there are only workers of three slots that hold so many jobs of F."""
    scene.services["F"] = service_options({})
    suspects(scene, "bad", "worse")
    scene.ask("zmws.pause", service="E")
    for name, count in holding.items():
        scene.ready(name, "E", slots=3, services={"E": {}, "F": {}})
        for n in range(count):
            scene.submit(f"{name}-{n}", "F")
        for other in holding:
            scene.requests(other)
    scene.ask("zmws.resume", service="E")


def kept(scene: Scene, service: str = "E") -> str | None:
    """Who is kept free."""
    reserved = scene.service(service).ring.reserved
    assert reserved is None or reserved.reserved is scene.service(service).ring
    return reserved.name if reserved is not None else None


def test_a_worker_is_kept_free_for_a_suspect_the_one_that_holds_least() -> None:
    scene = Scene()
    parked(scene, W=3, V=1)
    assert kept(scene) == "v" and list(scene.service().parked) == ["bad", "worse"]
    scene.submit("more", "F")
    scene.submit("plain")
    assert given(scene, "W", "V") == {}, "V is given nothing new"
    assert scene.row()["waiting"] == 3
    scene.final("V", scene.job("V-0").token or b"")
    assert given(scene, "V") == {"V": ["bad"]}
    scene.final("V", scene.job("bad").token or b"")
    assert given(scene, "V") == {"V": ["worse"]} and kept(scene) is None
    scene.final("V", scene.job("worse").token or b"")
    assert sorted(given(scene, "V")["V"]) == ["more", "plain"]


def test_a_kept_worker_is_let_go_when_nothing_is_parked_any_more() -> None:
    scene = Scene()
    parked(scene, W=1)
    assert kept(scene) == "w"
    for job_id in ("worse", "bad"):
        scene.ask("zmws.cancel", id=job_id)
    scene.submit("more")
    assert given(scene, "W") == {"W": ["more"]} and kept(scene) is None


def test_a_kept_worker_that_leaves_makes_way_for_another() -> None:
    scene = Scene()
    parked(scene, W=3, V=1)
    assert kept(scene) == "v"
    scene.work("V", b"\x06")
    assert kept(scene) == "w"
    scene.ready("U")
    assert given(scene, "U") == {"U": ["bad"]}, "one with nothing in hand is better than one kept free"


def test_nobody_is_kept_for_a_service_that_is_paused() -> None:
    scene = Scene()
    parked(scene, W=1)
    assert kept(scene) == "w"
    scene.ask("zmws.pause", service="E")
    scene.submit("more", "F")
    assert kept(scene) is None and given(scene, "W") == {"W": ["more"]}


@pytest.mark.parametrize(("how", "name"), [("fine", "w"), ("lost", None), ("takes nothing", None)])
def test_nobody_is_kept_who_hangs_is_lost_or_takes_nothing(how: str, name: str | None) -> None:
    scene = Scene(limits={"cancel_grace_s": 0.5})
    scene.services["F"] = service_options({})
    suspects(scene, "bad", "worse")
    scene.ask("zmws.pause", service="E")
    for worker in ("HUNG", "W"):
        scene.ready(worker, "E", slots=3, services={"E": {}, "F": {"slots": 1}})
        scene.submit(worker, "F")
    scene.ask("zmws.cancel", id="HUNG")
    scene.pass_time(0.5)
    if how == "lost":
        scene.unreach("W", "gone")
        scene.pass_time(0.1)
    elif how == "takes nothing":
        scene.beat("W", b"SLOTS 0")
    states = {row["id"]: row["state"] for row in scene.ask("zmws.workers")[1]}
    assert states == {"hung": "hung", "w": {"fine": "busy", "lost": "lost"}.get(how, "draining")}
    scene.ask("zmws.resume", service="E")
    assert list(scene.service().parked) and kept(scene) == name


def test_a_parked_call_that_has_expired_ends_instead_of_starting() -> None:
    scene = Scene()
    scene.ready("X", slots=2)
    for job_id in ("bad", "worse"):
        scene.submit(job_id, "SYNC-E", expires=10)
    scene.work("X", b"\x09")
    scene.ready("W", slots=3)
    assert given(scene, "W") == {"W": ["bad"]} and scene.state("worse") == "waiting"
    scene.now += 20  # nothing has reminded of it yet
    scene.final("W", scene.job("bad").token or b"")
    assert scene.state("worse") == "expired" and not scene.requests("W")
    assert scene.row()["waiting"] == 0


def test_a_worker_of_several_slots_that_is_silent_or_deaf_is_passed_over_until_it_speaks() -> None:
    scene = Scene(limits={"heartbeat_interval_s": 1.0})
    scene.ready("W", slots=2)
    scene.submit("a")
    token = scene.token("W")
    scene.pass_time(3.5)
    scene.submit("b")
    assert not scene.requests("W"), "silent"
    scene.beat("W", b"HOLDS " + token)
    assert given(scene, "W") == {"W": ["b"]}
    deaf = Scene(limits={"heartbeat_interval_s": 1.0})
    deaf.ready("W", slots=2)
    deaf.submit("a")
    token = deaf.token("W")
    deaf.pass_time(2.5)
    deaf.beat("W")
    deaf.submit("b")
    assert not deaf.requests("W"), "deaf: it does not name what it was given"
    deaf.ready("V")
    assert given(deaf, "V") == {"V": ["b"]}
    deaf.submit("c")
    deaf.beat("W", b"HOLDS " + token)
    assert given(deaf, "W") == {"W": ["c"]}
