"""The services inside the broker: SERVER-*, zmws.* and mmi.* (docs/protocol.md, RFC 8).

Rule 1: whoever looks on never delays a job: what memory knows is answered at once, one record is read
        in order with the writes, lists are read beside them.
Rule 2: an answer about a job waits for the job's last write, so that nobody is told of what a crash
        could undo.
Rule 3: zmws.* answers a status of three digits and one JSON frame; from 400 on the JSON is an ERROR.
Rule 4: a family of services is a file: records, lists, insight, audit, submitting, operations, leases.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from zmws.core.asks import Asks
from zmws.core.batches import Batches
from zmws.core.desk.audit import Audit
from zmws.core.desk.batching import Batching
from zmws.core.desk.changes import AUDITED
from zmws.core.desk.insight import Inquiry, Insight
from zmws.core.desk.keyring import Keyring
from zmws.core.desk.leases import Leases
from zmws.core.desk.lists import Lists
from zmws.core.desk.operations import Operation, Operations
from zmws.core.desk.permits import Permit, Permits
from zmws.core.desk.questions import BadQuestion, checked, question_body
from zmws.core.desk.records import Records
from zmws.core.desk.scheduling import Scheduling
from zmws.core.desk.submitting import Submitting
from zmws.core.desk.warnings import Warnings
from zmws.core.dispatch import Dispatch
from zmws.core.held import Held
from zmws.core.host import Host
from zmws.core.job import Caller
from zmws.core.keys import Keys
from zmws.core.lanes import Lanes
from zmws.core.life import Life
from zmws.core.making import Making
from zmws.core.question import Question
from zmws.core.reads import (
    FOR_PEOPLE,
    Read,
    ReadAhead,
    ReadBatch,
    ReadFamily,
    ReadJob,
    ReadMatching,
    ReadSchedules,
    rendered,
)
from zmws.core.results import Results
from zmws.core.roster import Roster
from zmws.core.rows import KeyRow, Rows
from zmws.core.schedules import Schedules
from zmws.core.series import Series
from zmws.core.submission import Submission
from zmws.core.turn import Turn
from zmws.core.watchers import Waiters, Watch, Watchers
from zmws.wire.messages import Answer, ClientRequest
from zmws.wire.values import without_raw


class Desk:
    """The doors of the desk: a name, its handler, and how that is answered."""

    def __init__(
        self,
        turn: Turn,
        held: Held,
        life: Life,
        results: Results,
        watchers: Watchers,
        roster: Roster,
        submission: Submission,
        dispatch: Dispatch,
        series: Series,
        lanes: Lanes,
        host: Host,
        making: Making,
        batches: Batches,
        schedules: Schedules,
        keys: Keys,
    ) -> None:
        self.turn = turn
        self.held = held
        self.watchers = watchers
        self._roster = roster
        self._keys = keys
        self.host = host
        self.operations = Operations(turn, held, life, roster, series, host)
        self.leases = Leases(turn, held, life, results)
        self.asks = Asks(turn)
        self._records = records = Records(turn, held, watchers)
        self.permits = permits = Permits(turn, held, keys)
        self._keyring = keyring = Keyring(turn, keys, permits, host, self._end_of_key)
        self._lists = lists = Lists(turn, held, watchers, roster.sessions, series, self.host, permits)
        self.audit = Audit(turn, lists)
        self._insight = insight = Insight(turn, held, series, lanes, lists, permits)
        self._submitting = submitting = Submitting(
            *(turn, held, watchers, submission, dispatch, life.follow_ups)
        )
        self._batching = batching = Batching(
            *(turn, held, watchers, lists, making, life.follow_ups, batches, host, keys, permits)
        )
        self._scheduling = scheduling = Scheduling(turn, held, lists, schedules, host)
        self._verbs: dict[str, Callable[[Question], None]] = {
            "zmws.hello": self._hello,
            "zmws.job": records.job,
            "zmws.wait": records.job,
            "zmws.events": records.job,
            "zmws.stack": records.stack,
            "zmws.submit": submitting.submit,
            "zmws.copy": submitting.copy,
            "zmws.cancel": self.operations.cancel,
            "zmws.retry": self.operations.retry,
            "zmws.delete": self.operations.delete,
            "zmws.purge": self.operations.purge,
            "zmws.pause": self.operations.pause,
            "zmws.resume": self.operations.resume,
            "zmws.limit": self.operations.limit,
            "zmws.forget": self.operations.forget,
            "zmws.drain": self.operations.drain,
            "zmws.lease": self.leases.lease,
            "zmws.extend": self.leases.extend,
            "zmws.report": self.leases.report,
            "zmws.jobs": lists.jobs,
            "zmws.open": batching.open,
            "zmws.close": batching.close,
            "zmws.batch": batching.batch,
            "zmws.batches": batching.batches,
            "zmws.family": lists.family,
            "zmws.schedules": scheduling.schedules,
            "zmws.schedule": scheduling.schedule,
            "zmws.keys": keyring.keys,
            "zmws.key": keyring.key,
            "zmws.services": lists.services,
            "zmws.service": lists.service,
            "zmws.peek": lists.peek,
            "zmws.workers": lists.workers,
            "zmws.stats": lists.stats,
            "zmws.series": insight.series,
            "zmws.mark": insight.mark,
            "zmws.failures": insight.failures,
            "zmws.why": insight.why,
            "zmws.lanes": insight.lanes,
            "zmws.acted": self.audit.acted,
            "zmws.audit": self.audit.audit,
            "zmws.metrics": insight.metrics,
            "zmws.warnings": Warnings(turn, held, roster.sessions, series, host).answer,
        }

    def _end_of_key(self, row: KeyRow) -> None:
        self._roster.sessions.end_of_key(row.proof)
        self.leases.end_of_key(row)

    def on_request(self, caller: Caller, name: str, message: ClientRequest) -> None:
        """A request for a reserved name."""
        question = Question(self.turn, caller, name, {})
        if name in self._lists.of_old:
            return self.permits.let(question, lambda _: self._answer(question, self._list, message.body))
        if name in self._verbs:
            return self._answer(question, self._verb, message.body)
        if name.startswith("zmws."):
            return question.refuse(501, "unknown_service", f"there is no service '{name}' in this broker")
        if name.startswith("mmi."):
            answer = Answer(name, (self._mmi(name, message.body),), caller.reply_to)
            return self.turn.send(caller.peer, answer)
        text = f"no worker can register the reserved name '{name}'"
        return self.watchers.refuse(caller, name, None, "unknown_service", text)

    def _mmi(self, name: str, body: tuple[bytes, ...]) -> bytes:
        """RFC 8: mmi.service tells whether a service is there, 200 or 404; any other mmi.* is 501."""
        if name != "mmi.service":
            return b"501"
        asked = without_raw(body)[-1].decode("utf-8", "replace") if body else ""
        service = self.held.services.get(asked)
        # Whoever leases stands in the ring, and is a worker too.
        there = service is not None and (service.ring.workers or service.ring)
        return (
            b"200"
            if there or asked in self._lists.of_old or asked in self._verbs or asked == name
            else b"404"
        )

    def _answer(self, question: Question, answer: Callable[[Question, Any], None], given: Any) -> None:
        """A fault while a question is answered is the asker's and never the broker's end. Only a broken
        invariant in what changes something ends it, for then nobody knows what the state is."""
        try:
            answer(question, given)
        except BadQuestion as wrong:
            question.refuse(400, "bad_request", str(wrong))
        except Exception as fault:
            if isinstance(fault, AssertionError) and question.service not in _LOOKS:
                raise
            question.broke(fault)

    def _list(self, question: Question, body: tuple[bytes, ...]) -> None:
        frames = (_json(self._lists.of_old[question.service]()),)
        answer = Answer(question.service, frames, question.caller.reply_to)
        self.turn.send(question.caller.peer, answer)

    def _verb(self, question: Question, body: tuple[bytes, ...]) -> None:
        name, limits = question.service, self.turn.limits
        question.asked = question_body(name, body, limits)
        if name != "zmws.submit":
            question.asked = checked(name, question.asked, limits)
            signed = name in AUDITED or name == "zmws.open"  # a batch tells who has opened it
            came_from = self.permits.sign(question) if signed else None
            if "by" in question.asked:
                shown = {key: one for key, one in question.asked.items() if key != "proof"}
                self.turn.note("info", f"{name} by {question.asked['by']}: {str(shown)[:500]}")
            if "by" in question.asked and name in AUDITED and name != "zmws.acted":
                question.audited = partial(self.audit.answered, came_from)
        self.permits.let(question, self._permitted)

    def _permitted(self, question: Question) -> None:
        """Who has asked may."""
        audited, question.audited = question.audited, None  # a repeat is no act of its own
        if question.service != "zmws.submit" and "ask" in question.asked and self._is_repeat(question):
            return
        question.audited = audited
        self._verbs[question.service](question)

    def _is_repeat(self, question: Question) -> bool:
        """Whether a question has been asked before; then it is answered, or will be with the first."""
        asks, asked = self.asks, question.asked
        known = asks.known(question.ask_key)
        if known is None and asks.full:
            question.refuse(429, "too_many_waits", "too many questions are under way already (asks_max)")
        elif known is None:
            asks.begin(question.ask_key, question.service, asked, question.caller)
            question.asks = asks
            return False
        elif (known.service, known.asked) != (question.service, asked):
            text = f"another question was asked as '{asked['ask']}' before"
            question.refuse(409, "id_conflict", text)
        else:
            asks.again(known, question.caller)
        return True

    def _hello(self, question: Question) -> None:
        """Whom a client talks to, and what that takes."""
        limits = self.turn.limits
        told = {"zmws": 1, "version": self.host.version, "socket": question.caller.peer[0]}
        told |= {"message_bytes_max": limits.message_bytes_max, "submit_many_max": limits.submit_many_max}
        told |= {"life": self.host.life, "news": self.host.news}
        public = question.asker.public
        if public:
            told["news_refused"] = self._keys.refused_at("news", public)
        question.answer(200, told)

    # ------------------------------------------------------------ what was read

    def loaded(self, read: Read, rows: Rows) -> None:
        """A record or a page has been read, or could not be; by now the job may be in memory."""
        asker = read.asker
        if isinstance(read, FOR_PEOPLE):
            self._lists.read_done()
        elif isinstance(asker, Question) and asker.service not in _READ_APART:
            self._records.read_done()
        for question in self._askers(asker):
            if rows.fault is not None:
                self.turn.note("error", f"a read for {question.service} failed: {rows.fault}")
                question.refuse(500, "broker_fault", f"the store could not be read: {rows.fault}")
        if rows.fault is not None:
            return
        if isinstance(asker, Permit):
            self._answer(asker.question, lambda _, rows: self.permits.loaded(asker, rows), rows)
        elif isinstance(asker, Operation):
            self._answer(asker.question, lambda question, read: self._operation_loaded(read, rows), read)
        elif isinstance(asker, Inquiry):
            self._answer(asker.question, lambda _, read: self._inquiry_loaded(asker, read, rows), read)
        elif isinstance(asker, Waiters):
            self._records.end_waits(asker, rows)
        elif isinstance(asker, Watch):
            self._records.go_on_watching(asker, _job_id(read), rows)
        else:
            self._answer(_question(asker), lambda question, read: self._read_for(question, read, rows), read)

    def _askers(self, asker: object) -> list[Question]:
        """Who is answered by what has been read."""
        if isinstance(asker, Question):
            return [asker]
        if isinstance(asker, (Operation, Inquiry, Permit)):
            return [asker.question]
        if isinstance(asker, Waiters):
            return [Question(self.turn, caller, "zmws.wait", {}) for caller in asker.callers]
        assert isinstance(asker, Watch), asker
        return [Question(self.turn, caller, "zmws.events", {}) for caller, *_ in asker.watching]

    def _operation_loaded(self, read: Read, rows: Rows) -> None:
        if isinstance(read, ReadMatching):
            self.operations.matching_loaded(read.asker, rows)
        else:
            self.operations.job_loaded(read.asker, _job_id(read), rows)

    def _inquiry_loaded(self, inquiry: Inquiry, read: Read, rows: Rows) -> None:
        if isinstance(read, ReadJob):
            self._insight.job_loaded(inquiry, rows)
        else:
            assert isinstance(read, ReadAhead), read
            self._insight.why_loaded(inquiry, read, rows)

    def _read_for(self, question: Question, read: Read, rows: Rows) -> None:
        if read.render is not None:
            return question.answer_made(rendered(read, rows))
        if isinstance(read, ReadBatch):
            return self._batching.loaded(question, rows)
        if isinstance(read, ReadSchedules):
            return self._scheduling.loaded(question, rows)
        if isinstance(read, ReadFamily):
            return self._lists.family_loaded(question, rows)
        if question.service == "zmws.report":
            return self.leases.loaded(question, rows)
        if question.service == "zmws.copy":
            return self._submitting.copy_loaded(question, rows)
        return self._records.loaded(question, _job_id(read), rows)


# What reads a record for something else than to show it.
_READ_APART = ("zmws.report", "zmws.copy", "zmws.open", "zmws.close", "zmws.batch")
# What changes nothing.
_LOOKS = {
    *("zmws.batch", "zmws.batches", "zmws.family", "zmws.schedules"),
    *("zmws.keys", "zmws.hello", "zmws.job", "zmws.wait", "zmws.events", "zmws.stack", "zmws.jobs"),
    *("zmws.services", "zmws.service", "zmws.peek", "zmws.workers", "zmws.stats"),
    *(
        "zmws.series",
        "zmws.failures",
        "zmws.why",
        "zmws.lanes",
        "zmws.warnings",
        "zmws.metrics",
        "zmws.audit",
    ),
    *("SERVER-JOBS", "SERVER-ACTIVE", "SERVER-HIST", "SERVER-WORKERS"),
}


def _job_id(read: Read) -> str:
    assert isinstance(read, ReadJob), read
    return read.job_id


def _question(asker: object) -> Question:
    assert isinstance(asker, Question), asker
    return asker


def _json(value: Any) -> bytes:
    return json.dumps(value, default=str).encode()
