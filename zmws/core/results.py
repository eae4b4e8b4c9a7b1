"""What workers say of their jobs: a Report becomes an end, a Note what a running job has to tell.

Rule 1: one way for both doors: a FINAL or PARTIAL of a worker, and zmws.report.
Rule 2: a Report with a live token is taken, whoever brings it; one with a dead token is refused and counted,
        unless that token completed the job: then it is a repeat.
Rule 3: a worker is told DONE, "forget it", when what the job has become is on disk (confirmations.py).
"""

from __future__ import annotations

from zmws.core.confirmations import Confirmations
from zmws.core.held import Held
from zmws.core.items import BadItem
from zmws.core.job import STORED, Job
from zmws.core.keys import Keys
from zmws.core.life import REPORTED, Life, error
from zmws.core.progress import Progress
from zmws.core.session import Session
from zmws.core.states import COMPLETE
from zmws.core.strangers import Strangers
from zmws.core.tokens import job_id_of
from zmws.core.turn import Turn
from zmws.core.watchers import Watchers
from zmws.wire import messages
from zmws.wire.messages import (
    Log,
    Note,
    Partial,
    Peer,
    Report,
    Save,
    Stack,
    Touch,
    WorkerFinal,
    WorkerPartial,
)
from zmws.wire.words import note_of, report_of

DONE_MAX = 1_000  # tokens that gather for the next HEARTBEAT: then they go at once


