"""Sends that met a full pipe, in order, per peer: tried again soon, bounded, never waited for.

A high-water mark alone loses the FINAL behind a burst of PARTIALs to a healthy reader; so what cannot
leave waits here, and only what passes `bytes_max` for one peer, or `bytes_max_in_all` for all of them
together, is dropped, PARTIALs first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from zmws.wire.messages import ClientPartial, Peer

SENT, FULL, GONE = "sent", "full", "gone"

IN_ALL = 16  # peers' worth of `bytes_max` that all together may hold
PEERS_A_RETRY = 200  # peers that are tried at a time, in turn: those that never read cost little


@dataclass(slots=True)
class _Entry:
    frames: list[bytes]  # with the routing id; empty: it has been dropped
    message: object
    size: int


@dataclass(slots=True)
class _Queue:
    """What waits for one peer. A dropped entry stays in its place for a while, so that dropping one
    from the middle is no search."""

    entries: deque[_Entry] = field(default_factory=deque)
    partials: deque[_Entry] = field(default_factory=deque)  # those among them, some sent or dropped
    size: int = 0
    empty: int = 0  # dropped entries that still stand in `entries`

    def tidy(self) -> None:
        """Take out what is dropped: at the head at once, elsewhere when it is more than half of all."""
        while self.entries and not self.entries[0].frames:
            self.entries.popleft()
            self.empty -= 1
        if 2 * self.empty > len(self.entries):
            self.entries = deque(entry for entry in self.entries if entry.frames)
            self.empty = 0
        while self.partials and not self.partials[0].frames:
            self.partials.popleft()


class Outbox:
    """What waits for room in the pipes of its peers."""

    def __init__(
        self,
        bytes_max: int,
        try_send: Callable[[str, list[bytes]], str],
        bytes_max_in_all: int | None = None,
    ) -> None:
        """`try_send(socket, frames)` answers SENT, FULL or GONE."""
        self._bytes_max = bytes_max
        self._bytes_max_in_all = bytes_max_in_all or IN_ALL * bytes_max
        self._try_send = try_send
        self._queues: dict[Peer, _Queue] = {}
        self.bytes = 0  # that wait, for all peers
        self.dropped = 0  # messages, in all

    def __bool__(self) -> bool:
        return bool(self._queues)

    def __contains__(self, peer: Peer) -> bool:
        return peer in self._queues

    def __len__(self) -> int:
        """How many peers wait."""
        return len(self._queues)

    def put(self, peer: Peer, frames: list[bytes], message: object) -> None:
        """Queue behind what waits for this peer already."""
        queue = self._queues.get(peer)
        if queue is None:
            queue = self._queues[peer] = _Queue()
        entry = _Entry(frames, message, _size(frames))
        queue.entries.append(entry)
        if isinstance(message, ClientPartial):
            queue.partials.append(entry)
        self._grow(queue, entry.size)
        while queue.size > self._bytes_max:
            self._drop_one(peer, queue)
        while self.bytes > self._bytes_max_in_all:
            # Who makes it wait most loses, whoever came last.
            fattest = max(self._queues, key=lambda known: self._queues[known].size)
            self._drop_one(fattest, self._queues[fattest])

    def _drop_one(self, peer: Peer, queue: _Queue) -> None:
        # PARTIALs first, the oldest of them; a FINAL is what the caller waits for.
        queue.tidy()
        victim = queue.partials[0] if queue.partials else next(e for e in queue.entries if e.frames)
        self._grow(queue, -victim.size)
        self._clear(victim)
        queue.empty += 1
        self.dropped += 1
        queue.tidy()
        if not queue.size:
            del self._queues[peer]

    @staticmethod
    def _clear(entry: _Entry) -> None:
        entry.frames, entry.message = [], None

    def _grow(self, queue: _Queue, size: int) -> None:
        queue.size += size
        self.bytes += size

    def retry(self) -> list[tuple[Peer, object]]:
        """Try to send again, to some of the peers; returns the messages whose peer is gone."""
        gone: list[tuple[Peer, object]] = []
        for peer in list(self._queues)[:PEERS_A_RETRY]:
            queue = self._queues.pop(peer)
            self._send_all(peer, queue, gone)
            if queue.size:
                self._queues[peer] = queue  # to the end of the turn
        return gone

    def _send_all(self, peer: Peer, queue: _Queue, gone: list[tuple[Peer, object]]) -> None:
        entries = queue.entries
        while entries:
            entry = entries[0]
            if entry.frames:
                outcome = self._try_send(peer[0], entry.frames)
                if outcome == FULL:
                    break
                self._grow(queue, -entry.size)
                if outcome == GONE:
                    gone.append((peer, entry.message))
                self._clear(entry)
            else:
                queue.empty -= 1
            entries.popleft()
        queue.tidy()


def _size(frames: list[bytes]) -> int:
    return sum(map(len, frames)) + 64 * len(frames)
