"""What is known of one job: zmws.job, zmws.wait, zmws.events, zmws.stack (docs/protocol.md).

Rule: a memory job is answered from memory. The whole of a stored job is in the store alone, and is read in
order with the writes.
"""

from __future__ import annotations

from zmws.core.held import Held
from zmws.core.job import Job, events, record
from zmws.core.question import Question
from zmws.core.reads import ReadJob
from zmws.core.rows import Row, Rows, job_of
from zmws.core.session import Session
from zmws.core.states import RUNNING
from zmws.core.turn import Turn
from zmws.core.watchers import Waiters, Watch, Watchers
from zmws.wire.messages import Heartbeat


class Records:
    """Answers about one job."""

    def __init__(self, turn: Turn, held: Held, watchers: Watchers) -> None:
        self._turn = turn
        self._held = held
        self._watchers = watchers
        self._records_asked = 0

    def job(self, question: Question) -> None:
        """zmws.job, zmws.wait and zmws.events."""
        asked, limits = question.asked, self._turn.limits
        job_id = asked["id"]
        if "life" in asked:
            question.caller.tells_life = True
            if asked["life"] != self._watchers.host.life:
                asked["after"] = 0  # after a crash a number may have come again
        job = self._held.memory.get(job_id)
        if job is not None:
            return self._tell(question, job)
        if question.service == "zmws.wait":
            job = self._held.find(job_id)
            if job is not None and not job.final:
                return self._wait(question, job)
        # The whole of a stored job is in the store alone; read in order with the writes.
        if self._records_asked >= limits.waits_max:
            text = "too many records are to be read already (waits_max)"
            return question.refuse(429, "too_many_waits", text)
        return self._read(question)

    def _read(self, question: Question) -> None:
        asked, events_only = question.asked, question.service == "zmws.events"
        self._records_asked += 1
        past = asked["after"] if events_only else None
        self._turn.reads.append(ReadJob(question, asked["id"], whole=not events_only, past=past))

    def _as_it_is(self, row: Row, events_only: bool) -> Job:
        """A stored job as its record says, but for what is on its way there. Of its events only those count
        that were read: else one that is further on would hide another that is still on its way."""
        job = job_of(row)
        held = self._held.stored.get(job.id)
        if held is None:
            return job
        job.partials_cut, job.log_cut = held.partials_cut, held.log_cut  # written when the attempt is over
        if not events_only and held.progress_at is not None:
            job.progress, job.progress_text = held.progress, held.progress_text
            job.progress_at = held.progress_at
        return job

    def _tell(self, question: Question, job: Job) -> None:
        if question.service == "zmws.job":
            return question.answer(200, record(job, self._turn.lead))
        if question.service == "zmws.events":
            return self._events(question, job)
        held = self._held.find(job.id)
        if job.final:
            return question.answer(200, record(job, self._turn.lead))
        if held is not None and held.final:
            # It has ended since it was read: once more, behind the write of its end.
            return self._read(question)
        return self._wait(question, job)

    def _wait(self, question: Question, job: Job) -> None:
        if self._too_many(question):
            return
        until = self._turn.now + float(question.asked["timeout"])
        self._watchers.wait_for(job, question.caller, until)

    def _events(self, question: Question, job: Job) -> None:
        watchers, asked = self._watchers, question.asked
        if events(job, asked["after"]) or job.final or not asked["timeout"]:
            watchers.tell_events(question.caller, job, asked["after"])
        elif not self._too_many(question):
            watchers.watch(job, question.caller, asked["after"], self._turn.now + float(asked["timeout"]))
            held = self._held.stored.get(job.id)
            if held is not None and held.events > job.events:
                watchers.happened(held)  # since it was read

    def _too_many(self, question: Question) -> bool:
        if self._watchers.waits_count < self._turn.limits.waits_max:
            return False
        question.refuse(429, "too_many_waits", "too many requests wait already (waits_max)")
        return True

    def end_waits(self, waiters: Waiters, rows: Rows) -> None:
        """The record of a job that has ended, for those who waited for that."""
        if rows.rows:
            self._watchers.tell_record(waiters.callers, job_of(rows.rows[0]))
            return
        for caller in waiters.callers:
            text = "the job has ended, and its record has been forgotten"
            Question(self._turn, caller, "zmws.wait", {}).refuse(404, "unknown_job", text)

    def go_on_watching(self, watch: Watch, job_id: str, rows: Rows) -> None:
        """The record of a job of which something has happened, for those who look on."""
        job = self._as_it_is(rows.rows[0], events_only=True) if rows.rows else None
        for caller, after, until in watch.watching:
            if job is None:
                text = f"the record of job '{job_id}' has been forgotten"
                Question(self._turn, caller, "zmws.events", {}).refuse(404, "unknown_job", text)
                continue
            left = max(0.0, until - self._turn.now)
            asked = {"id": job_id, "after": after, "timeout": left}
            question = Question(self._turn, caller, "zmws.events", asked)
            question.safely(lambda watching: self._events(watching, job))

    def loaded(self, question: Question, job_id: str, rows: Rows) -> None:
        """A record has been read."""
        if not rows.rows:
            text = f"there is no job '{job_id}', or its record has been forgotten"
            return question.refuse(404, "unknown_job", text)
        events_only = question.service == "zmws.events"
        return self._tell(question, self._as_it_is(rows.rows[0], events_only))

    def read_done(self) -> None:
        """A record has been read, or could not be."""
        self._records_asked -= 1

    # ------------------------------------------------------------ where it is

    def stack(self, question: Question) -> None:
        """The stack of a running job now, as its worker tells it: 409 if it does not run, 503 if no answer
        comes in time."""
        job_id = question.asked["id"]
        job = self._held.find(job_id)
        assignment = self._held.assignment_of(job) if job is not None and job.state == RUNNING else None
        if assignment is None:
            is_now = f": it is {job.state}" if job is not None else ""
            return question.refuse(409, "not_possible", f"job '{job_id}' does not run{is_now}")
        session = assignment.taker
        if not isinstance(session, Session) or not session.ours:
            text = f"job '{job_id}' runs where no stack can be asked for: {job.worker if job else ''}"
            return question.refuse(503, "no_answer", text)
        if self._too_many(question):
            return None
        until = self._turn.now + float(question.asked["timeout"])
        if self._watchers.ask_stack(assignment.token, question.caller, until):
            self._turn.command(session.peer, Heartbeat((b"STACK " + assignment.token,)), session.link)
        return None
