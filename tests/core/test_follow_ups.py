"""zmws.core.follow_ups: what follows a job's end (tests/dialogues has the whole of it)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.stage import Scene
from zmws.core.follow_ups import _id_of
from zmws.core.writes import FinishJob, InsertJob


def ended(scene: Scene, job_id: str, *frames: bytes, jobs: list[Any] | None = None) -> None:
    """A worker ends the job, and asks for these."""
    asked = () if jobs is None else (b"JOBS-JSON: " + json.dumps(jobs).encode(),)
    scene.final("W", scene.token("W"), b"COMPLETE", *frames, *asked)


def working(job_id: str = "p", limits: dict[str, Any] | None = None, **options: Any) -> Scene:
    scene = Scene(limits=limits)
    scene.ready("W")
    scene.submit(job_id, **options)
    return scene


def children(scene: Scene, parent: str) -> list[str]:
    jobs = scene.ask("zmws.jobs", parent=parent)[1]["jobs"]
    return [job["id"] for job in reversed(jobs)]


def why(scene: Scene, job_id: str = "p") -> str:
    error = scene.record(job_id)["attempts"][-1]["error"]
    assert error["code"] == "bad_follow_up"
    return str(error["error"])


def test_the_inserts_are_one_unit_with_the_end() -> None:
    scene = working()
    ended(scene, "p", jobs=[{"service": "E"}, {"service": "E"}])
    (at,) = [n for n, write in enumerate(scene.written) if isinstance(write, FinishJob)]
    units = [write for write in scene.written[at + 1 :] if isinstance(write, InsertJob)]
    assert len(units) == 2 and all(write.unit and write.spare_id for write in units)
    assert not scene.written[at].unit


def test_as_many_as_there_may_be_and_one_more() -> None:
    scene = working(limits={"follow_ups_max": 2}, retries=0)
    ended(scene, "p", jobs=[{"service": "E"}] * 3)
    assert why(scene) == "3 follow-ups; a job may have 2 (follow_ups_max)" and children(scene, "p") == []
    scene.submit("q")
    ended(scene, "q", jobs=[{"service": "E"}] * 2)
    assert children(scene, "q") == ["q:1", "q:2"]


def test_generations_are_bounded() -> None:
    scene = working(limits={"tree_depth_max": 2})
    parent = "p"
    for _ in range(2):
        ended(scene, parent, jobs=[{"service": "E", "retries": 0}])
        parent = f"{parent}:1"
    assert scene.stored(parent)["depth"] == 2
    ended(scene, parent, jobs=[{"service": "E"}])
    assert why(scene, parent) == "it is 2 generations away from the first job (tree_depth_max)"


@pytest.mark.parametrize(
    ("job", "text"),
    [
        (7, "each job is an object"),
        ({"service": "NOPE"}, "no worker ever registered the service 'NOPE'"),
        ({"service": "E", "on_failed": "NOPE"}, "option 'on_failed': no worker ever"),
        ({"service": "E", "retries": -1}, "option 'retries'"),
        ({"service": "E", "batch": "b"}, "there is no open batch 'b'"),
        ({"service": "E", "durability": "memory"}, "what follows is stored"),
        ({"service": "E", "delay": 5, "expires": 5}, "it can only expire"),
        ({"chain": []}, "'chain' is a list"),
    ],
)
def test_what_is_wrong_with_one_fails_the_attempt_and_nothing_follows(job: Any, text: str) -> None:
    scene = working(retries=0)
    ended(scene, "p", jobs=[{"service": "E"}, job])
    assert why(scene).startswith("follow-up 2: ") and text in why(scene)
    assert scene.state("p") == "failed" and children(scene, "p") == []


@pytest.mark.parametrize("frame", [b"JOBS-JSON: {}", b"JOBS-JSON: nonsense", b"JOBS-JSON: " + b"[" * 100_000])
def test_what_is_no_list_of_jobs_fails_the_attempt(frame: bytes) -> None:
    scene = working(retries=0)
    scene.final("W", scene.token("W"), b"COMPLETE", frame)
    assert "what is to follow is no" in why(scene)


def test_a_failed_attempt_leaves_nothing() -> None:
    scene = working(retries=0)
    scene.final("W", scene.token("W"), b"FAIL", b"PARAM-JSON: {}", b'JOBS-JSON: [{"service": "E"}]')
    assert scene.state("p") == "failed" and children(scene, "p") == []


def test_a_cancelled_job_leaves_nothing() -> None:
    scene = working()
    token = scene.token("W")
    scene.ask("zmws.cancel", id="p")
    scene.final("W", token, b"COMPLETE", b'JOBS-JSON: [{"service": "E"}]')
    assert children(scene, "p") == []


def test_the_bound_of_a_queue_counts_all_that_follow() -> None:
    scene = Scene(max_waiting=2)
    scene.ready("W")
    scene.submit("p", retries=0)
    ended(scene, "p", jobs=[{"service": "E"}] * 3)
    assert "2 jobs wait for E already (max_waiting)" in why(scene)


def test_a_lease_may_ask_for_jobs_too() -> None:
    scene = Scene()
    scene.restart()
    scene.submit("p")
    token = scene.ask("zmws.lease", service="E", lease="l")[1]["token"]
    status, _ = scene.ask("zmws.report", token=token, kind="complete", enqueue=[{"service": "E"}])
    assert status == 200 and children(scene, "p") == ["p:1"]
    scene.submit("q", priority=5)
    token = scene.ask("zmws.lease", service="E", lease="m")[1]["token"]
    status, told = scene.ask("zmws.report", token=token, kind="complete", enqueue=7)
    assert status == 400 and "'enqueue'" in told["error"]


def test_an_id_that_would_be_too_long_is_one_that_follows_from_it() -> None:
    long = "x" * 128
    assert _id_of("p", "1") == "p:1" and len(_id_of(long, "1")) <= 128
    assert _id_of(long, "1") == _id_of(long, "1") != _id_of("y" * 128, "1")
    scene = working(long)
    ended(scene, long, jobs=[{"service": "E"}])
    assert children(scene, long) == [_id_of(long, "1")]


def test_the_answer_of_a_call_waits_for_what_follows() -> None:
    scene = Scene()
    scene.ready("W")
    scene.submit("c", "SYNC-E")
    scene.hold = True
    scene.sent.pop("C", None)
    ended(scene, "c", b"PARAM-JSON: 1", jobs=[{"service": "E"}])
    assert not scene.sent.get("C")
    scene.hold = False
    scene.commit()
    assert scene.sent["C"][0][3].startswith(b"COMPLETE") and scene.stored("c:1")["parent"] == "c"


def test_a_record_that_is_too_large_is_told_without_what_makes_it_so() -> None:
    scene = Scene(limits={"message_bytes_max": 4000}, on_complete="HOOK")
    scene.services["HOOK"] = scene.services["E"].__class__()
    scene.ready("W")
    scene.submit("p", body=b'PARAM-JSON: "' + b"x" * 1500 + b'"')
    ended(scene, "p", b'PARAM-JSON: "' + b"y" * 500 + b'"')
    (told,) = children(scene, "p")
    params = scene.record(told)["params"]
    assert params["cut"] == ["params"] and params["params"] is None and params["result"] == "y" * 500


def test_what_no_step_can_be_made_of_is_a_dead_letter_that_is_not_retried() -> None:
    scene = Scene(limits={"message_bytes_max": 3000})
    scene.ready("W")
    steps = [{"service": "E"}, {"service": "E", "params": {"a": "x" * 2000, "b": None}, "previous": ["/b"]}]
    scene.asked("zmws.submit", [{"id": "c", "chain": [*steps, {"service": "E"}]}])
    ended(scene, "c:1", b'PARAM-JSON: "' + b"y" * 1500 + b'"')
    (bad,) = children(scene, "c:1")
    record = scene.record(bad)
    assert (record["state"], record["error"]["code"], record["attempt"]) == ("failed", "bad_previous", 0)
    assert "too large (message_bytes_max)" in record["error"]["error"]
    assert scene.row()["failed"] == 1 and scene.ask("zmws.retry", chain="c")[1] == {
        "count": 0,
        "passed_over": 0,
    }
    assert scene.core.held.stored == {}


def test_the_steps_of_a_chain_are_kept_once_however_many_there_are() -> None:
    scene = working()
    steps = [{"service": "E", "params": {"n": n}} for n in range(5)]
    scene.asked("zmws.submit", [{"id": "c", "chain": steps}])
    ended(scene, "p")
    for _ in range(3):
        ended(scene, "")
    kept = [scene.stored(f"c:{n}")["rest"] for n in (1, 2, 3)]
    assert kept == [None, None, None] and scene.record("c:4")["step"] == 4


def test_the_groups_that_follow_are_bounded_as_those_of_clients() -> None:
    scene = working(limits={"groups_max": 1}, retries=0)
    ended(scene, "p", jobs=[{"service": "E", "group": "g"}])
    scene.submit("q", retries=0, priority=9)
    scene.final("W", scene.token("W"))  # p:1 runs, and waits no longer
    scene.submit("w", group="h")
    ended(scene, "q", jobs=[{"service": "E", "group": "i"}])
    assert "groups of E have waiting jobs already (groups_max)" in why(scene, "q")


def test_children_of_an_earlier_life_of_its_id_are_not_its_own() -> None:
    scene = working("p", keep=1)
    ended(scene, "p", jobs=[{"service": "E", "retries": 0}])
    scene.final("W", scene.token("W"), b"FAIL", b"PARAM-JSON: {}")
    scene.suspended += 60
    scene.pass_time(3)
    assert scene.ask("zmws.job", id="p")[0] == 404 and scene.state("p:1") == "failed"
    scene.submit("p")
    ended(scene, "p", jobs=[{"service": "E"}])
    old, new = children(scene, "p")
    assert old == "p:1" and new.startswith("job-") and scene.state(new) == "running"


def test_a_chain_whose_first_id_another_job_has_is_refused() -> None:
    scene = working()
    scene.submit("c:1")
    for _ in range(2):  # as memory has it, and as the store has it
        told = scene.asked("zmws.submit", [{"id": "c", "chain": [{"service": "E"}]}])[1]
        assert told[0]["code"] == "id_conflict" and "no step of chain 'c'" in told[0]["error"]
        scene.ask("zmws.cancel", id="c:1")


def test_a_job_that_exists_becomes_no_member_and_its_asker_is_told() -> None:
    scene = working("p", unique="k")
    scene.ask("zmws.open", id="b")
    items = [{"service": "E", "id": "p", "batch": "b"}, {"service": "E", "unique": "k", "batch": "b"}]
    told = scene.asked("zmws.submit", items)[1]
    assert [one["code"] for one in told] == ["not_a_member"] * 2
    ended(scene, "p")
    assert scene.asked("zmws.submit", items[:1])[1][0]["code"] == "not_a_member"
    assert scene.ask("zmws.batch", id="b")[1]["total"] == 0


@pytest.mark.parametrize("places", [["/a", "/a/b"], ["/a/b", "/a"], ["/a", "/a"], ["/l/0", "/l/0/x"]])
def test_places_within_each_other_are_refused(places: list[str]) -> None:
    scene = working()
    step = {"service": "E", "params": {"a": {"b": 1}, "l": [{"x": 1}]}, "previous": places}
    told = scene.asked("zmws.submit", [{"chain": [{"service": "E"}, step]}])[1]
    assert told[0]["code"] == "bad_option" and "is within" in told[0]["error"]


def test_a_result_that_would_fill_many_places_is_not_put_there_first() -> None:
    scene = working(limits={"message_bytes_max": 5000})
    params: dict[str, None] = {f"p{n}": None for n in range(50)}
    step = {"service": "E", "params": params, "previous": [f"/{name}" for name in params]}
    scene.asked("zmws.submit", [{"id": "c", "chain": [{"service": "E"}, step]}])
    ended(scene, "p")
    ended(scene, "c:1", b'PARAM-JSON: "' + b"y" * 200 + b'"')
    (bad,) = children(scene, "c:1")
    assert "too large" in scene.record(bad)["error"]["error"]


def test_a_batch_that_is_closed_before_it_is_open_is_closed_then() -> None:
    scene = working()
    scene.hold = True
    scene.ask("zmws.open", "A", id="b")
    assert scene.ask("zmws.close", "B", id="b") is None
    scene.hold = False
    scene.commit()
    assert scene.answer("A")[1]["state"] == "open" and scene.answer("B")[1]["closed"]


def test_a_broker_that_stops_gives_nobody_a_job() -> None:
    scene = working()
    token = scene.token("W")
    scene.submit("q")
    scene.node.stop()
    scene.final("W", token)
    assert not scene.requests("W") and scene.state("q") == "waiting"
