"""What operators did: which questions are kept, with what, and what zmws.audit tells of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.stage import Scene
from zmws.core.desk.audit import DETAIL_BYTES_MAX, FORGET_EACH_S
from zmws.core.desk.changes import AUDITED, CHANGES, OF_PROGRAMS
from zmws.core.reads import FOR_PEOPLE
from zmws.core.writes import ForgetActs, WriteAct

NOW = "2023-11-14T22:13:20.000Z"


def entries(scene: Scene, **asked: Any) -> list[dict[str, Any]]:
    """What zmws.audit tells, the oldest first."""
    status, told = scene.ask("zmws.audit", "viewer", **asked)
    assert status == 200, told
    found: list[dict[str, Any]] = told["entries"][::-1]
    return found


def entry(scene: Scene) -> dict[str, Any]:
    """The only one, without its number and time."""
    (one,) = entries(scene)
    assert one.pop("number") == 1 and one.pop("at") == NOW
    return one


def as_told(verb: str, on: str | None, **more: Any) -> dict[str, Any]:
    return {"by": "anna", "verb": verb, "on": on, "detail": None, "count": None, "outcome": "done"} | more


# ---------------------------------------------------------------- which questions, and with what


@pytest.mark.parametrize("verb", ["pause", "resume", "forget"])
def test_what_is_done_to_a_service_is_kept(verb: str) -> None:
    scene = Scene()
    scene.ready("W", "S")
    scene.work("W", b"\x06")
    assert scene.ask(f"zmws.{verb}", service="S", by="anna")[0] == 200
    assert entry(scene) == as_told(verb, "S")


def test_what_is_done_to_one_job_is_kept_with_its_id() -> None:
    scene = Scene()
    scene.submit("j")
    for verb in ("cancel", "retry"):
        assert scene.ask(f"zmws.{verb}", id="j", by="anna") == (200, {"count": 1})
    scene.ask("zmws.cancel", id="j", by="anna")
    assert scene.ask("zmws.delete", id="j", by="anna") == (200, {"count": 1})
    found = [(one["verb"], one["on"], one["detail"], one["count"], one["outcome"]) for one in entries(scene)]
    assert found == [(verb, "j", None, 1, "done") for verb in ("cancel", "retry", "cancel", "delete")]


def test_a_filter_is_kept_as_it_was_asked_with_its_count() -> None:
    scene = Scene()
    for n in range(3):
        scene.submit(f"j{n}", group="g")
    asked = {"service": "E", "group": "g", "since": "2023-11-14T23:00:00+01:00"}
    assert scene.ask("zmws.cancel", **asked, by="anna") == (200, {"count": 3})
    assert entry(scene) == as_told(
        "cancel", "E", detail={"group": "g", "since": "2023-11-14T22:00:00.000Z"}, count=3
    )


def test_a_filter_of_all_jobs_is_of_no_service() -> None:
    scene = Scene()
    assert scene.ask("zmws.delete", all=True, by="anna")[0] == 200
    assert entry(scene) == as_told("delete", None, detail={"all": True}, count=0)


def test_what_only_counts_is_no_act() -> None:
    scene = Scene()
    scene.submit("j")
    assert scene.ask("zmws.cancel", all=True, dry_run=True, by="anna") == (200, {"count": 1})
    assert scene.ask("zmws.cancel", id="j", dry_run=True, by="anna") == (200, {"count": 1})
    assert entries(scene) == []


def test_a_purge_and_a_drain_are_kept_with_how_many() -> None:
    scene = Scene()
    scene.submit("j")
    assert scene.ask("zmws.purge", service="E", by="anna") == (200, {"count": 1})
    scene.ready("W")
    assert scene.ask("zmws.drain", worker="w", by="anna") == (200, {"count": 1})
    assert scene.ask("zmws.drain", service="E", by="anna") == (200, {"count": 1})
    found = [(one["verb"], one["on"], one["count"]) for one in entries(scene)]
    assert found == [("purge", "E", 1), ("drain", "w", 1), ("drain", "E", 1)]


def test_limits_are_kept_with_those_that_are_taken_back() -> None:
    scene = Scene()
    assert scene.ask("zmws.limit", service="E", rate=None, max_running=3, by="anna")[0] == 200
    assert entry(scene) == as_told("limit", "E", detail={"rate": None, "max_running": 3})


def test_a_copy_is_kept_without_what_is_the_users_own() -> None:
    scene = Scene()
    scene.submit("j")
    own = {"params": {"password": "secret"}, "meta": {"customer": 7}}
    assert scene.ask("zmws.copy", id="j", priority=3, **own, by="anna", ask="q")[0] == 200
    assert entry(scene) == as_told("copy", "j", detail={"priority": 3, "new_id": "job-1"})
    assert scene.ask("zmws.copy", id="j", service="NOPE", by="anna")[0] == 404
    assert entries(scene)[-1]["outcome"] == "unknown_service"


def test_a_mark_is_kept_with_its_text() -> None:
    scene = Scene()
    assert scene.ask("zmws.mark", text="deploy 1.4", by="anna")[0] == 200
    assert entry(scene) == as_told("mark", None, detail={"text": "deploy 1.4"})


@pytest.mark.parametrize(
    ("verb", "asked", "status", "code"),
    [
        ("pause", {"service": "NOPE"}, 404, "unknown_service"),
        ("cancel", {"id": "nope"}, 404, "unknown_job"),
        ("delete", {"id": "j"}, 409, "not_possible"),
        ("retry", {"id": "j"}, 409, "not_possible"),
        ("forget", {"service": "E"}, 409, "not_possible"),
        ("limit", {"service": "E", "version": "other"}, 409, "changed"),
        ("drain", {"worker": "nobody"}, 404, "unknown_worker"),
        ("copy", {"id": "nope"}, 404, "unknown_job"),
    ],
)
def test_what_was_refused_is_kept_with_why(verb: str, asked: Any, status: int, code: str) -> None:
    scene = Scene()
    scene.submit("j")
    told = scene.ask(f"zmws.{verb}", **asked, by="anna")
    assert (told[0], told[1]["code"]) == (status, code)
    (one,) = entries(scene)
    assert (one["verb"], one["outcome"], one["count"]) == (verb, code, None)


@pytest.mark.parametrize(
    ("verb", "asked"),
    [
        ("cancel", {}),
        ("cancel", {"state": "complete"}),
        ("cancel", {"id": "j", "nonsense": 1}),
        ("drain", {}),
        ("mark", {"text": " "}),
        ("copy", {"id": "j", "delay": 1, "at": NOW}),
        ("acted", {"verb": "Stop it", "on": "x"}),
        ("acted", {"verb": "stop", "on": ""}),
        ("acted", {"verb": 7, "on": "x"}),
    ],
)
def test_what_is_malformed_is_no_act(verb: str, asked: Any) -> None:
    scene = Scene()
    scene.submit("j")
    assert scene.ask(f"zmws.{verb}", **asked, by="anna")[0] == 400
    assert entries(scene) == []


def test_a_question_without_a_name_costs_nothing() -> None:
    scene = Scene()
    scene.submit("j")
    written = len(scene.written)
    assert scene.ask("zmws.drain", service="E")[0] == 200
    assert scene.ask("zmws.cancel", id="j")[0] == 200
    assert not any(isinstance(one, WriteAct) for one in scene.written[written:])
    assert entries(scene) == []


def test_what_workers_report_of_leases_is_no_act() -> None:
    scene = Scene()
    scene.submit("j")
    _, job = scene.ask("zmws.lease", service="E", lease="l")
    token = job["token"]
    assert scene.ask("zmws.extend", token=token, seconds=9, by="anna")[0] == 200
    assert scene.ask("zmws.report", token=token, kind="complete", by="anna")[0] == 200
    assert entries(scene) == []
    assert CHANGES == AUDITED | OF_PROGRAMS


def test_a_repeat_under_the_same_ask_is_kept_once() -> None:
    scene = Scene()
    scene.submit("j")
    for name in ("A", "B"):
        assert scene.ask("zmws.cancel", name, id="j", ask="q", by="anna") == (200, {"count": 1})
    for name in ("A", "B"):
        assert scene.ask("zmws.acted", name, verb="stop", on="x", ask="p", by="anna")[0] == 200
    assert [one["verb"] for one in entries(scene)] == ["cancel", "stop"]
    assert scene.ask("zmws.pause", service="E", ask="q", by="anna")[0] == 409
    assert len(entries(scene)) == 2, "it was asked under the id of another"


@pytest.mark.parametrize("verb", ["drain", "pause"])
def test_the_answer_waits_until_the_act_is_on_disk(verb: str) -> None:
    scene = Scene()
    scene.hold = True
    assert scene.ask(f"zmws.{verb}", service="E", by="anna") is None
    scene.commit()
    assert scene.answer()[0] == 200
    assert entry(scene)["verb"] == verb


# ---------------------------------------------------------------- how much


def test_long_texts_are_cut_and_what_is_too_much_is_left_out() -> None:
    scene = Scene()
    scene.ask("zmws.cancel", service="E", group="g" * 5_000, by="anna")
    assert entries(scene)[-1]["detail"] == {"group": "g" * 197 + "..."}
    scene.ask("zmws.pause", service="S" * 5_000, by="anna")
    assert entries(scene)[-1]["on"] == "S" * 197 + "..."
    detail = {"names": ["n" * 30] * 100, "few": [1]}
    assert scene.ask("zmws.acted", verb="stop", on="x", detail=detail, by="anna")[0] == 200
    assert entries(scene)[-1]["detail"] == {"cut": True, "few": [1]}
    acts = [one for one in scene.written if isinstance(one, WriteAct)]
    assert all(len(one.detail or "") <= DETAIL_BYTES_MAX + 20 for one in acts)


def test_what_is_old_or_too_much_is_forgotten() -> None:
    scene = Scene(limits={"audit_keep_s": 7_000.0, "audit_max": 3})
    for n in range(5):
        scene.ask("zmws.acted", verb="stop", on=f"x{n}", by="anna")
    assert [one["on"] for one in entries(scene)] == ["x2", "x3", "x4"]
    scene.pass_time(FORGET_EACH_S)
    scene.ask("zmws.acted", verb="stop", on="y", by="anna")
    assert [one["on"] for one in entries(scene)] == ["x3", "x4", "y"]
    # Also where nobody acts.
    scene.pass_time(FORGET_EACH_S + 1)
    assert [one["on"] for one in entries(scene)] == ["y"]
    scene.pass_time(2 * FORGET_EACH_S)
    assert entries(scene) == []
    assert [type(one) for one in scene.written].count(ForgetActs) == 4


# ---------------------------------------------------------------- zmws.acted and zmws.audit


def test_what_was_done_outside_of_the_broker_is_told_it() -> None:
    scene = Scene()
    asked = {"verb": "scale", "on": "hello", "detail": {"counts": {"hello": 4}}, "by": "anna"}
    assert scene.ask("zmws.acted", **asked) == (200, {"at": NOW, "verb": "scale", "on": "hello"})
    assert entry(scene) == as_told("scale", "hello", detail={"counts": {"hello": 4}})
    told = scene.ask("zmws.acted", verb="stop", on="x")
    assert told[0] == 400 and "zmws.acted needs 'by'" in told[1]["error"]


def test_the_audit_is_told_in_pages_and_by_who_what_where_and_when() -> None:
    scene = Scene()
    for n in range(4):
        scene.ask("zmws.acted", verb="stop" if n % 2 else "start", on=f"x{n}", by=f"b{n // 2}")
        scene.pass_time(10)
    status, told = scene.ask("zmws.audit", limit=3)
    assert status == 200 and [one["number"] for one in told["entries"]] == [4, 3, 2]
    assert told["next"] == "2"
    status, told = scene.ask("zmws.audit", limit=3, cursor=told["next"])
    assert [one["number"] for one in told["entries"]] == [1] and told["next"] is None
    for where, numbers in (
        ({"by": "b1"}, [3, 4]),
        ({"verb": "start"}, [1, 3]),
        ({"on": "x1"}, [2]),
        ({"by": "b1", "verb": "stop"}, [4]),
        ({"since": "2023-11-14T22:13:30Z"}, [2, 3, 4]),
        ({"before": "2023-11-14T22:13:30Z"}, [1]),
        ({"on": "nothing"}, []),
    ):
        assert [one["number"] for one in entries(scene, **where)] == numbers, where


def test_times_are_the_walls_as_it_was_then() -> None:
    scene = Scene()
    scene.ask("zmws.acted", verb="stop", on="x", by="anna")
    scene.stepped = -3_600.0
    scene.ask("zmws.acted", verb="start", on="x", by="anna")
    assert [one["at"] for one in entries(scene)] == [NOW, "2023-11-14T21:13:20.000Z"]


def test_the_audit_survives_a_restart() -> None:
    scene = Scene()
    scene.ask("zmws.pause", service="E", by="anna")
    scene.restart()
    scene.ask("zmws.resume", service="E", by="anna")
    assert [(one["number"], one["verb"]) for one in entries(scene)] == [(1, "pause"), (2, "resume")]


@pytest.mark.parametrize("asked", [{"limit": 0}, {"cursor": "x"}, {"by": ""}, {"since": "yesterday"}])
def test_a_question_for_the_audit_that_is_wrong_is_refused(asked: Any) -> None:
    assert Scene().ask("zmws.audit", **asked)[0] == 400


def test_a_store_that_cannot_be_read_is_told() -> None:
    scene = Scene()
    scene.unreadable = FOR_PEOPLE
    status, told = scene.ask("zmws.audit")
    assert status == 500 and json.dumps(told).count("could not be read") == 1
