"""One worker's session: how much it takes, its states, and when something is due for it."""

from __future__ import annotations

import json

import pytest

from tests.stage import WALL_AT_START, Scene
from zmws.core.session import PINGS_MISSED, Session
from zmws.wire import mdp

DISCONNECT = [b"MDPW02", b"\x06"]


def session(scene: Scene, name: str = "W", socket: str = "worker") -> Session:
    return scene.core.roster.sessions.by_peer[(socket, name.encode(), "")]


def state(scene: Scene, name: str = "w") -> str:
    return next(row["state"] for row in scene.ask("zmws.workers", "viewer")[1] if row["id"] == name)


@pytest.mark.parametrize(
    ("frames", "socket", "expiry_s", "beat_s"),
    [
        ([mdp.MDPW02, b"\x01", b"E", b'{"zmws": 1, "id": "w"}'], "worker", 15.0, 5.0),
        ([mdp.MDPW02, b"\x01", b"E", b'{"zmws": 1, "id": "w"}'], "mdp", 15.0, 2.0),
        ([mdp.MDPW02, b"\x01", b"E"], "worker", 15.0, 2.0),
        ([mdp.MDPW02, b"\x01", b"E"], "mdp", 15.0, 2.0),
        ([mdp.MDPW01, b"\x01", b"E"], "worker", 15.0, 2.0),
        ([b"E", b"READY"], "worker", 15.0, 5.0),
    ],
)
def test_the_pace_is_that_of_the_dialect(
    frames: list[bytes], socket: str, expiry_s: float, beat_s: float
) -> None:
    scene = Scene()
    scene.ignore_heartbeats = False
    scene.receive(socket, "W", frames)
    one = session(scene, "W", socket)
    assert (one.expiry_s, one.heartbeat_interval_s) == (expiry_s, beat_s)
    scene.sent.clear()
    scene.pass_time(beat_s - 0.01)
    assert not scene.sent
    scene.pass_time(0.01)
    assert len(scene.sent["W"]) == 1
    scene.pass_time(beat_s)
    assert len(scene.sent["W"]) == 2


@pytest.mark.parametrize(
    ("interval", "ours", "expiry_s", "beat_s"),
    [(1.0, True, 3.0, 1.0), (1.0, False, 7.5, 1.0), (3.0, False, 9.0, 2.0), (2.0, False, 7.5, 2.0)],
)
def test_a_foreign_worker_has_at_least_seven_seconds_and_a_half(
    interval: float, ours: bool, expiry_s: float, beat_s: float
) -> None:
    scene = Scene(limits={"heartbeat_interval_s": interval})
    scene.ready("W") if ours else scene.foreign("W")
    one = session(scene)
    assert (one.expiry_s, one.heartbeat_interval_s) == (expiry_s, beat_s)
    scene.pass_time(expiry_s - 0.01)
    assert scene.core.roster.sessions.by_peer
    scene.pass_time(0.01)
    assert not scene.core.roster.sessions.by_peer and scene.counted("workers_expired") == 1
    assert DISCONNECT in scene.sent["W"]


@pytest.mark.parametrize(("ping", "silence_s"), [(None, 15.0), (6.0, 15.0), (6.1, 15.25), (100, 250.0)])
def test_a_busy_worker_is_lost_after_two_and_a_half_pings(ping: float | None, silence_s: float) -> None:
    assert PINGS_MISSED == 2.5
    scene = Scene()
    scene.ready("W", **({} if ping is None else {"ping": ping}))
    assert scene.core.roster.busy_peers() == []
    scene.submit("j")
    assert scene.core.roster.busy_peers() == [(("worker", b"W", ""), silence_s)]
    scene.unreach("W", "gone")
    scene.pass_time(0.5)
    assert scene.core.roster.busy_peers() == []
    scene.foreign("F")
    scene.submit("k")
    assert scene.requests("F") and scene.core.roster.busy_peers() == [], "a foreign one has no PINGs"


