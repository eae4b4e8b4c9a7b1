"""Who waits for an answer about a job, and what they are told.

Rule: whatever is said of a stored job waits for the job's last write.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from zmws.core.host import Host
from zmws.core.job import STORED, Caller, Job, Pending, error_json, events, iso, record
from zmws.core.question import Question
from zmws.core.reads import ReadJob
from zmws.core.states import COMPLETE
from zmws.core.timers import Reminder
from zmws.core.tokens import job_id_of
from zmws.core.turn import Turn
from zmws.wire.messages import Accepted, ClientPartial, Completed, Failed


@dataclass(slots=True)
class Waiters:
    """Whose wait ended with a job whose record has to be read: comes back with that."""

    callers: list[Caller]


@dataclass(slots=True)
class Watch:
    """Who looks on while a job goes its way, past which event, until when (monotonic)."""

    watching: list[tuple[Caller, int, float]]


class Watchers:
    """Acknowledgements, results, refusals, news, and those who wait for a job's end or next event."""

    def __init__(self, turn: Turn, host: Host) -> None:
        self.turn = turn
        self.host = host
        self.waits: dict[str, list[tuple[Caller, float]]] = {}  # zmws.wait: who, until when
        self.watches: dict[str, list[tuple[Caller, int, float]]] = {}  # zmws.events: past which, until when
        self._stacks: dict[bytes, list[tuple[Caller, float]]] = {}  # zmws.stack: by token
        self.waits_count = 0  # requests that wait, of all three
        self._wait_over = Reminder(
            self._waits_timed_out,
            lambda job_id, at: any(until == at for _, until in self.waits.get(job_id, ())),
        )
        self._watch_over = Reminder(
            self._watches_timed_out,
            lambda job_id, at: any(until == at for *_, until in self.watches.get(job_id, ())),
        )
        self._stack_over = Reminder(self._stacks_timed_out, lambda token, at: token in self._stacks)

    def refuse(self, caller: Caller, service: str, job_id: str | None, code: str, text: str) -> None:
        """No job was made, and the caller is told why."""
        self.turn.counters[f"refused_{code}"] += code != "queue_full"
        if caller.bundle is not None:
            caller.bundle.put(caller.place, {"id": job_id, "code": code, "error": text})
            return
        why = json.dumps({"code": code, "error": text}).encode()
        message = Failed(service, job_id, why, False, caller.reply_to)
        self.turn.send(caller.peer, message)

    def accepted(self, job: Job, caller: Caller, existing: bool) -> None:
        """The acknowledgement, which leaves when the job is on disk."""
        self.accepted_as(job.service, job.id, job.durability, caller, job.last_write, existing)

    def accepted_as(
        self,
        service: str,
        job_id: str,
        durability: str,
        caller: Caller,
        after: Pending | None,
        existing: bool = True,
    ) -> None:
        """This job stands for the one that was asked for, perhaps another."""
        if caller.bundle is not None:
            told = {"id": job_id, "existing": existing, "durability": durability}
            # (A job that holds the unique key of the first step stands for that, and not for the chain.)
            if caller.chain is not None and job_id == f"{caller.chain}:1":
                told["chain"] = caller.chain
            caller.bundle.put(caller.place, told, after)
            return
        message = Accepted(service, job_id, durability, existing, caller.reply_to)
        self.turn.send(caller.peer, message, after)

    def partial(self, job: Job, caller: Caller, body: tuple[bytes, ...], plain: bool) -> None:
        """A partial result of a synchronous call."""
        message = ClientPartial(job.service, job.id, body, plain, caller.reply_to)
        self.turn.send(caller.peer, message)

    def ended(self, job: Job, caller: Caller) -> None:
        """The result of a synchronous call, or its error."""
        to = caller.reply_to
        if job.state == COMPLETE:
            message: object = Completed(job.service, job.id, job.result, job.result_plain, to)
        else:
            message = Failed(job.service, job.id, error_json(job.error or {}), True, to)
        self.turn.send(caller.peer, message, job.last_write)

    def wait_for(self, job: Job, caller: Caller, until: float) -> None:
        """zmws.wait: answer when the job is final, or at monotonic time `until`."""
        waiters = self.waits.setdefault(job.id, [])
        if any(known.same_as(caller) for known, _ in waiters):
            return  # a repeat waits no longer than the first did
        waiters.append((caller, until))
        self.waits_count += 1
        self.turn.timers.add(until, self._wait_over, job.id)

    def watch(self, job: Job, caller: Caller, after: int, until: float) -> None:
        """zmws.events: answer when something has happened past event `after`, or at monotonic `until`."""
        watching = self.watches.setdefault(job.id, [])
        if any(known.same_as(caller) for known, *_ in watching):
            return
        watching.append((caller, after, until))
        self.waits_count += 1
        self.turn.timers.add(until, self._watch_over, job.id)

    def _waits_timed_out(self, job_id: str) -> None:
        """Answer 202 to those whose wait is over."""
        waiters = self.waits.get(job_id, [])
        for caller, until in list(waiters):
            if until <= self.turn.now:
                waiters.remove((caller, until))
                self.waits_count -= 1
                Question(self.turn, caller, "zmws.wait", {}).answer(202, {"id": job_id})
        if not waiters:
            self.waits.pop(job_id, None)

    def _watches_timed_out(self, job_id: str) -> None:
        """Answer an empty list to those who have looked on for long enough."""
        watching = self.watches.get(job_id, [])
        for watch in list(watching):
            if watch[2] <= self.turn.now:
                watching.remove(watch)
                self.waits_count -= 1
                self._tell(watch[0], lambda: [])
        if not watching:
            self.watches.pop(job_id, None)

    def ask_stack(self, token: bytes, caller: Caller, until: float) -> bool:
        """zmws.stack: answer when the worker has told the stack, or at monotonic `until`. True if it is to be
        asked for it: nobody else waits for that."""
        waiting = self._stacks.setdefault(token, [])
        if not any(known.same_as(caller) for known, _ in waiting):
            waiting.append((caller, until))
            self.waits_count += 1
            self.turn.timers.add(until, self._stack_over, token)
        return len(waiting) == 1

    def tell_stack(self, token: bytes, text: str, worker: str | None) -> bool:
        """The worker has told where the job of this token is. False if nobody waits for that."""
        waiting = self._stacks.pop(token, [])
        self.waits_count -= len(waiting)
        for caller, _ in waiting:
            told = {"stack": text, "worker": worker, "at": iso(self.turn.wall)}
            Question(self.turn, caller, "zmws.stack", {}).answer(200, told)
        return bool(waiting)

    def attempt_over(self, token: bytes) -> None:
        """Nobody will tell its stack any more."""
        waiting = self._stacks.pop(token, None) if self._stacks else None
        for caller, _ in waiting or ():
            self.waits_count -= 1
            text = "the job does not run any more"
            Question(self.turn, caller, "zmws.stack", {}).refuse(409, "not_possible", text)

    def _stacks_timed_out(self, token: bytes) -> None:
        waiting = self._stacks.get(token, [])
        for caller, until in list(waiting):
            if until <= self.turn.now:
                waiting.remove((caller, until))
                self.waits_count -= 1
                text = f"the worker of job '{job_id_of(token)}' has not said in time where that is"
                Question(self.turn, caller, "zmws.stack", {}).refuse(503, "no_answer", text)
        if not waiting:
            self._stacks.pop(token, None)

    def tell_events(self, caller: Caller, job: Job, past: int) -> None:
        """The answer of zmws.events."""
        self._tell(caller, lambda: events(job, past)[: self.turn.limits.list_rows_max])

    def _tell(self, caller: Caller, found: Callable[[], list[dict[str, Any]]]) -> None:
        def answer(asked: Question) -> None:
            told = found()
            asked.answer(200, {"life": self.host.life, "events": told} if caller.tells_life else told)

        Question(self.turn, caller, "zmws.events", {}).safely(answer)

    def answer_waits(self, job: Job) -> None:
        """The job has ended: answer those who wait for that."""
        waiters = self.waits.pop(job.id, None)
        if not waiters:
            return
        self.waits_count -= len(waiters)
        callers = [caller for caller, _ in waiters]
        if job.kind == STORED and (job.light or job.partials_count or job.log_bytes):
            # Not all of its record is in memory; this read stands behind the write of its end.
            self.turn.reads.append(ReadJob(Waiters(callers), job.id))
        else:
            self.tell_record(callers, job, job.last_write)

    def tell_record(self, callers: list[Caller], job: Job, after: Pending | None = None) -> None:
        """The answer of zmws.wait."""
        for caller in callers:
            question = Question(self.turn, caller, "zmws.wait", {})
            question.safely(lambda asked: asked.answer(200, record(job, self.turn.lead), after))

    def happened(self, job: Job) -> None:
        """There is a new event of a job. Who looks on past a later one is told at its end."""
        watching = self.watches.pop(job.id, None) if self.watches else None
        if not watching:
            return
        if not job.final and (ahead := [one for one in watching if one[1] >= job.events]):
            self.watches[job.id] = ahead
            watching = [one for one in watching if one[1] < job.events]
            if not watching:
                return
        self.waits_count -= len(watching)
        if job.kind == STORED:
            past = min(after for _, after, _ in watching)
            read = ReadJob(Watch(watching), job.id, whole=False, past=past)
            self.turn.reads.append(read)  # behind the write of the event
            return
        for caller, after, _ in watching:
            self.tell_events(caller, job, after)

    def announce(self, job: Job, after: Pending | None) -> None:
        """A job is in a new state: to those who watch it, and as news."""
        self.happened(job)
        if self.turn.news_wanted:
            body: dict[str, Any] = {"id": job.id, "service": job.service, "state": job.state}
            body |= {"attempt": job.attempt, "at": iso(self.turn.wall)}
            self.turn.news(f"{job.service}.{job.state}", body, after)
