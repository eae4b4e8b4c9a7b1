"""What must hold in every history, whatever fails (README.md, What it promises)."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

from tests.simulation.world import World
from tests.store.model import ModelStore
from zmws.core.broker import Broker
from zmws.core.gate import Send
from zmws.core.job import COMPLETE, FINAL_STATES, RUNNING, job_id_of
from zmws.core.node import Node
from zmws.core.session import Session
from zmws.core.turn import News
from zmws.core.writes import NEW, WITH_VERDICT, FinishJob, InsertJob, ReviveJob, UpdateJob, Write
from zmws.wire import mdp
from zmws.wire.messages import Accepted, Answer, ClientRequest, Completed, Failed, WorkerFinal, WorkerRequest


class Violation(AssertionError):
    """An invariant is broken."""


class Watcher:
    """Sees every message, commit and step, and complains at once."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.requests: Counter[Any] = Counter()
        self.answers: Counter[Any] = Counter()
        self.acknowledged: dict[str, bytes] = {}  # stored jobs: id -> body
        self.finished: Counter[str] = Counter()
        self.may_fail: Counter[str] = Counter()
        self.tokens: set[bytes] = set()
        self.last_attempt: dict[str, int] = {}
        self.last_token: dict[str, bytes] = {}
        self.free_since: dict[Session, int] = {}
        self.steps = 0
        self.work_of: defaultdict[str, list[tuple[str, bytes, float]]] = defaultdict(list)
        self.forgotten: set[str] = set()
        self.first_answers: dict[str, tuple[bytes, ...]] = {}
        self.punctual = True  # nothing has happened that holds up what is due
        self.steady: Callable[[], float] = lambda: 0.0  # the broker's steady clock
        self.excused = False  # a restart has taken a stepped wall's word for the time
        # By id: when it was asked for (a time that goes on in a suspend), its delay, and its `expires`.
        self.asked: dict[str, tuple[float, float, float]] = {}

    def demand(self, true: bool, text: str) -> None:
        if not true:
            raise Violation(text)

    # ------------------------------------------------------------ what is observed

    def requested(self, peer: Any, message: ClientRequest) -> None:
        self.requests[peer, message.reply_to.envelope] += 1

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
        self.demand(last == token, f"a FINAL with {token!r} was taken, though {last!r} was given out last")

    def asks(self, job_id: str, delay: float, expires: float) -> None:
        """Somebody is about to submit this for the first time."""
        self.asked.setdefault(job_id, (self.world.boot, delay, expires))

    def not_before(self, job_id: str, what: str) -> None:
        """It may not start before its delay has passed, nor expire too early, whatever the wall says."""
        at, delay, expires = self.asked.get(job_id, (0.0, 0.0, 0.0))
        least = expires if what == "expired" else delay
        early = at + least - self.world.boot
        self.demand(self.excused or early < 0.001, f"{job_id} {what} {early:.1f} s early")

    def began(self, worker: str, request: WorkerRequest, world: World) -> None:
        job_id = job_id_of(request.token)
        assert job_id is not None
        self.not_before(job_id, "began")
        self.work_of[job_id].append((worker, request.token, world.now))

    def given(self, worker: str, token: bytes, holding: set[bytes]) -> None:
        """One job at a time, and none to a worker that hangs on a job that is over."""
        self.demand(not holding - {token}, f"{worker} was given {token!r} while it runs {holding}")

    def told_done(self, tokens: list[bytes], disk: ModelStore) -> None:
        """A worker forgets a result: then the disk must have taken it."""
        for token in tokens:
            job_id, _, nonce = token.decode().rsplit("/", 2)
            row = disk.rows.get(job_id)
            self.demand(
                row is None or row["state"] != RUNNING or row["nonce"] != nonce,
                f"a worker was told to forget {token.decode()}, which the disk has as running",
            )

    def told(self, ask: str, answer: tuple[bytes, ...], same_life: bool) -> None:
        """Whoever asks the same question again gets the first answer, as long as the broker lives."""
        if same_life:
            first = self.first_answers.setdefault(ask, answer)
            self.demand(first == answer, f"{ask} was answered {first!r} and then {answer!r}")

    # ------------------------------------------------------------ the core, step by step

    def before_input(self, core: Broker) -> dict[str, list[Session]]:
        return {name: list(service.ring) for name, service in core.held.services.items()}

    def after_input(self, core: Broker, before: dict[str, list[Session]]) -> None:
        """Round-robin: who was taken out of a ring waited longest of those that could be sent to."""
        self.steps += 1
        sends = [s for s in core.turn.sends if isinstance(s.message, WorkerRequest)]
        taken = {s.peer for s in sends}
        for name, ring in before.items():
            service = core.held.services.get(name)
            still = set(service.ring) if service is not None else set()
            left = [s for s in ring if s not in still]
            chosen_from = [s for s in left if isinstance(s, Session) and s.peer in taken]
            passed_over = [s for s in ring if s in still and s.blocked_until <= self.world.now]
            for session in chosen_from:
                earlier = [s for s in passed_over if ring.index(s) < ring.index(session)]
                self.demand(
                    not earlier, f"round-robin of {name}: a worker that waited longer was passed over"
                )
        if self.steps % 50 == 0:
            self.counts_agree(core)

    def counts_agree(self, core: Broker) -> None:
        """The counts that are kept as jobs move are the counts there are."""
        for service in core.held.services.values():
            waiting = list(service.waiting())
            memory = sum(job.kind == "memory" for job in waiting)
            self.demand(memory == service.waiting_memory, f"waiting_memory of {service.name}")
            self.demand(len(waiting) - memory == service.held, f"held of {service.name}")
            for session in service.ring:
                self.demand(
                    session.has_room(service.name), f"who is in the ring of {service.name} has no room"
                )
            for session in service.ring.workers:
                left_out = session.has_room(service.name) and session not in service.ring
                self.demand(not left_out, f"a worker of {service.name} has room, and is not in its ring")
        overflow = core.held.overflow
        kept = sum(overflow.count_of(name) for name in overflow.services(100))
        self.demand(kept == overflow.count, "count of the overflow")
        self.demand(sum(overflow.bytes_of.values()) == overflow.bytes, "bytes of the overflow")
        answers = core.watchers
        waits = [*answers.waits.values(), *answers.watches.values()]
        self.demand(sum(map(len, waits)) == answers.waits_count, "waits_count")
        for session in core.roster.by_peer.values():
            for token, assignment in session.holding.items():
                self.demand(assignment.taker is session, "what a session holds has another taker")
                live = assignment.job is not None and assignment.job.token == token
                self.demand(live or assignment.job is None, "a session holds a job under a dead token")
        for token, assignment in core.held.assignments.items():
            job = assignment.job
            self.demand(job is not None and job.token == token, f"{token!r} is live, and its job is not")
            holder = assignment.taker
            held = not isinstance(holder, Session) or token in holder.holding
            self.demand(held, f"{token!r} is held by nobody")
        running = sum(len(service.running) for service in core.held.services.values())
        self.demand(running == len(core.held.assignments), "the running jobs are not those that are held")

    def sent(self, send: Send, core: Broker, disk: ModelStore) -> None:
        """A message has left the gate."""
        message = send.message
        if isinstance(message, WorkerRequest):
            self._request_sent(message, core)
            return
        if not isinstance(message, (Accepted, Completed, Failed, Answer)):
            return
        asked_well = not isinstance(message, Answer) or message.body[0] != b"400"
        self.demand(asked_well, f"the simulator's own question is none: {message}")
        key = (send.peer, message.reply_to.envelope)
        self.answers[key] += 1
        self.demand(self.answers[key] <= self.requests[key], f"{key} got more answers than it asked")
        if isinstance(message, Accepted) and message.durability == "disk":
            known = message.job_id in disk.rows or message.job_id in self.forgotten
            self.demand(known, f"{message.job_id} was acknowledged before it was on disk")
        if isinstance(message, Answer) and message.service == "zmws.lease" and message.body[0] == b"200":
            self._leased(json.loads(message.body[1]), disk)
        if isinstance(message, Answer) and message.service == "zmws.submit" and message.body[0] == b"200":
            for verdict in json.loads(message.body[1]):
                known = "code" in verdict or verdict["id"] in disk.rows or verdict["id"] in self.forgotten
                self.demand(known, f"{verdict} was acknowledged before it was on disk")
        if isinstance(message, Answer) and message.service == "zmws.wait" and message.body[0] == b"200":
            self._told_of(json.loads(message.body[1]), disk)

    def _leased(self, job: dict[str, Any], disk: ModelStore) -> None:
        """A job was leased: then a crash can undo it no more, and its time may pass."""
        token = job["token"].encode()
        self.last_token[job["id"]] = token
        row = disk.rows.get(job["id"])
        if job["kind"] == "stored":
            written = job["id"] in self.forgotten or (row is not None and row["attempt"] >= job["attempt"])
            self.demand(written, f"{token!r} was leased before its write")

    def _request_sent(self, message: WorkerRequest, core: Broker) -> None:
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
        late = job.expires_at is not None and job.attempt == 1 and self.steady() >= job.expires_at
        self.demand(not late, f"{job_id} was started after it had expired")

    def news(self, news: News, disk: ModelStore) -> None:
        if "state" in news.body:
            self._told_of(news.body, disk, exact=False)

    def _told_of(self, told: dict[str, Any], disk: ModelStore, exact: bool = True) -> None:
        """Somebody was told of an end: then a crash can undo it no more."""
        row = disk.rows.get(told["id"])
        if row is None or told.get("kind") == "memory":
            return
        if told["state"] == RUNNING:
            self.demand(
                row["attempt"] >= told["attempt"], f"{told['id']}: told of a dispatch not yet written"
            )
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
        answers = iter(verdicts)
        for write in writes:
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
                    self.demand(self.excused or late < 3.0, f"{write.job_id} expired {late:.1f} s late")
                if row is not None and row["state"] == "failed":
                    self.demand(row["failures"] > 0, f"{write.job_id} failed without a failure")
            elif isinstance(write, UpdateJob) and write.changes.get("lease") is not None:
                self.may_fail[write.job_id] += 1  # its time may pass without a word
            elif isinstance(write, UpdateJob) and "nonce" not in write.changes:
                self._came_due(disk.rows.get(write.job_id))
            elif isinstance(write, ReviveJob):
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
        if row["state"] == "waiting" and self.punctual and not self.excused:
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
            if row["state"] == "scheduled" and (self.excused or (row["by_wall"] and self.world.clock_jumped)):
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
        self.counts_agree(core)
        # While jobs stand in the store alone (excused, below) there is a look at them each second.
        looks = any(service.beyond or service.scheduled_beyond for service in core.held.services.values())
        self.demand((node.idle or looks) and node.held == 0, "the gate holds something back")
        scheduled = [job for service in core.held.services.values() for job in service.scheduled.values()]
        early = {job.id for job in scheduled}
        excused = self.excused or (self.world.clock_jumped and all(job.by_wall for job in scheduled))
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
            # A foreign worker does not know the name that the broker gives it.
            ours = hasattr(worker, "dialog")
            known_as = worker.dialog.worker_id if ours else (worker.socket, worker.name.encode())
            self.demand(known_as in in_rings, f"worker {worker.name} is forgotten")
            if hasattr(worker, "dialog"):
                self.demand(not worker.dialog.unconfirmed, f"{worker.name} still keeps results")


__all__ = ["Violation", "Watcher", "mdp"]
