"""What must hold in every history, whatever fails (README.md, What it promises)."""

from __future__ import annotations

import contextlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tests.simulation.ahead import Ahead
from tests.simulation.answers import Answers
from tests.simulation.audit import Audit
from tests.simulation.causes import Causes
from tests.simulation.clocks import Clocks
from tests.simulation.counts import counts_agree, window_is_kept
from tests.simulation.defaults import Defaults
from tests.simulation.figures import Figures
from tests.simulation.hands import Hands
from tests.simulation.kin import Kin
from tests.simulation.leases import LeaseTokens
from tests.simulation.turns import Before, Turns
from tests.simulation.violation import demand
from tests.simulation.waits import Waits
from tests.simulation.world import World
from tests.store.model import ModelStore
from zmws.core.broker import Broker
from zmws.core.gate import Send
from zmws.core.lease import Lease
from zmws.core.node import Node
from zmws.core.options import ServiceOptions
from zmws.core.states import COMPLETE, FINAL_STATES, RUNNING
from zmws.core.tokens import job_id_of
from zmws.core.turn import News
from zmws.core.writes import NEW, WITH_VERDICT, FinishJob, InsertJob, ReviveJob, UpdateJob, Write
from zmws.wire.messages import (
    Accepted,
    Answer,
    ClientRequest,
    Completed,
    Failed,
    Heartbeat,
    Ready,
    WorkerFinal,
    WorkerPartial,
    WorkerRequest,
)
from zmws.wire.words import beat_of


