"""An input goes to its room: sockets, dialects, what is counted."""

from __future__ import annotations

import json

import pytest

from tests.stage import Scene
from zmws.wire import mdp

REQUEST = [mdp.MDPC02, b"\x01"]


def code(frames: list[bytes]) -> str:
    return str(json.loads(frames[-1].removeprefix(b"PARAM-JSON: "))["code"])


@pytest.mark.parametrize(
    ("socket", "service", "refusal"),
    [
        ("worker", b"E", "wrong_socket"),
        ("client", b"NOPE", "unknown_service"),
        ("client", b"a b", "bad_service"),
        ("client", b"SERVER-NOPE", "unknown_service"),
        ("mdp", b"x\n", "bad_service"),
    ],
)
def test_a_request_that_no_service_is_for_is_refused(socket: str, service: bytes, refusal: str) -> None:
    scene = Scene()
    scene.receive(socket, "P", [*REQUEST, service])
    assert code(scene.sent["P"][0]) == refusal and scene.counted(f"refused_{refusal}") == 1
    assert set(scene.core.held.services) == {"E"}


@pytest.mark.parametrize(
    ("options", "job_id"), [('{"id": "j", "retries": -1}', "j"), ("{", None), ('{"id": ""}', None)]
)
def test_a_refusal_for_its_options_names_the_id_where_there_is_one(options: str, job_id: str | None) -> None:
    scene = Scene()
    scene.receive("client", "P", [*REQUEST, b"E", b"OPTS-JSON: " + options.encode()])
    head = scene.sent["P"][0][3]
    assert head == (b"FAIL: E [j]" if job_id else b"FAIL: E") and scene.counted("refused_bad_option") == 1


def test_on_mdp_an_unknown_service_is_waited_for_and_forgotten_with_its_last_job() -> None:
    scene = Scene(limits={"unknown_service_ttl_s": 10.0, "services_max": 2})
    scene.receive("mdp", "P", [*REQUEST, b"SYNC-Later", b"x"])
    assert scene.row("SYNC-Later")["waiting"] == 1
    scene.receive("mdp", "P", [*REQUEST, b"One more", b"x"])
    assert code(scene.sent["P"][0]) == "unknown_service"
    scene.pass_time(9.9)
    assert "SYNC-Later" in scene.core.held.services
    scene.pass_time(0.1)
    assert "SYNC-Later" not in scene.core.held.services and code(scene.sent["P"][1]) == "expired"


def test_a_known_service_on_mdp_does_not_expire_of_itself() -> None:
    scene = Scene(limits={"unknown_service_ttl_s": 10.0})
    scene.receive("mdp", "P", [*REQUEST, b"E", b"x"])
    scene.pass_time(100)
    assert scene.row()["waiting"] == 1


def test_a_service_that_was_forgotten_is_unknown_though_records_are_kept() -> None:
    scene = Scene()
    scene.ready("W", "X")
    scene.submit("j", "X")
    scene.final("W", scene.token("W"))
    scene.work("W", mdp.W_DISCONNECT)
    scene.ask("zmws.forget", service="X")
    assert code(scene.submit("k", "X")) == "unknown_service"
    scene.receive("mdp", "P", [*REQUEST, b"X", b"x"])
    assert "P" not in scene.sent, "a strict one waits for it"


def test_a_foreign_workers_heartbeat_has_no_words_and_any_command_is_a_sign_of_life() -> None:
    scene = Scene()
    scene.foreign("F")
    scene.beat("F", b"SLOTS 0")
    scene.submit("j")
    token = scene.token("F")
    scene.pass_time(7)
    scene.partial("F", token, b"part")
    (row,) = scene.ask("zmws.workers")[1]
    assert row["heard_at"] == "2023-11-14T22:13:27.000Z" and row["slots"] == 1
    scene.pass_time(1)
    scene.ready("W")
    scene.beat("W", b"SLOTS 0")
    assert scene.ask("zmws.workers")[1][1]["slots"] == 0


def test_what_is_out_of_turn_is_counted_and_a_disconnect_is_not() -> None:
    scene = Scene()
    scene.beat("W")
    scene.work("V", mdp.W_DISCONNECT)
    assert scene.counted("out_of_turn") == 1
    assert scene.sent["W"] == [[b"MDPW02", b"\x06"]] and "V" not in scene.sent


def test_what_could_not_be_sent_is_counted() -> None:
    scene = Scene()
    scene.unreachable["C"] = "gone"
    scene.submit("j")
    assert scene.counted("undeliverable_gone") == 1
    scene.unreachable["W"] = "full"
    scene.ready("W")
    assert scene.counted("undeliverable_full") == 1


def test_a_recovery_is_told_in_the_log_only_where_there_was_something() -> None:
    scene = Scene()
    scene.restart()
    assert not [text for _, text in scene.log if "recovered" in text]
    scene.submit("a")
    scene.submit("b", delay=100)
    scene.restart()
    assert [text for _, text in scene.log if "recovered" in text] == [
        "2 unfinished jobs recovered, 0 of them running"
    ]
