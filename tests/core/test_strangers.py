"""Peers without a session: who is told once, who later, and who owes a FINAL."""

from __future__ import annotations

from tests.stage import Scene
from zmws import cron, ids
from zmws.core.limits import Limits
from zmws.core.strangers import Strangers
from zmws.core.turn import Turn
from zmws.wire import mdp
from zmws.wire.messages import DISCONNECT, RFC, Link, Peer

A: Peer = ("worker", b"a", "")
B: Peer = ("worker", b"b", "")
C: Peer = ("worker", b"c", "")
LINK = Link(RFC, True, True)


def strangers(most: int = 10) -> tuple[Strangers, Turn]:
    limits = Limits(strangers_max=most, strangers_keep_s=60.0, heartbeat_interval_s=5.0)
    turn = Turn(limits, ids.suppliers(cron))
    return Strangers(turn), turn


def told(turn: Turn) -> list[Peer]:
    assert all(send.message is DISCONNECT and send.link is not None for send in turn.sends)
    found, turn.sends = [send.peer for send in turn.sends], []
    return found


def test_a_peer_is_told_once_until_it_was_silent_or_has_registered() -> None:
    some, turn = strangers()
    assert some.out_of_turn(A, LINK) and turn.sends[0].link is LINK and told(turn) == [A]
    for now in (1.0, 50.0, 109.0):
        turn.now = now
        some.forget_old()
        assert not some.out_of_turn(A, None) and told(turn) == []
    assert turn.counters["out_of_turn_unanswered"] == 3
    turn.now = 169.0
    some.forget_old()
    assert len(some) == 1, "a minute is not over yet"
    turn.now = 169.1
    some.forget_old()
    assert len(some) == 0 and some.out_of_turn(A, None) and turn.sends[0].link == Link() and told(turn) == [A]
    some.registered(A)
    assert some.out_of_turn(A, None) and told(turn) == [A]
    some.invalid(B)
    assert not some.out_of_turn(B, None) and told(turn) == []


def test_only_so_many_are_remembered_the_latest() -> None:
    some, turn = strangers(most=2)
    for peer in (A, B, A, C):
        some.out_of_turn(peer, None)
    assert told(turn) == [A, B, C] and len(some) == 2
    assert turn.counters["strangers_forgotten"] == 1
    assert not some.out_of_turn(A, None) and not some.out_of_turn(C, None)
    assert some.out_of_turn(B, None)


def test_a_refused_ready_is_told_after_a_heartbeat_interval() -> None:
    some, turn = strangers()
    some.out_of_turn(A, None)
    turn.sends.clear()
    assert some.turn_away(A, LINK) and not some.turn_away(A, LINK)
    turn.now = 2.0
    assert some.turn_away(B, LINK) and len(some) == 2
    assert not some.out_of_turn(B, None) and turn.counters["out_of_turn_unanswered"] == 1
    assert [turn.timers.next(), len(turn.timers)] == [5.0, 1]
    for now, peers in ((4.9, []), (5.0, [A]), (6.9, []), (7.0, [B])):
        turn.now = now
        turn.remind()
        assert told(turn) == peers
    assert len(turn.timers) == 0 and not some.out_of_turn(A, None), "it has been told"


def test_of_the_refused_only_so_many_are_told() -> None:
    some, turn = strangers(most=2)
    for peer in (A, B, C):
        assert some.turn_away(peer, LINK)
    assert turn.counters["strangers_forgotten"] == 1
    turn.now = 5.0
    turn.remind()
    assert told(turn) == [B, C]


def test_what_is_owed_is_owed_until_its_time_or_until_it_is_paid() -> None:
    some, turn = strangers(most=2)
    some.owes(A, b"t1", 10.0)
    assert some.owed(B) is None
    turn.now = 9.9
    assert some.owed(A) == (b"t1", 10.0) and some.owed(A) is None
    some.owes(A, b"t1", 10.0)
    turn.now = 10.0
    assert some.owed(A) is None
    some.owes(A, b"t1", 20.0)
    some.paid(A, b"another")
    some.paid(B, b"t1")
    assert len(some) == 1
    some.paid(A, b"t1")
    assert len(some) == 0
    for peer, until in ((A, 15.0), (B, 16.0), (A, 17.0), (C, 18.0)):
        some.owes(peer, b"t", until)
    assert len(some) == 2 and turn.counters["strangers_forgotten"] == 1 and some.owed(B) is None
    turn.now = 17.0
    some.forget_old()
    assert len(some) == 1 and some.owed(C) == (b"t", 18.0)


def test_a_foreign_worker_that_was_given_up_gets_nothing_until_it_has_paid() -> None:
    scene = Scene(retries=9, backoff=0.5)
    for pays in (True, False):
        name = "F1" if pays else "F2"
        scene.foreign(name)
        scene.alive.add(name)
        scene.submit(f"j{pays}", ttr=4)
        token = scene.token(name)
        scene.pass_time(4)
        assert [mdp.MDPW02, mdp.W_DISCONNECT] in scene.sent[name]
        scene.foreign(name)
        scene.pass_time(3.5)
        assert not scene.requests(name)
        (row,) = scene.ask("zmws.workers")[1]
        assert row["state"] == "hung" and row["jobs"][0]["state"] == "hung"
        if pays:
            scene.work(name, mdp.W_FINAL, token, b"", b"late")
            assert scene.counted("results_refused") == 1
        else:
            scene.pass_time(0.5)
        assert len(scene.requests(name)) == 1
        scene.alive.discard(name)
        scene.work(name, mdp.W_DISCONNECT)
        scene.ask("zmws.cancel", all=True)
