"""The client's own thread: one connection, any number of requests in flight, from any thread.

Rule 1: the thread decides nothing: `ClientDialog` does. It moves frames and keeps time.
Rule 2: the answer of a request is a concurrent Future, so that threads and asyncio can both wait.
Rule 3: whatever is asked is answered, whatever happens to the thread.
Rule 4: there is no lock. A signal handler may interrupt a caller anywhere and ask, wait or close itself,
        so that each step that is shared is a single atomic one, and may be done twice.
"""

from __future__ import annotations

import _thread
import contextlib
import math
import os
import socket
import sys
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import zmq

from zmws.client.asked import Asked, Home
from zmws.dialog.client import Answered, ClientDialog, ClientSettings, Unanswered
from zmws.dialog.worker import Open, Transmit
from zmws.errors import ZmwsError
from zmws.real_threads import need_real_threads
from zmws.sockets import Line, NoDescriptors, check_endpoint
from zmws.wire.messages import Reply

HEARTBEAT_S = 5.0

Partial = Callable[[tuple[bytes, ...]], None]


@dataclass(slots=True)
class Ask:
    """A request on its way to the thread."""

    service: str
    sync: bool
    options: dict[str, Any]
    body: tuple[bytes, ...]
    timeout_s: float | None
    future: Asked[Reply]
    on_partial: Partial | None
    number: bytes = b""  # once it is in flight


@dataclass(slots=True, eq=False)
class _Desk:
    """What callers and the thread share. It outlives the Connection, which the thread must not hold."""

    dialog: ClientDialog
    wake: socket.socket  # the thread's end: a byte for what is new, the end of the stream for the end
    pid: int = field(default_factory=os.getpid)  # whose thread and callers these are
    asks: deque[Ask] = field(default_factory=deque)  # new ones, and those whose caller has cancelled
    in_flight: dict[bytes, Ask] = field(default_factory=dict)
    home: Home = field(default_factory=Home)
    ended: Asked[None] = field(default_factory=Asked)
    why: Callable[[], ZmwsError] | None = None  # once nobody answers any more
    _owner: dict[str, object] = field(default_factory=dict)

    @property
    def owned(self) -> bool:
        """Whether somebody answers: the thread, or who closed the client before there was one."""
        return bool(self._owner)

    def own(self, who: object) -> bool:
        """Become the one who answers; true if `who` is. The first stays it."""
        return self._owner.setdefault("owner", who) is who

    def end(self, why: Callable[[], ZmwsError]) -> None:
        """Nobody answers any more: all that has been asked, and that will be, fails with `why()`."""
        self.why = self.why or why  # before the queue is emptied: who asks later looks at this
        for ask in list(self.in_flight.values()):
            ask.future.settle(fault=why())
        self.in_flight.clear()
        self.turn_away()

    def turn_away(self) -> None:
        """Fail what is in the queue, after the end."""
        assert self.why is not None
        while (ask := self.next()) is not None:
            ask.future.settle(fault=self.why())

    def next(self) -> Ask | None:
        """Take from the queue; each goes to one taker."""
        try:
            return self.asks.popleft()
        except IndexError:
            return None


_CLOSER = object()  # owns a desk that was closed before it had a thread


class Connection:
    """Requests in, futures out. From any thread or signal handler."""

    def __init__(self, brokers: Sequence[str], settings: ClientSettings | None = None) -> None:
        need_real_threads("a client")
        if not brokers:
            raise ValueError("a client needs the endpoint of a broker")
        for endpoint in brokers:
            check_endpoint(endpoint)
        self._dialog = ClientDialog(brokers, settings)
        self._closed = False
        self._pid = os.getpid()
        wake_r, self._wake_w = socket.socketpair()
        wake_r.setblocking(False)
        self._wake_w.setblocking(False)
        self._desk = _Desk(self._dialog, wake_r)
        # A client that nobody closed must not keep its thread alive.
        self._finalizer = weakref.finalize(self, _let_go, self._wake_w, self._desk)

    @property
    def message_bytes_max(self) -> int:
        """The largest frame of a request: as the broker told, or as is taken for granted until then."""
        return self._dialog.message_bytes_max

    @property
    def submit_many_max(self) -> int:
        """The most jobs of one message, likewise."""
        return self._dialog.submit_many_max

    @property
    def greeted(self) -> bool:
        """Whether a broker has told them."""
        return self._dialog.greeted

    def request(
        self,
        service: str,
        sync: bool,
        options: dict[str, Any],
        body: tuple[bytes, ...],
        timeout_s: float | None,
        on_partial: Partial | None = None,
    ) -> Asked[Reply]:
        """Ask; the future brings the last answer, or raises JobTimeout or BrokerUnreachable.

        What is given here can be encoded (`client/given.py`).
        """
        desk = self._desk
        if os.getpid() != self._pid:
            raise ZmwsError("this client was made before a fork; make one in each process")
        need_real_threads("a client")  # it may have been made before they were replaced
        if self._closed:
            raise ZmwsError("this client is closed")
        if sys.is_finalizing():
            desk.why = desk.why or _closed_early  # the thread does not run any more
        if desk.why is not None:
            raise desk.why()
        ask = Ask(service, sync, options, body, timeout_s, Asked(desk.home), on_partial)
        desk.asks.append(ask)
        # This also keeps a client that is forgotten until it is answered.
        ask.future.add_done_callback(lambda done: self._forget(ask) if done.cancelled() else None)
        self._begin(ask)
        self._wake()
        if desk.why is not None:
            desk.turn_away()  # it ended in between, and may have emptied its queue before this came
        return ask.future

    def _begin(self, ask: Ask) -> None:
        """Start the thread, if there is none.

        Not a threading.Thread: its start takes a lock of all threads, which an interrupted caller may hold.
        Two may be started at once; the second one finds the desk owned and ends.
        """
        if self._desk.owned:
            return
        try:
            _thread.start_new_thread(_serve, (self._desk,))
        except RuntimeError as wrong:
            ask.future.cancel()
            raise ZmwsError(f"this client cannot start its thread: {wrong}") from wrong

    def _forget(self, ask: Ask) -> None:
        """Its caller has cancelled: it is not asked again. The job itself goes on."""
        self._desk.asks.append(ask)
        self._wake()

    def close(self) -> None:
        """Close the connection; what is in flight is answered with an error."""
        self._closed = True
        # Not by the finalizer: it works once, and an interrupted `close` may be in the midst of it.
        desk = self._desk
        _let_go(self._wake_w, desk)
        self._finalizer.detach()
        waits = os.getpid() == self._pid and not sys.is_finalizing()  # then the thread does not run any more
        if waits and not desk.own(_CLOSER) and not desk.home.here:
            desk.ended.result()

    def _wake(self) -> None:
        try:
            self._wake_w.send(b"\0")
        except OSError:
            return  # it is awake already


