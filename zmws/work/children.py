"""The kind of executor that runs each job in a child process, which can be killed (executor.py).

Rule 1: there are as many children as jobs at once, and a spare one: a new one takes a while.
Rule 2: what kills a child costs the attempt that ran in it, and nothing else.
Rule 3: a child is started by the main thread, for it is killed by the system when the thread that started it
        ends. What they say is read by one thread at a time, which calls `step`: during setup() one of their
        own, while there is a connection the I/O thread, at the end the main thread.
Rule 4: whoever is to drop its job gets SIGTERM, and after `kill_grace` SIGKILL, with all that it has started.
        One that has dropped a job is not used again: what that has started ends with it.
Rule 5: a job that finds no child, for none gets ready any more, goes back, and the worker gives up.
"""

from __future__ import annotations

import contextlib
import logging
import pickle
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from zmws.errors import ZmwsError
from zmws.key_file import KeyFile
from zmws.wire.messages import WorkerRequest
from zmws.work.attempt import Final
from zmws.work.author import Worker
from zmws.work.birth import Birth, birth_of
from zmws.work.child_process import READS_MAX, Attempt, ChildProcess
from zmws.work.declared import Declared
from zmws.work.executor import Ended
from zmws.work.fault import encode_fault
from zmws.work.guard import Guard
from zmws.work.job import JobInHand, relay
from zmws.work.line_handler import LineHandler
from zmws.work.printer import Printer

log = logging.getLogger("zmws.worker")

_RETRY_S, _RETRY_S_MAX = 0.1, 10.0  # between starts of children that die before they are ready
_BOTH = selectors.EVENT_READ | selectors.EVENT_WRITE
_STACK_S = 0.05  # a stack is whole when no more of it has come for so long


