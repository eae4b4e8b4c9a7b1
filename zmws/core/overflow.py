"""What strict peers ask for beyond what may wait: RFC 7 and RFC 18 know no refusal, so it is kept as bare
frames, and becomes jobs when there is room (docs/protocol.md, "Strict, on `mdp`").

Rule 1: in turn: one peer's requests in their order, the peers of a service one after the other.
Rule 2: bounded in all by `strict_held_bytes_max`. Past it the peer that makes it hold most is cut off, and
        what was kept for it is dropped.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from itertools import islice

from zmws.core.turn import Turn
from zmws.core.user import public_of
from zmws.wire.messages import Peer, ReplyTo

REQUEST_BYTES = 400  # what a kept request weighs beside its body, about
FRAME_BYTES = 64  # and each frame of that

# Body, how the answer goes back, steady time at which it came, seconds in which it must have begun.
Kept = tuple[tuple[bytes, ...], ReplyTo, float, float | None]


class Overflow:
    """Requests that are no jobs yet, by service and peer."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._services: OrderedDict[str, OrderedDict[Peer, deque[Kept]]] = OrderedDict()
        self.bytes_of: dict[Peer, int] = {}
        self.bytes = 0
        self.count = 0
        self.count_by: Counter[str] = Counter()  # by public key

    def __len__(self) -> int:
        """For how many services requests are kept."""
        return len(self._services)

    def services(self, most: int) -> list[str]:
        """So many of the services that requests are kept for, other ones the next time."""
        names = list(islice(self._services, most))
        if len(self._services) > most:
            for name in names:
                self._services.move_to_end(name)
        return names

    def count_of(self, service: str) -> int:
        """How many requests are kept for a service."""
        return sum(map(len, self._services.get(service, {}).values()))

    def __contains__(self, service: str) -> bool:
        return service in self._services

    def add(self, service: str, peer: Peer, kept: Kept) -> None:
        """Keep a request, and cut off who makes it too much."""
        peers = self._services.setdefault(service, OrderedDict())
        queue = peers.get(peer)
        if queue is None:
            queue = peers[peer] = deque()
        elif queue[-1][1] == kept[1]:
            kept = (kept[0], queue[-1][1], kept[2], kept[3])  # one ReplyTo for many
        queue.append(kept)
        self._grow(peer, _size(kept), 1)
        while self.bytes > self._turn.limits.strict_held_bytes_max:
            self._cut_off(max(self.bytes_of, key=lambda known: self.bytes_of[known]))

    def first(self, service: str) -> Kept | None:
        """The request whose turn it is."""
        peers = self._services.get(service)
        return next(iter(peers.values()))[0] if peers else None

    def take(self, service: str) -> tuple[Peer, Kept]:
        """Take it out."""
        peers = self._services[service]
        peer, queue = next(iter(peers.items()))
        kept = queue.popleft()
        if queue:
            peers.move_to_end(peer)
        else:
            self._drop(service, peer)
        self._grow(peer, -_size(kept), -1)
        return peer, kept

    def _cut_off(self, peer: Peer) -> None:
        before, size = self.count, self.bytes_of[peer]
        for service in [name for name, peers in self._services.items() if peer in peers]:
            for kept in self._services[service][peer]:
                self._grow(peer, -_size(kept), -1)
            self._drop(service, peer)
        turn, dropped = self._turn, before - self.count
        turn.cut(peer)
        turn.counters["connections_cut_for_strict_requests"] += 1
        turn.counters["strict_requests_dropped"] += dropped
        text = f"cut the connection on {peer[0]} with most of them: {dropped} requests of {size} bytes"
        turn.note("warning", f"strict_held_bytes_max is passed by requests that wait to be jobs: {text}")

    def _drop(self, service: str, peer: Peer) -> None:
        del self._services[service][peer]
        if not self._services[service]:
            del self._services[service]

    def _grow(self, peer: Peer, size: int, count: int) -> None:
        self.bytes += size
        self.count += count
        if peer[2]:
            self.count_by[public_of(peer[2])] += count
        of_peer = self.bytes_of.get(peer, 0) + size
        if of_peer:
            self.bytes_of[peer] = of_peer
        else:
            del self.bytes_of[peer]


def _size(kept: Kept) -> int:
    frames = (*kept[0], *kept[1].envelope)
    return REQUEST_BYTES + sum(map(len, frames)) + FRAME_BYTES * len(frames)
