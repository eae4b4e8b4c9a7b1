"""`LineThread`: the I/O thread of a worker or a client. It owns the socket, moves frames and keeps time.

    any thread      start, hand(item), close, join
    this thread     item -> take_up -> dialog;   dialog -> action -> the socket, or act;   at the end ending

Rule 1: the thread decides nothing: its dialog does.
Rule 2: there is no lock. A signal handler may interrupt a caller anywhere, and hand over, close or wait
        itself; so each step that is shared is a single atomic one, and may be done twice.
Rule 3: the thread is started below `threading`, whose start takes a lock of all threads, which an interrupted
        caller may hold. So it has no name, and no program waits for it at its end.
Rule 4: it ends when its dialog is over, or when nobody can hand anything over any more.
"""

from __future__ import annotations

import _thread
import contextlib
import math
import os
import select
import socket
import time
from abc import ABC, abstractmethod
from collections import deque
from typing import Any, Generic, Protocol, TypeVar

import zmq

from zmws.dialog.actions import Dialog, Open, Transmit
from zmws.key_file import KeyFile
from zmws.line.dealer import Dealer, NoDescriptors

_WAIT_S_MAX = 3600.0
LOOKS_S = 0.001  # how long what was left for the thread may lie
_CLOSER = object()  # owns a line that was closed before it had a thread

D = TypeVar("D", bound=Dialog)
Item = TypeVar("Item")


class Home:
    """Which thread it is. Small, so that whoever keeps it keeps nothing else alive."""

    def __init__(self) -> None:
        self.thread: int | None = None  # while it runs

    @property
    def here(self) -> bool:
        """Whether this is that thread."""
        return self.thread == _thread.get_ident()


class Source(Protocol):
    """Something else that the thread looks after; all is called by it."""

    def attach(self) -> None:
        """From now on it does."""

    def fileno(self) -> int:
        """A descriptor that can be read when there is something to do."""

    def wait_s(self) -> float | None:
        """In so many seconds there is, at the latest; None: there is no such time."""

    def step(self) -> None:
        """Do it, without waiting."""


