"""Who waits for an answer about a job, and what they are told.

Rule: whatever is said of a stored job waits for the job's last write.
"""

from __future__ import annotations

import json
from typing import Any

from zmws.core.job import COMPLETE, Caller, Job, error_json, iso, record
from zmws.core.messages import Accepted, Answer, ClientPartial, Completed, Failed
from zmws.core.turn import Turn
from zmws.core.writes import Write


class Answers:
    """Acknowledgements, results, refusals, news, and those who wait for a job's end."""

    def __init__(self, turn: Turn) -> None:
        self.turn = turn
        self.waits: dict[str, list[tuple[Caller, float]]] = {}  # zmws.wait: who, until when

    def refuse(self, caller: Caller, service: str, job_id: str | None, code: str, text: str) -> None:
        """No job was made, and the caller is told why."""
        self.turn.counters[f"refused_{code}"] += code != "queue_full"
        why = json.dumps({"code": code, "error": text}).encode()
        message = Failed(service, job_id, why, False, caller.reply_to)
        self.turn.send(caller.peer, message)

    def accepted(self, job: Job, caller: Caller, existing: bool) -> None:
        """The acknowledgement, which leaves when the job is on disk."""
        message = Accepted(job.service, job.id, job.durability, existing, caller.reply_to)
        self.turn.send(caller.peer, message, job.last_write)

    def accepted_as(
        self, service: str, job_id: str, durability: str, caller: Caller, after: Write | None
    ) -> None:
        """Another job stands for the one that was asked for."""
        message = Accepted(service, job_id, durability, True, caller.reply_to)
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
        waiters[:] = [known for known in waiters if not known[0].same_as(caller)]
        waiters.append((caller, until))
        self.turn.timers.add(until, "wait", job.id)

    @property
    def waits_count(self) -> int:
        """How many requests of zmws.wait wait."""
        return sum(map(len, self.waits.values()))

    def waits_timed_out(self, job_id: str) -> None:
        """Answer 202 to those whose wait is over."""
        waiters = self.waits.get(job_id, [])
        for caller, until in list(waiters):
            if until <= self.turn.now:
                waiters.remove((caller, until))
                body = (b"202", json.dumps({"id": job_id}).encode())
                self.turn.send(caller.peer, Answer("zmws.wait", body, caller.reply_to))
        if not waiters:
            self.waits.pop(job_id, None)

    def answer_waits(self, job: Job) -> None:
        """The job has ended: answer those who wait for that."""
        waiters = self.waits.pop(job.id, None)
        if waiters:
            body = (b"200", json.dumps(record(job), default=str).encode())
            for caller, _ in waiters:
                self.turn.send(caller.peer, Answer("zmws.wait", body, caller.reply_to), job.last_write)

    def announce(self, job: Job, after: Write | None) -> None:
        """The news of a job's new state."""
        if self.turn.news_wanted:
            body: dict[str, Any] = {"id": job.id, "service": job.service, "state": job.state}
            body |= {"attempt": job.attempt, "at": iso(self.turn.wall)}
            self.turn.news(f"{job.service}.{job.state}", body, after)
