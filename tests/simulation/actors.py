"""Who acts in the world: the broker around its disk, our workers and clients, a foreign worker."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.simulation.invariants import Watcher
from tests.simulation.world import Link, World, shown
from tests.store.model import ModelStore
from zmws.core.gate import Batch, Send
from zmws.core.limits import Limits
from zmws.core.node import Node
from zmws.core.options import ServiceOptions
from zmws.core.turn import NEWS_PEER, Suppliers
from zmws.core.writes import FOR_QUESTIONS, Read, Rows
from zmws.dialog.actions import Open, Transmit
from zmws.dialog.client import Answered, ClientDialog, ClientSettings
from zmws.dialog.worker import CancelJob, DialogSettings, StartJob, WorkerDialog
from zmws.errors import ProtocolError
from zmws.wire import mdp, messages
from zmws.wire.messages import WorkerRequest

LIMITS = Limits(heartbeat_interval_s=1.0, memory_keep_s=30.0, cancel_grace_s=2.0, batch_rows_max=7)
# As small as can be, so that most of a backlog stands in the store alone.
LIMITS = replace(LIMITS, window_jobs_max=3, window_scheduled_max=2, waiting_memory_max=6)


class SimBroker:
    """The broker process: the shipped node, and a disk that outlives it."""

    def __init__(self, world: World, watcher: Watcher, services: dict[str, ServiceOptions]) -> None:
        self.world, self.watcher, self.services = world, watcher, services
        self.disk = ModelStore()
        self.links: dict[tuple[str, bytes], Link] = {}
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
        self.node = Node(LIMITS, self.services, suppliers, "disk")
        self.core = self.node.broker  # to look at
        for timers in (self.core.turn.timers, self.core.turn.wall_timers, self.core.turn.steady_timers):
            timers.kept_min = 0  # what nobody wants is thrown out as often as can be
        self.up, self.accepting = True, False
        self._early: list[tuple[Link, list[bytes]]] = []
        self.life += 1
        self.steady_from = self.world.wall - self.world.boot
        self.watcher.steady = lambda: self.steady_from + self.world.boot
        self.watcher.excused |= self.life > 1 and self.world.clock_jumped
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
        # What is not on disk is undone, dispatches too: an attempt's number may come again, its token
        # never does.
        self.watcher.last_attempt.clear()
        self.watcher.last_token.clear()
        self.up = self.accepting = False
        self.life += 1
        for link in list(self.links.values()):
            link.break_off()
        self.links.clear()

    # ------------------------------------------------------------ in

    def _time(self) -> None:
        self.node.set_time(self.world.now, self.world.wall, self.steady_from + self.world.boot)

    def connect(self, link: Link) -> bool:
        """A peer connects; false where nobody listens."""
        if not self.accepting and not (self.up and link.socket == "client"):
            return False
        # HANDOVER: a new connection under a known routing id takes its place.
        old = self.links.get((link.socket, link.routing_id))
        if old is not None:
            old.alive = False
        self.links[link.socket, link.routing_id] = link
        return True

    def receive(self, link: Link, frames: list[bytes]) -> None:
        if not self.up or self.links.get((link.socket, link.routing_id)) is not link:
            return
        if not self.accepting:
            self._early.append((link, frames))  # no socket is read before the recovery
            return
        self.world.say(f"{link.socket} {link.routing_id!r} -> {shown(frames)}")
        self._time()
        peer = (link.socket, link.routing_id)
        before = self.watcher.before_input(self.core)
        try:
            message = mdp.decode(link.socket, frames)
        except ProtocolError as fault:
            self.node.protocol_error(peer, fault)
        else:
            if isinstance(message, messages.ClientRequest):
                self.watcher.requested(peer, message)
            session = self.core.roster.by_peer.get(peer)
            if isinstance(message, messages.Ready) and not message.link.ours and session is not None:
                for token in session.holding:
                    self.watcher.may_have_failed(token)  # it registers anew: what it held is lost
            taken_before = self.watcher.final_token(message, self.core)
            self.node.receive(peer, message)
            if self.watcher.final_token(message, self.core) != taken_before:
                self.watcher.final_was_taken(message, self.core)
        self.watcher.after_input(self.core, before)
        self.flush()

    def broken(self, link: Link) -> None:
        if self.up and self.links.get((link.socket, link.routing_id)) is link:
            del self.links[link.socket, link.routing_id]
            if link.socket != "client":
                self._time()
                self.node.connection_lost()
                self.flush()

    def clock_moved(self) -> None:
        """The loop looks at its clocks at least ten times a second."""
        life = self.life

        def look() -> None:
            if self.up and life == self.life:
                self._time()
                before = self.watcher.before_input(self.core)
                self.node.tick()
                self.watcher.after_input(self.core, before)
                self.flush()

        self.world.after(0.1, look)

    def _tick(self, life: int, at: float) -> None:
        if self.up and life == self.life and self._tick_at == at:
            self._tick_at = None
            self._time()
            before = self.watcher.before_input(self.core)
            self.node.tick()
            self.watcher.after_input(self.core, before)
            self.flush()

    # ------------------------------------------------------------ out

    def flush(self) -> None:
        """What the loop does: carry out what comes out."""
        while (out := self.node.take()) is not None:
            if out.commit is not None:
                self._commit(out.commit)
            self._deliver(out.sends)
            for read in out.reads:
                self.node.loaded(read, self._read(read))
        if self.node.recovered and not self.accepting:
            self.accepting = True
            self.core.turn.news_wanted = self.news_wanted
            for link, frames in self._early:
                self.receive(link, frames)
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
                before = self.watcher.before_input(self.core)
                self.node.committed(batch.seq, verdicts)
                for read, found in rows:
                    self.flush()
                    self.node.loaded(read, found)
                self.watcher.after_input(self.core, before)
                self.flush()

            self.world.after(self.world.random.uniform(0.0001, 0.005), report)

        self.world.after(on_disk, reach_disk)

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
            if send.peer is NEWS_PEER:
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
                self.node.undeliverable(send.peer, send.message, "gone")
                continue
            is_request = isinstance(send.message, WorkerRequest)
            if is_request and self.world.chance(self.full_probability):
                self.node.undeliverable(send.peer, send.message, "full")
                continue
            self.world.say(f"{send.peer[0]} {send.peer[1]!r} <- {shown(frames)}")
            self.watcher.sent(send, self.core, self.disk)
            if is_request and not link.short_cut and not (link.alive and link.delivers):
                self.watcher.may_have_failed(send.message.token)  # sent into a dying connection
            link.send_to_peer(frames)


class _Peer:
    """Somebody with a connection to the broker."""

    def __init__(self, world: World, broker: SimBroker, socket: str) -> None:
        self.world, self.broker, self.socket = world, broker, socket
        self.link: Link | None = None
        self.unreachable_until = 0.0
        self.frozen = False
        self.running = True

    def open(self, routing_id: bytes | None = None) -> None:
        if self.link is not None:
            self.link.break_off()
        rid = routing_id or b"\0" + self.world.random.getrandbits(32).to_bytes(4, "big")
        self.link = link = Link(
            self.world,
            self.socket,
            rid,
            self.broker.receive,
            lambda on, frames: self._in(on, frames),
            lambda on: self._broke(on),
            self.broker.broken,
        )
        life = self.broker.life

        def handshake() -> None:
            if self.link is not link or not link.alive:
                return
            cut_off = self.world.now < self.unreachable_until
            if cut_off or life != self.broker.life or not self.broker.connect(link):
                link.break_off()
            else:
                self.connected()

        # What is sent before the handshake waits for it: both take the same way, in order.
        link._last["up"] = self.world.now + 0.005
        self.world.after(0.004, handshake)

    def cut(self, seconds: float) -> None:
        """The network is gone for a while."""
        self.unreachable_until = self.world.now + seconds
        if self.link is not None:
            self.link.break_off()

    def holds_at_broker(self) -> list[bytes]:
        """The tokens that the broker has given to this peer, arrived or not."""
        if self.link is None or not self.broker.up:
            return []
        session = self.broker.core.roster.by_peer.get((self.socket, self.link.routing_id))
        return list(session.holding) if session is not None else []

    def connected(self) -> None: ...

    def received(self, frames: list[bytes]) -> None: ...

    def lost(self) -> None: ...

    def _in(self, link: Link, frames: list[bytes]) -> None:
        if link is self.link and self.running:
            self.received(frames)

    def _broke(self, link: Link) -> None:
        if link is not self.link or not self.running:
            return
        if self.frozen:
            self.world.after(0.5, lambda: self._broke(link))
        else:
            self.lost()


class SimWorker(_Peer):
    """A worker of ours: the shipped dialogue, and work that takes a while and comes out somehow."""

    def __init__(
        self, world: World, broker: SimBroker, watcher: Watcher, name: str, service: str, misfortune: float
    ) -> None:
        super().__init__(world, broker, "worker")
        self.watcher, self.name, self.service, self.misfortune = watcher, name, service, misfortune
        self._tick_at: float | None = None
        self._cut_at = -10.0
        self.lives = 0
        self.may_hang = True
        self.begin()

    def begin(self) -> None:
        """A new process."""
        self.running, self.lives, self._tick_at = True, self.lives + 1, None
        self.dialog = WorkerDialog(
            self.service,
            f"{self.name}.{self.lives}",
            ["broker"],
            self.world.random.random,
            settings=DialogSettings(heartbeat_interval_s=1.0, leave_s=3.0),
        )
        self.dialog.start(self.world.now)
        self.act()

    def crash(self) -> None:
        """kill -9."""
        if not self.running:
            return
        self.world.say(f"{self.name} crashes")
        self.running = self.frozen = False
        for token in {*self.dialog.unconfirmed, *self._at_stake()}:
            self.watcher.may_have_failed(token)
        if self.link is not None:
            self.link.break_off()
        self.world.after(self.world.random.uniform(0.5, 4.0), self.begin)

    def _at_stake(self) -> set[bytes]:
        """The tokens it holds, as it knows or as the broker does, also over a connection before this one."""
        sessions = self.broker.core.roster.by_peer.values() if self.broker.up else ()
        given = [token for s in sessions if s.id == self.dialog.worker_id for token in s.holding]
        return {*self.dialog.holding, *self.holds_at_broker(), *given}

    def freeze(self, seconds: float) -> None:
        """SIGSTOP and, later, SIGCONT. Standing still for long breaks the connection (ZMTP)."""
        if self.frozen or not self.running:
            return
        self.world.say(f"{self.name} stands still for {seconds:.1f} s")
        self.frozen = True
        for token in self._at_stake():
            self.watcher.may_have_failed(token)
        if self.link is not None:
            self.link.frozen = True
        link, dialog = self.link, self.dialog

        def zmtp_timeout() -> None:
            if self.frozen and self.link is link and link is not None:
                link.break_off()

        def go_on() -> None:
            if self.dialog is not dialog or not self.frozen:
                return
            self.frozen = False
            if self.link is not None:
                self.link.thaw()
            self._tick_at = None
            self.tick()

        self.world.after(3.0, zmtp_timeout)
        self.world.after(seconds, go_on)

    def cut(self, seconds: float) -> None:
        # Back within half a second, a job goes on where it is, and one that never arrived is given
        # back: no failure. Two cuts in a row can be too long together.
        short = seconds < 0.5 and self.world.now - self._cut_at > 4.0 and not self.frozen
        self._cut_at = self.world.now
        if not short:
            for token in self._at_stake():
                self.watcher.may_have_failed(token)
        elif self.link is not None:
            self.link.short_cut = True
        super().cut(seconds)

    def connected(self) -> None:
        self.dialog.connected(self.world.now)
        self.act()

    def received(self, frames: list[bytes]) -> None:
        for frame in frames:
            if frame.startswith(b"DONE ") and frames[0] == mdp.MDPW02:
                self.watcher.told_done(frame[5:].split(), self.broker.disk)
        if frames[1] == mdp.W_REQUEST:
            self.watcher.given(self.name, frames[2], set(self.dialog.holding))
        self.dialog.receive(self.world.now, frames)
        self.act()

    def lost(self) -> None:
        self.dialog.disconnected(self.world.now)
        self.act()

    def tick(self) -> None:
        self.dialog.tick(self.world.now)
        self.act()

    def act(self) -> None:
        for action in self.dialog.take():
            if isinstance(action, Open):
                self.open()
            elif isinstance(action, Transmit):
                if self.link is not None:
                    self.link.send_to_broker(action.frames)
            elif isinstance(action, StartJob):
                self._work(action.request)
            elif isinstance(action, CancelJob):
                self.world.say(f"{self.name} is told to drop {action.token.decode()}")
        due = self.dialog.next_deadline()
        if due is not None and (self._tick_at is None or due < self._tick_at):
            self._tick_at = due
            dialog = self.dialog

            def wake() -> None:
                if self.dialog is dialog and self._tick_at == due:
                    self._tick_at = None
                    if self.running and not self.frozen:
                        self.tick()

            self.world.after(due - self.world.now, wake)

    def _work(self, request: WorkerRequest) -> None:
        random, dialog = self.world.random, self.dialog
        self.watcher.began(self.name, request, self.world)
        takes = random.choice((0.0, 0.01, 0.1, 0.5, 2.0))
        if self.may_hang and self.world.chance(0.02):
            # Past `ttr` and `cancel_grace`: until then it is shown as hung, and nothing else is given to it.
            self.may_hang = False
            takes = random.uniform(25.0, 45.0)
            self.watcher.may_have_failed(request.token)
        bad = self.world.chance(self.misfortune)

        def end() -> None:
            if self.dialog is not dialog or not self.running:
                return
            if self.frozen:
                self.world.after(0.2, end)
                return
            if bad:
                self.watcher.may_have_failed(request.token)
                said = {"code": "job_failed", "error": "bad luck"}
                body: tuple[bytes, ...] = (b"FAIL", mdp.PARAM_JSON + json.dumps(said).encode())
            else:
                body = (b"COMPLETE", *request.body)
            dialog.final(self.world.now, request.token, body)
            self.act()

        if self.world.chance(0.3):
            dialog.partial(request.token, (b"CONT", b"PARAM-JSON: 1"))
            dialog.partial(request.token, (b"PROGRESS", b'{"done": 0.5}'))
            self.act()
        self.world.after(takes, end)


class ForeignWorker(_Peer):
    """RFC 18 and nothing more, under a routing id of its own choice, silent while it works."""

    def __init__(self, world: World, broker: SimBroker, watcher: Watcher, name: str, service: str) -> None:
        super().__init__(world, broker, "mdp")
        self.watcher, self.name, self.service = watcher, name, service
        self.busy = False
        self.may_hang = True
        self._unread: list[list[bytes]] = []
        self._heard = 0.0
        self.register()
        self._beat()

    def register(self) -> None:
        self._heard = self.world.now
        self.open(self.name.encode())
        self._send([mdp.MDPW02, mdp.W_READY, self.service.encode()])

    def _send(self, frames: list[bytes]) -> None:
        if self.link is not None:
            self.link.send_to_broker(frames)

    def _beat(self) -> None:
        if not self.busy:
            if self.world.now - self._heard > 7.5:
                self.register()
            else:
                self._send([mdp.MDPW02, mdp.W_HEARTBEAT])
        self.world.after(2.0, self._beat)

    def cut(self, seconds: float) -> None:
        for token in self.holds_at_broker():
            self.watcher.may_have_failed(token)
        super().cut(seconds)

    def lost(self) -> None:
        # As libzmq does: the same routing id on a new connection, without a word to the program.
        def reconnect() -> None:
            if self.link is not None and not self.link.alive:
                self.open(self.name.encode())

        self.world.after(0.5, reconnect)

    def received(self, frames: list[bytes]) -> None:
        if self.busy:
            self._unread.append(frames)  # it is not reading while it works
            return
        self._heard = self.world.now
        if frames[1] == mdp.W_DISCONNECT:
            self.world.after(0.1, lambda: None if self.busy else self.register())
        elif frames[1] == mdp.W_REQUEST:
            token, body = frames[2], frames[4:]
            self.busy = True
            self.watcher.began(self.name, WorkerRequest(token, "", b"", tuple(body)), self.world)

            def end() -> None:
                self.busy = False
                self._heard = self.world.now
                self._send([mdp.MDPW02, mdp.W_FINAL, token, b"", *body])
                unread, self._unread = self._unread, []
                for frames in unread:
                    self.received(frames)

            takes = self.world.random.choice((0.0, 0.2, 4.0))
            if self.may_hang and self.world.chance(0.1):
                self.may_hang = False
                takes = self.world.random.uniform(25.0, 45.0)  # past `ttr`: it is given up, and comes back
                self.watcher.may_have_failed(token)
            self.world.after(takes, end)


class StrictClient(_Peer):
    """RFC 18 and nothing more: it knows no refusal, repeats nothing, and wants as many answers as it asks."""

    def __init__(self, world: World, broker: SimBroker, name: str) -> None:
        super().__init__(world, broker, "mdp")
        self.name = name
        self.asked = self.answered = 0
        self.open()

    def burst(self, service: str, count: int) -> None:
        """Ask so often at once."""
        if self.link is None or not self.link.alive:
            return
        self.world.say(f"{self.name} asks {count} times for {service}")
        for n in range(count):
            self.asked += 1
            self.link.send_to_broker([mdp.MDPC02, mdp.C_REQUEST, service.encode(), b"%d" % n])

    def received(self, frames: list[bytes]) -> None:
        self.answered += frames[1] == mdp.C_FINAL

    def lost(self) -> None:
        # What it asked over the old connection is answered to nobody.
        self.asked = self.answered = 0
        self.world.after(0.5, lambda: None if self.link is not None and self.link.alive else self.open())


class SimClient(_Peer):
    """A client of ours: the shipped dialogue."""

    def __init__(self, world: World, broker: SimBroker, watcher: Watcher, name: str) -> None:
        super().__init__(world, broker, "client")
        self.watcher, self.name = watcher, name
        self.dialog = ClientDialog(["broker"], ClientSettings(away_s=60.0, connect_s=60.0, repeat_s=2.0))
        self._tick_at: float | None = None
        self._waiting: dict[bytes, Callable[[Any], None]] = {}
        self.asked = self.answered = 0

    def ask(
        self,
        service: str,
        sync: bool,
        options: dict[str, Any],
        body: tuple[bytes, ...],
        timeout_s: float | None,
        then: Callable[[Any], None],
    ) -> None:
        """Send a request; `then` gets the Reply or the error."""
        self.asked += 1
        number = self.dialog.request(self.world.now, service, sync, options, body, timeout_s)
        self._waiting[number] = then
        self.act()

    def connected(self) -> None:
        self.dialog.connected(self.world.now)
        self.act()

    def received(self, frames: list[bytes]) -> None:
        self.dialog.receive(self.world.now, frames)
        self.act()

    def lost(self) -> None:
        self.dialog.disconnected(self.world.now)
        self.act()

    def act(self) -> None:
        for action in self.dialog.take():
            if isinstance(action, Open):
                self.open()
            elif isinstance(action, Transmit):
                if self.link is not None:
                    self.link.send_to_broker(action.frames)
                    if self.world.chance(0.02):
                        self.link.send_to_broker(action.frames)  # a repeated message
            elif isinstance(action, Answered):
                if action.reply.kind != "partial":
                    self.answered += 1
                    self._waiting.pop(action.number)(action.reply)
            else:
                self.answered += 1
                self._waiting.pop(action.number)(action.error)
        due = self.dialog.next_deadline()
        if due is not None and (self._tick_at is None or due < self._tick_at):
            self._tick_at = due

            def wake() -> None:
                if self._tick_at == due:
                    self._tick_at = None
                    self.dialog.tick(self.world.now)
                    self.act()

            self.world.after(due - self.world.now, wake)