class Children:
    """Keeps them, and gives them jobs."""

    def __init__(
        self,
        worker: Worker,
        declared: Declared,
        wake: Callable[[], None],
        give_up: Callable[[str], None] = lambda why: None,
    ) -> None:
        """`wake`: have the main thread call `tend`. `give_up`: there is no use in this worker any more, and
        why. Raises BadWorker for a class that a child cannot find."""
        self._give_up = give_up
        self._birth: Birth = birth_of(worker, declared)
        self._worker, self._declared, self._wake_main = worker, declared, wake
        self._bytes_max: Callable[[], int] = lambda: 0
        self._client: Callable[[], str | None] = lambda: None
        self._key: KeyFile | None = None
        self._children: list[ChildProcess] = []
        self._free: list[ChildProcess] = []  # ready, without a job; the last one is next
        self._queue: deque[Attempt] = deque()  # for whom no child is free yet
        self._lock = threading.RLock()  # of these three
        self._selector: selectors.DefaultSelector
        self._wake_r: socket.socket
        self._wake_w: socket.socket
        self._opened = False
        self._thread: threading.Thread | None = None  # during setup()
        self._stepping = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._closing = False
        self._fault: str | None = None  # why the last child that did not get ready did not
        self._retry_s = 0.0
        self._retry_at = 0.0
        self._stack_at: dict[ChildProcess, float] = {}
        self._to_idle: deque[ChildProcess] = deque()  # whose idle() is to be called, one after the other
        self._held_up: set[ChildProcess] = set()  # who prints more than is written
        self._printer: Printer
        self._guard: Guard

    def connect(
        self, bytes_max: Callable[[], int], client: Callable[[], str | None], key: KeyFile | None = None
    ) -> None:
        """What only the connection knows."""
        self._bytes_max, self._client, self._key = bytes_max, client, key

    @property
    def pids(self) -> list[int]:
        """Of its children."""
        return [child.pid for child in list(self._children)]

    # ------------------------------------------------------------ the main thread

    def open(self) -> None:
        """Start the children; return when all but the spare are ready. Raises ZmwsError with what one has
        raised."""
        try:
            self._birth.options = pickle.dumps(dict(self._worker.options))
        except Exception as fault:
            raise ZmwsError(
                f"{self._declared.service}: its options cannot go to child processes (isolate): {fault}"
            ) from fault
        self._birth.log_level = logging.getLevelName(logging.getLogger().getEffectiveLevel()).lower()
        if any(isinstance(one, LineHandler) and one.as_json for one in logging.getLogger().handlers):
            self._birth.log_format = "json"
        try:
            self._guard = Guard()
        except OSError as fault:
            raise ZmwsError(f"{self._declared.service}: no process can be started: {fault}") from fault
        self._printer = Printer(self._wake)
        self._selector = selectors.DefaultSelector()
        self._wake_r, self._wake_w = socket.socketpair()
        for sock in (self._wake_r, self._wake_w):
            sock.setblocking(False)
        self._selector.register(self._wake_r, selectors.EVENT_READ, self._read_wakes)
        self._opened = True
        self._thread = threading.Thread(target=self._run, name=f"zmws-{self._declared.service}", daemon=True)
        self._thread.start()
        for _ in range(self._declared.concurrency):
            self._spawn()
        with self._changed:
            while sum(child.ready for child in self._children) < self._declared.concurrency:
                if self._fault is not None:
                    raise ZmwsError(
                        f"a child process of {self._declared.service} did not start:\n{self._fault}"
                    )
                if len(self._children) < self._declared.concurrency:
                    self._spawn()  # one was ready, and has died meanwhile
                self._changed.wait(0.2)
        self._spawn()

    def start(
        self, worker: Worker, declared: Declared, job: JobInHand, request: WorkerRequest, ended: Ended
    ) -> None:
        with self._lock:
            self._queue.append(Attempt(job, request, ended))
            self._assign()

    def _assign(self) -> None:
        """Give what waits to who is free."""
        while self._queue and self._free:
            child, attempt = self._free.pop(), self._queue.popleft()
            if not child.begin(attempt, self._bytes_max(), (self._client(), self._key)):
                self._wake()  # the rest goes when it reads
            if child.pipe.broken:  # it has just died, and was never told of this
                child.attempt, child.dying = None, True
                self._queue.appendleft(attempt)

    def idle(self) -> None:
        """Call idle() in each that has no job, in one at a time: there is a slot for each job meanwhile."""
        with self._lock:
            self._to_idle.extend(self._free)
            self._idle_next()

    def _idle_next(self) -> None:
        if any(child.idling for child in self._children):
            return
        while self._to_idle:
            child = self._to_idle.popleft()
            if child in self._free:
                self._free.remove(child)
                child.idling = True
                child.pipe.send(("idle",))
                return

    def tend(self) -> None:
        """Start children in place of those that have gone."""
        while not self._closing and self._opened:
            if len(self._children) > self._declared.concurrency or time.monotonic() < self._retry_at:
                return
            self._spawn()

    def _spawn(self) -> None:
        try:
            child = ChildProcess(self._birth)
        except OSError as wrong:
            self._delay_start()
            self._fault = f"the system has none left: {wrong}"
            return self._say(logging.ERROR, "no child process could be started: %s", wrong)
        self._guard.watch(child.pid)
        self._selector.register(child.out, selectors.EVENT_READ, partial(self._printed, child))
        self._selector.register(child.stacks, selectors.EVENT_READ, partial(self._stack_came, child))
        self._selector.register(child.pipe.sock, selectors.EVENT_READ, partial(self._said, child))
        with self._lock:
            self._children.append(child)
        # Last: when it has died, all these are taken out again.
        self._selector.register(child.death, selectors.EVENT_READ, partial(self._died, child))
        return self._wake()

    def _delay_start(self) -> None:
        """Not to start one after the other in vain."""
        self._retry_s = min(max(_RETRY_S, 2 * self._retry_s), _RETRY_S_MAX)
        self._retry_at = time.monotonic() + self._retry_s
        self._wake()  # to look at the time

    def kill(self) -> None:
        """All, at once."""
        for child in list(self._children):
            child.kill()

    def close(self, within_s: float) -> None:
        if not self._opened:
            return
        self._opened, self._closing = False, True
        self.attach()
        with self._lock:
            for child in self._children:
                child.leaving = True
                if child.ready:
                    child.pipe.send(("end",))
                else:
                    child.kill()  # it reads nothing before its setup() has returned
        if not self._all_end(within_s):
            self._say(logging.WARNING, "children that have not ended are killed")
            self.kill()
            self._all_end(within_s)
        self._selector.close()
        self._wake_w.close()
        self._wake_r.close()
        self._printer.close()
        self._guard.close()

    def _all_end(self, within_s: float) -> bool:
        until = time.monotonic() + within_s
        while self._children and (left_s := until - time.monotonic()) > 0:
            due_s = self.wait_s()
            self.step(left_s if due_s is None else min(left_s, due_s))
        return not self._children

    # ------------------------------------------------------------ any thread

    def cancel(self, job: JobInHand) -> None:
        with self._lock:
            for attempt in self._queue:
                if attempt.job is job:
                    self._queue.remove(attempt)
                    return attempt.ended(None)
            child = self._child_of(job)
            if child is not None and not child.dropped:
                child.drop(self._declared.kill_grace)
                self._wake()
        return None

    def tell_stack(self, job: JobInHand, tell: Callable[[str], None]) -> None:
        with self._lock:
            child = self._child_of(job)
            if child is not None:
                child.ask_stack(tell)

    def _child_of(self, job: JobInHand) -> ChildProcess | None:
        for child in self._children:
            if child.attempt is not None and child.attempt.job is job:
                return child
        return None

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            self._wake_w.send(b"\0")

    def _say(self, level: int, text: str, *values: Any) -> None:
        """A line of the log. Nobody may read it, and the thread that says it has heartbeats to send."""
        self._printer.call(partial(log.log, level, f"{self._declared.service}: {text}", *values))

    # ------------------------------------------------------------ the thread that reads what they say

    def _run(self) -> None:
        while self._thread is not None:
            self.step(self.wait_s())

    def attach(self) -> None:
        """From now on the calling thread calls `step`."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._wake()
            thread.join()

    def fileno(self) -> int:
        """A descriptor that can be read when there is something to do."""
        return self._selector.fileno()

    def step(self, wait_s: float | None = 0.0) -> None:
        """Do what there is to do; wait for it so long (None: until it comes)."""
        with self._stepping:
            for key, _ in self._selector.select(wait_s):
                if self._selector.get_map().get(key.fd) is not key:
                    continue  # of a child that has ended just now
                self._guarded(key.data)
            self._guarded(partial(self._look, time.monotonic()))

    def _guarded(self, step: Callable[[], object]) -> None:
        try:
            step()
        except Exception as fault:
            told = encode_fault(fault)["traceback"]
            self._say(logging.ERROR, "a fault in the worker; it goes on\n%s", told)

    def wait_s(self) -> float | None:
        """In so many seconds `step` is to be called at the latest; None: there is no such time."""
        due = [child.kill_at for child in list(self._children) if child.kill_at is not None]
        due += self._stack_at.values()
        if self._retry_at and not self._closing and len(self._children) <= self._declared.concurrency:
            due.append(self._retry_at)
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _look(self, now: float) -> None:
        """Whatever is due by time."""
        for child in list(self._held_up) if not self._printer.is_full else ():
            self._held_up.discard(child)
            self._selector.register(child.out, selectors.EVENT_READ, partial(self._printed, child))
        for child in list(self._children):
            if child.kill_at is not None and now >= child.kill_at:
                child.kill_at = None
                child.kill()
            if child.pipe.is_full and child.pipe.sock in self._selector.get_map():
                self._selector.modify(child.pipe.sock, _BOTH, partial(self._said, child))
        for child, at in list(self._stack_at.items()):
            if now >= at:
                del self._stack_at[child]
                child.stack_is_told()
        if self._retry_at and now >= self._retry_at:
            self._retry_at = 0.0
            self._wake_main()

    def _read_wakes(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake_r.recv(4096)

    def _printed(self, child: ChildProcess) -> None:
        """What a child prints goes where this process prints; in its own time, if nobody reads that."""
        self._printer.put(child.printed())
        if child.out in child.over:
            self._selector.unregister(child.out)
        elif self._printer.is_full:
            self._selector.unregister(child.out)
            self._held_up.add(child)

    def _stack_came(self, child: ChildProcess) -> None:
        child.read_stack()
        if child.stacks in child.over:
            self._selector.unregister(child.stacks)
        self._stack_at[child] = time.monotonic() + _STACK_S

    def _said(self, child: ChildProcess) -> None:
        if child.pipe.is_full and child.pipe.flush():
            self._selector.modify(child.pipe.sock, selectors.EVENT_READ, partial(self._said, child))
        try:
            for kind, *given in child.pipe.receive(READS_MAX):
                if kind == "final":
                    self._final(child, *given)
                elif kind == "say":
                    attempt = child.attempt
                    if attempt is not None and attempt.request.token == given[0]:
                        with contextlib.suppress(ValueError):
                            relay(attempt.job, given[1])
                elif kind == "idled":
                    with self._lock:
                        child.idling = False
                        self._free.append(child)
                        self._assign()
                        self._idle_next()
                elif kind == "ready":
                    self._retry_s, self._fault = 0.0, None
                    with self._changed:
                        child.ready = True
                        self._free.insert(0, child)
                        self._assign()
                        self._changed.notify_all()
                else:
                    self._fault = str(given[0]["traceback"])
                    self._say(logging.ERROR, "a child did not start\n%s", given[0]["traceback"])
        except EOFError:
            self._selector.unregister(child.pipe.sock)  # its death is told by another descriptor

    def _final(
        self,
        child: ChildProcess,
        token: bytes,
        result: tuple[bytes, ...],
        error: dict[str, Any] | None,
        is_retry: bool,
        jobs: bytes | None,
        enough: str | None,
    ) -> None:
        with self._lock:
            attempt, child.attempt, child.kill_at = child.attempt, None, None
            if enough is not None or child.dropped:
                if enough is not None:
                    self._say(logging.INFO, "a child is started anew: %s", enough)
                child.leaving = True
                child.kill_at = time.monotonic() + self._declared.kill_grace  # for its teardown()
                child.pipe.send(("end",))
            elif not (self._closing or child.dying):
                self._free.append(child)
        assert attempt is not None and attempt.request.token == token, token
        if child.has_begun_a_line:
            self._printer.put(child.last_of_line())
        attempt.ended(Final(result, error, is_retry, jobs))
        with self._lock:
            self._assign()

    def _died(self, child: ChildProcess) -> None:
        """A child has ended. What it has said before is taken first."""
        with self._lock:
            child.dying = True
            if child in self._free:
                self._free.remove(child)
        child.kill_group()  # while its number is its own: what it has started, and has left
        if child.pipe.sock in self._selector.get_map():
            self._said(child)  # a pipe holds less than that
        self._printer.put(child.printed() + child.last_of_line())
        self._held_up.discard(child)
        final, begun = child.reap(), child.has_begun
        self._guard.forget(child.pid)
        for fd in (child.death, child.out, child.stacks, child.pipe.sock):
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(fd)
        child.close()
        self._stack_at.pop(child, None)
        with self._changed:
            self._children.remove(child)
            child.idling = False
            attempt = child.attempt
            lost = [] if any(one.ready for one in self._children) or child.ready else list(self._queue)
            if lost:
                self._queue.clear()
            self._changed.notify_all()
        if not child.ready:
            self._fault = self._fault or str(final.error and final.error["error"])
            self._delay_start()
        elif attempt is None and not child.leaving:
            self._say(logging.WARNING, "a child without a job has ended")
        if attempt is not None:
            attempt.ended(final if begun else None)
        if lost:
            self._give_up(f"{self._declared.service}: no child process gets ready any more: {self._fault}")
        for one in lost:
            one.ended(None)
        with self._lock:
            self._idle_next()
        self._wake_main()
