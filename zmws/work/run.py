"""A worker at work, from its start to its end: the main thread, the I/O thread, the signals.

Rule 1: an executor runs `work()`; the I/O thread keeps the heartbeats going however long that takes.
Rule 2: signals only hand over that it is to stop. The job in hand is finished, its result confirmed, then it
        leaves. What is not finished within `stop_timeout` is given back, and then the process ends at once,
        for that job may run elsewhere already. Nothing that an author's code raises ends it.
Rule 3: one process has one session, which serves all services of its classes. Each has an executor of its
        kind; where all are inline they share one, and so the main thread.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import random
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from zmws.dialog.worker import DialogSettings
from zmws.key_file import KeyFile
from zmws.real_threads import need_real_threads
from zmws.service_manager import ServiceManager
from zmws.wire.messages import WorkerRequest
from zmws.work import last_words, stacks
from zmws.work.attempt import Final
from zmws.work.author import Worker
from zmws.work.declared import CHILDREN, BadWorker, Declared, declared
from zmws.work.fault import encode_fault, is_a
from zmws.work.job import JobInHand, service_of
from zmws.work.job_lines import JobLines
from zmws.work.job_log import installed
from zmws.work.line import WorkerLine
from zmws.work.own_client import OwnClient, endpoint_told
from zmws.work.recycling import Recycling
from zmws.work.signals import Signals, StoppedInSetup
from zmws.work.slots import Slots

log = logging.getLogger("zmws.worker")

RECYCLED = 75  # the exit code that asks for a new start (EX_TEMPFAIL of sysexits.h)
DRAINED = 76  # and the one that asks for none: an operator has sent it away, by the broker
_GAVE_BACK = 130  # of who was asked twice to stop, as shells have it for Ctrl-C
_JOIN_S = 10.0
_LOOK_S = 0.1  # after a job: to look each time would take longer than a small one


class Run:
    """Serves the jobs of one or more services, once."""

    def __init__(
        self,
        workers: Sequence[tuple[Worker, str | None]],
        brokers: Sequence[str],
        settings: DialogSettings | None = None,
        handle_signals: bool = True,
        client: str | None = None,
        before_end: Callable[[int], object] = lambda code: None,
        manager: ServiceManager | None = None,
        key: KeyFile | None = None,
        client_key: KeyFile | None = None,
    ) -> None:
        """`workers`: each with the service it serves, None: its own. `brokers`: worker endpoints, tried in
        turn. `client`: where `self.client` connects, None: as the broker tells. `before_end`: called with the
        exit code where the process ends without a return from `run`. `manager`: who is told that it is ready,
        and that it ends. `key`: who it is for the broker; `client_key`: as a client. Raises BadWorker, and
        ZmwsError where threads were replaced (gevent, eventlet)."""
        need_real_threads("a worker", queues=True)
        self._workers: dict[str, tuple[Worker, Declared]] = {}
        for worker, service in workers:
            found = declared(worker, service)
            if found.service in self._workers:
                raise BadWorker(f"two classes serve {found.service}; one process runs one of each service")
            self._workers[found.service] = worker, found
        self.services = list(self._workers)
        classes = [one for _, one in self._workers.values()]
        # Where it has not taken the signals, Ctrl-C is whoever's who runs it.
        self._let_through = () if handle_signals else (KeyboardInterrupt,)
        self._slots = Slots(self._workers, self._let_through, self._wake, self._give_up)
        # All of it, also where there is nothing to tell: a class of before may have told more.
        told = {one.service: one.told | self._slots.told(one) for one in classes}
        slots, prefetch = self._slots.count, self._slots.prefetch
        memory = self._slots.memory_bytes
        self.line = WorkerLine(self.services[0], brokers, settings, told, slots, prefetch, memory, key)
        self.line.on_stack, self.line.on_hang, self.line.on_gone = self._stack, self._on_hang, self._on_gone
        self.line.on_cancel = self._on_cancel
        self._manager = manager or ServiceManager({})
        self.line.on_registered = self._manager.ready
        self.line.sources = list(self._slots.children)
        if self._slots.all_elsewhere:
            self.line.on_start = self._on_start
        self._signals = Signals(self._on_signal) if handle_signals else None
        self._in_hand: dict[bytes, JobInHand] = {}  # begun, and not ended
        self._put_off: deque[WorkerRequest] = deque()  # come, and there was no slot for them
        self._ending = threading.Lock()  # jobs may end in several threads
        self._lines = JobLines(by_thread=bool(self._slots.children))
        self._look_at: float | None = None  # when the handlers of the signals are to be looked at
        self._idle_called: set[str] = set()  # services whose idle() was called since the last job
        self._was_long = False  # the last job has taken longer than a job ahead may lie
        self._worked_at: dict[str, float] = {}  # by service: when its last job ended, or it began
        self._stop_timeout_s = max(one.stop_timeout for one in classes)
        self._stays_when_hung = any(one.stays_when_hung for one in classes)
        endpoint = partial(endpoint_told, self.line.dialog, client)
        self._client = OwnClient(endpoint, client_key or key)
        self._slots.connect(self.line.dialog, endpoint, client_key or key)
        for worker, _ in self._workers.values():
            worker.client_of = self._client
        here = [one for one in classes if one.kind != CHILDREN]  # a child looks after itself
        self._recycling = Recycling(here, random.random(), time.monotonic())
        self._code = 0
        self._connected = False  # the I/O thread was started
        self._timers: list[threading.Timer] = []
        self._before_end = before_end
        self._brokers = list(brokers)

    def run(self) -> int:
        """Until it was stopped; the exit code. Raises what a setup() raises."""
        with installed():
            return self._run()

    def _run(self) -> int:
        if self._signals is not None:
            self._signals.take()
            stacks.on_signal()
        dialog = self.line.dialog
        what = (dialog.worker_id, ", ".join(self.services), os.getpid(), ", ".join(self._brokers))
        _say(logging.INFO, "worker %s of %s, pid %d, connects to %s", *what)
        for text in self._slots.limits_told():
            _say(logging.INFO, "%s", text)
        ready: list[Worker] = []
        try:
            try:
                self._set_up(ready)
                self._worked_at = dict.fromkeys(self.services, time.monotonic())
                self.line.start()
                self._connected = True
                self._serve()
            except StoppedInSetup:
                pass
            finally:
                self._leave(ready)
        finally:
            self._cancel_timers()
            if self._signals is not None:
                self._signals.give_back()
        if self.line.unconfirmed:
            text = "left with %d results that no broker confirmed; their jobs may run again"
            _say(logging.WARNING, text, self.line.unconfirmed)
        came = self._signals.came if self._signals is not None else []
        how = f": {signal.Signals(came[0]).name}" if came else ""
        said = last_words.within(last_words.WORDS_S, partial(_say, logging.INFO, "stopped%s", how))
        if not said and self._signals is not None:
            self._end("nobody reads this")  # Python itself would wait for that at the end
        return self._exit_code

    @property
    def _exit_code(self) -> int:
        sent_away = self.line.dialog.drained and not (self._signals is not None and self._signals.came)
        return DRAINED if self._code == 0 and sent_away else self._code

    def _set_up(self, ready: list[Worker]) -> None:
        """Call each setup(). Raises what that raises, and StoppedInSetup."""
        signals = self._signals
        try:
            if signals is not None:
                signals.setting_up = True
            for worker, _ in self._workers.values():
                if signals is not None and signals.came:
                    raise StoppedInSetup  # the one before has kept it from passing
                self._slots.set_up(worker)
                ready.append(worker)
        finally:
            if signals is not None:
                signals.setting_up = False
        if signals is not None:
            if signals.came:
                raise StoppedInSetup
            signals.set_up()

    def _cancel_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def _leave(self, ready: list[Worker]) -> None:
        """End the connection, then whatever setup() has begun."""
        if self._signals is not None:
            self._signals.setting_up = False
        if self._connected:
            # With a job in hand only where somebody's Ctrl-C has passed through: that is given back.
            self.line.stop(0 if self._in_hand else None)
            self.line.join(_JOIN_S)
        self.line.close()
        self._cancel_timers()
        if self._signals is not None and ready:
            self._end_within(self._stop_timeout_s, "teardown()")
        last_words.within(last_words.WORDS_S, self._lines.close)  # nobody may read the log
        for worker in reversed(ready):
            self._guarded("teardown()", partial(self._slots.tear_down, worker))
        with contextlib.suppress(Exception):  # of the author's loop, and what is left in it
            self._client.close()
        with contextlib.suppress(Exception):
            self._slots.close(self._stop_timeout_s)

    # ------------------------------------------------------------ signals

    def _on_signal(self, number: int) -> None:
        """A signal has come; from any thread."""
        assert self._signals is not None
        first = len(self._signals.came) == 1
        self._code = RECYCLED if number == signal.SIGHUP and first else 0
        if number == signal.SIGINT and not first:
            self._code = _GAVE_BACK
            if not self._connected or self.line.ended:
                self._end("ends at once")  # nothing is to be given back, and whatever runs does not end
            self.line.stop(0)  # asked twice: the job in hand is given back now
            return
        self.line.stop(self._stop_timeout_s)
        if first:
            self._manager.stopping(self._stop_timeout_s + _JOIN_S)
            grace_s = 0.0 if self._signals.setting_up else _JOIN_S
            self._end_within(self._stop_timeout_s + grace_s, "setup() or idle()")

    def _end_within(self, seconds: float, what: str) -> None:
        """End the process then, if the author's code is still running."""
        text = f"ends at once: {what} has not returned within {seconds:g} s"
        timer = threading.Timer(seconds, partial(self._end, text))
        timer.daemon = True
        with contextlib.suppress(RuntimeError):  # the system has no thread left
            timer.start()
            self._timers.append(timer)

    def _end(self, text: str, *values: Any) -> None:
        code = self._exit_code
        with contextlib.suppress(Exception):
            self._slots.kill()  # first: what is given back may begin elsewhere by now
        last_words.within(last_words.WORDS_S, self._lines.write)
        with contextlib.suppress(Exception):
            self._before_end(code)
        # A job that is given back will run elsewhere, and what it has started here must not go on.
        given_back = bool(self.line.given_back)
        last_words.end(code, partial(_say, logging.WARNING, text, *values), with_started=given_back)

    def _keep_signals(self) -> None:
        """What the author's code has done to the handlers (an event loop of its own, say) holds no longer
        than that runs, or until somebody looks."""
        self._look_at = None
        if self._signals is not None and (changed := self._signals.keep()):
            text = "another handler of %s was left; it is as before again"
            _say(logging.WARNING, text, ", ".join(changed))

    # ------------------------------------------------------------ jobs

    def _serve(self) -> None:
        line = self.line
        request: WorkerRequest | None = None
        while True:
            try:
                request = None
                request = self._next()
                if request is None:
                    return
                if not self._start(request):
                    line.put_back(request)
                    self._put_off.appendleft(request)
                    continue
                if self._look_at is None:
                    self._look_at = time.monotonic() + _LOOK_S
            except BaseException as fault:
                # What a job has left behind (an alarm, a thread) may still raise here.
                if is_a(fault, self._let_through) or line.fault is not None:
                    raise
                self._keep_signals()
                told = encode_fault(fault)
                _say(logging.ERROR, "after a job: the worker goes on\n%s", told["traceback"])
                request = request or line.lost(self._known())
                if request is not None:
                    line.finish(request.token, Final(error=told).body)
                elif line.over:
                    return

    def _known(self) -> set[bytes]:
        """The tokens of jobs that are in hand, and not lost."""
        return {*self._in_hand, *(request.token for request in self._put_off)}

    def _start(self, request: WorkerRequest) -> bool:
        """Begin a job; False if there is no slot for it."""
        job = JobInHand(self.line, request, self.services[0])
        if job.service not in self._workers:
            error = {"code": "job_failed", "error": f"this worker does not serve '{job.service}'"}
            self.line.finish(request.token, Final(error=error).body)
            return True
        worker, found = self._workers[job.service]
        begun, has_slot = time.monotonic(), False
        ended = partial(self._ended, job, request.token, begun)
        self._in_hand[request.token] = job
        try:
            has_slot = self._slots.take(job.service)
            if not has_slot:
                del self._in_hand[request.token]
                return False
            self._lines.begins(job)
            executor = self._slots.of(job.service)
            executor.start(worker, found, job, request, ended)
            if self.line.is_cancelled(request.token):
                executor.cancel(job)  # it may have come before the executor knew of the job
        except BaseException:
            # It has not begun, or what it has left behind was raised out of it.
            if self._in_hand.pop(request.token, None) is not None and has_slot:
                self._slots.give_back(job.service)
            raise
        return True

    def _wake(self) -> None:
        self.line.look_around()

    def _next(self) -> WorkerRequest | None:
        """The next job to begin; None when there will be none. Meanwhile what is due is done."""
        while True:
            if self._put_off:
                request = self._put_off_no_more()
            else:
                if self._was_long:
                    # While it kept the interpreter's lock nothing of what lies could be given back.
                    self._was_long = False
                    self.line.look(_LOOK_S)
                # What is here already needs no look at the time, where it needs none for a slot.
                look = self._look_at is not None and time.monotonic() >= self._look_at
                quick = self._slots.any and not look
                request = (self.line.here() if quick else None) or self._come()
            if request is None or self.line.begin(request.token):
                return request

    def _put_off_no_more(self) -> WorkerRequest | None:
        """The first that was put off and has a slot now, or what comes."""
        for _ in range(len(self._put_off)):
            request = self._put_off.popleft()
            if self._slots.free(self._service_of(request)):
                return request
            self._put_off.append(request)
        return self._come()

    def _come(self) -> WorkerRequest | None:
        """A job that has come and can begin, perhaps one that was put off; None when there will be none."""
        while True:
            if not self._slots.any:
                self._slots.tend()
            now = time.monotonic()
            due = [at for at in self._idle_at().values() if at is not None]
            if self._recycling.due_at is not None and not self.line.dialog.stopping:
                due.append(self._recycling.due_at)
            if self._look_at is not None:
                if now >= self._look_at:
                    self._keep_signals()
                else:
                    due.append(self._look_at)
            try:
                request = self.line.next(max(0.0, min(due) - now) if due else None)
            except queue.Empty:
                self._say_leaving(self._leave_if_enough())
                self._call_idle(time.monotonic())
                if self._put_off:
                    return self._put_off_no_more()
                continue
            if request is None or self._slots.any or self._slots.free(self._service_of(request)):
                return request
            self._put_off.append(request)
            if self._slots.free(self._service_of(request)):  # one has ended just now, and saw none put off
                return self._put_off_no_more()

    def _service_of(self, request: WorkerRequest) -> str:
        return self.services[0] if len(self.services) == 1 else service_of(request, self.services[0])

    def _ended(self, job: JobInHand, token: bytes, begun: float, final: Final | None) -> None:
        if final is None:
            return self._not_begun(job, token)
        now = time.monotonic()
        why = None
        with self._ending:
            if self._in_hand.pop(token, None) is None:
                return None  # an exception has fallen into its start, and it was told as failed
            self._worked_at[job.service] = now
            idle_is_due_anew = job.service in self._idle_called
            self._idle_called.discard(job.service)
            self._recycling.jobs += self._workers[job.service][1].kind != CHILDREN
            self._slots.give_back(job.service)
            self._was_long = now - begun > self.line.dialog.settings.lies_s
            why = self._leave_if_enough()  # before the result: with that the broker may give the next job
        self.line.finish(token, final.body)
        self._say_leaving(why)
        if self._put_off or idle_is_due_anew:
            self.line.look_around()
        error = final.error
        if error is None:
            return self._lines.ended(job, "complete in %.3f s", now - begun)
        if final.is_retry:
            return self._lines.ended(job, "after %.3f s: %s", now - begun, error["error"])
        told = error.get("traceback") or ""
        kind = f"{error['type']}: " if "type" in error else ""
        text, separator = f"{kind}{error['error']}", "\n" if told else ""
        what = (error["code"], now - begun, text, separator, told.rstrip())
        return self._lines.failed(job, "failed (%s) after %.3f s: %s%s%s", *what)

    def _not_begun(self, job: JobInHand, token: bytes) -> None:
        with self._ending:
            if self._in_hand.pop(token, None) is None:
                return
            self._slots.give_back(job.service)
        self.line.release(token)
        self._lines.ended(job, "has not begun here, and goes back")

    def _give_up(self, why: str) -> None:
        """There is no use in this process any more: it leaves, to be started anew. From any thread."""
        if not self.line.dialog.stopping:
            self._code = RECYCLED
            last_words.within(
                last_words.WORDS_S, partial(_say, logging.ERROR, "leaves to be started anew: %s", why)
            )
            self.line.stop(self._stop_timeout_s)

    def _idle_at(self) -> dict[str, float | None]:
        """When each service's idle() is due, None where it was called; of one that is busy, when to look
        again: its job may end without a word to the main thread."""
        general, now = self.line.idle_after_s, time.monotonic()
        return {
            name: None
            if name in self._idle_called
            else (now if self._slots.busy(name) else self._worked_at[name]) + (found.idle_after or general)
            for name, (_, found) in self._workers.items()
        }

    def _call_idle(self, now: float) -> None:
        for name, at in self._idle_at().items():
            if at is not None and now >= at:
                self._idle_called.add(name)
                self._guarded("idle()", partial(self._slots.idle, self._workers[name][0]))
                self._keep_signals()

    def _guarded(self, name: str, what: Callable[[], None]) -> None:
        try:
            what()
        except BaseException as fault:
            if is_a(fault, self._let_through):
                raise
            _say(logging.ERROR, "%s failed; the worker goes on\n%s", name, encode_fault(fault)["traceback"])

    def _leave_if_enough(self) -> str | None:
        """Leave to be started anew, if it is time for that; why."""
        # What was handed over to stop may not have been taken up yet.
        told = self._signals is not None and bool(self._signals.came)
        if self.line.dialog.stopping or told or self._code == RECYCLED:
            return None
        why = self._recycling.why(time.monotonic())
        if why is not None:
            self._recycling.due_at = None
            self._code = RECYCLED
            self.line.stop()
        return why

    def _say_leaving(self, why: str | None) -> None:
        """Once. The thread that says it may have heartbeats to send, and nobody may read the log."""
        if why is not None:
            text = "leaves to be started anew: %s"
            last_words.within(last_words.WORDS_S, partial(_say, logging.INFO, text, why))

    # ------------------------------------------------------------ the I/O thread

    def _stack(self, token: bytes, tell: Callable[[str], None]) -> None:
        """Tell where the job's code is now."""
        job = self._in_hand.get(token)
        if job is not None:
            self._slots.of(job.service).tell_stack(job, tell)

    def _on_start(self, request: WorkerRequest) -> bool:
        """Begin a job for which a child is free. The main thread would but hand it on."""
        if self._put_off:
            return False  # these come first
        try:
            return self._start(request)
        except Exception as fault:  # of ours: heartbeats must go on
            told = encode_fault(fault)
            text = "a job could not be begun; the worker goes on\n%s"
            last_words.within(last_words.WORDS_S, partial(_say, logging.ERROR, text, told["traceback"]))
            self.line.finish(request.token, Final(error=told).body)
        return True

    def _on_cancel(self, token: bytes) -> None:
        job = self._in_hand.get(token)
        if job is not None:
            self._slots.of(job.service).cancel(job)

    def _on_hang(self, token: bytes) -> None:
        stays = self._signals is None or self._stays_when_hung
        end = "" if stays else "\nleaves to be started anew, without that job (on_hung)"
        text = "job %s was to be dropped, and hangs\n%s%s"
        words = partial(_say, logging.ERROR, text, token.decode(), stacks.all_stacks(), end)
        last_words.within(last_words.WORDS_S, words)
        if not stays:
            self._code = RECYCLED
            self.line.abandon(self._stop_timeout_s)

    def _on_gone(self) -> None:
        """The connection is closed. What was given back must not go on: it may run elsewhere by now. Nor is
        anything waited for after a second Ctrl-C."""
        given_back = self.line.given_back
        if self._signals is not None and (given_back or self._code == _GAVE_BACK):
            names = ", ".join(token.decode().rpartition("/")[0] for token in given_back) or "nothing"
            self._end("ends at once, and gives back: %s", names)


def _say(level: int, text: str, *values: Any) -> None:
    """A line of the log. The author's code (filters, handlers, sys.stderr) is on its way, and may fail."""
    with contextlib.suppress(Exception):
        log.log(level, text, *values)
