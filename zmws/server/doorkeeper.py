"""Who comes in at the sockets, and who is cut: by its key, by its address, by what it listens to
(docs/security.md).

Rule 1: a message is its sender's alone: libzmq says with it by which connection it came, and by which key.
Rule 2: what is too much is cut and counted, and the log says so.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable

import zmq

from zmws import sockets
from zmws.core.keys import Keys
from zmws.core.user import public_of
from zmws.server.callers import Callers
from zmws.server.endpoints import FAILED, Endpoint
from zmws.server.memory_guard import MemoryGuard
from zmws.server.subscriptions import Subscriptions
from zmws.settings import SecuritySettings
from zmws.wire.messages import Peer

log = logging.getLogger("zmws.broker")

SUBSCRIPTIONS_MAX = 200  # that are taken in at once
_NOBODY = "?"  # at a socket that asks for keys; no user of a key


class Doorkeeper:
    """Knows the connections of all sockets."""

    def __init__(
        self, security: SecuritySettings, keys: Keys, counters: Counter[str], guard: MemoryGuard
    ) -> None:
        self._keys = keys
        self._counters = counters
        self._guard = guard
        self.callers = Callers(security.connections_per_address, public_of)
        self.subscriptions = Subscriptions(security.topics_per_address)
        keys.connections = self.callers.by_key

    def caller(self, name: str, routing_id: bytes, last: zmq.Frame) -> Peer | None:
        """Who has sent a message, at a socket that knows; None if he is cut for it."""
        # Of a message whose connection broke within it nothing says who has sent it: nobody, who may nothing.
        peer = (name, routing_id, sockets.user_of(last) or _NOBODY)
        if self.callers.is_new(peer):
            public = self.callers.seen(peer, sockets.descriptor_of(last))
            key = self._keys.of(peer[2])
            most = None if key is None else key.row.connections_max
            # What was not known yet when it knocked; and nobody comes in by a key that was revoked since.
            if key is None or (most is not None and self.callers.by_key[public] > most):
                self._counters["connections_cut_for_keys"] += 1
                self.callers.cut(peer)
                return None
        return peer

    def watch(self, endpoint: Endpoint) -> bool:
        """What a monitor saw: which descriptors there are, and that a connection broke. True: one of a
        worker's, perhaps."""
        lost = False
        for event, descriptor in endpoint.events():
            if event == zmq.Event.ACCEPTED:
                if endpoint.is_open and not self.callers.accepted(endpoint.name, descriptor):
                    self._counters["connections_cut_for_their_address"] += 1
                    continue
                self._guard.accepted(descriptor)
            elif event & FAILED:
                self._counters["handshakes_failed"] += 1
            elif event == zmq.Event.DISCONNECTED:
                self._guard.closed(descriptor)
                if endpoint.is_open:
                    self.callers.closed(descriptor, endpoint.name)
                if endpoint.name in ("worker", "mdp"):
                    lost = True
        return lost

    def take_subscriptions(self, endpoint: Endpoint) -> bool:
        """They come in as messages: 1 and the topic, or 0 and the topic. True: somebody listens."""
        subscriptions = self.subscriptions
        greedy = set()
        for _ in range(SUBSCRIPTIONS_MAX):
            if not sockets.readable(endpoint.socket):
                break
            frames, last = sockets.recv_at_most(endpoint.socket, 2)
            what, topic = frames[0][:1], frames[0][1:]
            if len(frames) == 1 and what == b"\x01":
                address = sockets.address_of(last)
                if not subscriptions.begun(topic, address):
                    greedy.add(address)
            elif len(frames) != 1 or what != b"\x00" or not subscriptions.ended(topic):
                self._counters["invalid_messages"] += 1
        if endpoint.is_open:
            for address in greedy:
                cut = self.callers.cut_address("news", address)
                self._counters["connections_cut_for_their_topics"] += cut
                if cut:
                    self._guard.much_is_freed()
                    log.warning(
                        "news: cut %d connections from %s: too many topics (topics_per_address)", cut, address
                    )
        return len(subscriptions) > 0

    def cut_keys(self, publics: Iterable[str], endpoints: Iterable[Endpoint]) -> None:
        """Cut whoever came by these keys, at those of the sockets that ask for one."""
        secured = frozenset(one.name for one in endpoints if one.is_secured)
        for public in publics:
            cut = self.callers.cut_key(public, secured)
            self._counters["connections_cut_for_keys"] += cut
