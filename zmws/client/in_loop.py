"""`LoopClient`: an AsyncClient that lives in its event loop, without a thread of its own.

For a program that is an event loop and little else, as the gateway is: no answer has to change threads, which
costs more than the answer itself (docs/decisions.md). A loop that is blocked brings no answers meanwhile.

Rule 1: all is done in the loop's thread, also closing.
Rule 2: the descriptor of a ZeroMQ socket tells only that something has changed. So after each turn, and each
        message sent, it is looked at whether there is more (zmq_getsockopt(3), ZMQ_FD).
"""

from __future__ import annotations

import _thread
import asyncio
import time
from collections.abc import Sequence
from typing import Any

import zmq

from zmws.client.asynchronous import AsyncClient
from zmws.client.connection import Ask, ClientLine, Connection
from zmws.client.synchronous import Client
from zmws.dialog.client import ClientDialog
from zmws.key_file import KeyFile
from zmws.line.dealer import Dealer


class _Readers:
    """What a Dealer takes for a poller: the loop looks after its sockets."""

    def __init__(self, loop: asyncio.AbstractEventLoop, line: LoopLine) -> None:
        self._loop, self._line = loop, line

    def register(self, socket: zmq.Socket[bytes], flags: int) -> None:
        """From now on it is looked after."""
        self._loop.add_reader(socket.fileno(), self._line.wake)
        self._line.wake()  # something may be there already

    def unregister(self, socket: zmq.Socket[bytes]) -> None:
        """It is about to be closed."""
        self._loop.remove_reader(socket.fileno())


class LoopLine(ClientLine):
    """Drives the dialog in the loop that runs when it is started."""

    def __init__(self, dialog: ClientDialog, key: KeyFile | None = None) -> None:
        super().__init__(dialog, key)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._turn_planned = False
        self._timer: asyncio.TimerHandle | None = None
        self._due = float("inf")

    def start(self) -> None:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self.home.thread = _thread.get_ident()
            self._context = zmq.Context()
            self._dealer = Dealer(self._context, _Readers(self._loop, self), self._key)  # type: ignore[arg-type]
            self.wake()

    def hand(self, item: Ask) -> None:
        self._handed.append(item)
        self.wake()

    def wake(self) -> None:
        """Take a turn, soon."""
        if self._loop is not None and not self._turn_planned and not self.ended:
            self._turn_planned = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._turn_planned = False
        if self.ended:
            return
        now = time.monotonic()
        while self._handed and self._take_up_one(now):
            pass
        self._watch(now)
        self._receive(now)
        self.dialog.tick(now)
        self._perform(now)
        if self._dealer.is_ready() or self._handed:
            self.wake()
        self._plan()

    def _plan(self) -> None:
        """Be there again at the dialog's next deadline."""
        assert self._loop is not None
        deadline = self.dialog.next_deadline()
        due = float("inf") if deadline is None else deadline
        if due >= self._due and self._timer is not None:
            return  # it is looked at again by then, and that plans the next
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._due = None, due
        if deadline is not None:
            self._timer = self._loop.call_later(max(0.0, deadline - time.monotonic()), self._on_time)

    def _on_time(self) -> None:
        self._timer, self._due = None, float("inf")
        self.wake()

    def close(self) -> None:
        """End. What was said last has left as far as it could."""
        if self.ended:
            return
        self.ended = True
        if self._timer is not None:
            self._timer.cancel()
        self.ending(None)
        if self._context is not None:
            self._dealer.close(self._linger_ms)
            self._context.destroy(linger=self._linger_ms)
        self._wake_r.close()
        self._wake_w.close()


class _LoopConnection(Connection):
    """A connection whose line is the loop's."""

    line_type = LoopLine


class _LoopClient(Client):
    _connection_type = _LoopConnection


class LoopClient(AsyncClient):
    """As AsyncClient, in the loop in which it is first used."""

    def __init__(self, broker: str | Sequence[str], **settings: Any) -> None:
        self._client = _LoopClient(broker, **settings)
        self.key = self._client.key  # the key file by which it proves who it is, None if it does not

    async def close(self) -> None:
        """Close the connection."""
        self._client.close()
