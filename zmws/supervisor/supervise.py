"""The supervisor: one process that keeps those of an installation running.

Rule 1: signal handlers only set flags; the loop acts. Nothing in the loop waits for a process, a peer or the
        broker.
Rule 2: its death costs nobody a job: its children go on, and the next one takes them over (run/NAME.json).
Rule 3: it ends when nothing is to run any more.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Mapping
from types import FrameType
from typing import IO, Any

from zmws.core.job import iso
from zmws.errors import SettingsError, ZmwsError
from zmws.service_manager import ServiceManager
from zmws.supervisor.children import become_subreaper
from zmws.supervisor.door import ALIVE_S, ENDING, Door, Peer
from zmws.supervisor.keeper import REMEMBERED_S, Copy, End, Event, State
from zmws.supervisor.kept import Kept
from zmws.supervisor.orders import Order
from zmws.supervisor.pidfile import PidFile
from zmws.supervisor.processes import SUPERVISOR, Installation
from zmws.supervisor.roll import ReloadOrder, order_for
from zmws.supervisor.rounds import Rounds

log = logging.getLogger("zmws.supervisor")

_FILES_S = 1.0  # between two looks whether all is noted in run/
_STOOD_S = 1.0  # later than it was to be woken: this process, or the machine, has stood still
_LOOK_S = 60.0  # at the longest
_WITHOUT_PIDFD_S = 0.5  # where the system does not tell that a process has ended that is no child
_ENDING_S = 10.0  # for this process itself
_FIRST_ORDER_S = 10.0  # whoever has started this one has something to ask


class Supervisor:
    """That of one installation. Use `run`."""

    def __init__(
        self,
        installation: Installation,
        environ: Mapping[str, str],
        on_event: Callable[[Event], None] = lambda event: None,
        on_hangup: Callable[[], None] | None = None,
    ) -> None:
        """`environ`: of those that are taken over, should they have to be started again. `on_hangup`: what to
        do about SIGHUP; None: it ends everything, as a terminal's does that is closed."""
        self._of = installation
        self._environ = environ
        self._on_event = on_event
        self._on_hangup = on_hangup
        self._orders: list[tuple[Peer | None, Order]] = []
        self._later: list[tuple[Peer, Mapping[str, Any]]] = []  # those that wait for another's end
        self.kept = Kept(installation, self._tell)
        self._began_at, self._began = time.time(), time.monotonic()
        self._selector = selectors.DefaultSelector()
        self._waking, self._woken = socket.socketpair()
        for end in (self._waking, self._woken):
            end.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._watched: set[int] = set()  # descriptors of processes
        self._signals: list[int] = []
        self._stopping = False
        self._rounds = Rounds(self.kept, self._wake)
        self._alive_at = self._files_at = 0.0
        self._locks: list[IO[str]] = []
        self._manager = ServiceManager()
        self._told_ready = False

    def run(self, first: Mapping[str, Any] | None = None) -> int:
        """Until nothing is to run any more; the exit code. `first`: what to do at once, as over the socket;
        then it also ends, with 1, when nothing that is to run ever came up, and nothing is tried again.

        Raises ZmwsError where another supervisor is at work here, or run/ cannot be written."""
        with self._of.locked() as lock:
            self._locks = [lock]
            file = PidFile(self._of.run_dir, SUPERVISOR)
            try:
                file.write(os.getpid())
                self._door = Door(self._of.run_dir, self._selector)
            except OSError as wrong:
                with contextlib.suppress(OSError):
                    file.remove()
                raise ZmwsError(f"cannot write in {self._of.run_dir}: {wrong.strerror or wrong}") from None
            self._take_signals()
            become_subreaper()
            try:
                self._adopt()
                if first is not None:
                    self._begin(None, first)
                ended_well = self._loop(is_awaited=first is None)
                if self.kept.is_idle():
                    self._of.scale({})  # the counts of the file hold again
            finally:
                # First nobody finds it any more, then it is let go.
                if file.noted() == os.getpid():
                    with contextlib.suppress(OSError):
                        file.remove()
                self._rounds.close()
                self._door.close()
                log.info("the supervisor ends")
        return 0 if ended_well else 1

    # ------------------------------------------------------------ the loop

    def _loop(self, is_awaited: bool) -> bool:
        """Until nothing is to run any more; whether that is well. `is_awaited`: somebody will say what is."""
        idle_until = time.monotonic() + (_FIRST_ORDER_S if is_awaited else 0.0)
        hopeless = False
        while True:
            now = time.monotonic()
            if not is_awaited and not self._orders and not hopeless and self._is_hopeless():
                log.error("nothing comes up, and nothing is tried again: all ends")
                hopeless = True
                self._stop_all(now)
            if self._orders or not self.kept.is_idle():
                idle_until = now
            elif now >= idle_until and not any(peer.waits for peer in self._door.peers):
                return not hopeless
            self._wait(now, idle_until)
            now = time.monotonic()
            if now >= self._files_at and not self._has_its_files(now):
                log.error("another supervisor has taken over: this one leaves it all to that")
                return True
            self._act_on_signals(now)
            self.kept.look_for_the_gone(now)
            for peer, asked in self._door.asked():
                self._on_asked(peer, asked, now)
            self._rounds.go_on(now)
            self.kept.keeper.tick(now)
            self.kept.carry_out()
            self._look_at_orders(now)
            self._door.tidy()
            self._manager.alive()

    def _has_its_files(self, now: float) -> bool:
        """Make anew what somebody has removed from run/: what cannot be found there cannot be stopped either.
        Whether no other supervisor has come meanwhile."""
        self._files_at = now + _FILES_S
        try:
            there = (self._of.run_dir / "lock").stat()
            has_lock = any(os.path.samestat(os.fstat(lock.fileno()), there) for lock in self._locks)
        except OSError:
            has_lock = False
        try:
            if not has_lock:
                lock = self._of.made()
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._locks.append(lock)
            own = PidFile(self._of.run_dir, SUPERVISOR)
            if not own.is_there():
                own.write(os.getpid())
            self._door.look()
            self.kept.children.note_again()
        except BlockingIOError:
            return False
        except (OSError, ZmwsError) as wrong:
            log.error("cannot write in %s: %s", self._of.run_dir, wrong)
        return True

    def _is_hopeless(self) -> bool:
        wanted = [one for one in self.kept.keeper.copies.values() if one.wanted]
        given_up = [one for one in wanted if one.is_fatal and one.due_at is None and not one.lives]
        return bool(given_up) and not any(one.lives or one.due_at is not None for one in wanted)

    def _wait(self, now: float, idle_until: float) -> None:
        self._let_go()
        for new in {*self.kept.children.descriptors()} - self._watched:
            self._watched.add(new)
            self._selector.register(new, selectors.EVENT_READ)
        due = [self.kept.keeper.next_deadline(), *(order.deadline() for _, order in self._orders)]
        if self._orders:
            due.append(self._alive_at)
        if self.kept.is_idle():
            due.append(idle_until)
        else:
            due.append(self._rounds.due())
        if self.kept.children.is_to_be_looked_at():
            due.append(now + _WITHOUT_PIDFD_S)
        due.append(self._files_at)
        if self._manager.each_s:
            due.append(now + self._manager.each_s / 2)
        # epoll takes no more than some weeks.
        until = min((one for one in due if one is not None), default=now + _LOOK_S)
        until = min(until, now + _LOOK_S)
        ready = self._selector.select(max(0.0, until - now))
        stood_s = time.monotonic() - max(until, now)
        if stood_s > _STOOD_S:
            self.kept.keeper.stood_still(stood_s)
        for key, _ in ready:
            if key.fileobj is self._woken:
                with contextlib.suppress(BlockingIOError):
                    while self._woken.recv(4096):
                        pass

    def _let_go(self) -> None:
        """Of the descriptors of processes that have ended, before another gets such a number."""
        for gone in self.kept.children.closing():
            if gone in self._watched:
                self._watched.discard(gone)
                self._selector.unregister(gone)
            os.close(gone)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            self._waking.send(b"x")

    # ------------------------------------------------------------ orders

    def _on_asked(self, peer: Peer, asked: dict[str, Any], now: float) -> None:
        if asked.get("cancel"):
            for whose, order in self._orders:
                if whose is peer:
                    order.cancel(now)
                    self.kept.carry_out()
        elif asked.get("verb") == "status":
            peer.tell({"done": self._status(now)})
        elif self._stopping:
            peer.tell({"error": "the supervisor is about to end", "code": ENDING})
        elif asked.get("verb") == "reload" and any(isinstance(one, ReloadOrder) for _, one in self._orders):
            self._later.append((peer, asked))  # two rolls of one copy would be in each other's way
        else:
            self._begin(peer, asked)

    def _begin(self, peer: Peer | None, asked: Mapping[str, Any]) -> None:
        now = time.monotonic()
        tell = peer.tell if peer is not None else lambda answer: None
        order: Order | None = None
        try:
            order = order_for(self.kept, tell, asked)
            self._orders.append((peer, order))
            order.begin(now)
            self.kept.carry_out()
        except Exception as wrong:
            if not isinstance(wrong, (ZmwsError, KeyError, TypeError, ValueError)):
                log.exception("a command has failed")
            self._orders = [one for one in self._orders if one[1] is not order]
            text = str(wrong) if isinstance(wrong, ZmwsError) else f"the command is not whole: {wrong!r}"
            code = "bad_settings" if isinstance(wrong, SettingsError) else "command_failed"
            tell({"error": text, "code": code})
            if peer is None:
                raise

    def _look_at_orders(self, now: float) -> None:
        going_on = []
        for peer, order in self._orders:
            try:
                answer = order.answer(now)
            except Exception as wrong:
                # Whatever is wrong with one command, those that are kept are kept.
                log.error("a command has failed: %s", wrong, exc_info=not isinstance(wrong, ZmwsError))
                answer = {"error": f"the command has failed: {wrong}", "code": "command_failed"}
            if answer is None:
                going_on.append((peer, order))
            elif peer is not None:
                peer.tell(answer)
        self._orders = going_on
        if self._later and not any(isinstance(one, ReloadOrder) for _, one in self._orders):
            self._begin(*self._later.pop(0))
        self.kept.carry_out()
        if self._orders and now >= self._alive_at:
            self._alive_at = now + ALIVE_S
            for peer, _ in [*self._orders, *self._later]:
                if peer is not None:
                    peer.tell({"alive": True})
        wanted = [one for one in self.kept.keeper.copies.values() if one.wanted]
        if not self._orders and not self._told_ready and all(one.state is State.RUNNING for one in wanted):
            self._told_ready = True
            self._manager.ready()

    def _tell(self, event: Event) -> None:
        for _, order in self._orders:
            order.on_event(event)
        self._on_event(event)

    # ------------------------------------------------------------ the broker and the workers

    def _adopt(self) -> None:
        now = time.monotonic()
        self.kept.take(self._of.settings, self._environ)
        of_settings = self._of.processes(True, True, with_spare=True)
        processes = {process.name: process for process in of_settings}
        adopted = self.kept.adopt(processes, self._environ, now)
        if adopted:
            log.info("taken over: %s", ", ".join(adopted))

    # ------------------------------------------------------------ signals

    def _take_signals(self) -> None:
        # Whoever has started this may have had signals blocked; its processes are to be told to stop.
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        signal.set_wakeup_fd(self._waking.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self._signals.append(number)

    def _act_on_signals(self, now: float) -> None:
        came, self._signals = self._signals, []
        for number in came:
            if number == signal.SIGHUP and self._on_hangup is not None:
                self._on_hangup()
                continue
            if number == signal.SIGCHLD:
                continue
            if self._stopping:
                if number == signal.SIGINT:
                    log.info("told to end at once: what is in hand is given back")
                    self.kept.keeper.hurry(now)
                continue
            log.info("told to end (%s): everything stops", signal.Signals(number).name)
            self._stopping = True
            self._stop_all(now)

    def _stop_all(self, now: float) -> None:
        copies = self.kept.keeper.copies
        rules = [one.rules for one in copies.values() if one.lives]
        # The workers, and then the broker.
        longest_s = max((one.stop_timeout_s + one.kill_after_s for one in rules), default=0.0)
        self._manager.stopping(2 * longest_s + _ENDING_S)
        self.kept.stop_scaling(None, True)
        self.kept.keeper.stop(list(copies), now)
        self.kept.carry_out()

    # ------------------------------------------------------------ status

    def _status(self, now: float) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "uptime_s": now - self._began,
            "scaling": self._rounds.scaling.told(),
            "copies": [self._row(one, now) for one in self.kept.keeper.copies.values()],
        }

    def _row(self, copy: Copy, now: float) -> dict[str, Any]:
        end = copy.last_end
        return {
            "name": copy.name,
            "group": self.kept.group_of(copy.name),
            "state": _shown(copy),
            "wanted": copy.wanted,
            "pid": copy.pid,
            "adopted": copy.adopted and copy.lives,
            "restarts": copy.restarts_since(now - REMEMBERED_S),
            "last_exit": None if end is None else self._end_shown(copy.name, end, now),
            "next_try_s": max(0.0, copy.due_at - now)
            if copy.state is State.BACKOFF and copy.due_at is not None
            else None,
        }

    def _end_shown(self, name: str, end: End, now: float) -> dict[str, Any]:
        by = None
        if end.code is not None and end.code < 0:
            by = signal.Signals(-end.code).name if -end.code in {*signal.Signals} else f"signal {-end.code}"
        return {
            "code": end.code if end.code is not None and end.code >= 0 else None,
            "signal": by,
            "at": iso(time.time() - (now - end.at)),
            "peak_memory_bytes": end.peak_bytes,
            "text": self.kept.how_it_ended(name, with_log=False),
        }


def _shown(copy: Copy) -> str:
    """The word for its state; one that never came up is `fatal`, also while it is tried again."""
    trying = copy.state in (State.BACKOFF, State.STARTING, State.WAITING)
    return "fatal" if copy.is_fatal and trying else copy.state.value