class Watcher:
    """Sees every message, commit and step, and complains at once."""

    def __init__(self, world: World, services: dict[str, ServiceOptions]) -> None:
        self.world = world
        self.turns = Turns(world, services)
        self.ahead = Ahead(world)
        self.hands = Hands(self.ahead)
        self.defaults = Defaults(services)
        self.clocks = Clocks(world)
        self.answers = Answers(world)
        self.leases = LeaseTokens(world, self.clocks)
        self.figures = Figures()
        self.waits = Waits(world)
        self.causes = Causes()
        self.audit = Audit()
        self.kin = Kin(world)
        self.crashes = 0
        self.acknowledged: dict[str, bytes] = {}  # stored jobs: id -> body
        self.finished: Counter[str] = Counter()
        self.may_fail: Counter[str] = Counter()
        self.tokens: set[bytes] = set()
        self.last_attempt: dict[str, int] = {}
        self.last_token: dict[str, bytes] = {}
        self.released: set[bytes] = set()
        self.steps = 0
        self.work_of: defaultdict[str, list[tuple[str, bytes, float]]] = defaultdict(list)
        self.forgotten: set[str] = set()
        self.released: set[str] = set()  # jobs of which a dispatch was taken back
        self.punctual = True  # nothing has happened that holds up what is due
        self.steady: Callable[[], float] = lambda: 0.0  # the broker's steady clock
        # By id: when it was asked for (a time that goes on in a suspend), its delay, and its `expires`.
        self.asked: dict[str, tuple[float, float, float]] = {}

    def demand(self, true: bool, text: str) -> None:
        demand(true, text)

    # ------------------------------------------------------------ what is observed

    def requested(self, peer: Any, message: ClientRequest) -> None:
        """A client's request has come to the broker."""
        self.answers.requested(peer, message)
        self.defaults.requested(message)
        if peer[0] == "client":
            self.hands.asked(message)
            self.leases.asked(peer, message)
            if message.service == "zmws.extend":
                said = json.loads(message.body[0])
                self.clocks.extended(said["token"].encode(), said["seconds"])
            if message.service in ("zmws.resume", "zmws.forget"):
                self.turns.paused.discard(json.loads(message.body[0])["service"])

    def crashed(self, core: Broker, disk: ModelStore) -> None:
        """What is not on disk is undone, dispatches too: an attempt's number may come again, its token never
        does."""
        self.crashes += 1
        self.figures.look(core, disk)
        self.figures.crashed(core)
        self.causes.look(disk)
        self.last_attempt.clear()
        self.last_token.clear()
        self.turns.restarted()
        self.hands.restarted()
        self.ahead.restarted()
        self.defaults.crashed()
        self.answers.restarted()

    def restarted(self, steady: Callable[[], float], grace_s: float, disk: ModelStore) -> None:
        """A broker starts on what an earlier one left. How long an attempt has run it knows by the wall. That
        was stepped, perhaps, or went on while the machine was suspended: then its ttr may have passed."""
        if self.world.clock_jumped or self.world.suspended:
            self.may_fail.update(row["id"] for row in disk.rows.values() if row["state"] == RUNNING)
        self.audit.restarted(disk)
        self.steady = self.clocks.steady = steady
        self.waits.restarted(steady())
        self.clocks.restarted(30.0, grace_s)
        self.leases.restarted()

    def may_have_failed(self, token: bytes) -> None:
        """Something happened that may count as a failure of this token's job."""
        self.may_fail[job_id_of(token) or ""] += 1

    def final_token(self, message: Any, core: Broker) -> bytes | None:
        """The token whose FINAL was taken last for the job that this message speaks of."""
        job = core.held.find(job_id_of(message.token) or "") if isinstance(message, WorkerFinal) else None
        return job.final_token if job is not None else None

    def final_was_taken(self, message: WorkerFinal, core: Broker) -> None:
        """A FINAL is taken only with the token that the job was given out with last."""
        token = message.token
        last = self.last_token.get(job_id_of(token) or "", token)
        # What was released is as if it had never been given out: one before may be adopted after a crash.
        # So may one with a later attempt: a crash has undone it, and the end of the one before it.
        later = int(token.rsplit(b"/", 2)[1]) > int(last.rsplit(b"/", 2)[1])
        good = last == token or last in self.released or later
        self.demand(good, f"a FINAL with {token!r} was taken, though {last!r} was given out last")

    def asks(self, job_id: str, delay: float, expires: float) -> None:
        """Somebody is about to submit this for the first time."""
        self.asked.setdefault(job_id, (self.world.boot, delay, expires))

    def not_before(self, job_id: str, what: str) -> None:
        """It may not start before its delay has passed, nor expire too early, whatever the wall says."""
        at, delay, expires = self.asked.get(job_id, (0.0, 0.0, 0.0))
        least = expires if what == "expired" else delay
        early = at + least - self.world.boot
        self.demand(self.clocks.excused or early < 0.001, f"{job_id} {what} {early:.1f} s early")

    def began(self, worker: str, request: WorkerRequest, world: World) -> None:
        job_id = job_id_of(request.token)
        assert job_id is not None
        self.not_before(job_id, "began")
        self.hands.began(job_id)
        self.ahead.began(request.token)
        self.work_of[job_id].append((worker, request.token, world.now))

    def given(self, worker: str, token: bytes, holding: set[bytes], room: int) -> None:
        """No more than it takes, and none to a worker that hangs on a job that is over."""
        others = holding - {token}
        self.demand(len(others) < room, f"{worker} was given {token!r} while it has {holding}")

    def told_done(self, tokens: list[bytes], disk: ModelStore) -> None:
        """A worker forgets a result: then the disk must have taken it."""
        for token in tokens:
            job_id, _, nonce = token.decode().rsplit("/", 2)
            row = disk.rows.get(job_id)
            self.demand(
                row is None or row["state"] != RUNNING or row["nonce"] != nonce,
                f"a worker was told to forget {token.decode()}, which the disk has as running",
            )

    def heard(self, peer: Any, message: Any, core: Broker, before: Before, adoptable: list[bytes]) -> None:
        """A worker's message has been taken in."""
        if isinstance(message, WorkerPartial) and message.body[:1] == (b"TOUCH",):
            self.clocks.extended(message.token, float(message.body[1]))
        if isinstance(message, Heartbeat):
            self._released(peer, message, core, before)
        if isinstance(message, Ready) and peer in core.roster.sessions.by_peer:
            self.defaults.ready(message)
        self.hands.heard(peer, message, core, before, adoptable)

    def _released(self, peer: Any, message: Heartbeat, core: Broker, before: Before) -> None:
        """Attempts that were taken back: their number comes again, and the rate has its start back."""
        session = core.roster.sessions.by_peer.get(peer)
        held = before.sessions.get(session, {}) if session is not None else {}
        for token in beat_of(message.frames).release:
            job = held.get(token)
            if job is not None:
                self.last_attempt[job.id] = min(
                    self.last_attempt.get(job.id, 0), int(token.split(b"/")[-2]) - 1
                )
                self.turns.taken_back(job.service)
                self.released.add(job.id)

    # ------------------------------------------------------------ the core, step by step

    @contextlib.contextmanager
    def input(self, core: Broker, disk: ModelStore) -> Iterator[Before]:
        """What the broker does with one input, and with what that woke."""
        before = self.turns.before(core)
        yield before
        self.turns.after(core, before, disk)
        self.hands.after(core, before)
        self.ahead.after(core, before, self.turns.started)
        self._leases_started(core, before)
        self.stepped(core, disk)

    def stepped(self, core: Broker, disk: ModelStore) -> None:
        """After each input, and now and then a look at everything."""
        self.steps += 1
        self.answers.overdue(self.punctual)
        self.figures.look(core, disk)
        self.waits.named(core)
        if self.steps % 50 == 0:
            self.figures.counted_right(core)
            self.waits.look(core)
            self.causes.look(disk)
            counts_agree(core)
            window_is_kept(core)
            self.clocks.look(core)
            self.clocks.kept(disk, self.punctual)

    def _leases_started(self, core: Broker, before: Before) -> None:
        for token, assignment in core.held.assignments.items():
            if token not in before.tokens and isinstance(assignment.taker, Lease):
                self.clocks.started(token, assignment.taker.ttr_s or 0.0)

    def sent(self, send: Send, core: Broker, disk: ModelStore) -> None:
        """A message has left the gate."""
        message = send.message
        if isinstance(message, WorkerRequest):
            return self._request_sent(send.peer, message, core)
        if isinstance(message, Heartbeat):
            return self.hands.told(send.peer, message)
        if not isinstance(message, (Accepted, Completed, Failed, Answer)):
            return None
        self.answers.left(send.peer, message, disk)
        if isinstance(message, Answer):
            asked = self.answers.asked.get((send.peer, message.reply_to.envelope))
            self.audit.left(asked, message, disk)
            self._answered(send.peer, message, core, disk)
        if isinstance(message, Accepted) and message.durability == "disk":
            known = message.job_id in disk.rows or message.job_id in self.forgotten
            self.demand(known, f"{message.job_id} was acknowledged before it was on disk")
        return None

    def _answered(self, peer: Any, message: Answer, core: Broker, disk: ModelStore) -> None:
        name, status, told = message.service, message.body[0], json.loads(message.body[1])
        self.leases.answered(peer, message, told, core)
        if status != b"200":
            return
        if name == "zmws.lease":
            self._leased(told, disk)
        elif name == "zmws.submit":
            for verdict in told:
                known = "code" in verdict or verdict["id"] in disk.rows or verdict["id"] in self.forgotten
                known = known or verdict["durability"] == "memory"
                self.demand(known, f"{verdict} was acknowledged before it was on disk")
        elif name == "zmws.wait":
            self._told_of(told, disk)
        elif name == "zmws.why":
            self.waits.answered(told, core, disk, self.crashes + 1)
        elif name == "zmws.failures":
            self.causes.answered(told, disk)
        elif name == "zmws.schedule":
            asked = self.answers.asked.get((peer, message.reply_to.envelope))
            if asked is not None and json.loads(asked.body[0])["do"] == "remove":
                self.kin.removed(json.loads(asked.body[0])["name"])
        elif name == "zmws.pause":
            service = core.held.services.get(told["service"])
            if service is not None and service.paused:  # else it was resumed before this answer left
                self.turns.paused.add(told["service"])

    def _leased(self, job: dict[str, Any], disk: ModelStore) -> None:
        """A job was leased: then a crash can undo it no more, and its time may pass."""
        token = job["token"].encode()
        self.last_token[job["id"]] = token
        row = disk.rows.get(job["id"])
        if job["kind"] == "stored":
            written = job["id"] in self.forgotten or (row is not None and row["attempt"] >= job["attempt"])
            self.demand(written, f"{token!r} was leased before its write")

    def _request_sent(self, peer: Any, message: WorkerRequest, core: Broker) -> None:
        self.demand(message.token not in self.tokens, f"token {message.token!r} was given out twice")
        self.tokens.add(message.token)
        job_id, attempt, _ = message.token.decode().rsplit("/", 2)
        self.demand(
            int(attempt) >= self.last_attempt.get(job_id, 0), f"attempt of {job_id} fell to {attempt}"
        )
        self.last_attempt[job_id] = int(attempt)
        self.last_token[job_id] = message.token
        job = core.held.live(message.token)
        self.demand(job is not None, f"a request left with the dead token {message.token!r}")
        assert job is not None
        waited = job.retries == 0 and job.kind == "stored"  # for its start to be on disk
        late = job.expires_at is not None and job.attempt == 1 and self.steady() >= job.expires_at
        late = late and not waited
        self.demand(not late, f"{job_id} was started after it had expired")
        self.clocks.started(message.token, job.ttr)
        self.clocks.may_start(job_id)
        if job.worker_ours:
            self.hands.given(peer, message, core)

    def news(self, news: News, disk: ModelStore) -> None:
        if "state" in news.body:
            self._told_of(news.body, disk, exact=False)

    def _told_of(self, told: dict[str, Any], disk: ModelStore, exact: bool = True) -> None:
        """Somebody was told of an end: then a crash can undo it no more."""
        row = disk.rows.get(told["id"])
        if row is None or told.get("kind") == "memory":
            return
        if told["state"] == RUNNING:
            written = row["attempt"] >= told["attempt"] or told["id"] in self.released
            self.demand(written, f"{told['id']}: told of a dispatch not yet written")
        if told["state"] not in FINAL_STATES:
            return
        self.demand(
            row["state"] in FINAL_STATES, f"{told['id']}: told it is {told['state']}, disk: {row['state']}"
        )
        if exact:
            self.demand(
                row["state"] == told["state"], f"{told['id']}: told {told['state']}, disk {row['state']}"
            )

    def committed(self, writes: list[Write], verdicts: list[Any], disk: ModelStore) -> None:
        """A batch is on disk."""
        self.figures.committed(writes)
        self.causes.committed(writes)
        self.kin.committed(writes, verdicts, disk)
        answers = iter(verdicts)
        for write in writes:
            self.clocks.committed(write, disk)
            verdict = next(answers) if isinstance(write, WITH_VERDICT) else None
            if isinstance(write, InsertJob) and verdict.verdict == NEW:
                # Perhaps once more, of an id that had been forgotten.
                self.finished[verdict.job_id] = 0
                self.last_attempt.pop(verdict.job_id, None)
                self.forgotten.discard(verdict.job_id)
            if isinstance(write, FinishJob):
                self.forgotten.add(write.job_id)  # from now on it may be
                self.finished[write.job_id] += 1
                self.demand(self.finished[write.job_id] == 1, f"{write.job_id} ended twice")
                row = disk.rows.get(write.job_id)
                if write.changes["state"] == "expired":
                    self.not_before(write.job_id, "expired")
                if row is not None and row["state"] == "expired" and self.punctual:
                    late = self.steady() - row["expires_at"]
                    self.demand(
                        self.clocks.excused or late < 3.0, f"{write.job_id} expired {late:.1f} s late"
                    )
                if row is not None and row["state"] == "failed" and row["error"]["code"] != "bad_previous":
                    self.demand(row["failures"] > 0, f"{write.job_id} failed without a failure")
            elif isinstance(write, UpdateJob) and write.changes.get("lease") is not None:
                self.may_fail[write.job_id] += 1  # its time may pass without a word
            elif isinstance(write, UpdateJob) and _is_due(write.changes):
                self._came_due(disk.rows.get(write.job_id))
            elif isinstance(write, ReviveJob):
                self.hands.begun.pop(write.job_id, None)
                self.finished[write.job_id] -= verdict.verdict == NEW
                if verdict.verdict == NEW and write.job_id in self.asked:
                    # It waits from now on, whatever its delay was, and expires no more.
                    self.asked[write.job_id] = (self.asked[write.job_id][0], 0.0, 0.0)
        keys = Counter(
            (row["service"], row["unique"])
            for row in disk.rows.values()
            if row["unique"] is not None and row["state"] not in FINAL_STATES
        )
        for key, count in keys.items():
            self.demand(count == 1, f"unique key {key} is held by {count} jobs")

    def _came_due(self, row: dict[str, Any] | None) -> None:
        if row is None:
            return  # it has ended in the same commit, and is forgotten already
        late = self.steady() - row["ready_at"]
        if row["state"] == "waiting" and self.punctual and not self.clocks.excused:
            # (In the same commit it may have run and failed: then this is its backoff's.)
            self.demand(late < 3.0, f"{row['id']} came due {late:.1f} s late")

    # ------------------------------------------------------------ the end

    def at_the_end(
        self, core: Broker, node: Node, disk: ModelStore, workers: list[Any], clients: list[Any]
    ) -> None:
        """Faults have stopped and time has passed: everything must have come to its end."""
        for job_id, body in self.acknowledged.items():
            row = disk.rows.get(job_id)
            if row is None and job_id in self.forgotten:
                continue  # its `keep` has passed
            self.demand(row is not None, f"acknowledged job {job_id} is lost")
            assert row is not None
            if row["parent"] is not None and job_id in self.forgotten:
                continue  # it was forgotten, and another follows from somewhere under its id
            if row["state"] == "scheduled" and (
                self.clocks.excused or (row["by_wall"] and self.world.clock_jumped)
            ):
                continue  # recovered under another wall time, or asked for at one: an hour later, perhaps
            self.demand(row["state"] in FINAL_STATES, f"acknowledged job {job_id} is still {row['state']}")
            if row["state"] == COMPLETE:
                self.demand(row["result"] == body, f"{job_id} has the result {row['result']!r}")
            most = self.may_fail[job_id]
            self.demand(row["failures"] <= most, f"{job_id}: {row['failures']} failures, {most} causes")
        for client in clients:
            self.demand(
                client.asked == client.answered, f"{client.name}: {client.asked - client.answered} unanswered"
            )
        counts_agree(core)
        window_is_kept(core)
        self.clocks.look(core)
        self.figures.counted_right(core)
        self.waits.look(core)
        self.causes.look(disk)
        self.kin.at_the_end(disk, self.clocks.excused or self.world.clock_jumped)
        self.answers.none_open()
        # While jobs stand in the store alone (excused, below) there is a look at them each second.
        looks = any(service.beyond or service.scheduled_beyond for service in core.held.services.values())
        self.demand((node.idle or looks) and node.held == 0, "the gate holds something back")
        scheduled = [job for service in core.held.services.values() for job in service.scheduled.values()]
        early = {job.id for job in scheduled}
        excused = self.clocks.excused or (self.world.clock_jumped and all(job.by_wall for job in scheduled))
        self.demand(not early or excused, f"still scheduled: {early}")
        self.demand(not core.held.overflow, "a strict request never became a job")
        self.demand(not core.held.inserting, "an insert was never answered")
        self.demand(early >= set(core.held.stored), "a stored job was not let go of")
        self.demand(not core.results.confirmations.unconfirmed, "a result was never confirmed")
        for service in core.held.services.values():
            scheduled = set(service.scheduled) - early
            left = (service.waiting_count, len(service.running), len(scheduled))
            self.demand(left == (0, 0, 0), f"{service.name} still has {left} waiting, running, scheduled")
        free = [session for service in core.held.services.values() for session in service.ring]
        in_rings = {session.name for session in free} | {getattr(session, "peer", None) for session in free}
        for worker in workers:
            self.demand(worker.known_as in in_rings, f"worker {worker.name} is forgotten")
            self.demand(not list(worker.unconfirmed), f"{worker.name} still keeps results")


def _is_due(changes: Mapping[str, Any]) -> bool:
    """Whether a job waits for that its time has come, and not because an attempt was given back."""
    return changes.get("state") == "waiting" and not {"nonce", "attempts"} & changes.keys()
