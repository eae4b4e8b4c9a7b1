"""A job once more, with changes (zmws.copy), and what comes next (zmws.peek)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.stage import Scene
from zmws.wire.values import PARAM_JSON


def finished(scene: Scene, job_id: str, **options: Any) -> None:
    """A job that has completed."""
    scene.ready("W")
    scene.submit(job_id, body=PARAM_JSON + b'{"n": 1}', **options)
    scene.final("W", scene.token("W"))
    scene.work("W", b"\x06")


def test_a_copy_is_a_new_job_with_the_same_parameters_and_options() -> None:
    scene = Scene()
    finished(scene, "a", priority=5, ttr=7, retries=1, keep=99, backoff=3, group="g", meta={"trace": "x"})
    status, told = scene.ask("zmws.copy", id="a")
    assert status == 200 and told == {
        "id": told["id"],
        "existing": False,
        "durability": "disk",
        "service": "E",
    }
    copy, of = scene.record(told["id"]), scene.record("a")
    same = ("service", "params", "params_kind", "priority", "ttr", "retries", "group", "meta")
    assert {name: copy[name] for name in same} == {name: of[name] for name in same}
    assert copy["params"] == {"n": 1} and copy["meta"] == {"trace": "x"} and copy["state"] == "waiting"
    row = scene.stored(told["id"])
    assert (row["backoff"], row["keep"]) == (3.0, 99.0)


def test_what_is_given_goes_before_what_the_other_has() -> None:
    scene = Scene()
    finished(scene, "a", priority=5, ttr=7)
    scene.services["F"] = scene.services["E"]
    scene.restart()
    given = {"service": "F", "params": [1], "priority": -1, "delay": 5, "meta": {"b": 2}, "new_id": "b"}
    assert scene.ask("zmws.copy", id="a", **given)[1]["id"] == "b"
    copy = scene.record("b")
    assert (copy["service"], copy["params"], copy["priority"], copy["ttr"]) == ("F", [1], -1, 7)
    assert (copy["meta"], copy["state"]) == ({"b": 2}, "scheduled")


def test_its_key_is_not_copied_and_may_be_given() -> None:
    scene = Scene()
    scene.submit("a", unique="k")
    assert scene.ask("zmws.copy", id="a", new_id="b")[1]["id"] == "b"
    status, told = scene.ask("zmws.copy", id="a", unique="k")
    assert status == 200 and told["id"] == "a" and told["existing"] is True


@pytest.mark.parametrize("sync", [True, False])
def test_of_a_call_the_copy_is_stored_and_of_a_memory_job_it_is_one(sync: bool) -> None:
    scene = Scene()
    if sync:
        scene.submit("a", service="SYNC-E")
    else:
        scene.submit("a", durability="memory")
    told = scene.ask("zmws.copy", id="a", new_id="b")[1]
    assert told["durability"] == ("disk" if sync else "memory")
    assert scene.record("b")["params"] == scene.record("a")["params"]


def test_a_repeat_with_the_new_id_is_one_job() -> None:
    scene = Scene()
    scene.submit("a")
    assert scene.ask("zmws.copy", id="a", new_id="b")[1]["existing"] is False
    assert scene.ask("zmws.copy", id="a", new_id="b")[1]["existing"] is True
    assert scene.row()["waiting"] == 2


@pytest.mark.parametrize(
    ("given", "status", "code"),
    [
        ({"id": "gone"}, 404, "unknown_job"),
        ({"id": "a", "service": "NOPE"}, 404, "unknown_service"),
        ({"id": "a", "priority": 5000}, 400, "bad_request"),
        ({"id": "a", "delay": 1, "at": "2030-01-01T00:00:00Z"}, 400, "bad_request"),
        ({"id": "a", "params_base64": "?"}, 400, "bad_request"),
        ({"id": "a", "params_base64": "aaa"}, 400, "bad_request"),
        ({"id": "a", "delay": 9, "expires": 1}, 400, "bad_option"),
        ({"id": "a", "nope": 9}, 400, "bad_request"),
    ],
)
def test_what_cannot_be_copied_is_refused(given: dict[str, Any], status: int, code: str) -> None:
    scene = Scene()
    scene.submit("a")
    told = scene.ask("zmws.copy", **given)
    assert (told[0], told[1]["code"]) == (status, code)
    assert scene.row()["waiting"] == 1


def test_a_copy_past_a_limit_is_refused_as_any_job() -> None:
    scene = Scene(max_waiting=1)
    scene.submit("a")
    status, told = scene.ask("zmws.copy", id="a")
    assert (status, told["code"]) == (429, "queue_full")


# ---------------------------------------------------------------- meta


def test_meta_goes_to_the_worker_into_the_record_and_over_a_restart() -> None:
    scene = Scene()
    scene.submit("a", meta={"trace": ["ü", 1]})
    scene.restart()
    scene.ready("W")
    (request,) = scene.requests("W")
    job_json = next(frame for frame in request if frame.startswith(b"JOB-JSON: "))
    assert json.loads(job_json.removeprefix(b"JOB-JSON: "))["meta"] == {"trace": ["ü", 1]}
    assert scene.record("a")["meta"] == {"trace": ["ü", 1]}
    scene.submit("b")
    assert scene.record("b")["meta"] is None
    assert all("meta" not in job for job in scene.ask("zmws.jobs")[1]["jobs"])


def test_whoever_leases_is_told_the_meta_too() -> None:
    scene = Scene()
    scene.submit("a", meta={"n": 1})
    assert scene.ask("zmws.lease", service="E", lease="l")[1]["meta"] == {"n": 1}


@pytest.mark.parametrize("meta", [[], "x", 7, {"a": "x" * 4090}])
def test_meta_that_is_no_small_object_is_refused(meta: Any) -> None:
    said = Scene().submit("a", meta=meta)
    assert b"bad_option" in said[-1] and b"at most 4096 bytes" in said[-1]


def test_meta_may_have_4096_bytes() -> None:
    scene = Scene()
    scene.submit("a", meta={"a": "x" * (4096 - len('{"a": ""}'))})
    assert scene.state("a") == "waiting"


# ---------------------------------------------------------------- zmws.peek


def peek(scene: Scene, **more: Any) -> list[str]:
    status, told = scene.ask("zmws.peek", service="E", **more)
    assert status == 200
    return [job["id"] for job in told["jobs"]]


def taken(scene: Scene, count: int) -> list[str]:
    """The order in which a worker really gets them."""
    scene.ready("W")
    found = []
    for _ in range(count):
        token = scene.token("W")
        found.append(token.decode().split("/")[0])
        scene.final("W", token)
    return found


def test_the_order_of_a_peek_is_that_in_which_they_start_and_none_is_taken() -> None:
    scene = Scene()
    for n, (group, priority) in enumerate(
        [("g", 0), ("g", 5), (None, 0), ("h", -3), ("h", 0), (None, 9), ("g", 0), ("g", 0)]
    ):
        scene.submit(f"j{n}", group=group, priority=priority, durability="memory" if n % 3 == 0 else "disk")
    scene.submit("later", delay=9)
    before = peek(scene, limit=100)
    assert len(before) == 8 and peek(scene, limit=3) == before[:3] and peek(scene) == before
    assert taken(scene, 8) == before


def test_what_stands_in_the_store_alone_is_not_shown_out_of_turn() -> None:
    scene = Scene(limits={"window_jobs_max": 4})
    for n in range(20):
        scene.submit(f"j{n}")
    found = peek(scene, limit=20)
    assert found == [f"j{n}" for n in range(len(found))] and 3 <= len(found) < 20


def test_a_peek_at_an_unknown_service_is_refused() -> None:
    assert Scene().ask("zmws.peek", service="NOPE")[0] == 404


# ---------------------------------------------------------------- life


def test_with_life_the_answer_says_it_and_after_counts_within_it_only() -> None:
    scene = Scene()
    scene.submit("a")
    told = scene.ask("zmws.events", id="a", life=None, after=7)[1]
    life, n = told["life"], told["events"][-1]["n"]
    assert life and [one["kind"] for one in told["events"]] == ["state"], "another life: all of it"
    assert scene.ask("zmws.events", id="a", life=life, after=n)[1] == {"life": life, "events": []}
    assert scene.ask("zmws.events", id="a", after=0)[1][0]["n"] == 1, "without it a list, as before"
    scene.pass_time(1)
    scene.restart()
    again = scene.ask("zmws.events", id="a", life=life, after=n)[1]
    assert again["life"] != life and len(again["events"]) == 1


def test_who_waits_with_life_is_answered_so_at_an_event_and_at_the_end_of_the_wait() -> None:
    scene = Scene()
    scene.submit("a")
    life = scene.ask("zmws.events", id="a", life=None)[1]["life"]
    assert scene.ask("zmws.events", id="a", life=life, after=1, timeout=5) is None
    scene.pass_time(5)
    assert scene.answer() == (200, {"life": life, "events": []})
    assert scene.ask("zmws.events", id="a", life=life, after=1, timeout=5) is None
    scene.ask("zmws.cancel", "D", id="a")
    status, told = scene.answer()
    assert status == 200 and told["life"] == life and told["events"][0]["state"] == "cancelled"
