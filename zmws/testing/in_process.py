"""A broker in the test's own thread: the real core, store and codec, without socket, process or waiting.

Rule 1: it decides nothing itself. What is asked goes through the frames of the wire to the core that is
        shipped, and its answers come back the same way: so a fake cannot drift from what it stands for.
Rule 2: nothing waits. Where a real caller would, workers are let work, and then the clock is moved on to the
        next thing that time brings about. It goes with the machine's otherwise.
Rule 3: one lock guards all that is here, and neither `work()` nor a callback is run under it.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from zmws import __version__, cron, ids
from zmws.client.connection import Ask
from zmws.core.limits import Limits
from zmws.core.node import Node
from zmws.core.options import ServiceOptions
from zmws.core.timers import Reminder, Timers, Whom
from zmws.core.turn import NEWS_PEER
from zmws.dialog.client import ClientDialog
from zmws.errors import ProtocolError, ZmwsError
from zmws.store.sqlite.memory import MemoryStore
from zmws.testing.crew import Crew
from zmws.testing.one_job import Hand
from zmws.wire import mdp, names
from zmws.wire.messages import Peer, WorkerRequest
from zmws.work import WorkerBase
from zmws.work.attempt import Final
from zmws.work.command import flags_given
from zmws.work.declared import declared
from zmws.work.function import worker_of

NO_END_S = math.inf
_STEPS_MAX = 100_000  # that time is moved on for one wait

# Nobody here falls silent, and nothing gathers.
_LIMITS = Limits(heartbeat_interval_s=1e9, probe_interval_s=1e9, memory_commit_patience_s=0.0)


@dataclass
class Submitted:
    """A job that was made: what a client has asked for.

    `service` and `id` say which job it is. `params` are as `work()` gets them: through JSON, or bytes, {}
    for none. `options` are those that were given, as they went over the wire (seconds as numbers, times as
    texts). `sync`: of a `call`. Of a chain it is the first job, and `options["chain"]` has all steps, as they
    went over the wire.
    """

    service: str
    params: Any
    options: dict[str, Any]
    id: str
    sync: bool = False


class _Timers(Timers):
    """The broker's, for whom a day passes in a moment: what is due each second is done once then."""

    def __init__(self, *each_second: Reminder[None]) -> None:
        super().__init__()
        self._due_at = dict.fromkeys(each_second, NO_END_S)

    def add(self, at: float, reminder: Reminder[Whom], whom: Whom) -> None:
        for one in self._due_at:
            if one is reminder:
                self._due_at[one] = at
                return
        super().add(at, reminder, whom)

    def due(self, now: float, most: int = 10_000) -> list[tuple[Reminder[Any], Any]]:
        taken = super().due(now, most)
        for one, at in self._due_at.items():
            if at <= now:
                self._due_at[one] = NO_END_S  # it sets the next time itself
                taken.append((one, None))
        return taken


class Connected(Protocol):
    """A client of it (fake_connection.py). All is called under the broker's lock."""

    dialog: ClientDialog

    def waits_for(self, ask: Ask) -> bool:
        """Whether there is no answer yet."""

    def fail(self, ask: Ask, fault: ZmwsError) -> None:
        """There will be none."""

    def step(self, now: float) -> Iterable[list[bytes]]:
        """Do what its dialog wants done; the frames that are to be sent."""

    def receive(self, now: float, frames: list[bytes]) -> None:
        """What the broker sent."""


