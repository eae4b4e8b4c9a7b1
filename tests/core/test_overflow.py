"""What strict peers ask beyond what may wait: order, count, bound."""

from __future__ import annotations

import pytest

from zmws import cron, ids
from zmws.core.limits import Limits
from zmws.core.overflow import Overflow
from zmws.core.turn import Turn
from zmws.wire.messages import STRICT, Peer, ReplyTo

TO = ReplyTo(STRICT, ())
A: Peer = ("mdp", b"a", "")
B: Peer = ("mdp", b"b", "")


def overflow(bytes_max: int = 1_000_000) -> tuple[Overflow, Turn]:
    turn = Turn(Limits(strict_held_bytes_max=bytes_max), ids.suppliers(cron))
    return Overflow(turn), turn


def test_peers_take_turns_and_each_keeps_its_order() -> None:
    kept, _ = overflow()
    for peer, body in ((A, b"1"), (A, b"2"), (A, b"3"), (B, b"4")):
        kept.add("E", peer, ((body,), TO, 0.0, None))
    taken = [kept.take("E") for _ in range(4)]
    assert [(peer, request[0][0]) for peer, request in taken] == [(A, b"1"), (B, b"4"), (A, b"2"), (A, b"3")]
    assert (len(kept), kept.count, kept.bytes, kept.bytes_of, kept.first("E")) == (0, 0, 0, {}, None)


def test_one_reply_to_stands_for_many() -> None:
    kept, _ = overflow()
    for _ in range(2):
        kept.add("E", A, ((b"x",), ReplyTo(STRICT, (b"",)), 0.0, None))
    (_, first), (_, second) = kept.take("E"), kept.take("E")
    assert first[1] is second[1]


def test_who_makes_it_hold_most_is_cut_off_in_all_services() -> None:
    kept, turn = overflow(bytes_max=3_000)
    kept.add("E", B, ((b"x",), TO, 0.0, None))
    for service in "EF":
        for _ in range(3):
            kept.add(service, A, ((b"x",), TO, 0.0, None))
    assert turn.cuts == [A]
    assert kept.services(10) == ["E"] and kept.count == 1 and set(kept.bytes_of) == {B}
    assert turn.counters["strict_requests_dropped"] == 6


def test_many_services_are_looked_at_in_turn() -> None:
    kept, _ = overflow()
    for n in range(5):
        kept.add(str(n), A, ((b"x",), TO, 0.0, None))
    assert [kept.services(2) for _ in range(3)] == [["0", "1"], ["2", "3"], ["4", "0"]]


@pytest.mark.parametrize(
    ("body", "envelope", "weighs"),
    [((), (), 400), ((b"",), (), 464), ((b"abc",), (), 467), ((b"abc", b"d"), (b"e", b""), 400 + 5 + 4 * 64)],
)
def test_a_kept_request_weighs_its_frames_and_a_little_more(
    body: tuple[bytes, ...], envelope: tuple[bytes, ...], weighs: int
) -> None:
    kept, _ = overflow()
    kept.add("E", A, (body, ReplyTo(STRICT, envelope), 0.0, None))
    assert kept.bytes == weighs and kept.bytes_of == {A: weighs} and kept.count == len(kept) == 1
    assert kept.take("E")[0] == A and (kept.bytes, kept.bytes_of, kept.count) == (0, {}, 0)


@pytest.mark.parametrize(("bytes_max", "cut"), [(2 * 465, False), (2 * 465 - 1, True)])
def test_exactly_the_bound_may_be_kept(bytes_max: int, cut: bool) -> None:
    kept, turn = overflow(bytes_max)
    for _ in range(2):
        kept.add("E", A, ((b"x",), TO, 0.0, None))
    assert bool(turn.cuts) is cut
    assert turn.counters["connections_cut_for_strict_requests"] == cut
    assert any("2 requests of 930 bytes" in text for _, text in turn.log) is cut


def test_requests_are_counted_by_service_and_told_whether_there_are_any() -> None:
    kept, _ = overflow()
    assert kept.count_of("E") == 0 and "E" not in kept and kept.first("E") is None
    for peer, body in ((A, b"1"), (B, b"2"), (A, b"3")):
        kept.add("E", peer, ((body,), TO, 5.0, 9.0))
    assert kept.count_of("E") == 3 and "E" in kept and kept.services(1) == ["E"]
    assert kept.first("E") == ((b"1",), TO, 5.0, 9.0)


def test_as_many_services_as_are_asked_for_stay_in_their_order() -> None:
    kept, _ = overflow()
    for name in "EF":
        kept.add(name, A, ((b"x",), TO, 0.0, None))
    assert kept.services(2) == ["E", "F"] and kept.services(2) == ["E", "F"]
    assert kept.services(1) == ["E"] and kept.services(1) == ["F"]
