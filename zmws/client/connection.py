"""A client's connection: any number of requests in flight, from any thread, over one I/O thread.

Rule 1: the answer of a request is a concurrent Future, so that threads and asyncio can both wait.
Rule 2: whatever is asked is answered, whatever happens to the thread.
Rule 3: as in `line/thread.py` there is no lock: a signal handler may interrupt a caller anywhere, and ask.
"""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from zmws.client.asked import Asked
from zmws.dialog.client import Answered, ClientDialog, ClientSettings, Unanswered
from zmws.errors import ZmwsError
from zmws.key_file import KeyFile
from zmws.line.thread import LineThread
from zmws.real_threads import need_real_threads
from zmws.sockets import check_endpoint
from zmws.wire.at_client import Reply

_LINGER_MS = 200

Partial = Callable[[tuple[bytes, ...]], None]


@dataclass(slots=True)
class Ask:
    """A request on its way to the thread; once more when its caller has cancelled."""

    service: str
    sync: bool
    options: dict[str, Any]
    body: tuple[bytes, ...]
    timeout_s: float | None
    future: Asked[Reply]
    on_partial: Partial | None
    takes_s: float = 0.0
    number: bytes = b""  # once it is in flight


class ClientLine(LineThread[ClientDialog, Ask]):
    """The thread that brings the answers. It outlives the Connection, which it must not hold."""

    def __init__(self, dialog: ClientDialog, key: KeyFile | None = None) -> None:
        super().__init__(dialog, _LINGER_MS, key)
        self.why: Callable[[], ZmwsError] | None = None  # once nobody answers any more
        self._in_flight: dict[bytes, Ask] = {}

    def take_up(self, now: float, ask: Ask) -> None:
        if ask.future.cancelled():
            self.dialog.forget(ask.number)
            self._in_flight.pop(ask.number, None)
            return
        ask.number = self.dialog.request(
            now, ask.service, ask.sync, ask.options, ask.body, ask.timeout_s, ask.takes_s
        )
        self._in_flight[ask.number] = ask

    def act(self, action: Any) -> None:
        if isinstance(action, Unanswered):
            self._end(action.number, fault=action.error)
            return
        assert isinstance(action, Answered), action
        if action.reply.kind == "partial":
            self._on_partial(action.number, action.reply)
        else:
            self._end(action.number, action.reply)

    def ending(self, fault: BaseException | None) -> None:
        """Nobody answers any more: all that has been asked, and that will be, fails."""
        why = _closed_early if fault is None else lambda: _failed(fault)
        self.why = self.why or why  # before the queue is emptied: who asks later looks at this
        for ask in list(self._in_flight.values()):
            ask.future.settle(fault=why())
        self._in_flight.clear()
        self.turn_away()
        if fault is not None:
            raise fault  # loudly: it is one of ours

    def turn_away(self) -> None:
        """Fail what was handed over, after the end."""
        assert self.why is not None
        while (ask := self.taken_back()) is not None:
            ask.future.settle(fault=self.why())

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
            self.dialog.forget(number)
            self._end(number, fault=fault)
        finally:
            del ask  # the fault's traceback would hold it


class Connection:
    """Requests in, futures out. From any thread or signal handler."""

    line_type: type[ClientLine] = ClientLine

    def __init__(
        self, brokers: Sequence[str], settings: ClientSettings | None = None, key: KeyFile | None = None
    ) -> None:
        """`key`: who it is for the broker; None: it need not say."""
        need_real_threads("a client")
        if not brokers:
            raise ValueError("a client needs the endpoint of a broker")
        for endpoint in brokers:
            check_endpoint(endpoint)
        self._closed = False
        self._pid = os.getpid()
        self._line = self.line_type(ClientDialog(brokers, settings), key)
        self.dialog = self._line.dialog
        # A client that nobody closed must not keep its thread alive.
        self._finalizer = weakref.finalize(self, self._line.close)

    def request(
        self,
        service: str,
        sync: bool,
        options: dict[str, Any],
        body: tuple[bytes, ...],
        timeout_s: float | None,
        on_partial: Partial | None = None,
        takes_s: float = 0.0,
    ) -> Asked[Reply]:
        """Ask; the future brings the last answer, or raises JobTimeout or BrokerUnreachable. `takes_s`: how
        long the broker may take by its design.

        What is given here can be encoded (`client/given.py`).
        """
        line = self._line
        if os.getpid() != self._pid:
            raise ZmwsError("this client was made before a fork; make one in each process")
        need_real_threads("a client")  # it may have been made before they were replaced
        if self._closed:
            raise ZmwsError("this client is closed")
        if sys.is_finalizing():
            line.why = line.why or _closed_early  # the thread does not run any more
        if line.why is not None:
            raise line.why()
        ask = Ask(service, sync, options, body, timeout_s, Asked(line.home), on_partial, takes_s)
        # Handed over once more it is forgotten; the job itself goes on. This also keeps a client that is
        # forgotten until it is answered.
        ask.future.add_done_callback(lambda done: self._line.hand(ask) if done.cancelled() else None)
        line.hand(ask)
        try:
            line.start()
        except RuntimeError as wrong:
            ask.future.cancel()
            raise ZmwsError(f"this client cannot start its thread: {wrong}") from wrong
        if line.why is not None:
            line.turn_away()  # it ended in between, and may have emptied its queue before this came
        return ask.future

    def close(self) -> None:
        """Close the connection; what is in flight is answered with an error."""
        self._closed = True
        # Not by the finalizer: it works once, and an interrupted `close` may be in the midst of it.
        self._line.close()
        self._finalizer.detach()
        ours = os.getpid() == self._pid and not sys.is_finalizing()  # else there is no thread that would end
        if ours and not self._line.home.here:
            self._line.join()


def _closed_early() -> ZmwsError:
    return ZmwsError("this client was closed before the answer came")


def _failed(fault: BaseException) -> ZmwsError:
    text = f"this client's connection has failed ({type(fault).__name__}: {fault}); make another client"
    failure = ZmwsError(text)
    failure.__cause__ = fault
    return failure
