"""The broker in the world: the shipped node, around a disk that is slow, fails, and outlives it."""

from __future__ import annotations

from dataclasses import replace

from tests.simulation.invariants import Watcher
from tests.simulation.turns import Before
from tests.simulation.twin import TwinStore
from tests.simulation.world import Link, World, shown
from tests.store.model import ModelStore
from zmws.core.gate import Batch, Send
from zmws.core.limits import Limits
from zmws.core.node import Node
from zmws.core.options import ServiceOptions
from zmws.core.reads import FOR_QUESTIONS, Read
from zmws.core.rows import Rows
from zmws.core.turn import NEWS_PEER, Suppliers
from zmws.errors import ProtocolError
from zmws.wire import mdp, messages
from zmws.wire.messages import Heartbeat, Peer, WorkerRequest

BARE_HEARTBEAT = [mdp.MDPW02, mdp.W_HEARTBEAT]

LIMITS = Limits(heartbeat_interval_s=1.0, memory_keep_s=30.0, cancel_grace_s=2.0, batch_rows_max=7)
# As small as can be, so that most of a backlog stands in the store alone.
LIMITS = replace(LIMITS, prefetch_time_s=0.25)  # here a message takes up to 20 ms
LIMITS = replace(LIMITS, window_jobs_max=3, window_scheduled_max=2, waiting_memory_max=6)
LIMITS = replace(LIMITS, unknown_service_ttl_s=4.0)
LIMITS = replace(LIMITS, lanes_s=20.0)