def test_a_busy_worker_is_not_expired_for_silence_and_counts_from_its_last_word_when_it_is_idle() -> None:
    scene = Scene()
    scene.ready("W")
    scene.submit("j")
    token = scene.token("W")
    assert state(scene) == "busy"
    scene.pass_time(14.75)
    assert state(scene) == "busy" and scene.counted("workers_silent") == 0
    scene.pass_time(0.25)
    assert scene.counted("workers_silent") == 1 and state(scene) == "silent"
    scene.pass_time(100)
    assert scene.counted("workers_silent") == 1
    scene.beat("W", b"HOLDS " + token)
    assert state(scene) == "busy"
    scene.pass_time(15)
    assert state(scene) == "silent" and scene.counted("workers_silent") == 2
    scene.final("W", token)
    assert state(scene) == "idle"
    scene.pass_time(14)
    scene.beat("W")
    scene.pass_time(14.5)
    assert state(scene) == "idle"
    scene.pass_time(0.5)
    assert not scene.core.roster.sessions.by_peer


def test_a_worker_takes_as_many_jobs_as_it_has_slots_and_of_each_service_its_number() -> None:
    scene = Scene()
    scene.ready("W", "E", "F", slots=4, services={"E": {"slots": 2}, "F": {}})
    for n in range(6):
        scene.submit(f"e{n}")
    assert len(scene.requests("W")) == 2
    for n in range(4):
        scene.submit(f"f{n}", "F")
    assert len(scene.requests("W")) == 2
    one = session(scene)
    assert len(one.holding) == 4 and one.service_names == ["E", "F"] and not one.has_room("E")
    scene.final("W", next(token for token in one.holding if token.startswith(b"f")))
    assert [request[2][:1] for request in scene.requests("W")] == [b"f"], "E has its two already"
    scene.beat("W", b"SLOTS 0")
    scene.final("W", next(token for token in one.holding if token.startswith(b"e")))
    assert not scene.requests("W") and state(scene) == "draining"
    scene.beat("W", b"SLOTS 5")
    assert len(scene.requests("W")) == 2 and state(scene) == "busy"


def test_a_request_tells_the_job_and_its_service_where_there_are_several() -> None:
    scene = Scene()
    scene.ready("W")
    scene.submit("j", ttr=8, body=b"PARAM-JSON: 1")
    (request,) = scene.requests("W")
    token, empty, job, body = request[2:]
    assert (empty, body) == (b"", b"PARAM-JSON: 1")
    assert job == b'JOB-JSON: {"id": "j", "attempt": 1, "ttr": 8.0}' and token.startswith(b"j/1/")
    scene.partial("W", token, b"SAVE", b'{"line": 7}')
    scene.final("W", token, b"FAIL", b'PARAM-JSON: {"delay": 1}')
    scene.ready("V", "E", services={"E": {}})
    scene.work("W", b"\x06")
    scene.pass_time(1)
    (request,) = scene.requests("V")
    assert request[4] == (
        b'JOB-JSON: {"id": "j", "service": "E", "attempt": 2, "ttr": 8.0, "saved": {"line": 7}}'
    )


@pytest.mark.parametrize("service", ['A"B', "A\\B", '"', "é'>", 'x","attempt":9,"y":"'])
def test_whatever_a_service_is_called_a_request_tells_it_to_the_letter(service: str) -> None:
    scene = Scene()
    scene.ready("W", service, services={service: {}, "OTHER": {}})
    scene.submit("j", service)
    (request,) = scene.requests("W")
    told = json.loads(request[4].removeprefix(b"JOB-JSON: "))
    assert (told["service"], told["attempt"], told["id"]) == (service, 1, "j")


def test_a_slot_hangs_when_its_job_has_been_over_for_the_grace() -> None:
    scene = Scene(limits={"cancel_grace_s": 4.0})
    scene.ready("W", slots=2)
    scene.alive.add("W")
    scene.submit("j", ttr=60)
    token = scene.token("W")
    scene.pass_time(1)
    scene.ask("zmws.cancel", id="j")
    scene.pass_time(3.75)
    assert state(scene) == "busy" and not session(scene).hung
    scene.pass_time(0.25)
    assert state(scene) == "hung" and session(scene).hung and scene.counted("workers_hung") == 1
    (row,) = scene.ask("zmws.workers")[1]
    assert row["jobs"] == [{"id": "j", "service": "E", "since": "2023-11-14T22:13:20.000Z", "state": "hung"}]
    scene.submit("k")
    (request,) = scene.requests("W")  # its other slot is free
    scene.beat("W", b"HOLDS " + request[2])
    scene.pass_time(100)
    assert scene.counted("workers_hung") == 1
    scene.final("W", token)
    assert state(scene) == "busy" and scene.counted("results_refused") == 1


