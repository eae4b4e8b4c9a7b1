"""Workers without a socket: who waits, who has a job, what they report."""

from __future__ import annotations

from typing import Any

import pytest

from tests.stage import Scene
from zmws.core.desk.leases import report_in
from zmws.core.desk.questions import BadQuestion
from zmws.wire.messages import Log, Partial, Progress, Report


def lease(scene: Scene, lease_id: str, peer: str = "C", **given: Any) -> Any:
    return scene.ask("zmws.lease", peer, **{"service": "E", "lease": lease_id, **given})


def test_a_lease_is_the_job_with_a_token_and_its_time_to_run() -> None:
    scene = Scene(limits={"lease_ttr_s": 45.0})
    scene.submit("j", body=b'PARAM-JSON: {"a": 1}')
    status, job = lease(scene, "l")
    assert (status, job["id"], job["state"], job["ttr"]) == (200, "j", "running", 45.0)
    assert (job["params"], job["attempt"], job["worker"]) == ({"a": 1}, 1, "lease:l")
    assert job["token"].startswith("j/1/")
    assert lease(scene, "l", "D") == (200, job), "a repeat gets the same"
    scene.pass_time(30)
    assert lease(scene, "l", "D") == (200, job | {"ttr": 15.0}), "and is told the time that is left"
    assert lease(scene, "other") is None
    scene.pass_time(0)
    assert scene.answer() == (202, {}), "it waits for no time at all"
    scene.submit("k")
    assert lease(scene, "l2", ttr=0.5)[1]["ttr"] == 0.5


def test_who_waits_has_the_next_job_or_is_told_that_there_is_none() -> None:
    scene = Scene()
    assert lease(scene, "a", "A", wait=5) is None and lease(scene, "b", "B", wait=9) is None
    assert scene.row()["idle"] == 2 and scene.row()["workers"] == 0
    scene.pass_time(4.9)
    assert scene.answer("A") is None
    scene.pass_time(0.1)
    assert scene.answer("A") == (202, {}) and scene.row()["idle"] == 1
    scene.submit("j")
    assert scene.answer("B")[1]["id"] == "j" and scene.row()["idle"] == 0
    scene.pass_time(5)
    assert scene.answer("B") is None


def test_leases_and_workers_take_turns() -> None:
    scene = Scene()
    lease(scene, "a", "A", wait=50)
    scene.ready("W")
    lease(scene, "b", "B", wait=50)
    for n in range(3):
        scene.submit(f"j{n}")
    assert scene.answer("A")[1]["id"] == "j0" and scene.answer("B")[1]["id"] == "j2"
    assert scene.token("W").startswith(b"j1/")


def test_a_repeat_keeps_its_turn_and_its_time_and_goes_to_the_last_who_asked() -> None:
    scene = Scene()
    lease(scene, "a", "A", wait=5)
    lease(scene, "b", "B", wait=50)
    lease(scene, "a", "A2", wait=50)
    scene.submit("j")
    assert scene.answer("A2")[1]["id"] == "j" and scene.answer("A") is None
    lease(scene, "c", "A", wait=5)
    lease(scene, "c", "A2", wait=50)
    scene.pass_time(5)
    assert scene.answer("A2") == (202, {})


def test_an_asker_that_turns_to_another_service_leaves_the_first() -> None:
    scene = Scene()
    scene.services["F"] = scene.services["E"]
    lease(scene, "a", "A", wait=50)
    assert lease(scene, "a", "A2", wait=50, service="F") is None
    assert scene.answer("A") == (202, {}) and scene.row()["idle"] == 0 and scene.row("F")["idle"] == 1
    scene.submit("j", "F")
    assert scene.answer("A2")[1]["id"] == "j"


def test_a_lease_of_an_unknown_service_and_one_too_many_are_refused() -> None:
    scene = Scene(limits={"waits_max": 2})
    assert lease(scene, "x", service="NOPE")[0] == 404
    assert [lease(scene, name, name, wait=50) for name in "ab"] == [None, None]
    text = "too many requests wait already (waits_max)"
    assert lease(scene, "c", wait=50) == (429, {"code": "too_many_waits", "error": text})
    assert lease(scene, "a", "a", wait=50) is None, "a repeat is no new one"


def test_an_answer_that_cannot_be_sent_gives_the_job_to_the_next() -> None:
    scene = Scene()
    lease(scene, "a", "A", wait=50)
    lease(scene, "b", "B", wait=50)
    scene.unreachable["A"] = "gone"
    scene.submit("j")
    status, job = scene.answer("B") or (None, {})
    assert (status, job.get("id"), job.get("attempt"), job.get("failures")) == (200, "j", 2, 0)
    assert scene.record("j")["attempts"][0]["error"]["code"] == "given_back"


