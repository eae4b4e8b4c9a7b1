"""What is told and what is noted of a question, also when answering it fails."""

from __future__ import annotations

from typing import Any

import pytest

from tests.stage import Scene
from tests.store.model import ModelStore
from zmws.core.desk.lists import Lists
from zmws.core.desk.operations import Operations
from zmws.core.writes import DISK_FULL, FULL
from zmws.wire import mdp


def test_the_names_of_the_broker_that_are_none_are_refused_by_the_way_of_their_family() -> None:
    scene = Scene()
    status, body = scene.ask("zmws.nope")
    assert (status, body["code"]) == (501, "unknown_service") and "'zmws.nope'" in body["error"]
    scene.receive("client", "C", [mdp.MDPC02, b"\x01", b"SERVER-NOPE"])
    assert scene.sent["C"][-1][3] == b"FAIL: SERVER-NOPE" and b"unknown_service" in scene.sent["C"][-1][4]
    assert scene.counted("refused_unknown_service") == 1


@pytest.mark.parametrize(
    ("door", "verb", "asked"),
    [
        (Lists, "services", {}),
        (Lists, "stats", {}),
        (Lists, "workers", {}),
        (Operations, "pause", {"service": "E"}),
    ],
)
def test_a_fault_while_answering_is_the_askers(
    monkeypatch: pytest.MonkeyPatch, door: Any, verb: str, asked: dict[str, Any]
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("it broke")

    monkeypatch.setattr(door, verb, broken)
    scene = Scene()
    status, body = scene.ask(f"zmws.{verb}", **asked)
    assert (status, body["code"]) == (500, "broker_fault") and scene.counted("questions_broken") == 1
    ((level, text),) = scene.log
    assert (
        level == "error"
        and f"zmws.{verb} failed: RuntimeError: it broke, in " in text
        and "broken (test_telling.py:" in text
    )


@pytest.mark.parametrize("name", ["SERVER-JOBS", "SERVER-ACTIVE", "SERVER-HIST", "SERVER-WORKERS"])
def test_a_fault_in_a_list_of_old_is_the_askers_too(name: str) -> None:
    def broken() -> Any:
        raise AssertionError("what must not be")

    scene = Scene()
    scene.core.desk._lists.of_old[name] = broken
    scene.receive("client", "C", [mdp.MDPC02, b"\x01", name.encode()])
    assert scene.sent["C"][-1][3] == b"500"


def test_a_long_error_is_cut_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    def deep(n: int) -> None:
        if n:
            return deep(n - 1)
        raise RuntimeError("x" * 600)

    monkeypatch.setattr(Lists, "services", lambda *_: deep(20))
    scene = Scene()
    scene.ask("zmws.services")
    ((_, text),) = scene.log
    assert f": {'x' * 500}, in " in text and text.count("deep (") == 8


def test_who_acts_is_noted_with_what_was_asked() -> None:
    scene = Scene()
    scene.ask("zmws.pause", service="E")
    assert scene.log == [("info", "E is paused")]
    scene.log.clear()
    scene.ask("zmws.cancel", by="ann", group="g" * 600)
    ((level, text),) = scene.log
    assert level == "info" and text.startswith("zmws.cancel by ann: {'by': 'ann', 'group': 'ggg")
    assert len(text) == len("zmws.cancel by ann: ") + 500


def test_a_repeat_gets_the_first_answer_and_the_question_is_not_done_again() -> None:
    scene = Scene()
    scene.submit("j")
    assert scene.ask("zmws.cancel", "A", id="j", ask="a1") == (200, {"count": 1})
    assert scene.ask("zmws.cancel", "B", id="j", ask="a1") == (200, {"count": 1})
    assert scene.ask("zmws.cancel", "B", id="j", ask="a2")[0] == 409
    assert scene.ask("zmws.cancel", "B", id="j")[0] == 409
    assert scene.ask("zmws.delete", "B", id="j", ask="a1")[0] == 409, "another verb"
    status, body = scene.ask("zmws.cancel", "B", id="k", ask="a1")
    assert (status, body["code"]) == (409, "id_conflict") and "'a1'" in body["error"]


def test_answers_are_kept_for_memory_keep_and_no_longer() -> None:
    scene = Scene(limits={"memory_keep_s": 10.0})
    scene.submit("j")
    scene.submit("k")
    assert scene.ask("zmws.cancel", id="j", ask="a1")[0] == 200
    scene.pass_time(6)
    assert scene.ask("zmws.cancel", id="k", ask="a2")[0] == 200
    scene.pass_time(3.9)
    assert scene.ask("zmws.cancel", id="j", ask="a1")[0] == 200
    scene.pass_time(0.1)
    assert scene.ask("zmws.cancel", id="j", ask="a1")[0] == 409, "forgotten, so it is asked anew"
    assert scene.ask("zmws.cancel", id="k", ask="a2")[0] == 200
    scene.pass_time(6)
    assert scene.ask("zmws.cancel", id="k", ask="a2")[0] == 409
    scene.pass_time(100)
    assert scene.ask("zmws.cancel", id="k", ask="a2")[0] == 409 and scene.core.desk.asks.known("a1") is None


@pytest.mark.parametrize(("verdict", "code"), [(FULL, "queue_full"), (DISK_FULL, "disk_full")])
def test_what_the_store_refuses_is_told_with_the_id_that_was_given_and_with_none_else(
    verdict: str, code: str
) -> None:
    store = ModelStore()
    store.no_room = verdict
    scene = Scene(store)
    status, told = scene.asked("zmws.submit", [{"service": "E", "id": "mine"}, {"service": "E"}])
    assert status == 200 and [(one["id"], one["code"]) for one in told] == [("mine", code), (None, code)]
    scene.submit("mine")
    scene.receive("client", "D", [mdp.MDPC02, b"\x01", b"E"])
    assert [scene.sent[name][-1][3] for name in "CD"] == [b"FAIL: E [mine]", b"FAIL: E"]
    assert scene.counted("refused_queue_full") == (4 if verdict == FULL else 0)
    assert scene.counted("refused_disk_full") == (4 if verdict == DISK_FULL else 0)