class SimBroker:
    """The broker process: the shipped node, and a disk that outlives it."""

    def __init__(self, world: World, watcher: Watcher, services: dict[str, ServiceOptions]) -> None:
        self.world, self.watcher, self.services = world, watcher, services
        self.disk = TwinStore() if world.seed % 4 == 1 else ModelStore()
        self.links: dict[Peer, Link] = {}
        self.up = False
        self.life = 0
        self.commit_s = (0.0005, 0.01)
        self.full_probability = 0.0
        self.news_wanted = self.world.chance(0.5)  # without news, many writes have nobody who waits for them
        self.io_error = False  # the next commit fails
        self.bad_read_probability = 0.0
        self._tick_at: float | None = None
        self.start()

    def start(self) -> None:
        random = self.world.random
        suppliers = Suppliers(
            new_id=lambda: f"b-{random.getrandbits(64):016x}",
            nonce=lambda: f"{random.getrandbits(64):016x}",
            jitter=random.random,
            secret=b"of the world",  # and not drawn: a seed keeps its history
        )
        # In every third history two services have figures of their own, and the others count together.
        limits = replace(LIMITS, series_services_max=2) if self.world.seed % 3 == 0 else LIMITS
        if self.world.seed % 5 == 0:
            limits = replace(limits, lanes_workers_max=2)
        self.node = Node(limits, self.services, suppliers, "disk")
        self.core = self.node.broker  # to look at
        for timers in (self.core.turn.timers, self.core.turn.wall_timers, self.core.turn.steady_timers):
            timers.kept_min = 0  # what nobody wants is thrown out as often as can be
        self.up, self.accepting = True, False
        self._early: list[tuple[Link, list[bytes]]] = []
        self.life += 1
        self.steady_from = self.world.wall - self.world.boot
        self.watcher.restarted(lambda: self.steady_from + self.world.boot, LIMITS.reattach_grace, self.disk)
        self.world.say(f"broker starts, life {self.life}")
        self._tick_at = None
        self._time()
        self.node.start()
        self.flush()

    def crash(self) -> None:
        """kill -9: all that is not on disk is gone, and every connection breaks."""
        if not self.up:
            return
        self.world.say("broker crashes")
        for job in self.core.held.stored.values():
            if job.retries == 0:
                self.watcher.may_fail[job.id] += (
                    1  # its worker may not come back, nor say again that it is done
                )
        self.watcher.crashed(self.core, self.disk)
        self.up = self.accepting = False
        self.life += 1
        for link in list(self.links.values()):
            link.break_off()
        self.links.clear()

    # ------------------------------------------------------------ in

    def _time(self) -> None:
        steady = self.steady_from + self.world.boot
        self.watcher.waits.passed(self.core, steady)
        self.node.set_time(self.world.now, self.world.wall, steady)

    def stop(self) -> None:
        """SIGTERM: no peer is read any more, and what there is goes to the disk."""
        self.world.say("broker stops")
        self._time()
        self.node.stop()
        self.flush()

    def connect(self, link: Link) -> bool:
        """A peer connects; false where nobody listens."""
        if not self.accepting and not (self.up and link.socket == "client"):
            return False
        # HANDOVER: a new connection under a known routing id takes its place.
        old = self.links.get(link.peer)
        if old is not None:
            old.alive = False
            self.watcher.answers.gone(link.peer)
        self.links[link.peer] = link
        return True

    def receive(self, link: Link, frames: list[bytes]) -> None:
        if not self.up or self.links.get(link.peer) is not link:
            return None
        if not self.accepting:
            # No socket is read before the recovery.
            return self._early.append((link, frames))
        self.world.say(f"{link.socket} {link.routing_id!r} -> {shown(frames)}")
        self.watcher.released |= {f[8:] for f in frames if f.startswith(b"RELEASE ")}
        self._time()
        peer = link.peer
        session = self.core.roster.sessions.by_peer.get(peer)
        if frames == BARE_HEARTBEAT and session is not None and session.blocked_until <= self.world.now:
            self.node.receive(peer, Heartbeat())  # most of what comes; it lets no job start
            self.watcher.stepped(self.core, self.disk)
            return self.flush()
        with self.watcher.input(self.core, self.disk) as before:
            try:
                message = mdp.decode(link.socket, frames)
            except ProtocolError as fault:
                self.node.protocol_error(peer, fault)
            else:
                self._message(peer, message, before)
        return self.flush()

    def _message(self, peer: Peer, message: messages.FromPeer, before: Before) -> None:
        watcher, core = self.watcher, self.core
        if isinstance(message, messages.ClientRequest):
            watcher.requested(peer, message)
            self.node.receive(peer, message)
            return watcher.defaults.made(core)
        session = core.roster.sessions.by_peer.get(peer)
        if isinstance(message, messages.Ready) and not message.link.ours and session is not None:
            for token in session.holding:
                watcher.may_have_failed(token)  # it registers anew: what it held is lost
        if isinstance(message, messages.WorkerPartial):
            watcher.hands.noted(message, core)
        taken_before, adoptable = watcher.final_token(message, core), watcher.hands.adoptable(message, core)
        self.node.receive(peer, message)
        if watcher.final_token(message, core) != taken_before:
            watcher.final_was_taken(message, core)
        watcher.heard(peer, message, core, before, adoptable)
        return None

    def broken(self, link: Link) -> None:
        if self.up and self.links.get(link.peer) is link:
            del self.links[link.peer]
            self.watcher.answers.gone(link.peer)
            if link.socket != "client":
                self._time()
                self.node.connection_lost()
                self.flush()

    def clock_moved(self) -> None:
        """The loop looks at its clocks at least ten times a second."""
        life = self.life
        if self.up and not self.core.recovered:
            self.watcher.clocks.restarted(30.0, LIMITS.reattach_grace)

        def look() -> None:
            if self.up and life == self.life:
                self._time()
                self._tick_now()
                self.flush()

        self.world.after(0.1, look)

    def _tick(self, life: int, at: float) -> None:
        if self.up and life == self.life and self._tick_at == at:
            self._tick_at = None
            self._time()
            self._tick_now()
            self.flush()

    def _tick_now(self) -> None:
        held = self.core.held
        if held.assignments or any(service.unfinished_count for service in held.services.values()):
            with self.watcher.input(self.core, self.disk):
                self.node.tick()
        else:
            self.node.tick()  # there is nothing that could start or end
            self.watcher.stepped(self.core, self.disk)

    # ------------------------------------------------------------ out

    def flush(self) -> None:
        """What the loop does: carry out what comes out."""
        kept = bool(self.core.held.overflow)
        while (out := self.node.take()) is not None:
            if kept:
                self.watcher.defaults.made(self.core)
            if out.commit is not None:
                self._commit(out.commit)
            self._deliver(out.sends)
            for read in out.reads:
                self._loaded(read, self._read(read))
        if self.node.recovered and not self.accepting:
            self.accepting = True
            self.core.turn.news_wanted = self.news_wanted
            for link, frames in self._early:
                self.receive(link, frames)
        if self.node.idle:
            self.watcher.defaults.settled()
        due = self.node.next_deadline()
        if due is not None and (self._tick_at is None or due < self._tick_at):
            self._tick_at = due
            life = self.life
            self.world.after(due - self.world.now, lambda: self._tick(life, due))

    def _commit(self, batch: Batch) -> None:
        """The disk takes its time; a crash can fall before it, or between it and the report."""
        life = self.life
        on_disk = self.world.random.uniform(*self.commit_s)

        def reach_disk() -> None:
            if life != self.life:
                return
            if self.io_error and batch.writes:
                self._fail(batch)
                return
            verdicts = self.disk.commit(batch.writes) if batch.writes else []
            self.watcher.committed(batch.writes, verdicts, self.disk)
            rows = [(read, self._read(read)) for read in batch.reads]

            def report() -> None:
                if life != self.life:
                    return
                self._time()
                self.watcher.figures.reported(self.core, batch.writes, verdicts)
                with self.watcher.input(self.core, self.disk):
                    self.node.committed(batch.seq, verdicts)
                for read, found in rows:
                    self.flush()
                    self._loaded(read, found)
                self.flush()

            self.world.after(self.world.random.uniform(0.0001, 0.005), report)

        self.world.after(on_disk, reach_disk)

    def _loaded(self, read: Read, found: Rows) -> None:
        with self.watcher.input(self.core, self.disk):
            self.node.loaded(read, found)

    def _undeliverable(self, send: Send, why: str) -> None:
        with self.watcher.input(self.core, self.disk):
            self.node.undeliverable(send.peer, send.message, why)

    def _read(self, read: Read) -> Rows:
        if isinstance(read, FOR_QUESTIONS) and self.world.chance(self.bad_read_probability):
            return Rows(fault="the disk could not be read")
        return self.disk.read(read)

    def _fail(self, batch: Batch) -> None:
        """The commit fails. Whether it has reached the disk nobody knows; the process ends either way."""
        self.io_error = False
        if self.world.chance(0.5):
            self.watcher.committed(batch.writes, self.disk.commit(batch.writes), self.disk)
        self.crash()
        self.world.after(1.0, lambda: None if self.up else self.start())

    def _deliver(self, sends: list[Send]) -> None:
        for send in sends:
            if send.peer == NEWS_PEER:
                self.watcher.news(send.message, self.disk)
                continue
            if send.link is not None:
                frames = mdp.encode_to_worker(send.message, send.link)
                if not frames:
                    continue
            else:
                frames = mdp.encode_to_client(send.message)
            link = self.links.get(send.peer)
            if link is None or link.gone_for_broker:
                self._undeliverable(send, "gone")
                continue
            is_request = isinstance(send.message, WorkerRequest)
            if is_request and self.world.chance(self.full_probability):
                self._undeliverable(send, "full")
                continue
            self.world.say(f"{send.peer[0]} {send.peer[1]!r} <- {shown(frames)}")
            self.watcher.sent(send, self.core, self.disk)
            if is_request and not link.short_cut and not (link.alive and link.delivers):
                self.watcher.may_have_failed(send.message.token)  # sent into a dying connection
            link.send_to_peer(frames)
