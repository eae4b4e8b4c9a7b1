"""Who is registered, who is turned away, what is taken over, and how workers die."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.stage import Scene
from zmws.core.roster import HOLDING_MAX, TOKENS_MAX
from zmws.wire import mdp

DISCONNECT = [b"MDPW02", b"\x06"]


def rows(scene: Scene) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in scene.ask("zmws.workers", "viewer")[1]}


def pace(scene: Scene, name: str) -> dict[str, Any]:
    """What a worker that has just said READY was told."""
    told: dict[str, Any] = json.loads(scene.sent.pop(name)[0][2])
    return told


# ---------------------------------------------------------------- READY


def test_ready_is_greeted_with_the_pace_and_counted() -> None:
    scene = Scene(limits={"heartbeat_interval_s": 2.5, "heartbeat_liveness": 4, "cancel_grace_s": 1.5})
    scene.news_wanted = True
    scene.ready("W", host="box", pid=7, slots=3)
    ((_, _, pace),) = scene.sent["W"]
    assert json.loads(pace) == {
        "interval": 2.5,
        "liveness": 4,
        "message_bytes_max": 8_388_608,
        "cancel_grace": 1.5,
        "takes": ["RELEASE", "SLOTS", "SAVE", "STACK", "JOBS-JSON"],
    }
    assert scene.counted("workers_ready") == 1
    assert scene.sent["news"] == [
        [b"worker.ready", b'{"id": "w", "service": "E", "at": "2023-11-14T22:13:20.000Z"}']
    ]
    scene.beat("W", b"MEMORY 1234")
    assert rows(scene)["w"] == {
        "id": "w",
        "host": "box",
        "pid": 7,
        "services": ["E"],
        "slots": 3,
        "state": "idle",
        "jobs": [],
        "since": "2023-11-14T22:13:20.000Z",
        "done": 0,
        "failed": 0,
        "memory_bytes": 1234,
        "heard_at": "2023-11-14T22:13:20.000Z",
    }
    scene.sent.clear()
    scene.work("W", b"\x06")
    assert scene.sent["news"] == [
        [b"worker.gone", b'{"id": "w", "service": "E", "at": "2023-11-14T22:13:20.000Z", "why": "left"}']
    ]
    scene.ready("V", "E", services={"E": {}, "F": {}})
    told = json.loads(scene.sent["news"][-1][1])
    assert told == {"id": "v", "service": "E", "at": "2023-11-14T22:13:20.000Z", "services": ["E", "F"]}


def test_a_worker_of_several_services_is_the_first_of_each_and_known_after_a_restart() -> None:
    scene = Scene()
    scene.ready("W", "A", services={"A": {}, "B": {"slots": 1}})
    assert (scene.row("A")["workers"], scene.row("B")["workers"], scene.row("A")["idle"]) == (1, 1, 1)
    scene.restart()
    assert scene.row("A")["workers"] == 0 and b"JOB:" in scene.submit("j", "B")[3]


@pytest.mark.parametrize(
    ("limits", "frames", "counter"),
    [
        ({}, [b"zmws.job"], "ready_bad_service"),
        ({}, [b"SYNC-X"], "ready_bad_service"),
        ({}, [b"A", b'{"zmws": 1, "id": "w", "services": {"B": {}}}'], "ready_bad_service"),
        ({}, [b"A", b'{"zmws": 1, "id": "w", "services": {"A": {}, "mmi.x": {}}}'], "ready_bad_service"),
        ({"services_max": 2}, [b"A", b'{"zmws": 1, "id": "w", "services": {"A": {}, "B": {}}}'],
         "ready_services_max"),
        ({"services_max": 1}, [b"A"], "ready_services_max"),
        ({"sessions_max": 0}, [b"E"], "ready_sessions_max"),
    ],
)  # fmt: skip
def test_a_ready_that_cannot_be_taken_is_told_after_an_interval(
    limits: dict[str, Any], frames: list[bytes], counter: str
) -> None:
    scene = Scene(limits=limits)
    scene.work("W", mdp.W_READY, *frames)
    assert scene.counted(counter) == 1 and not scene.core.roster.sessions.by_peer and "W" not in scene.sent
    assert set(scene.core.held.services) == {"E"}
    scene.pass_time(5)
    assert scene.sent["W"] == [DISCONNECT]


def test_services_and_sessions_may_be_as_many_as_their_limits() -> None:
    scene = Scene(limits={"services_max": 3, "sessions_max": 2})
    scene.ready("W", "A", services={"A": {}, "B": {}, "E": {}})
    scene.ready("V", "B")
    scene.ready("U", "A")
    assert set(rows(scene)) == {"w", "v"} and scene.counted("ready_sessions_max") == 1
    scene.ready("V", "A", id="v2")
    assert set(rows(scene)) == {"w", "v2"}, "a READY of a registered peer is no new session"


def test_on_mdp_a_service_may_have_a_name_to_the_letter() -> None:
    scene = Scene()
    scene.receive("mdp", "M", [mdp.MDPW02, b"\x01", b"SYNC-X Y"])
    assert scene.row("SYNC-X Y")["workers"] == 1


def test_a_registered_worker_whose_new_ready_is_refused_is_gone() -> None:
    scene = Scene(retries=5)
    scene.ready("W")
    scene.submit("j")
    scene.work("W", mdp.W_READY, b"zmws.x")
    assert not scene.core.roster.sessions.by_peer and scene.record("j")["failures"] == 1


def test_a_workers_command_on_the_clients_socket_is_counted_and_told() -> None:
    scene = Scene()
    scene.receive("client", "W", [mdp.MDPW02, b"\x01", b"E"])
    assert scene.counted("worker_on_client_socket") == 1 and "W" not in scene.sent
    scene.pass_time(5)
    assert scene.sent["W"] == [DISCONNECT]
    scene.receive("client", "V", [mdp.MDPW02, b"\x05"])
    scene.receive("client", "U", [mdp.MDPW02, b"\x06"])
    assert scene.counted("worker_on_client_socket") == 3
    assert scene.sent["V"] == [DISCONNECT] and "U" not in scene.sent


# ---------------------------------------------------------------- coming back


def test_what_a_worker_brings_is_taken_over_and_what_is_dead_is_cancelled() -> None:
    scene = Scene()
    scene.ready("W", slots=3)
    for n in range(3):
        scene.submit(f"j{n}")
    tokens = [request[2] for request in scene.requests("W")]
    scene.ask("zmws.cancel", id="j2")
    scene.ready("W2", id="w", slots=3, holding=[tokens[0].decode(), tokens[2].decode()])
    assert scene.counted("reattached") == 1
    assert scene.record("j0")["attempt"] == 1 and scene.state("j2") == "cancelled"
    record = scene.record("j1")
    assert (record["attempt"], record["failures"]) == (2, 0), "its request never arrived"
    assert record["attempts"][0]["error"]["error"] == "the request never reached its worker"
    cancels = [frames[2] for frames in scene.sent["W2"] if frames[2].startswith(b"CANCEL")]
    assert cancels == [b"CANCEL " + tokens[2]]
    assert list(rows(scene)) == ["w"] and len(rows(scene)["w"]["jobs"]) == 3
    assert list(scene.service().ring.workers) == [scene.core.roster.sessions.by_id["w"]]


def test_a_result_that_a_worker_will_send_again_holds_its_job_until_then() -> None:
    scene = Scene()
    scene.ready("W")
    scene.submit("j")
    token = scene.token("W")
    scene.ready("W2", id="w", finished=[token.decode(), "gone/1/x"])
    assert scene.state("j") == "running" and not scene.requests("W2")
    scene.final("W2", token)
    assert scene.state("j") == "complete"
    scene.pass_time(5)
    done = [frames[2] for frames in scene.sent["W2"] if frames[2:] and frames[2].startswith(b"DONE")]
    assert done == [b"DONE gone/1/x " + token]


def test_a_job_that_another_worker_names_leaves_the_first() -> None:
    scene = Scene()
    scene.ready("W")
    scene.submit("j")
    token = scene.token("W")
    scene.ready("V", holding=[token.decode()])
    assert rows(scene)["w"]["state"] == "idle" and rows(scene)["v"]["state"] == "busy"
    scene.submit("k")
    assert scene.token("W").startswith(b"k/")
    scene.final("V", token)
    assert scene.record("j")["worker"] == "w" and scene.state("j") == "complete"


def test_a_foreign_worker_that_says_ready_again_has_lost_its_job() -> None:
    scene = Scene()
    scene.foreign("F")
    scene.submit("j")
    scene.foreign("F")
    record = scene.record("j")
    assert (record["failures"], record["attempt"]) == (1, 2)
    assert record["attempts"][0]["error"]["code"] == "worker_lost"
    assert record["attempts"][0]["error"]["error"].endswith("was lost: registered anew")
    name = record["worker"]
    assert name.startswith("foreign-") and len(name) == len("foreign-") + 10


def test_foreign_workers_of_one_routing_id_have_one_name_and_others_another() -> None:
    names = []
    for peer, socket in (("F", "worker"), ("F", "worker"), ("F", "mdp"), ("G", "worker")):
        scene = Scene()
        scene.receive(socket, peer, [mdp.MDPW02, b"\x01", b"E"])
        names += list(rows(scene))
    assert names[0] == names[1] and len(set(names)) == 3


# ---------------------------------------------------------------- HEARTBEAT


def test_a_token_that_is_not_live_takes_its_slot_and_is_cancelled_once() -> None:
    scene = Scene()
    scene.ready("W")
    scene.sent.clear()
    for _ in range(2):
        scene.beat("W", b"HOLDS gone/1/x")
    assert scene.sent["W"] == [[b"MDPW02", b"\x05", b"CANCEL gone/1/x"]]
    scene.submit("j")
    assert not scene.requests("W") and rows(scene)["w"]["jobs"][0]["id"] == "gone"
    scene.beat("W", b"RELEASE gone/1/x")
    assert scene.counted("released_dead") == 1 and scene.token("W").startswith(b"j/")
    scene.beat("W", b"HOLDS " + (scene.job("j").token or b""))
    assert not scene.sent.get("W"), "what it has it may name"


def test_a_worker_may_name_a_thousand_tokens_that_it_holds() -> None:
    assert (HOLDING_MAX, TOKENS_MAX) == (1_000, 100_000)
    scene = Scene()
    scene.ready("W")
    for first in (0, 600):
        scene.beat("W", b"HOLDS " + b" ".join(b"j%d/1/x" % n for n in range(first, first + 600)))
    (session,) = scene.core.roster.sessions.by_peer.values()
    assert len(session.holding) == HOLDING_MAX


@pytest.mark.parametrize("what", ["holding", "confirming", "done"])
def test_a_worker_with_more_tokens_than_can_be_is_sent_away(what: str) -> None:
    scene = Scene()
    for more in (0, 1):
        scene.ready("W")
        (session,) = scene.core.roster.sessions.by_peer.values()
        tokens = [b"t%d" % n for n in range(TOKENS_MAX + more)]
        if what == "confirming":
            session.confirming.update(tokens)
        elif what == "done":
            session.done.update(dict.fromkeys(tokens))
        else:
            session.holding = {token: session.hold(token, None) for token in tokens[:1]}
            session.holding = dict.fromkeys(tokens, next(iter(session.holding.values())))
        scene.sent.clear()
        scene.beat("W", b"MEMORY 1")
        assert bool(scene.core.roster.sessions.by_peer) is not bool(more)
        assert (DISCONNECT in scene.sent.get("W", [])) is bool(more)
    assert scene.counted("workers_with_too_many_tokens") == 1


# ---------------------------------------------------------------- going


def test_a_lost_worker_has_the_window_to_come_back() -> None:
    scene = Scene(limits={"reattach_window_s": 3.0, "probe_gap_s": 0.5})
    scene.ready("W")
    scene.submit("j")
    token = scene.token("W")
    scene.unreach("W", "gone")
    scene.pass_time(0.5)
    assert rows(scene)["w"]["state"] == "lost" and scene.counted("workers_lost") == 1
    assert scene.counted("undeliverable_gone") == 1
    scene.pass_time(2.25)
    assert scene.state("j") == "running"
    scene.ready("W2", id="w", holding=[token.decode()])
    scene.pass_time(20)
    assert scene.record("j")["attempt"] == 1 and scene.state("j") == "running"
    scene.unreach("W2", "gone")
    scene.pass_time(0.5 + 3)
    record = scene.record("j")
    assert (record["state"], record["failures"]) == ("waiting", 1)
    assert record["attempts"][0]["error"]["error"] == "the worker w was lost: its connection is gone"


def test_a_lost_worker_that_brings_its_result_is_there_again() -> None:
    scene = Scene()
    scene.ready("W")
    scene.submit("j")
    token = scene.token("W")
    scene.unreach("W", "gone")
    scene.pass_time(0.5)
    scene.submit("k")
    del scene.unreachable["W"]
    scene.beat("W")
    assert rows(scene)["w"]["state"] == "lost" and not scene.requests("W")
    scene.final("W", token)
    assert scene.token("W").startswith(b"k/")


def test_an_idle_worker_whose_connection_is_gone_is_gone_at_once() -> None:
    scene = Scene()
    scene.ready("W")
    scene.ready("V")
    scene.unreach("W", "gone")
    scene.unreach("V", "gone")
    scene.pass_time(5)
    assert not rows(scene) and scene.counted("workers_lost") == 0
    assert scene.row()["idle"] == 0 and not scene.service().ring.workers


def test_a_request_that_cannot_be_sent_comes_back_and_goes_to_another() -> None:
    scene = Scene()
    scene.ready("W")
    scene.ready("V")
    scene.unreachable["W"] = "gone"
    scene.submit("j")
    record = scene.record("j")
    assert (record["attempt"], record["failures"], record["worker"]) == (2, 0, "v")
    assert record["attempts"][0]["error"]["error"] == "the request could not be sent"
    assert set(rows(scene)) == {"v"}


def test_with_one_job_in_hand_the_loss_is_charged_and_with_several_only_to_what_runs_once() -> None:
    scene = Scene(retries=3)
    scene.ready("W", slots=3)
    scene.submit("a")
    scene.submit("b")
    scene.submit("once", retries=0)
    scene.work("W", b"\x09")  # an invalid message ends its session
    for job_id, failures, state in (("a", 0, "waiting"), ("b", 0, "waiting"), ("once", 1, "failed")):
        record = scene.record(job_id)
        assert (record["failures"], record["state"]) == (failures, state)
        error = record["attempts"][0]["error"]
        assert error["code"] == "worker_lost" and ("counted" in error) is (job_id != "once")
    assert scene.counted("attempts_lost") == 3


def test_a_busy_worker_is_probed_each_second_and_soon_when_a_connection_breaks() -> None:
    scene = Scene(limits={"probe_interval_s": 1.0, "probe_gap_s": 0.25})
    scene.ignore_heartbeats = False
    scene.ready("W")
    scene.ready("idle")
    scene.submit("j")
    scene.sent.clear()
    scene.pass_time(3)
    assert len(scene.sent["W"]) == 3 and "idle" not in scene.sent
    scene.sent.clear()
    for passed, beats in ((0.0, 0), (0.2, 0), (0.05, 1), (0.0, 1), (0.2, 1), (0.05, 2)):
        scene.node.connection_lost()
        scene.pass_time(passed)
        assert len(scene.sent.get("W", [])) == beats, passed


def test_an_invalid_message_ends_the_session_and_is_counted() -> None:
    scene = Scene()
    scene.ready("W")
    scene.submit("j")
    scene.sent.clear()
    scene.work("W", b"\x09")
    assert scene.sent["W"] == [DISCONNECT] and not scene.core.roster.sessions.by_peer
    assert scene.counted("invalid_messages") == 1 and scene.counted("invalid_bad_command") == 1
    assert scene.record("j")["failures"] == 1
    scene.beat("W")
    assert scene.sent["W"] == [DISCONNECT], "it was told already"
    scene.work("V", b"\x09")
    assert scene.counted("invalid_messages") == 2 and "V" not in scene.sent


def test_a_worker_that_could_not_be_sent_to_and_says_something_is_given_a_job_at_once() -> None:
    scene = Scene()
    scene.ready("W")
    scene.unreach("W", "full")
    scene.submit("j")
    assert scene.state("j") == "waiting"
    del scene.unreachable["W"]
    scene.beat("W", b"MEMORY 1")
    assert scene.state("j") == "running"


# ---------------------------------------------------------------- who leaves


DRAIN = [mdp.MDPW02, mdp.W_HEARTBEAT, b"DRAIN"]


def test_a_worker_is_told_where_clients_are_heard_as_it_is_bound() -> None:
    scene = Scene()
    scene.ready("W")
    assert "client" not in pace(scene, "W"), "there is no socket here"
    scene.core.host.client = "tcp://0.0.0.0:5555"
    scene.ready("V")
    assert pace(scene, "V")["client"] == "tcp://0.0.0.0:5555"


def test_a_drained_worker_is_drained_still_when_its_session_was_over_meanwhile() -> None:
    scene = Scene()
    scene.ready("W", host="h", pid=1)
    assert scene.ask("zmws.drain", worker="w") == (200, {"count": 1})
    scene.pass_time(15)
    assert not scene.core.roster.sessions.by_peer, "it was silent"
    scene.sent.clear()
    scene.ready("W2", host="h", pid=1, id="w")
    assert scene.sent["W2"][1:] == [DRAIN] and rows(scene)["w"]["state"] == "draining"
    assert scene.counted("workers_draining") == 2 and not scene.service().ring
    scene.work("W2", b"\x06")
    scene.sent.clear()
    scene.ready("W2", host="h", pid=1, id="w")
    assert len(scene.sent["W2"]) == 1, "it had left: this is a new beginning"


def test_only_so_many_drained_workers_are_remembered() -> None:
    scene = Scene(limits={"strangers_max": 2})
    for name in "XYZ":
        scene.ready(name)
        scene.ask("zmws.drain", worker=name.lower())
    scene.sent.clear()
    for name in "XYZ":
        scene.ready(name + "2", id=name.lower())
    assert [DRAIN in scene.sent[name] for name in ("X2", "Y2", "Z2")] == [False, True, True]


def test_who_drains_twice_tells_it_twice_and_counts_it_once() -> None:
    scene = Scene()
    scene.ready("W")
    scene.sent.clear()
    scene.ask("zmws.drain", service="E")
    assert scene.ask("zmws.drain", service="E") == (200, {"count": 1})
    assert scene.sent["W"] == [DRAIN, DRAIN] and scene.counted("workers_draining") == 1


def test_a_drained_worker_is_not_kept_free_for_a_suspect() -> None:
    scene = Scene()
    for name in ("W", "V"):
        scene.ready(name, slots=2, id=name.lower())
    for n in range(3):
        scene.submit(f"j{n}")
    scene.unreach("W", "gone")
    scene.pass_time(2)
    reserved = scene.service().ring.reserved
    assert reserved is not None and reserved.name == "v" and scene.service().parked
    scene.ask("zmws.drain", worker="v")
    assert scene.service().ring.reserved is None


def test_a_busy_foreign_worker_that_is_drained_and_hangs_is_sent_away_when_it_is_given_up() -> None:
    scene = Scene()
    scene.foreign("F")
    scene.submit("j", ttr=5, retries=0)
    (row,) = scene.ask("zmws.workers")[1]
    scene.sent.clear()
    assert scene.ask("zmws.drain", worker=row["id"]) == (200, {"count": 1})
    assert "F" not in scene.sent and scene.ask("zmws.workers")[1][0]["state"] == "draining"
    scene.pass_time(5)
    assert scene.sent["F"][-1] == DISCONNECT and not scene.core.roster.sessions.by_peer


def test_a_foreign_worker_whose_request_did_not_arrive_is_sent_away() -> None:
    scene = Scene()
    scene.foreign("F")
    scene.submit("j")
    scene.ask("zmws.drain", service="E")
    scene.sent.clear()
    job = scene.core.held.find("j")
    assert job is not None and job.token is not None
    scene.work("G", mdp.W_FINAL, job.token, b"", b"x")
    scene.pass_time(0)
    assert scene.sent["F"][-1] == DISCONNECT, "its job was ended by another"


# ---------------------------------------------------------------- states


def test_each_state_of_a_worker_is_counted_when_it_comes_into_it() -> None:
    scene = Scene()
    names = ("deaf", "silent", "hung", "lost", "draining")

    def counted() -> list[int]:
        return [scene.counted(f"workers_{name}") for name in names]

    scene.ready("W", slots=3)
    scene.submit("j", ttr=60)
    token = scene.token("W")
    scene.beat("W", b"HOLDS " + token, b"SLOTS 0")
    assert rows(scene)["w"]["state"] == "draining" and counted() == [0, 0, 0, 0, 1]
    scene.beat("W", b"SLOTS 3")
    scene.submit("k")
    scene.requests("W")
    scene.pass_time(10.25)
    scene.beat("W")
    assert rows(scene)["w"]["state"] == "deaf" and counted() == [1, 0, 0, 0, 1]
    scene.beat("W")
    scene.pass_time(16)
    assert rows(scene)["w"]["state"] == "silent" and counted() == [1, 1, 0, 0, 1]
    scene.ask("zmws.cancel", id="j")
    scene.pass_time(5)
    assert rows(scene)["w"]["state"] == "hung" and counted() == [1, 1, 1, 0, 1]
    scene.unreach("W", "gone")
    scene.pass_time(0.5)
    assert rows(scene)["w"]["state"] == "lost" and counted() == [1, 1, 1, 1, 1]


def test_a_worker_that_cannot_be_sent_to_is_deaf_and_counted() -> None:
    scene = Scene()
    scene.ready("W")
    scene.unreach("W", "full")
    scene.submit("j")
    assert rows(scene)["w"]["state"] == "deaf" and scene.counted("workers_deaf") == 1
