"""The client's I/O thread: one connection, any number of requests in flight, from any thread.

Rule 1: the thread decides nothing: `ClientDialog` does. It moves frames and keeps time.
Rule 2: the answer of a request is a concurrent Future, so that threads and asyncio can both wait.
"""

from __future__ import annotations

import itertools
import math
import os
import socket
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import zmq

from zmws.core.client_dialog import Answered, ClientDialog, ClientSettings, Unanswered
from zmws.core.messages import Reply
from zmws.core.worker_dialog import Open, Transmit
from zmws.errors import ZmwsError
from zmws.sockets import Line, check_endpoint

HEARTBEAT_S = 5.0
_names = itertools.count(1)

Partial = Callable[[tuple[bytes, ...]], None]


@dataclass(slots=True)
class Ask:
    """A request on its way to the thread."""

    service: str
    sync: bool
    options: dict[str, Any]
    body: tuple[bytes, ...]
    timeout_s: float | None
    future: Future[Reply]
    on_partial: Partial | None
    number: bytes = b""  # once it is in flight


class Connection:
    """Requests in, futures out. Thread-safe."""

    def __init__(self, brokers: Sequence[str], settings: ClientSettings | None = None) -> None:
        for endpoint in brokers:
            check_endpoint(endpoint)
        self._dialog = ClientDialog(brokers, settings)
        self._asks: deque[Ask] = deque()
        self._closing = False
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        self._wake_r, self._wake_w = socket.socketpair()
        self._wake_r.setblocking(False)
        self._wake_w.setblocking(False)
        # A client that nobody closed must not keep its thread alive.
        self._finalizer = weakref.finalize(self, _close_quietly, self._wake_w)

    def request(
        self,
        service: str,
        sync: bool,
        options: dict[str, Any],
        body: tuple[bytes, ...],
        timeout_s: float | None,
        on_partial: Partial | None = None,
    ) -> Future[Reply]:
        """Ask; the future brings the last answer, or raises JobTimeout or BrokerUnreachable."""
        if os.getpid() != self._pid:
            raise ZmwsError("this client was made before a fork; make one in each process")
        if self._thread is not None and not self._thread.is_alive():
            raise ZmwsError("this client's connection has failed; make another client")
        future: Future[Reply] = Future()
        # Under the lock that `close` takes, so that the thread finds every request before its end.
        with self._lock:
            if self._closing:
                raise ZmwsError("this client is closed")
            ask = Ask(service, sync, options, body, timeout_s, future, on_partial)
            self._asks.append(ask)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=_serve,
                    args=(self._dialog, self._asks, self._wake_r),
                    name=f"zmws-client-{next(_names)}",
                    daemon=True,
                )
                self._thread.start()
        future.add_done_callback(lambda done: self._forget(ask) if done.cancelled() else None)
        self._wake()
        return future

    def _forget(self, ask: Ask) -> None:
        """Its caller has cancelled: it is not asked again. The job itself goes on."""
        self._asks.append(ask)
        self._wake()

    def close(self) -> None:
        """Close the connection; what is in flight is answered with an error."""
        with self._lock:
            self._closing = True
        self._finalizer()
        thread = self._thread
        if thread is not None and thread.is_alive():
            if thread is not threading.current_thread():
                thread.join()
        elif thread is None or thread.ident is None:  # Ctrl-C can fall before its start
            self._wake_r.close()

    def _wake(self) -> None:
        try:
            self._wake_w.send(b"\0")
        except OSError:
            return  # it is awake already


def _close_quietly(wake: socket.socket) -> None:
    wake.close()  # the thread reads the end of the stream, and ends


def _serve(dialog: ClientDialog, asks: deque[Ask], wake: socket.socket) -> None:
    """The thread. It holds no reference to the Connection, so that that can be collected."""
    fault: BaseException = ZmwsError("this client was closed before the answer came")
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    loop = _Loop(context, dialog, asks, wake)
    try:
        loop.serve()
    except BaseException as broken:
        fault = broken
        raise
    finally:
        loop.end(fault)
        wake.close()
        context.destroy(linger=200)


class _Loop:
    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        dialog: ClientDialog,
        asks: deque[Ask],
        wake: socket.socket,
    ) -> None:
        self._dialog = dialog
        self._asks = asks
        self._wake = wake
        self._in_flight: dict[bytes, Ask] = {}
        self._poller = zmq.Poller()
        self._line = Line(context, self._poller)
        self._poller.register(wake.fileno(), zmq.POLLIN)

    def serve(self) -> None:
        """Until the waking end is closed."""
        dialog = self._dialog
        while True:
            due = dialog.next_deadline()
            wait = 3600.0 if due is None else max(0.0, due - time.monotonic())
            self._poller.poll(math.ceil(min(wait, 3600.0) * 1000))
            now = time.monotonic()
            still_open = self._was_woken()
            while self._asks:
                ask = self._asks.popleft()
                if ask.future.cancelled():
                    dialog.forget(ask.number)
                    self._in_flight.pop(ask.number, None)
                    continue
                number = dialog.request(now, ask.service, ask.sync, ask.options, ask.body, ask.timeout_s)
                self._in_flight[number] = ask
                ask.number = number
            self._watch(now)
            self._receive(now)
            dialog.tick(now)
            self._act()
            if not still_open:
                self._line.close(linger_ms=200)
                return

    def end(self, fault: BaseException) -> None:
        """Nobody will answer any more."""
        waiting = [*self._in_flight.values(), *self._asks]
        for ask in waiting:
            if ask.future.set_running_or_notify_cancel():
                ask.future.set_exception(fault)

    def _was_woken(self) -> bool:
        try:
            while True:
                if not self._wake.recv(4096):
                    return False
        except BlockingIOError:
            return True

    def _receive(self, now: float) -> None:
        while (frames := self._line.recv()) is not None:
            self._dialog.receive(now, frames)

    def _watch(self, now: float) -> None:
        while (event := self._line.event()) is not None:
            if event == "up":
                self._dialog.connected(now)
            else:
                self._receive(now)
                self._dialog.disconnected(now)

    def _act(self) -> None:
        for action in self._dialog.take():
            if isinstance(action, Transmit):
                self._line.send(action.frames)
            elif isinstance(action, Answered):
                self._answer(action)
            elif isinstance(action, Open):
                self._line.open(action.endpoint, HEARTBEAT_S, 2 * HEARTBEAT_S)
            else:
                assert isinstance(action, Unanswered), action
                unanswered = self._in_flight.pop(action.number, None)
                if unanswered is not None and unanswered.future.set_running_or_notify_cancel():
                    unanswered.future.set_exception(action.error)

    def _answer(self, action: Answered) -> None:
        reply = action.reply
        ask = self._in_flight.get(action.number)
        if ask is None:
            return  # its caller's on_partial failed at an earlier part
        if reply.kind == "partial":
            self._on_partial(action.number, ask, reply)
            return
        del self._in_flight[action.number]
        if ask.future.set_running_or_notify_cancel():
            ask.future.set_result(reply)

    def _on_partial(self, number: bytes, ask: Ask, reply: Reply) -> None:
        if ask.on_partial is None:
            return
        try:
            ask.on_partial(reply.body)
        except BaseException as fault:
            # The caller's own code: this one call fails with it, and all others go on.
            del self._in_flight[number]
            self._dialog.forget(number)
            if ask.future.set_running_or_notify_cancel():
                ask.future.set_exception(fault)
