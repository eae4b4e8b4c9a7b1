"""A broker without sockets: the real codec, core and gate, and the model of a store, on a clock of its own.
Transcripts (test_dialogues.py) and the tests of the core's modules play on it."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import Any
from zlib import crc32

from tests.store.model import ModelStore
from zmws import cron
from zmws.core.broker import Broker
from zmws.core.gate import Batch, Send
from zmws.core.job import Job
from zmws.core.limits import Limits
from zmws.core.node import Node, Output
from zmws.core.options import ServiceOptions, service_options
from zmws.core.reads import Read, ReadJob
from zmws.core.rows import KeyRow, Rows, ScheduleRow
from zmws.core.service import Service
from zmws.core.turn import NEWS_PEER, Suppliers
from zmws.core.writes import Write
from zmws.errors import ProtocolError
from zmws.store.base import Store
from zmws.wire import mdp, values
from zmws.wire.messages import Heartbeat, Peer, WorkerRequest

WALL_AT_START = 1_700_000_000.0


class Broke(AssertionError):
    """The broker did something else than the transcript says."""


class Stage:
    """A broker without sockets: peers by name, and what was sent to each."""

    def __init__(self, store: Store | None = None) -> None:
        self.limits = Limits()
        self.services: dict[str, ServiceOptions] = {}
        self.schedules: list[ScheduleRow] = []  # of the settings
        self.keys: list[KeyRow] = []  # in files
        self.news_wanted = False
        self.ignore_heartbeats = False
        self.now = 1000.0
        self.store: Store = store or ModelStore()
        self.peers: dict[str, str] = {}
        self._names: dict[bytes, str] = {}  # by routing id
        self.users: dict[str, str] = {}  # who has proved who he is: by the name of the peer
        self.alive: set[str] = set()
        self.unreachable: dict[str, str] = {}
        self.sent: dict[str, list[list[bytes]]] = {}
        self.bound: dict[str, str] = {}
        self.hold = False  # a commit is made by `commit` alone
        self.still = False  # nothing that comes out is carried out
        self.reminders_kept_min = 0  # what nobody wants is thrown out as often as can be
        self.suspended = self.stepped = 0.0  # seconds
        self.steady_from = WALL_AT_START
        self.jitter = 0.5
        self._batch: Batch | None = None
        self._node: Node | None = None
        self.written: list[Write] = []  # all that was committed
        self.reads: list[Read] = []  # all that the store was asked
        self.unreadable: tuple[type[Read], ...] = ()  # reads of these kinds fail
        self.lost: set[str] = set()  # jobs that no read finds any more
        self.log: list[tuple[str, str]] = []
        self.cuts: list[str] = []
        self.cut_keys: list[str] = []
        ids, nonces = itertools.count(1), itertools.count(1)
        self._suppliers = Suppliers(
            new_id=lambda: f"job-{next(ids)}",
            nonce=lambda: f"{next(nonces):016x}",
            jitter=lambda: self.jitter,
            secret=b"of the stage",
            calendar=cron,
        )

    @property
    def node(self) -> Node:
        """The broker that runs; started when it is first needed."""
        if self._node is None:
            self.restart()
        assert self._node is not None
        return self._node

    @property
    def core(self) -> Broker:
        """What is in it, to look at."""
        return self.node.broker

    def restart(self) -> None:
        # Here what gathers waits for nothing: a transcript says when a commit is made.
        limits = replace(self.limits, commit_patience_s=0.0)
        node = Node(limits, self.services, self._suppliers, "disk", self.schedules, self.keys)
        self._node, self._batch, core = node, None, node.broker
        self.steady_from = WALL_AT_START + self.stepped
        core.turn.news_wanted = False
        for timers in (core.turn.timers, core.turn.wall_timers, core.turn.steady_timers):
            timers.kept_min = self.reminders_kept_min
        self._set_time()
        node.start()
        held, self.hold = self.hold, False
        self.settle()
        self.hold = held
        assert node.recovered
        core.turn.news_wanted = self.news_wanted

    def receive(self, socket: str, name: str, frames: list[bytes]) -> None:
        self.peers[name] = socket
        peer = self._peer(socket, name)
        self._set_time()
        try:
            message = mdp.decode(socket, frames)
        except ProtocolError as fault:
            self.node.protocol_error(peer, fault)
        else:
            self.node.receive(peer, message)
        self.settle()

    def _peer(self, socket: str, name: str) -> Peer:
        """Who has proved who he is chooses no routing id."""
        user = self.users.get(name, "")
        routing_id = b"\0" + crc32(name.encode()).to_bytes(4, "big") if user else name.encode()
        self._names[routing_id] = name
        return (socket, routing_id, user)

    def _name(self, peer: Peer) -> str:
        return self._names[peer[1]]

    def pass_time(self, seconds: float) -> None:
        end, beat = self.now + seconds, self.now + 1.0
        while True:
            deadline = self.node.next_deadline()
            self.now = min(end, max(self.now, deadline if deadline is not None else end))
            if self.alive and beat <= self.now:
                self.now, beat = beat, beat + 1.0
                for name in sorted(self.alive):
                    self.receive(self.peers[name], name, [mdp.MDPW02, mdp.W_HEARTBEAT, *self._holds(name)])
            self._set_time()
            deadline = self.node.next_deadline()
            if deadline is not None and deadline <= self.now:
                self.node.tick()
                self.settle()
            elif self.now >= end:
                return

    def _holds(self, name: str) -> list[bytes]:
        """What a worker of ours names in its HEARTBEAT, if it has several slots."""
        session = self.core.roster.sessions.by_peer.get(self._peer(self.peers[name], name))
        if session is None or session.slots < 2 or not session.holding:
            return []
        return [b"HOLDS " + b" ".join(session.holding)]

    def unreach(self, name: str, why: str) -> None:
        self.unreachable[name] = why
        if why == "gone":
            self._set_time()
            self.node.connection_lost()
            self.settle()

    def commit(self) -> None:
        """Make the commit that is under way, and no other while commits are held."""
        if self._batch is None:
            raise Broke("no commit is under way")
        self._commit()
        self.settle()

    def take(self) -> Output | None:
        """What comes out now, None if nothing does."""
        return self.node.take()

    def settle(self) -> None:
        """Carry out what comes out, and commit, until nothing more does."""
        while not self.still:
            while (out := self.take()) is not None:
                if out.commit is not None:
                    self._batch = out.commit
                self.log += out.log
                self.cut_keys += out.cut_keys
                self.cuts += [self._name(peer) for peer in out.cuts]
                self._deliver(out.sends)
                for read in out.reads:
                    self.node.loaded(read, self._read(read))
            if self._batch is None or self.hold:
                return
            self._commit()

    def _commit(self) -> None:
        batch, self._batch = self._batch, None
        assert batch is not None
        verdicts = self.store.commit(batch.writes)
        self.written += batch.writes
        rows = [(read, self._read(read)) for read in batch.reads]
        self.node.committed(batch.seq, verdicts)
        for read, found in rows:
            self.node.loaded(read, found)

    def _read(self, read: Read) -> Rows:
        self.reads.append(read)
        if isinstance(read, self.unreadable):
            return Rows(fault="bad disk")
        found = self.store.read(read)
        if self.lost:
            found.rows = [row for row in found.rows if row["id"] not in self.lost]
        return found

    def _set_time(self) -> None:
        steady = self.steady_from + self.now - 1000.0 + self.suspended
        self.node.set_time(
            self.now, WALL_AT_START + self.now - 1000.0 + self.suspended + self.stepped, steady
        )

    def _deliver(self, sends: list[Send]) -> None:
        for send in sends:
            if send.peer == NEWS_PEER:
                news = [send.message.topic.encode(), json.dumps(send.message.body).encode()]
                self.sent.setdefault("news", []).append(news)
                continue
            name = self._name(send.peer)
            why = self.unreachable.get(name)
            if why == "gone" or (why == "full" and isinstance(send.message, WorkerRequest)):
                self.node.undeliverable(send.peer, send.message, why)
                continue
            if send.link is not None:
                frames = mdp.encode_to_worker(send.message, send.link)
            else:
                frames = mdp.encode_to_client(send.message)
            empty = isinstance(send.message, Heartbeat) and not send.message.frames
            if frames and not (empty and self.ignore_heartbeats):
                self.sent.setdefault(name, []).append(frames)


class Scene(Stage):
    """A stage with short words for what the tests of the core say again and again. The service E is known."""

    def __init__(self, store: Store | None = None, limits: dict[str, Any] | None = None, **e: Any) -> None:
        """`limits`: fields of Limits. `e`: options of the service E."""
        super().__init__(store)
        self.limits = Limits(**(limits or {}))
        self.ignore_heartbeats = True
        self.services["E"] = service_options(e)

    def ask(self, verb: str, peer: str = "C", /, **asked: Any) -> Any:
        """What a service inside the broker answers now: status and body; None if it does not answer yet."""
        return self.asked(verb, asked, peer)

    def asked(self, service: str, asked: Any, name: str = "C") -> Any:
        """The same with a question that may be anything."""
        self.sent.pop(name, None)
        self.receive("client", name, [mdp.MDPC02, b"\x01", service.encode(), json.dumps(asked).encode()])
        return self.answer(name)

    def answer(self, name: str = "C") -> Any:
        """Status and body of the next answer of zmws.* to this client; None if there is none."""
        waiting = self.sent.get(name, [])
        for frames in waiting:
            if frames[2].startswith(b"zmws."):
                waiting.remove(frames)
                return int(frames[3]), json.loads(frames[4])
        return None

    def submit(
        self, job_id: str, service: str = "E", body: bytes = b"x", name: str = "C", **options: Any
    ) -> list[bytes]:
        """Submit a job with this id (as SYNC-E it is a call); the last frames that its client was sent."""
        options["id"] = job_id
        frames = [
            mdp.MDPC02,
            b"\x01",
            service.encode(),
            values.OPTS_JSON + json.dumps(options).encode(),
            body,
        ]
        self.sent.pop(name, None)
        self.receive("client", name, frames)
        said = self.sent.get(name)
        return said[-1] if said else []

    def ready(self, name: str, *services: str, **info: Any) -> None:
        """A worker of ours says READY; of E, if nothing is said."""
        told = {"zmws": 1, "id": name.lower(), **info}
        frames = [mdp.MDPW02, mdp.W_READY, (services or ("E",))[0].encode(), json.dumps(told).encode()]
        self.receive("worker", name, frames)

    def foreign(self, name: str, service: str = "E") -> None:
        """A worker that knows no extensions says READY."""
        self.receive("worker", name, [mdp.MDPW02, mdp.W_READY, service.encode()])

    def work(self, name: str, command: bytes, *frames: bytes) -> None:
        """A worker sends a command of RFC 18."""
        self.receive("worker", name, [mdp.MDPW02, command, *frames])

    def beat(self, name: str, *words: bytes) -> None:
        """A worker's HEARTBEAT."""
        self.work(name, mdp.W_HEARTBEAT, *words)

    def final(self, name: str, token: bytes, *body: bytes) -> None:
        """A worker's FINAL; COMPLETE if nothing is said."""
        self.work(name, mdp.W_FINAL, token, b"", *(body or (b"COMPLETE",)))

    def partial(self, name: str, token: bytes, *body: bytes) -> None:
        """A worker's PARTIAL."""
        self.work(name, mdp.W_PARTIAL, token, b"", *body)

    def requests(self, name: str) -> list[list[bytes]]:
        """The REQUESTs that a worker was sent since this was asked last."""
        found = [frames for frames in self.sent.pop(name, []) if frames[1] == mdp.W_REQUEST]
        return found

    def token(self, name: str) -> bytes:
        """The token of the last REQUEST that a worker was sent since this was asked last."""
        requests = self.requests(name)
        assert requests, f"{name} was sent no job"
        return requests[-1][2]

    def record(self, job_id: str) -> dict[str, Any]:
        """A job's record, as zmws.job has it."""
        status, body = self.ask("zmws.job", "viewer", id=job_id)
        assert status == 200, body
        found: dict[str, Any] = body
        return found

    def state(self, job_id: str) -> str:
        """The state of a job."""
        return str(self.record(job_id)["state"])

    def row(self, service: str = "E") -> dict[str, Any]:
        """What zmws.services says of one."""
        rows = self.ask("zmws.services", "viewer")[1]
        return next(row for row in rows if row["service"] == service)

    def stored(self, job_id: str) -> dict[str, Any]:
        """A job as the store has it."""
        (row,) = self.store.read(ReadJob("scene", job_id)).rows
        return row

    def job(self, job_id: str) -> Job:
        """The job as memory holds it."""
        job = self.core.held.find(job_id)
        assert job is not None
        return job

    def service(self, name: str = "E") -> Service:
        """The service as memory holds it."""
        return self.core.held.services[name]

    def counted(self, name: str) -> int:
        """What the broker has counted."""
        return self.core.turn.counters[name]
