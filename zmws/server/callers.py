"""Who is behind the connections of the sockets that are open to others: from which address, by which key.

Rule 1: neither an accepted connection nor its handshake says whose it is; the first message does. Where a key
        is not wanted any more, the connections of which that is not known go with it: they come back.
Rule 2: of one address there are at most so many connections, whatever they have said.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from zmws.server import connections
from zmws.wire.messages import Peer


@dataclass(slots=True)
class _Connection:
    inode: int
    socket: str  # the name of the endpoint
    address: str
    public: str = ""  # whose it is, once it has said something


def neighbours(address: str) -> str:
    """What counts as one address: of IPv6 the network of 64 bits, all of which one machine may have."""
    plain = address.partition("%")[0].removeprefix("::ffff:")
    return str(ipaddress.ip_network(f"{plain}/64", strict=False)) if ":" in plain else plain


class Callers:
    """The connections that there are."""

    def __init__(self, per_address_max: int, public_of: Callable[[str], str]) -> None:
        """`public_of`: the public key of a user."""
        self._per_address_max = per_address_max
        self._public_of = public_of
        self._known: dict[int, _Connection] = {}  # by descriptor
        self._seen: dict[Peer, int] = {}  # which descriptor their first message came over
        self._peers: dict[int, set[Peer]] = {}
        self._per_address: Counter[str] = Counter()
        self.by_key: Counter[str] = Counter()  # connections by public key
        self.too_many = 0  # that were cut, for their address had enough

    def accepted(self, socket: str, descriptor: int) -> bool:
        """There is a new connection; false if it was cut, for there are too many of its address."""
        self.closed(descriptor, None)  # if that was missed, its number means another one by now
        inode = connections.inode_of(descriptor)
        if inode is None:
            return True  # it has gone already
        address = neighbours(connections.address_of(descriptor, inode))
        if address and self._per_address[address] >= self._per_address_max:
            self.too_many += 1
            connections.cut(descriptor, inode)
            return False
        self._per_address[address] += 1
        self._known[descriptor] = _Connection(inode, socket, address)
        return True

    def closed(self, descriptor: int, socket: str | None) -> None:
        """It is there no more; the socket says so whose it was (None: whichever)."""
        known = self._known.get(descriptor)
        if socket is not None and known is not None and known.socket != socket:
            return  # told late, and by another: the number means another connection by now
        known = self._known.pop(descriptor, None)
        for peer in self._peers.pop(descriptor, ()):
            if self._seen.get(peer) == descriptor:
                del self._seen[peer]
        if known is None:
            return
        self._per_address[known.address] -= 1
        if not self._per_address[known.address]:
            del self._per_address[known.address]
        if known.public:
            self.by_key[known.public] -= 1
            if not self.by_key[known.public]:
                del self.by_key[known.public]

    def is_new(self, peer: Peer) -> bool:
        """Whether nothing of this peer has been seen yet."""
        return peer not in self._seen

    def seen(self, peer: Peer, descriptor: int) -> str:
        """The first message of a peer came over this connection. Gives the public key of it."""
        known, public = self._known.get(descriptor), self._public_of(peer[2])
        if known is None:
            return public
        self._seen[peer] = descriptor
        self._peers.setdefault(descriptor, set()).add(peer)
        if not known.public:
            known.public = public
            self.by_key[public] += 1
        return public

    def cut(self, peer: Peer) -> None:
        """Cut the connection of a peer."""
        descriptor = self._seen.get(peer, -1)
        known = self._known.get(descriptor)
        if known is not None:
            connections.cut(descriptor, known.inode)

    def cut_address(self, socket: str, address: str) -> int:
        """Cut all connections of an address to a socket; how many."""
        cut = 0
        for descriptor, known in list(self._known.items()):
            if known.socket == socket and known.address == neighbours(address):
                connections.cut(descriptor, known.inode)
                cut += 1
        return cut

    def cut_key(self, public: str, secured: frozenset[str]) -> int:
        """Cut all connections of a key, and at the sockets that ask for one those of nobody known; how
        many."""
        cut = 0
        for descriptor, known in list(self._known.items()):
            if known.public == public or (not known.public and known.socket in secured):
                connections.cut(descriptor, known.inode)
                cut += 1
        return cut

    def __len__(self) -> int:
        return len(self._known)
