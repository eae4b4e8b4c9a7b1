"""The outbox: order, bounds, and what is dropped first."""

from __future__ import annotations

import time

from zmws.server.outbox import FULL, GONE, PEERS_A_RETRY, SENT, Outbox
from zmws.wire.messages import NATIVE, ClientPartial, Completed, Peer, ReplyTo

TO = ReplyTo(NATIVE, ())
PARTIAL = ClientPartial("ECHO", "a", (), True, TO)
FINAL = Completed("ECHO", "a", (), True, TO)
ANN: Peer = ("client", b"ann", "")
BOB: Peer = ("client", b"bob", "")


class Pipes:
    """Pipes with room for a number of messages; what went through them."""

    def __init__(self, room: int = 0) -> None:
        self.room: dict[bytes, int] = {}
        self.default = room
        self.gone: set[bytes] = set()
        self.sent: list[bytes] = []
        self.tries = 0

    def __call__(self, socket: str, frames: list[bytes]) -> str:
        self.tries += 1
        who, body = frames
        if who in self.gone:
            return GONE
        room = self.room.get(who, self.default)
        if not room:
            return FULL
        self.room[who] = room - 1
        self.sent.append(body)
        return SENT


def test_what_waits_leaves_in_order_as_far_as_there_is_room() -> None:
    pipes = Pipes()
    outbox = Outbox(10_000, pipes)
    for n in range(5):
        outbox.put(ANN, [b"ann", b"%d" % n], PARTIAL if n < 4 else FINAL)
    assert outbox and ANN in outbox and BOB not in outbox
    assert outbox.retry() == [] and pipes.sent == []
    pipes.room[b"ann"] = 2
    outbox.retry()
    assert pipes.sent == [b"0", b"1"] and ANN in outbox
    pipes.room[b"ann"] = 10
    outbox.retry()
    assert pipes.sent == [b"0", b"1", b"2", b"3", b"4"]
    assert not outbox and ANN not in outbox and outbox.bytes == 0 and outbox.dropped == 0


def test_partials_are_dropped_first_and_the_oldest_of_them() -> None:
    pipes = Pipes()
    outbox = Outbox(5_000, pipes)
    outbox.put(ANN, [b"ann", b"final" + bytes(1_000)], FINAL)
    for n in range(6):
        outbox.put(ANN, [b"ann", b"%d" % n + bytes(1_000)], PARTIAL)
    outbox.put(ANN, [b"ann", b"last" + bytes(1_000)], FINAL)
    pipes.default = 100
    outbox.retry()
    assert [body.rstrip(b"\0") for body in pipes.sent] == [b"final", b"4", b"5", b"last"]
    assert outbox.dropped == 4


def test_finals_are_dropped_when_there_is_nothing_else() -> None:
    pipes = Pipes()
    outbox = Outbox(3_000, pipes)
    for n in range(4):
        outbox.put(ANN, [b"ann", b"%d" % n + bytes(1_000)], FINAL)
    pipes.default = 100
    outbox.retry()
    assert [body[:1] for body in pipes.sent] == [b"2", b"3"]
    assert outbox.dropped == 2


def test_a_message_larger_than_the_bound_is_dropped_and_leaves_nothing() -> None:
    outbox = Outbox(1_000, Pipes())
    outbox.put(ANN, [b"ann", bytes(2_000)], FINAL)
    assert not outbox and ANN not in outbox and outbox.bytes == 0 and outbox.dropped == 1
    assert outbox.retry() == []


def test_one_peers_burst_costs_another_nothing() -> None:
    pipes = Pipes()
    outbox = Outbox(3_000, pipes)
    outbox.put(BOB, [b"bob", b"bob's" + bytes(1_000)], FINAL)
    for _ in range(50):
        outbox.put(ANN, [b"ann", bytes(1_000)], PARTIAL)
    pipes.room[b"bob"] = 1
    outbox.retry()
    assert [body.rstrip(b"\0") for body in pipes.sent] == [b"bob's"]
    assert BOB not in outbox and ANN in outbox


def test_all_together_are_bounded_and_the_fattest_loses() -> None:
    pipes = Pipes()
    outbox = Outbox(10_000, pipes, bytes_max_in_all=20_000)
    outbox.put(BOB, [b"bob", b"bob's"], FINAL)
    for n in range(50):
        outbox.put(("client", b"%d" % n), [b"%d" % n, bytes(1_000)], PARTIAL)
        for _ in range(3):
            outbox.put(ANN, [b"ann", bytes(1_000)], PARTIAL)
        assert outbox.bytes <= 20_000
    assert BOB in outbox
    assert outbox.dropped > 100


def test_what_waits_for_a_peer_that_is_gone_is_told() -> None:
    pipes = Pipes()
    outbox = Outbox(10_000, pipes)
    outbox.put(ANN, [b"ann", b"0"], PARTIAL)
    outbox.put(ANN, [b"ann", b"1"], FINAL)
    pipes.gone.add(b"ann")
    assert outbox.retry() == [(ANN, PARTIAL), (ANN, FINAL)]
    assert not outbox and outbox.bytes == 0


def test_peers_that_never_read_are_tried_in_turn_and_a_few_at_a_time() -> None:
    pipes = Pipes()
    outbox = Outbox(10_000, pipes)
    for n in range(2 * PEERS_A_RETRY):
        outbox.put(("client", b"%d" % n), [b"%d" % n, b""], FINAL)
    outbox.put(BOB, [b"bob", b"bob's"], FINAL)
    pipes.room[b"bob"] = 1
    for _ in range(3):
        pipes.tries = 0
        outbox.retry()
        assert pipes.tries <= PEERS_A_RETRY + 1
    assert pipes.sent == [b"bob's"]
    assert len(outbox) == 2 * PEERS_A_RETRY


def test_an_outbox_that_overflows_for_long_neither_grows_nor_slows() -> None:
    outbox = Outbox(1_000_000, Pipes())
    outbox.put(ANN, [b"ann", b"a FINAL at its head"], FINAL)
    begun_at = time.process_time()
    for _ in range(100_000):
        outbox.put(ANN, [b"ann", bytes(100)], PARTIAL)
    assert time.process_time() - begun_at < 3
    queue = outbox._queues[ANN]
    assert len(queue.entries) < 20_000 and len(queue.partials) < 20_000
    assert queue.size == sum(entry.size for entry in queue.entries if entry.frames) <= 1_000_000


def test_many_finals_that_overflow_are_no_search_either() -> None:
    outbox = Outbox(1_000_000, Pipes())
    begun_at = time.process_time()
    for _ in range(50_000):
        outbox.put(ANN, [b"ann", bytes(100)], FINAL)
    assert time.process_time() - begun_at < 3
