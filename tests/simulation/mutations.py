"""Faults in the ways of jobs, results and questions, one at a time."""

from __future__ import annotations

from tests.simulation.mutation import Mutation
from zmws.core import lane
from zmws.core.backlog import Backlog
from zmws.core.desk import insight, why_page
from zmws.core.desk.audit import Audit
from zmws.core.desk.desk import Desk
from zmws.core.dispatch import Dispatch
from zmws.core.gate import Gate
from zmws.core.group import Group
from zmws.core.held import Held
from zmws.core.lane import Lane
from zmws.core.lanes import Lanes
from zmws.core.life import Life
from zmws.core.question import Question
from zmws.core.reasons import Clocks
from zmws.core.recovery import Recovery
from zmws.core.results import Results
from zmws.core.series import Series, Track
from zmws.core.session import Session
from zmws.core.sessions import Sessions
from zmws.core.submission import Submission
from zmws.core.watchers import Watchers
from zmws.dialog.client import ClientDialog
from zmws.dialog.worker import WorkerDialog

MUTATIONS = [
    Mutation(
        "a job that is given back is not queued again",
        Life,
        "give_back",
        "self._queue(self.held.services[job.service], job)",
        "pass",
    ),
    Mutation(
        "a stale token is taken for a live one",
        Life,
        "_leave_taker",
        "assignment = self.held.assignments.pop(job.token)\n    assignment.job = None",
        "assignment = self.held.assignments[job.token]",
    ),
    Mutation(
        "the acknowledgement is sent twice",
        Watchers,
        "accepted",
        "self.accepted_as(job.service, job.id, job.durability, caller, job.last_write, existing)",
        "self.accepted_as(job.service, job.id, job.durability, caller, job.last_write, existing)\n"
        "    self.accepted_as(job.service, job.id, job.durability, caller, job.last_write, existing)",
    ),
    Mutation(
        "held sends leave at once",
        Gate,
        "push",
        "if after is None or after.seq <= self._committed:",
        "if True:",
    ),
    Mutation(
        "a worker is not put back after its result", Results, "on_final", "session.stand_in_line()", "pass"
    ),
    Mutation(
        "a broker's restart counts as a failure",
        Recovery,
        "_on_not_reattached",
        'self.life.give_back(assignment.job, "its worker did not come back after the broker\'s restart")',
        'self.life.fail(assignment.job, {"code": "worker_lost", "error": ""}, "lost")',
    ),
    Mutation(
        "the worker that waited least is taken",
        Dispatch,
        "_next",
        "for taker in service.ring:",
        "for taker in reversed(list(service.ring)):",
    ),
    Mutation(
        "a worker is told to forget its result before that is on disk",
        Results,
        "taken",
        "if job is not None and job.last_write is not None:",
        "if False:",
    ),
    Mutation(
        "a repeated submit is acknowledged before the original's commit",
        Submission,
        "_repeated",
        "elif inserting is not None:",
        "elif inserting is not None:\n"
        "        self.turn.send(caller.peer, Accepted(job.service, job.id, 'disk', True, caller.reply_to))\n"
        "    elif False:",
    ),
    Mutation(
        "a lost worker's job stays with it",
        Sessions,
        "_lose",
        "for job in jobs:",
        "for job in ():",
    ),
    Mutation(
        "a cancelled job's token stays live",
        Life,
        "cancel",
        "if was == RUNNING:",
        "if was == RUNNING:\n        self.held.assignments[job.token + b'0'] = assignment\n    if False:",
    ),
    Mutation(
        "a recovered running job has no token",
        Recovery,
        "_recover_running",
        "job.token = token = make_token(job.id, job.attempt, job.nonce)",
        "job.token = token = b''",
    ),
    Mutation(
        "a worker does not repeat its results after a reconnection",
        WorkerDialog,
        "_connect",
        "for token in mine:",
        "for token in ():",
    ),
    Mutation(
        "a client does not repeat what is unanswered",
        ClientDialog,
        "_on_hello",
        "self._send(now, asked)",
        "asked.repeat_at = now + 1e9",
    ),
    Mutation(
        "a dispatch that somebody is told of is not written before",
        Gate,
        "_take_up_start",
        "if start.seq not in self._held:",
        "if True:",
    ),
    Mutation(
        "a job that is held is paged in",
        Backlog,
        "waiting_loaded",
        'if row["id"] in self._stored:',
        "if False:",
    ),
    Mutation(
        "a page that comes in forgets what went to the store meanwhile",
        Group,
        "came_in",
        "lowered, self.lowered, self.loading = self.lowered, None, False",
        "lowered, self.lowered, self.loading = None, None, False",
    ),
    Mutation(
        "what expires in the store alone is not looked for",
        Backlog,
        "look",
        "if any(service.beyond or service.scheduled_beyond for service in self._services.values()):",
        "if False:",
    ),
    Mutation(
        "a repeated question is asked anew",
        Desk,
        "_is_repeat",
        "known = asks.known(question.ask_key)",
        "known = None",
    ),
    Mutation(
        "a delay goes by the wall",
        Life,
        "_on_due",
        "if (self.turn.wall if job.by_wall else self.turn.steady) < job.ready_at:",
        "if self.turn.wall < job.ready_at:",
    ),
    Mutation(
        "a worker that is told to drop a job is given another at once",
        Session,
        "drop",
        "assignment.drop_by = self.turn.now + self.turn.limits.cancel_grace_s",
        "assignment.drop_by = self.turn.now\n"
        "    self.holding.pop(assignment.token)\n"
        "    self.stand_in_line()",
    ),
    Mutation(
        "what a strict client asks beyond a limit is kept and forgotten",
        Submission,
        "let_in",
        "for name in overflow.services(LOOK_MAX):",
        "for name in overflow.services(0):",
    ),
    Mutation(
        "what expires goes by the wall",
        Life,
        "expire_if_late",
        "or self.turn.steady < job.expires_at",
        "or self.turn.wall < job.expires_at",
    ),
    # What is counted, and why jobs wait.
    Mutation("a start is not counted", Life, "run", "figures.started += 1", "pass"),
    Mutation("how long a job waited is not noted", Life, "run", "figures.wait.note(waited)", "pass"),
    Mutation("a memory job is not counted", Life, "accept_memory", "service.figures.submitted += 1", "pass"),
    Mutation("a stored job is not counted", Life, "stored", "service.figures.submitted += 1", "pass"),
    Mutation(
        "what has failed counts as complete", Life, "_end", "figures.failed += 1", "figures.complete += 1"
    ),
    Mutation(
        "a job that is tried again has had no failed attempt",
        Life,
        "fail",
        "self.held.services[job.service].figures.attempts_failed += 1",
        "self.held.services[job.service].figures.attempts_failed += job.failures > job.retries",
    ),
    Mutation(
        "an attempt that was given back has not run",
        Life,
        "give_back",
        'self._attempt_over(job, error("given_back", why), NEITHER)',
        "self.held.assignment_of(job).ahead = True\n"
        '    self._attempt_over(job, error("given_back", why), NEITHER)',
    ),
    Mutation(
        "a second counts what the one before has counted",
        Track,
        "since",
        "before, self._sums = self._sums, sums",
        "before, self._sums = self._sums, (*self._sums[:2], *sums[2:])",
    ),
    Mutation(
        "what was before the first sample is in no histogram",
        Track,
        "__init__",
        "self._wait, self._run = [0] * BUCKETS, [0] * BUCKETS",
        "self._wait, self._run = list(figures.wait.counts), list(figures.run.counts)",
    ),
    Mutation("the last minute is not written", Series, "stop", "self._write(self.minute)", "pass"),
    Mutation(
        "what is no service of its own is in no sum",
        Series,
        "sample",
        "both = [a + b for a, b in zip(sums, others, strict=True)]",
        "both = sums",
    ),
    Mutation(
        "what a service counted that has gone is forgotten",
        Held,
        "drop_if_unused",
        "self.gone[known.name] = (known.figures, known.clocks)",
        "self._own_figures -= 1",
    ),
    Mutation(
        "a service that comes again counts anew",
        Held,
        "new_service",
        "figures, clocks = self.gone.pop(name)",
        "figures, clocks = Figures(), Clocks()",
    ),
    Mutation(
        "a clock runs on when nothing waits any more",
        Life,
        "_leave_queue",
        "self.turn.wake(service.name)",
        "pass",
    ),
    Mutation(
        "no clock runs while the first page after a restart is read",
        Backlog,
        "recover",
        "self.turn.wake(service.name)",
        "pass",
    ),
    Mutation(
        "a sample does not look again why jobs wait",
        Series,
        "_line",
        "clocks.turn_to(why_waits(service, self.turn.now), steady)",
        "pass",
    ),
    Mutation(
        "a clock that is turned off loses what it showed",
        Clocks,
        "turn_to",
        "self._seconds[self.reason] +=",
        "self._seconds[self.reason] =",
    ),
    Mutation(
        "a whole minute explains a part of it",
        why_page,
        "seconds_of",
        "share = min(1.0, overlap / total) if total else 0.0",
        "share = 1.0",
    ),
    Mutation(
        "the time until an attempt is repeated is no wait",
        insight,
        "waits_of",
        "if state in (WAITING, SCHEDULED) and until > since:",
        "if state == WAITING and until > since:",
    ),
    Mutation(
        "why jobs wait since the last sample is unknown",
        why_page,
        "_spans",
        "spans.append(Span(figured.sampled, figured.now, figured.since, figured.now - figured.sampled))",
        "pass",
    ),
    # What each worker did.
    Mutation(
        "what a worker was lost with has failed in its lane",
        Life,
        "fail",
        "NEITHER if cause == LOST else FAILED",
        "FAILED",
    ),
    Mutation("an attempt that joins a bar is not counted", lane, "_join", "bar.jobs += 1", "pass"),
    Mutation("bars go too early", Lane, "forget", "steady - self._kept_s", "steady - self._kept_s / 2"),
    Mutation("who is gone is not shown", Lanes, "went", "self._gone[_process(session)] = known", "pass"),
    Mutation(
        "a worker that comes back begins a new lane",
        Lanes,
        "_give",
        "Lane(limits.lanes_s) if known is None else known.lane",
        "Lane(limits.lanes_s)",
    ),
    Mutation(
        "more workers are kept than may be",
        Lanes,
        "_give",
        ">= limits.lanes_workers_max",
        "> limits.lanes_workers_max",
    ),
    Mutation(
        "a job that is retried keeps the cause of its failure",
        Life,
        "revive",
        "dict.fromkeys(_CLEARED)",
        'dict.fromkeys(name for name in _CLEARED if name != "cause")',
    ),
    Mutation(
        "an operator is answered before the audit is on disk",
        Question,
        "answer",
        "after = self.audited(self, status, body) or after",
        "self.audited(self, status, body)",
    ),
    Mutation(
        "an operator who is refused leaves no trace",
        Audit,
        "answered",
        "if status == 400 or",
        "if status >= 400 or",
    ),
]
