"""Sends that met a full pipe, in order, per peer: tried again soon, bounded, never waited for.

A high-water mark alone loses the FINAL behind a burst of PARTIALs to a healthy reader; so what cannot
leave waits here, and only what passes `bytes_max` for one peer is dropped, PARTIALs first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from zmws.core.mdp import ClientPartial

Peer = tuple[str, bytes]
Entry = tuple[list[bytes], object]  # frames with the routing id, and the message they are of

SENT, FULL, GONE = "sent", "full", "gone"


class Outbox:
    """What waits for room in the pipes of its peers."""

    def __init__(self, bytes_max: int, try_send: Callable[[str, list[bytes]], str]) -> None:
        """`try_send(socket, frames)` answers SENT, FULL or GONE."""
        self._bytes_max = bytes_max
        self._try_send = try_send
        self._queues: dict[Peer, deque[Entry]] = {}
        self._bytes: dict[Peer, int] = {}
        self.dropped = 0

    def __bool__(self) -> bool:
        return bool(self._queues)

    def __contains__(self, peer: Peer) -> bool:
        return peer in self._queues

    def put(self, peer: Peer, frames: list[bytes], message: object) -> None:
        """Queue behind what waits for this peer already."""
        queue = self._queues.setdefault(peer, deque())
        queue.append((frames, message))
        self._bytes[peer] = self._bytes.get(peer, 0) + _size(frames)
        if self._bytes[peer] > self._bytes_max:
            self._make_room(peer, queue)

    def _make_room(self, peer: Peer, queue: deque[Entry]) -> None:
        # PARTIALs first; a FINAL is what the caller waits for.
        for wanted in (ClientPartial, object):
            for entry in list(queue):
                if self._bytes[peer] <= self._bytes_max:
                    return
                if isinstance(entry[1], wanted):
                    queue.remove(entry)
                    self._bytes[peer] -= _size(entry[0])
                    self.dropped += 1

    def retry(self) -> list[tuple[Peer, object]]:
        """Try to send again; returns the messages whose peer is gone."""
        gone: list[tuple[Peer, object]] = []
        for peer, queue in list(self._queues.items()):
            while queue:
                outcome = self._try_send(peer[0], queue[0][0])
                if outcome == FULL:
                    break
                frames, message = queue.popleft()
                self._bytes[peer] -= _size(frames)
                if outcome == GONE:
                    gone.append((peer, message))
            if not queue:
                del self._queues[peer], self._bytes[peer]
        return gone


def _size(frames: list[bytes]) -> int:
    return sum(map(len, frames)) + 64 * len(frames)