class LineThread(ABC, Generic[D, Item]):
    """Drives one dialog over a socket. A subclass says what is handed over, and what else is to be done."""

    def __init__(self, dialog: D, linger_ms: int, key: KeyFile | None = None) -> None:
        """`linger_ms`: how long what was said last may take to leave. `key`: who it is for the broker."""
        self.home = Home()
        self.ended = False
        self.dialog = dialog
        self.sources: list[Source] = []  # that it looks after beside the connection; given before `start`
        self._linger_ms = linger_ms
        self._key = key
        self._lookers: deque[_thread.LockType] = deque()  # each is released when the thread has looked
        self._pid = os.getpid()  # a forked child has neither the thread nor its end of the wakes
        self._handed: deque[Item] = deque()
        self.over = False
        self._owner: dict[str, object] = {}  # `setdefault` is the atomic step: the first stays it
        self._running = _thread.allocate_lock()  # released at the end, once, for all who wait
        self._running.acquire()
        self._wake_r, self._wake_w = socket.socketpair()
        self._wake_r.setblocking(False)
        self._wake_w.setblocking(False)

    # ------------------------------------------------------------ any thread

    def start(self) -> None:
        """Start the thread, unless there is or was one. Raises RuntimeError if the system has none left."""
        # Two may be started at once; the second one finds that the line has an owner, and ends.
        if not self._owner:
            _thread.start_new_thread(self._run, ())

    def hand(self, item: Item) -> None:
        """Hand over to the thread: it takes up all things in order."""
        self._handed.append(item)
        self.wake()

    def leave(self, item: Item) -> None:
        """The same, but the thread is not woken where it looks by itself within LOOKS_S."""
        self._handed.append(item)
        if not self.looks():
            self.wake()

    def looks(self) -> bool:
        """Whether the thread looks by itself, each LOOKS_S. From any thread. Only in the thread it becomes
        true."""
        return False

    def is_supplied(self) -> bool:
        """Whether what comes over the socket may lie for a moment, while the thread looks by itself."""
        return False

    def wake(self) -> None:
        """The thread is to look at once."""
        try:
            self._wake_w.send(b"\0")
        except OSError:
            return  # it is awake already, or has ended

    def look(self, timeout_s: float) -> None:
        """Have the thread read all that has come, and act on it; wait for that, so long."""
        for _ in range(2):  # what it is about just now may have been read before
            looked = _thread.allocate_lock()
            looked.acquire()
            self._lookers.append(looked)
            self.wake()
            if self.ended or not looked.acquire(timeout=timeout_s):
                return

    def taken_back(self) -> Item | None:
        """Take from what was handed over; each thing goes to one taker."""
        try:
            return self._handed.popleft()
        except IndexError:
            return None

    def close(self) -> None:
        """Nobody hands anything over any more: the thread ends, if there is one. May be done twice."""
        # It reads the end of the stream. To close would not do: a child that was forked has this end open,
        # too. And a child must not end the stream of its parent.
        if self._pid == os.getpid():
            with contextlib.suppress(OSError):  # it is closed already
                self._wake_w.shutdown(socket.SHUT_WR)
        self._wake_w.close()
        if self._owner.setdefault("owner", _CLOSER) is _CLOSER and not self.ended:
            self.ending(None)  # there is no thread, and will be none
            self._wake_r.close()
            self.ended = True

    def join(self, timeout_s: float = -1) -> None:
        """Wait for the thread's end; -1: as long as it takes."""
        if not self.ended and self._running.acquire(timeout=timeout_s):
            self._running.release()

    # ------------------------------------------------------------ what a subclass does, in the thread

    @abstractmethod
    def take_up(self, now: float, item: Item) -> None:
        """Something was handed over."""

    @abstractmethod
    def act(self, action: Any) -> None:
        """The dialog wants something done that is not the socket's."""

    @abstractmethod
    def ending(self, fault: BaseException | None) -> None:
        """The thread is about to end, by a fault of ours if there is one, which may be raised again. Where
        there is no thread whoever closes the line does this, twice if a handler interrupts it to close."""

    def gone(self) -> None:
        """The connection is closed, and what was said last has left as far as it could."""

    def cannot_open(self, why: str) -> None:
        """No connection could be made for want of descriptors; it is tried again."""

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        me = object()
        if self._owner.setdefault("owner", me) is not me:
            return
        self.home.thread = _thread.get_ident()
        context: zmq.Context[zmq.Socket[bytes]] | None = None
        try:
            try:
                context = zmq.Context()
                self._serve(context)
            except BaseException as fault:
                self.ending(fault)
            else:
                self.ending(None)
        finally:
            if context is not None:
                context.destroy(linger=self._linger_ms)
            with contextlib.suppress(Exception):
                self.gone()
            self._wake_r.close()
            self.home.thread = None
            # Before the release: who is interrupted between the two of `join` waits no more.
            self.ended = True
            self._running.release()

    def _serve(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        dialog, poller = self.dialog, zmq.Poller()
        wakes, nap = self._wake_r.fileno(), select.poll()
        poller.register(wakes, zmq.POLLIN)
        nap.register(wakes, select.POLLIN)
        sources = self._attached(poller)
        self._dealer = Dealer(context, poller, self._key)
        while not self.over:
            due = dialog.next_deadline()
            wait_s = _WAIT_S_MAX if due is None else min(_WAIT_S_MAX, max(0.0, due - time.monotonic()))
            for source in self.sources:
                wait_s = min(wait_s, _WAIT_S_MAX if (due_s := source.wait_s()) is None else due_s)
            if self.looks():
                wait_s = min(wait_s, LOOKS_S)
            if self._handed:
                wait_s = 0.0  # it was handed over while that was looked at
            # Rounded up: a wait that ends a moment early would only be waited again.
            wait_ms = math.ceil(wait_s * 1000)
            ready: list[int] = []
            if wait_ms and self.is_supplied() and not sources:
                woken = bool(nap.poll(wait_ms))  # what comes meanwhile is read together
            else:
                ready = [fd for fd, _ in poller.poll(wait_ms)]
                woken = wakes in ready
            for fd, source in sources.items():
                if fd in ready or source.wait_s() == 0.0:
                    source.step()
            now = time.monotonic()
            if woken:
                self._read_wakes()
            while self._handed and self._take_up_one(now):
                pass
            self._watch(now)
            self._receive(now)
            dialog.tick(now)
            self._perform(now)
            while self._lookers:
                self._lookers.popleft().release()
        self._dealer.close(self._linger_ms)

    def _attached(self, poller: zmq.Poller) -> dict[int, Source]:
        found: dict[int, Source] = {}
        for source in self.sources:
            source.attach()
            found[source.fileno()] = source
            poller.register(source.fileno(), zmq.POLLIN)
        return found

    def _read_wakes(self) -> None:
        try:
            data = self._wake_r.recv(4096)
        except BlockingIOError:
            return
        if not data:
            self.over = True

    def _take_up_one(self, now: float) -> bool:
        """One thing, if there is one. No reference to it is left when this returns."""
        item = self.taken_back()
        if item is None:
            return False
        try:
            self.take_up(now, item)
        except BaseException:
            self._handed.appendleft(item)  # it is for `ending` to say what becomes of it
            raise
        return True

    def _watch(self, now: float) -> None:
        while (event := self._dealer.event()) is not None:
            if event == "up":
                self.dialog.connected(now)
            else:
                # What the broker said last is read before its connection is given up.
                self._receive(now)
                self.dialog.disconnected(now, self._dealer.why)

    def _receive(self, now: float) -> None:
        while (frames := self._dealer.recv()) is not None:
            self.dialog.receive(now, frames)

    def _perform(self, now: float) -> None:
        for action in self.dialog.take():
            if isinstance(action, Transmit):
                self._dealer.send(action.frames)
            elif isinstance(action, Open):
                self._open(now, action)
            else:
                self.act(action)

    def _open(self, now: float, action: Open) -> None:
        try:
            self._dealer.open(action.endpoint, action.ping_s, action.silence_s)
        except NoDescriptors as wrong:
            self.cannot_open(str(wrong))
            self.dialog.disconnected(now, str(wrong))
