"""Who waits for what happens to a job: its end, its next event, its stack."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.stage import Scene
from zmws.wire import mdp

START = "2023-11-14T22:13:20.000Z"
KINDS = pytest.mark.parametrize("durability", ["disk", "memory"])


def refused(answer: Any) -> tuple[int, str]:
    status, body = answer
    assert "waits_max" in body["error"] or status != 429
    return status, body["code"]


@KINDS
def test_only_so_many_wait_for_ends_events_and_stacks_together(durability: str) -> None:
    scene = Scene(limits={"waits_max": 3})
    scene.ready("W")
    scene.submit("j", durability=durability)
    token = scene.token("W")
    after = scene.ask("zmws.events", id="j")[1][-1]["n"]
    assert scene.ask("zmws.wait", "A", id="j") is None
    assert scene.ask("zmws.events", "B", id="j", after=after, timeout=60) is None
    assert scene.ask("zmws.stack", "D", id="j", timeout=60) is None
    assert scene.ask("zmws.stats")[1]["waits"] == 3
    assert refused(scene.ask("zmws.wait", "F", id="j")) == (429, "too_many_waits")
    assert refused(scene.ask("zmws.events", "F", id="j", after=after, timeout=60)) == (429, "too_many_waits")
    assert refused(scene.ask("zmws.stack", "F", id="j")) == (429, "too_many_waits")
    assert scene.ask("zmws.events", "F", id="j", after=after) == (200, []), "it does not wait"
    scene.partial("W", token, b"STACK", b"here")
    assert scene.answer("D")[0] == 200 and scene.answer("B")[0] == 200, "the stack is an event of the job"
    assert scene.ask("zmws.stats")[1]["waits"] == 1
    assert scene.ask("zmws.wait", "F", id="j") is None
    scene.final("W", token)
    assert [scene.answer(name)[0] for name in "AF"] == [200, 200]
    assert scene.ask("zmws.stats")[1]["waits"] == 0


@KINDS
def test_a_repeat_over_the_same_connection_waits_once_and_no_longer_than_the_first(durability: str) -> None:
    scene = Scene()
    scene.ready("W")
    scene.submit("j", durability=durability)
    for timeout in (5, 50):
        scene.ask("zmws.wait", "A", id="j", timeout=timeout)
        scene.ask("zmws.events", "B", id="j", after=9, timeout=timeout)
        scene.ask("zmws.stack", "D", id="j", timeout=timeout)
    assert scene.ask("zmws.stats")[1]["waits"] == 3
    scene.pass_time(4.9)
    assert not any(scene.answer(name) for name in "ABD")
    scene.pass_time(0.1)
    assert scene.answer("A") == (202, {"id": "j"}) and scene.answer("B") == (200, [])
    assert scene.answer("D")[0] == 503 and scene.ask("zmws.stats")[1]["waits"] == 0
    assert not any(scene.answer(name) for name in "ABD"), "each once"


@KINDS
def test_those_who_wait_for_a_different_time_are_answered_each_in_its_own(durability: str) -> None:
    scene = Scene()
    scene.ready("W")
    scene.submit("j", durability=durability)
    for name, timeout in (("A", 3), ("B", 6)):
        scene.ask("zmws.wait", f"{name}w", id="j", timeout=timeout)
        scene.ask("zmws.events", f"{name}e", id="j", after=9, timeout=timeout)
        scene.ask("zmws.stack", f"{name}s", id="j", timeout=timeout)
    for name in "AB":
        scene.pass_time(3)
        assert [scene.answer(f"{name}{kind}")[0] for kind in "wes"] == [202, 200, 503]
        assert scene.ask("zmws.stats")[1]["waits"] == (3 if name == "A" else 0)
    assert not scene.core.watchers.waits and not scene.core.watchers.watches
    assert not scene.core.watchers._stacks


@KINDS
def test_who_waits_is_told_the_whole_record_at_the_end(durability: str) -> None:
    scene = Scene()
    scene.submit("j", body=b'PARAM-JSON: {"n": 1}', durability=durability)
    for name in ("A", "B"):
        assert scene.ask("zmws.wait", name, id="j") is None
    scene.ready("W")
    token = scene.token("W")
    scene.partial("W", token, b"CONT", b"PARAM-JSON: 1")
    scene.partial("W", token, b"LOG", b"line")
    scene.final("W", token, b"COMPLETE", b"PARAM-JSON: 7")
    for name in ("A", "B"):
        status, job = scene.answer(name)
        assert (status, job["state"], job["params"], job["result"]) == (200, "complete", {"n": 1}, 7)
        assert (job["partials"], job["log"]) == ([1], ["line"])
    assert scene.ask("zmws.wait", id="j")[1] == scene.record("j"), "a wait for what has ended is no wait"


def test_without_a_timeout_one_waits_for_half_a_minute() -> None:
    scene = Scene()
    scene.submit("j")
    scene.ask("zmws.wait", id="j")
    scene.pass_time(29.9)
    assert scene.answer() is None
    scene.pass_time(0.1)
    assert scene.answer() == (202, {"id": "j"})


def test_the_answer_about_an_end_waits_until_that_is_on_disk() -> None:
    scene = Scene()
    scene.ready("W")
    scene.submit("j")
    scene.ask("zmws.wait", "A", id="j")
    scene.hold = True
    scene.final("W", scene.token("W"))
    assert scene.answer("A") is None and scene.ask("zmws.wait", "B", id="j") is None
    assert scene.ask("zmws.job", "D", id="j") is None
    scene.hold = False
    scene.settle()
    assert [scene.answer(name)[1]["state"] for name in "ABD"] == ["complete"] * 3


def test_who_waits_for_a_job_that_is_forgotten_at_once_is_told_so() -> None:
    scene = Scene()
    scene.ready("W")
    scene.submit("j", keep=0)
    token = scene.token("W")
    after = scene.ask("zmws.events", id="j")[1][-1]["n"]
    scene.partial("W", token, b"LOG", b"not all of the record is in memory")
    scene.ask("zmws.wait", "A", id="j")
    scene.ask("zmws.events", "B", id="j", after=after + 1, timeout=60)
    scene.hold = True
    scene.final("W", token)
    scene.lost.add("j")
    scene.hold = False
    scene.settle()
    assert scene.answer("A") == (
        404,
        {"code": "unknown_job", "error": "the job has ended, and its record has been forgotten"},
    )
    text = "the record of job 'j' has been forgotten"
    assert scene.answer("B") == (404, {"code": "unknown_job", "error": text})


@KINDS
def test_the_record_shows_the_progress_of_now(durability: str) -> None:
    scene = Scene(limits={"partials_max": 0, "log_bytes_max": 3})
    scene.ready("W")
    scene.submit("j", durability=durability)
    token = scene.token("W")
    scene.partial("W", token, b"PROGRESS", b'{"done": 0.1, "text": "a"}')
    scene.hold = True
    for n in (2, 3):
        scene.partial("W", token, b"PROGRESS", b'{"done": 0.%d, "text": "%d"}' % (n, n))
    scene.partial("W", token, b"CONT", b"x")
    scene.partial("W", token, b"LOG", b"four")
    scene.hold = False
    scene.settle()
    job = scene.record("j")
    assert (job["progress"], job["progress_text"]) == (0.3, "3")
    assert (job["partials_cut"], job["log_cut"]) == (1, 4), "what was cut is told while it runs"
    events = scene.ask("zmws.events", id="j")[1]
    assert [event["kind"] for event in events] == ["state", "state", "progress"]
    assert (events[-1]["done"], events[-1]["text"]) == (0.3, "3")


@KINDS
def test_events_are_told_past_a_number_and_in_order(durability: str) -> None:
    scene = Scene()
    scene.ready("W")
    scene.submit("j", durability=durability)
    token = scene.token("W")
    scene.partial("W", token, b"CONT", b"PARAM-JSON: 5")
    scene.partial("W", token, b"LOG", b"line")
    scene.partial("W", token, b"PROGRESS", b'{"done": 0.5}')
    told = scene.ask("zmws.events", id="j", timeout=60)[1]
    head = {"at": START}
    assert told == [
        {"n": 1, **head, "kind": "state", "state": "waiting", "attempt": 0},
        {"n": 2, **head, "kind": "state", "state": "running", "attempt": 1},
        {"n": 3, **head, "kind": "partial", "value": 5, "value_kind": "json"},
        {"n": 4, **head, "kind": "log", "text": "line"},
        {"n": 5, **head, "kind": "progress", "done": 0.5, "text": None},
    ]
    assert scene.ask("zmws.events", id="j", after=3)[1] == told[3:]
    assert scene.ask("zmws.events", id="j", after=5)[1] == []
    scene.final("W", token)
    assert scene.ask("zmws.events", id="j", after=9, timeout=60) == (200, []), "nothing more will happen"


def test_several_who_ask_where_a_job_is_get_one_answer_of_its_worker() -> None:
    scene = Scene()
    scene.ready("W")
    scene.submit("j")
    token = scene.token("W")
    for name in ("A", "B", "A"):
        assert scene.ask("zmws.stack", name, id="j") is None
    assert scene.sent.pop("W") == [[mdp.MDPW02, mdp.W_HEARTBEAT, b"STACK " + token]], "asked once"
    scene.pass_time(1)
    scene.partial("W", token, b"STACK", b"in work()")
    told = (200, {"stack": "in work()", "worker": "w", "at": "2023-11-14T22:13:21.000Z"})
    assert scene.answer("A") == told and scene.answer("B") == told
    assert scene.answer("A") is None and scene.ask("zmws.stats")[1]["waits"] == 0
    scene.ask("zmws.stack", "A", id="j")
    assert [frames[2] for frames in scene.sent["W"]] == [b"STACK " + token], "asked anew"


@pytest.mark.parametrize("state", ["unknown", "waiting", "ended"])
def test_of_a_job_that_does_not_run_there_is_no_stack(state: str) -> None:
    scene = Scene()
    if state != "unknown":
        scene.submit("j")
    if state == "ended":
        scene.ask("zmws.cancel", id="j")
    assert refused(scene.ask("zmws.stack", id="j")) == (409, "not_possible")


def test_a_foreign_worker_and_a_lease_cannot_be_asked_where_they_are() -> None:
    scene = Scene()
    scene.foreign("F")
    scene.submit("a")
    scene.ask("zmws.lease", "L", service="E", lease="l", wait=5)
    scene.submit("b")
    for job_id in ("a", "b"):
        status, body = scene.ask("zmws.stack", id=job_id)
        assert (status, body["code"]) == (503, "no_answer")
    assert "lease:l" in body["error"]


def test_a_call_that_fails_is_told_its_whole_error() -> None:
    scene = Scene()
    scene.ready("W")
    scene.submit("j", "SYNC-E")
    scene.final("W", scene.token("W"), b"FAIL", b'PARAM-JSON: {"code": "mine", "error": "why", "type": "T"}')
    head, error = scene.sent["C"][-1][3:]
    assert head == b"FAIL: E [j]"
    told = {"code": "mine", "error": "why", "type": "T", "attempts": 1}
    assert json.loads(error.removeprefix(b"PARAM-JSON: ")) == told


@pytest.mark.parametrize("why", ["workers", "jobs", "settings"])
def test_a_service_that_is_needed_is_not_forgotten_and_that_is_said_once(why: str) -> None:
    scene = Scene()
    name = "E" if why == "settings" else "F"
    if why != "settings":
        scene.ready("W", "F")
    if why == "jobs":
        scene.submit("j", "F", delay=60)
        scene.work("W", mdp.W_DISCONNECT)
    scene.receive("client", "C", [mdp.MDPC02, b"\x01", b"zmws.forget", b'{"service": "%b"}' % name.encode()])
    answers = [frames[3] for frames in scene.sent["C"] if frames[2] == b"zmws.forget"]
    assert answers == [b"409"] and scene.row(name)["service"] == name


@pytest.mark.parametrize("verb", ["zmws.cancel", "zmws.delete", "zmws.retry"])
def test_what_is_done_to_a_job_whose_end_is_being_written_is_done_behind_that(verb: str) -> None:
    scene = Scene(retries=0)
    scene.ready("W")
    scene.submit("j")
    scene.hold = True
    scene.final("W", scene.token("W"), b"FAIL")
    assert scene.ask(verb, id="j") is None
    scene.hold = False
    scene.settle()
    status, told = scene.answer()
    assert (status, told.get("count")) == ((409, None) if verb == "zmws.cancel" else (200, 1))
    scene.hold = True
    scene.submit("k", delay=60)
    scene.hold = False
    scene.settle()
    scene.reads.clear()
    assert scene.ask("zmws.cancel", id="k") == (200, {"count": 1}) and not scene.reads, "memory has it"


@pytest.mark.parametrize("asked", [{"id": "k"}, {"service": "E"}])
def test_the_answer_to_a_cancel_waits_until_that_is_on_disk(asked: dict[str, Any]) -> None:
    scene = Scene()
    scene.submit("k", delay=60)
    scene.submit("l", delay=60)
    scene.hold = True
    assert scene.ask("zmws.cancel", **asked) is None
    if "service" in asked:
        scene.commit()  # with it what the filter names is read
    assert scene.answer() is None
    scene.commit()
    assert scene.answer() == (200, {"count": 1 if "id" in asked else 2})


def test_a_list_of_jobs_is_answered_behind_the_writes_of_those_that_stand_for_them() -> None:
    scene = Scene()
    scene.submit("j")
    scene.hold = True
    scene.ready("W")
    assert scene.asked("zmws.submit", [{"service": "E", "id": "j"}]) is None, "its start is not on disk"
    scene.hold = False
    scene.settle()
    assert scene.answer() == (200, [{"id": "j", "existing": True, "durability": "disk"}])
