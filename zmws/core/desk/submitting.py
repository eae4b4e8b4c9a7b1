"""zmws.submit: many jobs in one message, one commit, one answer with a verdict for each; and zmws.copy: a job
once more, with changes (docs/protocol.md)."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from zmws.core.desk.questions import BadQuestion
from zmws.core.dispatch import Dispatch
from zmws.core.follow_ups import FollowUps
from zmws.core.held import Held
from zmws.core.items import BadItem, Item, item_of
from zmws.core.job import MEMORY, Caller, Job, Pending
from zmws.core.options import JOB_OPTIONS, JobOptions
from zmws.core.question import Question
from zmws.core.reads import ReadJob
from zmws.core.rows import Rows, job_of
from zmws.core.submission import Submission
from zmws.core.turn import Turn
from zmws.core.watchers import Watchers
from zmws.errors import BadJson
from zmws.wire.messages import Answer
from zmws.wire.values import frames_of


class Bundle:
    """The answers to one message of zmws.submit, which go out together."""

    def __init__(self, turn: Turn, caller: Caller, size: int) -> None:
        self._turn = turn
        self._caller = caller
        self._told: list[dict[str, Any] | None] = [None] * size
        self._missing = size
        self._after: Pending | None = None

    def put(self, place: int, told: dict[str, Any], after: Pending | None = None) -> None:
        """What became of one job; `after`: the write that this speaks of."""
        self._told[place] = told
        self._missing -= 1
        # The last of them all; a number of 0 has not been through the gate yet.
        if after is not None and (self._after is None or after.seq == 0 or 0 < self._after.seq < after.seq):
            self._after = after
        if not self._missing:
            body = (b"200", json.dumps(self._told).encode())
            answer = Answer("zmws.submit", body, self._caller.reply_to)
            self._turn.send(self._caller.peer, answer, self._after)

    def members(self) -> list[Caller]:
        """Who stands for the caller in each of the jobs."""
        peer, reply_to = self._caller.peer, self._caller.reply_to
        return [Caller(peer, reply_to, bundle=self, place=n) for n in range(self._missing)]


class _CopyMade:
    """The answer to zmws.copy, which is given as a verdict on one job is."""

    def __init__(self, question: Question, service: str) -> None:
        self._question = question
        self._service = service

    def put(self, place: int, told: dict[str, Any], after: Pending | None = None) -> None:
        """What became of the copy."""
        if "code" not in told:
            return self._question.answer(200, {**told, "service": self._service}, after)
        code, text = told["code"], told["error"]
        return self._question.refuse(_STATUS_OF.get(code, 400), code, text, after)


# Of refusals of a job; of all others it is 400.
_STATUS_OF = {
    **{"unknown_service": 404, "id_conflict": 409, "queue_full": 429, "disk_full": 503},
    **{"not_allowed": 403, "rate_limited": 429},
}


class Submitting:
    """Makes jobs of a list, or of another job."""

    def __init__(
        self,
        turn: Turn,
        held: Held,
        watchers: Watchers,
        submission: Submission,
        dispatch: Dispatch,
        follow_ups: FollowUps,
    ) -> None:
        self._turn = turn
        self._held = held
        self._watchers = watchers
        self._submission = submission
        self._dispatch = dispatch
        self._follow_ups = follow_ups

    def submit(self, question: Question) -> None:
        """zmws.submit: many jobs in one message, one commit, one answer with a verdict for each."""
        items, most = question.asked, self._turn.limits.submit_many_max
        if not isinstance(items, list):
            raise BadQuestion("zmws.submit takes one frame with a JSON list of {service, params, ...options}")
        if len(items) > most:
            text = f"{len(items)} jobs in one message; at most {most} are taken (submit_many_max)"
            raise BadQuestion(text)
        if not items:
            return question.answer(200, [])
        callers = Bundle(self._turn, question.caller, len(items)).members()
        for n, (item, caller) in enumerate(zip(items, callers, strict=True)):
            self._submit_item(caller, item, together=n > 0)
            self._dispatch.settle()  # each is as an input of its own: room that it made is there for the next
        return None

    def _submit_item(self, caller: Caller, given: Any, together: bool) -> None:
        answers = self._watchers
        name = given.get("service") if isinstance(given, dict) else None
        name = name if isinstance(name, str) else ""
        try:
            item = item_of(given, self._turn.limits)
            if item.chain is not None:
                return self._submit_chain(caller, item, together)
        except BadItem as wrong:
            return answers.refuse(caller, name, wrong.job_id, wrong.code, str(wrong))
        caller.named = item.options.id is not None
        service = self._held.services.get(name)
        if service is None or not service.registered:
            return self._submission.unknown(caller, name, item.options.id)
        return self._submission.submit(caller, service, False, item.options, item.body, None, together)

    def _submit_chain(self, caller: Caller, item: Item, together: bool) -> None:
        """Raises BadItem."""
        self._follow_ups.require_known(item, caller.peer[2])
        caller.named = bool(item.chain)
        chain = item.chain or self._turn.suppliers.new_id()
        caller.chain, caller.by = chain, item.options.by
        job = self._follow_ups.first_step(item, 0, chain)
        self._submission.submit_made(caller, job, together)

    # ------------------------------------------------------------ a job once more

    def copy(self, question: Question) -> None:
        """zmws.copy: a new job like another, ended or not, but for what is given."""
        job = self._held.memory.get(question.asked["id"])
        if job is not None:
            self._copy(question, job)
        else:
            self._turn.reads.append(ReadJob(question, question.asked["id"]))

    def copy_loaded(self, question: Question, rows: Rows) -> None:
        """The record of what is to be copied has been read."""
        if rows.rows:
            return self._copy(question, job_of(rows.rows[0]))
        text = f"there is no job '{question.asked['id']}', or its record has been forgotten"
        return question.refuse(404, "unknown_job", text)

    def _copy(self, question: Question, job: Job) -> None:
        asked = question.asked
        options = JobOptions(
            id=asked.get("new_id"), by=asked.get("by"), **{name: getattr(job, name) for name in _COPIED}
        )
        options.meta = None if job.meta is None else json.loads(job.meta)
        if job.kind == MEMORY and not job.sync:
            options.durability = "memory"
        for name in JOB_OPTIONS:
            if name != "id" and name in asked:
                setattr(options, name, asked[name])
        if options.delay is not None and options.at is not None:
            raise BadQuestion("give 'delay' or 'at', not both")
        try:
            given = frames_of(asked, "params")
        except BadJson as wrong:
            raise BadQuestion(str(wrong)) from None
        name = asked.get("service", job.service)
        caller = replace(question.caller, bundle=_CopyMade(question, name), named=options.id is not None)
        service = self._held.services.get(name)
        if service is None or not service.registered:
            return self._submission.unknown(caller, name, options.id)
        return self._submission.submit(caller, service, False, options, given or job.body)


# What a copy has of the other job, unless it is given. `unique` it cannot have, and times are over.
_COPIED = ("priority", "ttr", "retries", "backoff", "keep", "group", "on_complete", "on_failed")