def test_a_foreign_worker_whose_job_was_cancelled_is_given_up_at_the_jobs_ttr() -> None:
    scene = Scene()
    scene.foreign("F")
    scene.alive.add("F")
    scene.submit("j", ttr=20)
    scene.pass_time(5)
    scene.sent.clear()
    scene.ask("zmws.cancel", id="j")
    assert "F" not in scene.sent, "it knows no CANCEL"
    scene.pass_time(14.5)
    assert not scene.sent.get("F") and scene.core.roster.sessions.by_peer
    scene.pass_time(0.5)
    assert scene.sent["F"][0] == DISCONNECT and scene.counted("workers_dropped") == 1
    assert not scene.core.roster.sessions.by_peer


def test_a_worker_that_does_not_read_is_deaf_for_a_while_or_until_it_says_something() -> None:
    scene = Scene(limits={"stuck_peer_s": 3.0})
    for name in ("W", "V"):
        scene.ready(name)
        scene.alive.add(name)
    scene.unreach("W", "full")
    scene.submit("j")
    assert state(scene) == "deaf" and len(scene.requests("V")) == 1
    assert scene.record("j")["attempt"] == 2 and scene.record("j")["failures"] == 0
    scene.submit("k")
    scene.alive.clear()
    scene.pass_time(2.75)
    assert state(scene) == "deaf" and not scene.requests("W")
    del scene.unreachable["W"]
    scene.pass_time(0.25)
    assert scene.token("W").startswith(b"k/") and state(scene) == "busy"
    scene.final("W", session(scene).jobs[0].token or b"")
    scene.unreach("W", "full")
    scene.submit("l")
    assert state(scene) == "deaf"
    del scene.unreachable["W"]
    scene.beat("W")
    assert scene.token("W").startswith(b"l/"), "it reads, for it speaks"


def test_what_a_worker_may_forget_goes_with_the_next_heartbeat_and_only_once() -> None:
    scene = Scene()
    scene.ready("W")
    scene.sent.clear()
    tokens = []
    for n in range(2):
        scene.submit(f"j{n}")
        tokens.append(scene.token("W"))
        scene.final("W", tokens[-1])
    scene.beat("W")
    assert not scene.sent.get("W")
    scene.pass_time(5)
    assert scene.sent["W"] == [[b"MDPW02", b"\x05", b"DONE " + b" ".join(tokens)]]
    scene.sent.clear()
    scene.beat("W")
    scene.pass_time(5)
    assert not scene.sent.get("W")


def test_a_session_is_looked_at_when_something_is_due_and_not_oftener() -> None:
    scene = Scene()
    scene.ready("W")
    one = session(scene)
    assert one.registered_at == WALL_AT_START and one.timer_at == scene.now + 5
    scene.submit("j", ttr=3)
    assert one.timer_at == scene.now + 3
    scene.partial("W", scene.token("W"), b"TOUCH", b"2")
    assert one.timer_at == scene.now + 2
    scene.pass_time(1)
    scene.ask("zmws.cancel", id="j")
    scene.pass_time(1)
    assert one.timer_at == scene.now + 3, "the next heartbeat comes before the end of the grace"
    scene.pass_time(3)
    assert one.timer_at == scene.now + 1


def test_a_token_that_is_named_twice_takes_one_slot() -> None:
    scene = Scene()
    scene.ready("W", "E", slots=3, services={"E": {"slots": 2}}, holding=["a/1/x", "a/1/x"])
    (session,) = scene.core.roster.sessions.by_peer.values()
    assert len(session.holding) == 1 and session.has_room("E")
    session.let_go(b"a/1/x")
    scene.submit("j", "E")
    scene.submit("k", "E")
    assert len(session.holding) == 2 and not session.has_room("E")