def test_the_leases_of_dead_tokens_are_let_go_of() -> None:
    scene = Scene()
    for n in range(1_100):
        scene.submit(f"j{n}", durability="memory")
        token = lease(scene, f"l{n}")[1]["token"]
        scene.ask("zmws.report", token=token, kind="complete")
        assert len(scene.core.desk.leases._given) <= 1_001
    assert len(scene.core.desk.leases._given) < 200
    scene.submit("last")
    token = lease(scene, "last")[1]["token"]
    assert lease(scene, "last")[1]["token"] == token


# ---------------------------------------------------------------- reports


@pytest.mark.parametrize(
    ("said", "state", "shown"),
    [
        ({"kind": "complete", "result": [1]}, "complete", {"result": [1]}),
        ({"kind": "complete"}, "complete", {"result": None}),
        ({"kind": "complete", "result_base64": "AAE="}, "complete", {"result": {"base64": "AAE="}}),
        ({"kind": "fail", "error": "why", "type": "T"}, "scheduled", {"failures": 1}),
        ({"kind": "fail", "retry": False}, "failed", {"failures": 1}),
        ({"kind": "release"}, "waiting", {"failures": 0}),
        (
            {"kind": "progress", "done": 0.25, "text": "q"},
            "running",
            {"progress": 0.25, "progress_text": "q"},
        ),
        ({"kind": "partial", "value": 3}, "running", {"partials": [3]}),
        ({"kind": "log", "text": "line"}, "running", {"log": ["line"]}),
    ],
)
def test_a_report_does_what_it_says(said: dict[str, Any], state: str, shown: dict[str, Any]) -> None:
    scene = Scene()
    scene.submit("j")
    token = lease(scene, "l")[1]["token"]
    assert scene.ask("zmws.report", token=token, **said) == (200, {})
    record = scene.record("j")
    assert record["state"] == state and {key: record[key] for key in shown} == shown
    live = scene.ask("zmws.extend", token=token, seconds=9)
    assert live[0] == (200 if state == "running" else 409)


def test_a_dead_token_is_refused_but_for_a_repeat_of_what_completed_the_job() -> None:
    scene = Scene()
    scene.submit("j")
    token = lease(scene, "l")[1]["token"]
    for _ in range(2):
        assert scene.ask("zmws.report", token=token, kind="complete", result=1) == (200, {})
    for said in ({"kind": "fail"}, {"kind": "log", "text": "x"}):
        status, error = scene.ask("zmws.report", token=token, **said)
        assert (status, error["code"]) == (409, "token_dead")
    for dead in ("j/2/x", "j/1/x", "nobody/1/x", "no id/1/x"):
        assert scene.ask("zmws.report", token=dead, kind="complete")[0] == 409
    assert scene.counted("reports_refused") == 6
    scene.restart()
    assert scene.ask("zmws.report", token=token, kind="complete") == (200, {}), "the record tells"
    assert scene.ask("zmws.report", token=token[:-1] + "g", kind="complete")[0] == 409


def test_a_repeat_for_a_memory_job_is_known_from_memory_as_long_as_it_is_kept() -> None:
    scene = Scene()
    scene.submit("j", durability="memory")
    token = lease(scene, "l")[1]["token"]
    for _ in range(2):
        assert scene.ask("zmws.report", token=token, kind="complete") == (200, {})
    scene.pass_time(60)
    assert scene.ask("zmws.report", token=token, kind="complete")[0] == 409


def test_a_report_on_a_workers_job_frees_the_worker() -> None:
    scene = Scene()
    scene.ready("W")
    scene.submit("j")
    token = scene.token("W")
    assert scene.ask("zmws.report", token=token.decode(), kind="complete") == (200, {})
    assert scene.sent["W"] == [[b"MDPW02", b"\x05", b"CANCEL " + token]]
    assert scene.state("j") == "complete"


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"kind": "progress", "done": 1.0}, Progress(1.0, None)),
        ({"kind": "progress", "done": 0.0, "text": "x" * 1_001}, Progress(0.0, "x" * 1_000)),
        ({"kind": "log", "text": "x\ud800"}, Log("x?")),
        ({"kind": "partial"}, Partial(())),
        ({"kind": "complete", "result": 1}, Report(False, (b"PARAM-JSON: 1",))),
        ({"kind": "release"}, None),
        ({"kind": "fail"}, Report(True, error={"code": "job_failed", "error": "the job failed"})),
    ],
)
def test_a_report_is_read(asked: dict[str, Any], told: object) -> None:
    assert report_in(asked) == told


@pytest.mark.parametrize(
    "asked", [{"kind": "progress"}, {"kind": "log"}, {"kind": "partial", "value_base64": "="}]
)
def test_a_report_that_lacks_something_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(BadQuestion):
        report_in(asked)