class Results:
    """Takes what comes, and says what was taken."""

    def __init__(
        self, turn: Turn, held: Held, life: Life, watchers: Watchers, strangers: Strangers, keys: Keys
    ) -> None:
        self.turn = turn
        self.held = held
        self.life = life
        self.watchers = watchers
        self.strangers = strangers
        self._keys = keys
        self.progress = Progress(turn, watchers)
        self.confirmations = Confirmations()

    # ------------------------------------------------------------ from workers

    def on_final(self, peer: Peer, session: Session | None, message: WorkerFinal) -> None:
        """An attempt's end, from whatever routing id."""
        token = message.token
        assignment = self.held.assignments.get(token)
        job = assignment.job if assignment is not None else None
        if job is not None and self._keys.work_fault(peer[2], (job.service,)) is not None:
            self.turn.counters["results_not_allowed"] += 1
            job = assignment = None
        holder = assignment.taker if assignment is not None else None
        if session is not None and token in session.holding:
            ran_s = session.ended(token)
            if job is not None:
                self.held.services[job.service].run_time.note(ran_s)
        if job is not None:
            ours = session.ours if session is not None else job.worker_ours
            report = report_of(message, ours)
            if session is not None:
                session.done_count += not report.failed
                session.failed_count += report.failed
            self.take(job, report, token, peer[2])
        if holder is not None and holder is not session and isinstance(holder, Session):
            holder.let_go(token)
            holder.stand_in_line()
        if session is None:
            self.turn.counters["final_without_session"] += 1
            first = self.strangers.out_of_turn(peer, message.link)
            self.strangers.paid(peer, token)
            self._stale_unless(job, token, "a worker without a session", first)
            return
        if self._stale_unless(job, token, f"worker {session.id}", not session.late_noted):
            session.late_noted = True
        session.let_go(token)
        if not session.holding:
            session.lost_until = None  # it has brought what it held: it is there
        if session.ours:
            self.taken(session, token)
        session.stand_in_line()

    def _stale_unless(self, job: Job | None, token: bytes, who: str, noted: bool) -> bool:
        """A result with a dead token is refused, unless it completed the job: counted, and logged if it is
        the first of its worker. True if it was."""
        if job is not None or self.was_taken(token):
            return False
        self.turn.counters["results_refused"] += 1
        if noted:
            self.turn.note("warning", f"a late result of {who} was refused: {token[:200]!r}")
        return True

    def on_partial(self, peer: Peer, session: Session | None, message: WorkerPartial) -> None:
        """What a job says on its way, from whatever routing id."""
        job = self.held.live(message.token)
        if job is None or self._keys.work_fault(peer[2], (job.service,)) is not None:
            self.turn.counters["partials_refused"] += 1
        else:
            ours = session.ours if session is not None else job.worker_ours
            rfc = session is None or session.link.dialect == messages.RFC
            note = note_of(message, ours, rfc)
            if note is None:
                self.turn.counters["bad_partials"] += 1
            else:
                self.note(job, note)
        if session is None:
            self.strangers.out_of_turn(peer, message.link)

    # ------------------------------------------------------------ both doors

    def take(self, job: Job, report: Report, token: bytes, user: str, by: str | None = None) -> None:
        """An attempt with a live token has ended: the job completes, or fails as the Report says. `user`:
        whose worker it was; `by`: for whom he says that he speaks."""
        job.final_token = token
        if job.kind == STORED:  # a memory job stays in memory itself
            self.confirmations.remember(token, not report.failed)
        if report.failed:
            self.life.fail(job, report.error, REPORTED, report.retry, report.delay_s, report.count)
        elif not report.jobs:
            self.life.complete(job, report.value, report.plain)
        else:
            try:
                asked_for = self.life.follow_ups.planned(job, report.jobs, user, by)
            except BadItem as wrong:
                return self.life.fail(job, error(wrong.code, str(wrong)), REPORTED)
            self.life.complete(job, report.value, report.plain, asked_for)
        return None

    def note(self, job: Job, note: Note) -> None:
        """A running job says something."""
        if isinstance(note, Partial):
            self.progress.partial(job, note.value, note.plain)
        elif isinstance(note, Log):
            self.progress.log(job, note.text)
        elif isinstance(note, Touch):
            self.life.extend(job, note.seconds)
        elif isinstance(note, Save):
            self.progress.save(job, note.json)
        elif isinstance(note, Stack):
            assert job.token is not None, job
            if self.watchers.tell_stack(job.token, note.text, job.worker):
                self.progress.stack(job, note.text)
        else:
            self.progress.progress(job, note.done, note.text)

    # ------------------------------------------------------------ DONE

    def was_taken(self, token: bytes) -> bool:
        """Whether a Report with this token was taken before, as far as memory reaches."""
        job = self.held.memory.get(job_id_of(token) or "")
        return self.confirmations.was_taken(token) or (job is not None and job.final_token == token)

    def completed(self, token: bytes) -> bool:
        """Whether a Report with this token completed its job, as far as memory reaches."""
        job = self.held.memory.get(job_id_of(token) or "")
        if job is not None and job.final_token == token:
            return job.state == COMPLETE
        return self.confirmations.completed(token)

    def taken(self, session: Session, token: bytes) -> None:
        """A FINAL was taken or refused: DONE follows when what its job has become is on disk."""
        job = self.held.stored.get(job_id_of(token) or "")
        if job is not None and job.last_write is not None:
            self.confirmations.await_write(session, token, job.last_write)
        elif not self.confirmations.reassigned(session, token):
            self._confirm(session, token)

    def want_confirmed(self, session: Session, tokens: list[bytes]) -> None:
        """It asks for DONE, and takes no job until it has it."""
        for token in tokens:
            if token in session.holding or self.confirmations.reassigned(session, token):
                session.confirming.add(token)  # its FINAL, or its commit, is to come
            else:
                session.done[token] = None
        if not session.confirming:
            session.beat()

    def not_coming(self, session: Session, token: bytes) -> None:
        """It will bring no FINAL for this token, whatever it asked."""
        if token in session.confirming:
            session.confirming.discard(token)
            if not session.confirming:
                session.beat()
                session.stand_in_line()

    def on_disk(self, seq: int) -> None:
        """All writes up to `seq` are on disk."""
        for session, token in self.confirmations.on_disk(seq):
            self._confirm(session, token)

    def _confirm(self, session: Session, token: bytes) -> None:
        """The worker may forget this result: with the next HEARTBEAT; at once if it waits, or if many have
        gathered."""
        session.done[token] = None
        if len(session.done) >= DONE_MAX:
            session.beat()
        if session.confirming:
            session.confirming.discard(token)
            if not session.confirming:
                session.beat()
                session.stand_in_line()
