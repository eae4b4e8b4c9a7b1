"""`Asked`: the future of an answer, which the client's own thread brings.

Rule 1: who brings an answer never waits for a lock that somebody else holds. A signal handler may have
        interrupted its holder, and may itself wait for the next answer.
Rule 2: nobody waits in the thread that brings the answers: none would come.
Rule 3: a future that is done refers to nobody who asked, so that what is forgotten goes at once, without
        the garbage collector. For this, whoever raises out of a function forgets its futures first.
"""

from __future__ import annotations

import _thread
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from zmws.errors import ZmwsError
from zmws.line.thread import Home

if TYPE_CHECKING:
    import asyncio

_HELD_S = 0.01  # a caller that nothing has interrupted lets go of its future sooner

T = TypeVar("T")


class _End(NamedTuple):
    """What a future ended with."""

    value: Any = None
    fault: BaseException | None = None
    cancelled: bool = False


class Asked(Future[T]):
    """A concurrent Future that keeps the rules above.

    Its end is set by one atomic step and read without a lock. The Future below it learns of it afterwards,
    for the sake of those who wait there.
    """

    def __init__(self, home: Home | None = None) -> None:
        """`home`: the thread that will end it, if it has one."""
        super().__init__()
        self.home = home
        self._ends: dict[str, _End] = {}  # `setdefault` is the atomic step: the first end is the end
        self._calls: deque[Callable[[Future[T]], object]] = deque()

    # ------------------------------------------------------------ who asked

    @property
    def stuck(self) -> bool:
        """Whether a wait for it would never end, because this is the thread that brings it."""
        return not self._ends and self.home is not None and self.home.here

    def done(self) -> bool:
        return bool(self._ends)

    def cancelled(self) -> bool:
        return bool(self._ends) and self._ends["end"].cancelled

    def cancel(self) -> bool:
        self._end(_End(fault=CancelledError(), cancelled=True), own=True)
        return self.cancelled()

    def result(self, timeout: float | None = None) -> T:
        """As of a Future. Raises ZmwsError where a wait would never end."""
        try:
            if not self._ends:
                self._check_wait(timeout)
                return super().result(timeout)
            end = self._ends["end"]
            if end.fault is not None:
                raise end.fault
            value: T = end.value
            return value
        finally:
            end = _NO_END
            del self  # the traceback must not hold what holds the exception

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """As of a Future. Raises ZmwsError where a wait would never end."""
        if not self._ends:
            self._check_wait(timeout)
            return super().exception(timeout)
        if self.cancelled():
            raise CancelledError
        return self._ends["end"].fault

    def add_done_callback(self, fn: Callable[[Future[T]], object]) -> None:
        self._calls.append(fn)
        if self._ends:
            self._call(own=True)

    def _check_wait(self, timeout: float | None) -> None:
        if self.stuck and (timeout is None or timeout > 0):
            raise cannot_wait()

    # ------------------------------------------------------------ who answers

    def set_result(self, result: T) -> None:
        self.settle(result)

    def set_exception(self, exception: BaseException | None) -> None:
        self.settle(fault=exception)

    def settle(self, value: Any = None, fault: BaseException | None = None) -> None:
        """End it, if it has not ended yet, and run what waits for that. Never waits, never raises."""
        self._end(_End(value, fault), own=False)

    def _end(self, end: _End, own: bool) -> None:
        if self._ends.setdefault("end", end) is not end:
            return
        if self._condition.acquire(timeout=_HELD_S):
            try:
                self._tell(end)
            finally:
                self._condition.release()
        else:
            _thread.start_new_thread(self._tell_later, (end,))
        self._call(own)

    def _tell_later(self, end: _End) -> None:
        with self._condition:
            self._tell(end)

    def _tell(self, end: _End) -> None:
        """Let the Future below know, under its lock."""
        if end.cancelled:
            super().cancel()
            super().set_running_or_notify_cancel()
        elif end.fault is not None:
            super().set_exception(end.fault)
        else:
            super().set_result(end.value)

    def _call(self, own: bool) -> None:
        """Run the callbacks, each once. `own`: for a caller, who is to hear of a Ctrl-C in them."""
        while True:
            try:
                call = self._calls.popleft()
            except IndexError:
                return
            try:
                call(self)
            except BaseException as fault:
                if own and not isinstance(fault, Exception):
                    raise
                # SystemExit too: the thread has other answers to bring.
                logging.getLogger("zmws.client").exception("a done-callback of %r failed", self)


_NO_END = _End()


def cannot_wait() -> ZmwsError:
    """The refusal of a wait that would never end."""
    return ZmwsError(
        "this is the client's own thread, in on_partial or a done-callback: it brings the answers, so that "
        "it cannot wait for one. Ask with call_future, submit_future or another *_future method and add a "
        "done-callback, or hand the work to another thread, through a queue.SimpleQueue say"
    )


def waited(asked: Future[T]) -> T:
    """The answer, for who made this future only to wait for it. Where that is refused, nothing is asked:
    the thread has not come to the request yet."""
    try:
        if isinstance(asked, Asked) and asked.stuck:
            asked.cancel()
            raise cannot_wait()
        return asked.result()
    finally:
        del asked


def awaited(asked: Future[T]) -> asyncio.Future[T]:
    """The answer, for a coroutine of the loop that runs. As asyncio.wrap_future, but an answer that comes in
    the loop's own thread takes no way through a pipe."""
    import asyncio  # not at the top: most clients need none

    loop, thread = asyncio.get_running_loop(), _thread.get_ident()
    made: asyncio.Future[T] = loop.create_future()
    asked.add_done_callback(partial(_tell_loop, loop, thread, made))
    made.add_done_callback(partial(_pass_on, asked))
    return made


def _tell_loop(
    loop: asyncio.AbstractEventLoop, thread: int, made: asyncio.Future[Any], done: Future[Any]
) -> None:
    if _thread.get_ident() == thread:
        _fulfil(made, done)
    elif not loop.is_closed():
        loop.call_soon_threadsafe(_fulfil, made, done)


def _fulfil(made: asyncio.Future[Any], done: Future[Any]) -> None:
    if made.done():
        return
    if done.cancelled():
        made.cancel()
    elif (fault := done.exception()) is not None:
        made.set_exception(fault)
    else:
        made.set_result(done.result())


def then(asked: Future[Any], step: Callable[[Any], Any]) -> Future[Any]:
    """A future of what `step` makes of the answer."""
    made: Asked[Any] = Asked(asked.home if isinstance(asked, Asked) else None)
    asked.add_done_callback(partial(_step, made, step))
    made.add_done_callback(partial(_pass_on, asked))
    return made


def _step(made: Asked[Any], step: Callable[[Any], Any], done: Future[Any]) -> None:
    try:
        if not made.done():
            made.settle(step(done.result()))
    except ZmwsError as answer:
        # An answer as others are. Its traceback is this thread's, and would hold all that is around it.
        made.settle(fault=answer.with_traceback(None))
    except BaseException as fault:
        made.settle(fault=fault)
    finally:
        del made, step, done


def _pass_on(asked: Future[Any], made: Future[Any] | asyncio.Future[Any]) -> None:
    """Who cancels what is made of an answer cancels the question."""
    if made.cancelled():
        asked.cancel()