def _let_go(wake: socket.socket, desk: _Desk) -> None:
    """Nobody asks any more. May be done twice."""
    # The thread reads the end of the stream, and ends. To close would not do: a child that was forked has
    # the other end open too. And a child must not end the stream of its parent.
    if desk.pid == os.getpid():
        with contextlib.suppress(OSError):  # it is closed already
            wake.shutdown(socket.SHUT_WR)
    wake.close()
    if desk.own(_CLOSER):  # there is none, and will be none
        desk.end(_closed_early)
        desk.wake.close()


def _closed_early() -> ZmwsError:
    return ZmwsError("this client was closed before the answer came")


def _failed(fault: BaseException) -> ZmwsError:
    text = f"this client's connection has failed ({type(fault).__name__}: {fault}); make another client"
    failure = ZmwsError(text)
    failure.__cause__ = fault
    return failure


def _serve(desk: _Desk) -> None:
    """The thread."""
    if not desk.own(object()):
        return
    desk.home.thread = _thread.get_ident()
    context: zmq.Context[zmq.Socket[bytes]] | None = None
    try:
        context = zmq.Context()
        _Loop(context, desk).serve()
        desk.end(_closed_early)
    except BaseException as broken:
        fault = broken
        desk.end(lambda: _failed(fault))
        raise
    finally:
        desk.wake.close()
        if context is not None:
            context.destroy(linger=200)
        desk.home.thread = None
        desk.ended.settle()


class _Loop:
    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], desk: _Desk) -> None:
        self._desk = desk
        self._dialog = desk.dialog
        self._in_flight = desk.in_flight
        self._poller = zmq.Poller()
        self._line = Line(context, self._poller)
        self._poller.register(desk.wake.fileno(), zmq.POLLIN)

    def serve(self) -> None:
        """Until the waking end is closed."""
        dialog = self._dialog
        while True:
            due = dialog.next_deadline()
            wait = 3600.0 if due is None else max(0.0, due - time.monotonic())
            self._poller.poll(math.ceil(min(wait, 3600.0) * 1000))
            now = time.monotonic()
            still_open = self._was_woken()
            while self._take(now):
                pass
            self._watch(now)
            self._receive(now)
            dialog.tick(now)
            self._act()
            if not still_open:
                self._line.close(linger_ms=200)
                return

    def _take(self, now: float) -> bool:
        """One request of the queue, if there is one. No reference to it is left when this returns."""
        ask = self._desk.next()
        if ask is None:
            return False
        if ask.future.cancelled():
            self._dialog.forget(ask.number)
            self._in_flight.pop(ask.number, None)
            return True
        try:
            ask.number = self._dialog.request(
                now, ask.service, ask.sync, ask.options, ask.body, ask.timeout_s
            )
        except BaseException:
            self._desk.asks.appendleft(ask)  # so that it is answered as all others are
            raise
        self._in_flight[ask.number] = ask
        return True

    def _was_woken(self) -> bool:
        try:
            while True:
                if not self._desk.wake.recv(4096):
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
                try:
                    self._line.open(action.endpoint, HEARTBEAT_S, 2 * HEARTBEAT_S)
                except NoDescriptors as wrong:
                    self._dialog.disconnected(time.monotonic(), str(wrong))
            else:
                assert isinstance(action, Unanswered), action
                self._end(action.number, fault=action.error)

    def _answer(self, action: Answered) -> None:
        if action.reply.kind == "partial":
            self._on_partial(action.number, action.reply)
        else:
            self._end(action.number, action.reply)

    def _end(self, number: bytes, reply: Reply | None = None, fault: BaseException | None = None) -> None:
        ask = self._in_flight.pop(number, None)
        if ask is not None:  # its on_partial may have failed at an earlier part
            ask.future.settle(reply, fault)

    def _on_partial(self, number: bytes, reply: Reply) -> None:
        ask = self._in_flight.get(number)
        try:
            if ask is not None and ask.on_partial is not None:
                ask.on_partial(reply.body)
        except BaseException as fault:
            # The caller's own code: this one call fails with it, and all others go on.
            self._dialog.forget(number)
            self._end(number, fault=fault)
        finally:
            del ask  # the fault's traceback would hold it
