"""`News`: what happens to jobs and workers, as the broker publishes it (docs/protocol.md, News).

Rule 1: news that nobody reads in time are dropped, by ZeroMQ and at the reader; the broker waits for nobody.
Rule 2: a broker that went away is waited for, without an end; that news may be missing is told (`lost`).
"""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any, NamedTuple

import zmq
from zmq.utils.monitor import recv_monitor_message

from zmws import sockets
from zmws.key_file import KeyFile
from zmws.wire.values import json_object

READ_MAX = 1_000  # of one read
_KEPT_MAX = 10_000  # that wait to be read here
_RECONNECT_MS, _RECONNECT_MAX_MS = 100, 1_000
_PING_MS, _SILENCE_MS = 5_000, 10_000
_WATCHED = int(zmq.Event.HANDSHAKE_SUCCEEDED | zmq.Event.DISCONNECTED)


class Item(NamedTuple):
    """One of them. `topic`: SERVICE.STATE, SERVICE.progress, worker.ready or worker.gone, with what
    docs/protocol.md says in `body`; `lost` or `back`, where the connection to the broker broke or is there
    again."""

    topic: str
    body: dict[str, Any]

    def is_of(self, service: str) -> bool:
        """Whether this is of a job of that service, or of a worker of it. News of a batch are of none."""
        return service in self.body.get("services", [self.body.get("service")])


class News:
    """A subscription. Used by one thread. `for item in news` reads without an end."""

    def __init__(self, endpoint: str, service: str | None = None, key: KeyFile | None = None) -> None:
        """`endpoint`: where the broker publishes; `service`: only the news of this one, and of its workers;
        `key`: who it is for a broker that asks."""
        self._service = service
        self._connected = False
        self._lost = False
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.SUB)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.IPV6, int("[" in endpoint))
        self._socket.setsockopt(zmq.RCVHWM, _KEPT_MAX)
        self._socket.setsockopt(zmq.RECONNECT_IVL, _RECONNECT_MS)
        self._socket.setsockopt(zmq.RECONNECT_IVL_MAX, _RECONNECT_MAX_MS)
        self._socket.setsockopt(zmq.HEARTBEAT_IVL, _PING_MS)
        self._socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, _SILENCE_MS)
        self._monitor: zmq.Socket[bytes] = self._socket.get_monitor_socket(_WATCHED)
        for topic in [b""] if service is None else [service.encode() + b".", b"worker."]:
            self._socket.setsockopt(zmq.SUBSCRIBE, topic)
        if key is not None:
            sockets.secure_client(self._socket, key.public, key.secret, key.broker)
        self._socket.connect(endpoint)
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._monitor, zmq.POLLIN)

    def read(self, timeout_s: float | None = None) -> list[Item]:
        """What has come by now; waits up to `timeout_s` seconds for the first, None: without an end."""
        self._poller.poll(None if timeout_s is None else int(max(0.0, timeout_s) * 1000))
        found = []
        while sockets.readable(self._monitor):
            found += self._connection(int(recv_monitor_message(self._monitor)["event"]))
        while len(found) < READ_MAX and sockets.readable(self._socket):
            found += self._item(sockets.recv(self._socket))
        return found

    def _connection(self, event: int) -> list[Item]:
        was, self._connected = self._connected, event != zmq.Event.DISCONNECTED
        if was and not self._connected:
            self._lost = True
            return [Item("lost", {})]
        if self._connected and self._lost:
            self._lost = False
            return [Item("back", {})]
        return []

    def _item(self, frames: list[bytes]) -> list[Item]:
        body = json_object(frames[1]) if len(frames) == 2 else None
        if body is None:
            return []  # no news of a broker's
        item = Item(frames[0].decode("utf-8", "replace"), body)
        return [item] if self._service is None or item.is_of(self._service) else []

    def __iter__(self) -> Iterator[Item]:
        while True:
            yield from self.read()

    def close(self) -> None:
        """Read no more."""
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._socket.close(linger=0)

    def __enter__(self) -> News:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