class InProcess:
    """The broker, its clock and its workers."""

    def __init__(self, services: Mapping[str, ServiceOptions], run_at_once: bool) -> None:
        """`run_at_once`: workers work whenever something was asked; else when told, or when somebody
        waits."""
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.run_at_once = run_at_once
        self.submitted: list[Submitted] = []
        self.crews: list[Crew] = []
        self.takes_any_service = True  # until it is known what there is
        self._ahead_s = 0.0  # of the machine's clock
        self._steady_from = time.time() - time.monotonic()
        self._store = MemoryStore()
        weakref.finalize(self, self._store.close)
        self.node = Node(_LIMITS, dict(services), ids.suppliers(cron), self._store.durability)
        self.node.broker.turn.timers = _Timers(self.node.broker._prune, self.node.broker.series.each_second)
        self.node.broker.turn.news_wanted = False
        self.node.broker.desk.host.version = __version__
        self._hands: dict[int, Hand] = {}  # by the identity of their worker
        self._clients: dict[bytes, Connected] = {}
        self._numbers = itertools.count(1)
        self._told: deque[Callable[[], None]] = deque()  # answers, to be brought when the lock is let go of
        self._in_work = threading.local()
        self._running = 0
        with self.lock:
            self._set_time()
            self.node.start()
            self.flow()

    # ------------------------------------------------------------ the clock

    def now(self) -> float:
        """Monotonic seconds, by the clock of this broker."""
        return time.monotonic() + self._ahead_s

    def _set_time(self) -> None:
        now = self.now()
        self.node.set_time(now, time.time() + self._ahead_s, self._steady_from + now)

    def _deadline(self) -> float:
        """When the next thing happens by itself."""
        due = [self.node.next_deadline(), *(one.dialog.next_deadline() for one in self._clients.values())]
        return min((at for at in due if at is not None), default=NO_END_S)

    def _move_on(self, to: float) -> None:
        self._ahead_s += max(0.0, to - self.now())
        self._set_time()
        self.node.tick()
        self.flow()

    def move_on_until(self, there: Callable[[], bool]) -> None:
        """Let time pass until something has come about that nobody has to do anything for."""
        for _ in range(_STEPS_MAX):
            if there():
                return
            with self.lock:
                if (at := self._deadline()) == NO_END_S:
                    return
                self._move_on(at)
            self.bring()

    def pass_time(self, seconds: float) -> None:
        """Let this much time pass at once; what it brings about happens, in its order."""
        end = self.now() + seconds
        while True:
            with self.lock:
                at = min(end, self._deadline())
                self._move_on(at)
            self.bring()
            if self.run_at_once and not self.in_work:
                self.work()
            if at >= end:
                return

    # ------------------------------------------------------------ who is there

    def leave(self, number: bytes) -> None:
        """This client has gone."""
        with self.lock:
            self._clients.pop(number, None)
            ended = [] if self._clients else [*self._hands.values()]
            if ended:
                self._hands, self.crews = {}, []
        for hand in ended:
            hand.close()

    def join(self, connection: Connected) -> bytes:
        """A client; its routing id."""
        with self.lock:
            number = b"client-%d" % next(self._numbers)
            self._clients[number] = connection
            return number

    def hire(self, worker: type[WorkerBase] | WorkerBase | Callable[..., Any], client: Any) -> None:
        """A worker. `client`: its `self.client`. Raises BadWorker, and what its class or its setup()
        raises, as its process would at its start."""

        def make() -> WorkerBase:
            made = worker_of(worker)
            made.client_of = lambda: client
            if made.flags:
                made.options = flags_given([type(made)], ())
            self._hands[id(made)] = Hand(made, made is not worker)
            return made

        first = make()
        found = declared(first)
        with self.lock:
            name = f"{type(first).__name__}-{len(self.crews) + 1}"
            given = first if first is worker else None
            crew = Crew(name, found.service, ("worker", name.encode(), ""), found, make, given)
            if given is None:
                crew.free.append(first)
            self.crews.append(crew)
            info = {"zmws": 1, "id": name, "services": {found.service: found.told}}
            self._from_peer(crew.peer, mdp.encode_ready(found.service, info))
            self._slots(crew, 0)
            self.flow()

    def serves(self, service: str) -> bool:
        """Whether a worker of it is here."""
        return any(crew.service == service for crew in self.crews)

    def know(self, service: str) -> None:
        """This service is known, though nobody serves it."""
        if names.service_name_fault(service) is None and not names.is_reserved(service):
            self.node.broker.held.register(service)

    # ------------------------------------------------------------ what goes to and fro, under the lock

    def flow(self) -> None:
        """Carry on until nothing more comes of anything."""
        node = self.node
        while True:
            moved = False
            self._set_time()
            for number, client in list(self._clients.items()):
                for frames in client.step(self.now()):
                    moved = True
                    self._from_peer(("client", number, ""), frames)
            deadline = node.next_deadline()
            if deadline is not None and deadline <= self.now():
                node.tick()
            while (out := node.take()) is not None:
                moved = True
                if out.commit is not None:
                    verdicts = self._store.commit(out.commit.writes)
                    found = [(read, self._store.read(read)) for read in out.commit.reads]
                    node.committed(out.commit.seq, verdicts)
                    for read, rows in found:
                        node.loaded(read, rows)
                for send in out.sends:
                    self._deliver(send)
                for read in out.reads:
                    node.loaded(read, self._store.read(read))
            if not moved:
                self.changed.notify_all()
                return

    def _from_peer(self, peer: Peer, frames: list[bytes]) -> None:
        self._set_time()
        try:
            message = mdp.decode(peer[0], frames)
        except ProtocolError as fault:
            self.node.protocol_error(peer, fault)
        else:
            self.node.receive(peer, message)

    def _deliver(self, send: Any) -> None:
        if send.peer == NEWS_PEER:
            return
        if send.link is not None:
            crew = next(crew for crew in self.crews if crew.peer == send.peer)
            crew.receive(mdp.encode_to_worker(send.message, send.link))
            return
        client = self._clients.get(send.peer[1])
        if client is not None:
            client.receive(self.now(), mdp.encode_to_client(send.message))

    def _slots(self, crew: Crew, slots: int) -> None:
        """So many jobs it takes from now on."""
        self._from_peer(crew.peer, [mdp.MDPW02, mdp.W_HEARTBEAT, b"SLOTS %d" % slots])

    def tell(self, what: Callable[[], None]) -> None:
        """Do this when the lock is let go of: a caller's own code may be in it."""
        self._told.append(what)

    # ------------------------------------------------------------ what happens without the lock

    def bring(self) -> None:
        """Bring the answers that there are."""
        while True:
            try:
                told = self._told.popleft()
            except IndexError:
                return
            told()

    @property
    def in_work(self) -> bool:
        """Whether this thread is in a `work()`."""
        return bool(getattr(self._in_work, "depth", 0))

    def work(self) -> int:
        """Let the workers do all that may start now, one job after the other; how many attempts that were."""
        count, idle = 0, False
        while not idle:
            idle = True
            for crew in list(self.crews):
                request = self._take(crew)
                if request is not None:
                    idle = False
                    count += 1
                    self._run(crew, request)
        return count

    def _take(self, crew: Crew) -> WorkerRequest | None:
        with self.lock:
            self.flow()
            self._slots(crew, crew.running + 1)
            self.flow()
            request = crew.requests.popleft() if crew.requests else None
            crew.running += request is not None
            self._running += request is not None
            self._slots(crew, 0)
            self.flow()
        self.bring()
        return request

    def _run(self, crew: Crew, request: WorkerRequest) -> None:
        line, worker = _Line(self, crew), None
        try:
            with self.lock:
                worker = crew.spare()
            worker = worker or crew.make()
            if _loop_runs_here():
                # A work() may be a coroutine, or call asyncio.run(): no loop runs within a loop.
                self._run_apart(crew, worker, line, request)
            else:
                self._attempt(crew, worker, line, request)
        finally:
            if not line.ended:  # Ctrl-C in the midst of it, or no object could be made
                line.finish(request.token, Final(error={"code": "job_failed", "error": "work() did not end"}))
            with self.lock:
                self._running -= 1
                crew.over(worker)
                self.flow()
            self.bring()

    def _attempt(self, crew: Crew, worker: WorkerBase, line: _Line, request: WorkerRequest) -> None:
        self._in_work.depth = getattr(self._in_work, "depth", 0) + 1
        try:
            hand = self._hands[id(worker)]
            hand.attempt(crew.found, line, request, lambda final: line.finish(request.token, final))
        finally:
            self._in_work.depth -= 1

    def _run_apart(self, crew: Crew, worker: WorkerBase, line: _Line, request: WorkerRequest) -> None:
        faults = list[BaseException]()

        def run() -> None:
            try:
                self._attempt(crew, worker, line, request)
            except BaseException as fault:
                faults.append(fault)

        thread = threading.Thread(target=run, name="zmws-fake-worker")
        thread.start()
        thread.join()
        if faults:
            raise faults[0]

    # ------------------------------------------------------------ waiting

    def await_answer(self, client: Connected, ask: Ask, works: bool) -> None:
        """Until it is answered. `works`: whether workers may work meanwhile. What nobody will ever answer
        fails."""
        for _ in range(_STEPS_MAX):
            if works and client.waits_for(ask):
                self.work()
            with self.lock:
                if not client.waits_for(ask):
                    return
                if self._running and not self.in_work:
                    self.changed.wait()  # another thread is in a work(), which may bring it
                    continue
                at = self._deadline()
                why = self.why_never(ask.service) if ask.sync and ask.timeout_s is None else None
                if why is None and at < NO_END_S:
                    self._move_on(at)
                else:
                    client.fail(ask, ZmwsError(why or f"nobody here will ever answer this {ask.service}"))
            self.bring()
        raise ZmwsError(f"there is no end to what has to happen before this {ask.service} is answered")

    def why_never(self, service: str) -> str | None:
        """Why a job of this service that waits will never start by itself; None: it may."""
        if names.is_reserved(service):
            return None
        known = self.node.broker.held.services.get(service)
        if known is not None and known.paused:
            return f"{service} is paused, and whoever waits for a job of it would wait for ever"
        if not self.serves(service):
            return (
                f"no worker of {service} is here, and whoever waits for a job of it would wait for ever; "
                "make the fake client with workers=[...], or give a timeout"
            )
        return None

    def run_all(self) -> int:
        """Let the workers work until none of them has anything to do, now or later; how many attempts."""
        count = 0
        for _ in range(_STEPS_MAX):
            count += self.work()
            with self.lock:
                at = self._deadline()
                if at == NO_END_S or not self._more_comes():
                    return count
                self._move_on(at)
            self.bring()
        raise ZmwsError("there is no end to what these workers have to do")

    def _more_comes(self) -> bool:
        """Whether time brings a job for one of the workers."""
        for name in {crew.service for crew in self.crews}:
            service = self.node.broker.held.services[name]
            if not service.paused and (service.waiting_count or service.scheduled_count):
                return True
        return False


class _Line:
    """Where what a job says goes: to the broker, at once."""

    def __init__(self, broker: InProcess, crew: Crew) -> None:
        self.ended = False
        self._broker = broker
        self._crew = crew

    def say(self, token: bytes, body: tuple[bytes, ...]) -> None:
        self._send(mdp.W_PARTIAL, token, body)

    def is_cancelled(self, token: bytes) -> bool:
        return token in self._crew.cancelled

    def finish(self, token: bytes, final: Final) -> None:
        self.ended = True
        if final.error is not None:
            final.error.setdefault("delay", 0)  # nobody waits for a backoff here
        self._crew.cancelled.discard(token)
        self._send(mdp.W_FINAL, token, final.body)

    def _send(self, command: bytes, token: bytes, body: tuple[bytes, ...]) -> None:
        broker = self._broker
        with broker.lock:
            broker.flow()  # its time to run may have passed meanwhile
            broker._from_peer(self._crew.peer, mdp.encode_from_worker(command, token, body))
            broker.flow()
        broker.bring()


def _loop_runs_here() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
