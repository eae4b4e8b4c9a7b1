"""The doors of the desk: who is answered what, whatever is asked, and repeats of questions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.stage import Scene
from zmws.core.desk.lists import Lists
from zmws.core.desk.operations import Operations
from zmws.wire import mdp


def said(scene: Scene, service: bytes, *body: bytes, socket: str = "client") -> list[bytes]:
    """The frames of the one answer to a question in any form, after the service's name."""
    scene.sent.pop("C", None)
    scene.receive(socket, "C", [mdp.MDPC02, b"\x01", service, *body])
    (frames,) = scene.sent["C"]
    assert frames[2] == service.removeprefix(b"SYNC-")
    return frames[3:]


@pytest.mark.parametrize(
    ("service", "body", "status"),
    [
        (b"mmi.service", (b"E",), b"200"),
        (b"mmi.service", (b"before", b"E"), b"200"),
        (b"mmi.service", (b"F",), b"404"),
        (b"mmi.service", (b"NOPE",), b"404"),
        (b"mmi.service", (), b"404"),
        (b"mmi.service", (b"\xff",), b"404"),
        (b"mmi.service", (b"PARAM-RAW: E",), b"200"),
        (b"mmi.service", (b"mmi.service",), b"200"),
        (b"mmi.service", (b"zmws.job",), b"200"),
        (b"mmi.service", (b"SERVER-HIST",), b"200"),
        (b"mmi.service", (b"mmi.other",), b"404"),
        (b"mmi.other", (b"E",), b"501"),
        (b"SYNC-mmi.service", (b"E",), b"200"),
    ],
)
def test_mmi_tells_whether_a_service_is_there(service: bytes, body: tuple[bytes, ...], status: bytes) -> None:
    scene = Scene()
    scene.services["F"] = scene.services["E"]
    scene.ready("W")
    assert said(scene, service, *body) == [status]


def test_whoever_waits_for_a_lease_is_a_worker_to_mmi_and_a_busy_worker_too() -> None:
    scene = Scene()
    scene.services["F"] = scene.services["E"]
    scene.ask("zmws.lease", "L", service="F", lease="l", wait=5)
    assert said(scene, b"mmi.service", b"F") == [b"200"] and said(scene, b"mmi.service", b"E") == [b"404"]
    scene.ready("W")
    scene.submit("j")
    assert said(scene, b"mmi.service", b"E") == [b"200"], "it has a job in hand"


def test_the_names_of_the_broker_that_are_none_are_refused_by_the_way_of_their_family() -> None:
    scene = Scene()
    status, body = scene.ask("zmws.nope")
    assert (status, body["code"]) == (501, "unknown_service") and "'zmws.nope'" in body["error"]
    scene.receive("client", "C", [mdp.MDPC02, b"\x01", b"SERVER-NOPE"])
    assert scene.sent["C"][-1][3] == b"FAIL: SERVER-NOPE" and b"unknown_service" in scene.sent["C"][-1][4]
    assert scene.counted("refused_unknown_service") == 1


@pytest.mark.parametrize("socket", ["client", "mdp"])
def test_hello_says_whom_one_talks_to(socket: str) -> None:
    scene = Scene(limits={"message_bytes_max": 5_000, "submit_many_max": 7})
    scene.core.desk.host.version = "9.9"
    status, body = said(scene, b"zmws.hello", socket=socket)
    told = {"zmws": 1, "version": "9.9", "socket": socket, "message_bytes_max": 5_000, "submit_many_max": 7}
    assert (status, json.loads(body)) == (b"200", told)


# ---------------------------------------------------------------- faults


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
        and "broken (test_desk.py:" in text
    )


def test_a_broken_invariant_ends_the_broker_only_in_what_changes_something(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: Any) -> None:
        raise AssertionError("what must not be")

    monkeypatch.setattr(Lists, "services", broken)
    monkeypatch.setattr(Operations, "pause", broken)
    scene = Scene()
    assert scene.ask("zmws.services")[0] == 500
    with pytest.raises(AssertionError, match="what must not be"):
        scene.ask("zmws.pause", service="E")


@pytest.mark.parametrize("name", ["SERVER-JOBS", "SERVER-ACTIVE", "SERVER-HIST", "SERVER-WORKERS"])
def test_a_fault_in_a_list_of_old_is_the_askers_too(name: str) -> None:
    def broken() -> Any:
        raise AssertionError("what must not be")

    scene = Scene()
    scene.core.desk._lists.of_old[name] = broken
    assert said(scene, name.encode())[0] == b"500"


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


# ---------------------------------------------------------------- who acts, and repeats


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


def test_repeats_wait_with_the_first_and_each_asker_is_answered_once() -> None:
    scene = Scene()
    scene.hold = True
    scene.submit("j")  # what is to be cancelled is read behind this write
    for name in ("A", "A", "B"):
        assert scene.ask("zmws.purge", name, service="E", ask="a1") is None
    scene.hold = False
    scene.settle()
    assert [len(scene.sent[name]) for name in ("A", "B")] == [1, 1]
    assert scene.answer("A") == scene.answer("B") == (200, {"count": 1})


def test_a_repeat_of_what_is_not_on_disk_waits_for_that_too() -> None:
    scene = Scene()
    scene.hold = True
    scene.ask("zmws.pause", "A", service="E", ask="a1")
    assert scene.ask("zmws.pause", "B", service="E", ask="a1") is None
    scene.hold = False
    scene.settle()
    assert scene.answer("A") == scene.answer("B") == (200, {"service": "E", "paused": True})


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


def test_only_so_many_answers_are_kept_the_latest() -> None:
    scene = Scene(limits={"asks_max": 2})
    for n in (1, 2, 3):
        scene.ask("zmws.pause", service="E", ask=f"a{n}")
    known = [scene.core.desk.asks.known(f"a{n}") is not None for n in (1, 2, 3)]
    assert known == [False, True, True]


def test_only_so_many_such_questions_are_under_way() -> None:
    scene = Scene(limits={"asks_max": 2})
    scene.hold = True
    scene.submit("j")
    for n in (1, 2):
        assert scene.ask("zmws.purge", f"C{n}", service="E", ask=f"a{n}") is None
    status, body = scene.ask("zmws.purge", "C3", service="E", ask="a3")
    assert (status, body["code"]) == (429, "too_many_waits") and "asks_max" in body["error"]
    assert scene.ask("zmws.purge", "C4", service="E", ask="a1") is None, "a repeat is none more"
    scene.hold = False
    scene.settle()
    assert [scene.answer(f"C{n}")[0] for n in (1, 2, 4)] == [200, 200, 200]
