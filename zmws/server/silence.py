"""Stopped workers: a process that stands still keeps its connection, and answers nothing on it.

A worker of ours that holds a job is not expired for silence (README.md, What it promises): C code may keep
its interpreter's lock. But its libzmq goes on sending PINGs, so a connection over which nothing at all has
come for the expiry belongs to a stopped process or machine, and is cut: the rest is as with any lost
connection. ZMTP heartbeats from the broker's side would do the same, but make libzmq abort the process
when a flooding peer is reset (docs/decisions.md). Over ipc nothing tells; there `ttr` is the bound.
"""

from __future__ import annotations

from collections.abc import Container

from zmws.server import connections
from zmws.wire.messages import Peer

MARGIN_S = 0.5  # cut a little early: the probe and the reattach window come on top


class SilenceWatch:
    """The connections over which workers of ours registered."""

    def __init__(self) -> None:
        self._connections: dict[Peer, tuple[int, int]] = {}  # descriptor and inode

    def registered(self, peer: Peer, descriptor: int) -> None:
        """A worker of ours said READY over this connection."""
        inode = connections.inode_of(descriptor)
        if inode is not None:
            self._connections[peer] = (descriptor, inode)

    def cut_if_silent(self, peer: Peer, expiry_s: float) -> bool:
        """Cut the connection if nothing has come over it for the expiry; true if it was."""
        known = self._connections.get(peer)
        if known is None:
            return False
        silent_s = connections.silent_s(*known)
        if silent_s is None or silent_s < expiry_s - min(MARGIN_S, expiry_s / 10):
            return False
        connections.cut(*known)
        del self._connections[peer]
        return True

    def keep_only(self, peers: Container[Peer], count: int) -> None:
        """Forget those that are registered no more, when they have become many. `count`: of `peers`."""
        if len(self._connections) > 2 * count + 100:
            self._connections = {peer: known for peer, known in self._connections.items() if peer in peers}
