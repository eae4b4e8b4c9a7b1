"""Faults in who is given what and when, and in what is promised of slots, suspects and times."""

from __future__ import annotations

from tests.simulation.mutation import Mutation
from zmws.core import batches as core_batches
from zmws.core import roster
from zmws.core.ahead import RunTime
from zmws.core.backlog import Backlog
from zmws.core.broker import Broker
from zmws.core.dispatch import Dispatch
from zmws.core.follow_ups import FollowUps
from zmws.core.forgetting import Prune
from zmws.core.group import Group
from zmws.core.held import Held
from zmws.core.job import Job
from zmws.core.life import Life
from zmws.core.progress import Progress
from zmws.core.recovery import Recovery
from zmws.core.results import Results
from zmws.core.roster import Roster
from zmws.core.schedules import Schedules
from zmws.core.service import Service
from zmws.core.session import Session
from zmws.core.sessions import Sessions
from zmws.core.submission import Submission
from zmws.core.taker import Taker
from zmws.core.watchers import Watchers
from zmws.dialog.worker import WorkerDialog
from zmws.store.sql.batches import Batches

PROMISES = [
    Mutation(
        "what follows is in another commit than the end", FollowUps, "insert", "unit=unit", "unit=False"
    ),
    Mutation(
        "a chain ends after its first step",
        Life,
        "_follow",
        "if job.rest is not None else None",
        "if job.step > 1 and job.rest is not None else None",
    ),
    Mutation(
        "a job that is cancelled is told of as failed",
        FollowUps,
        "told",
        "elif job.state in (FAILED, EXPIRED):",
        "elif True:",
    ),
    Mutation(
        "a member that is cancelled is not counted",
        Life,
        "_finish",
        "if job.batch is not None:",
        "if job.batch is not None and job.state != CANCELLED:",
    ),
    Mutation(
        "a member that is retried counts twice",
        Batches,
        "revived",
        "self._notes.append(_Note(batch, -1, job_id, was))",
        "pass",
    ),
    Mutation(
        "what follows a batch is not taken into memory",
        core_batches.Batches,
        "counted",
        "self._life.stored(job)",
        "pass",
    ),
    Mutation(
        "an open batch is forgotten at a restart",
        Broker,
        "_recover",
        "self.held.open_batches.update((batch.id, batch) for batch in left.batches)",
        "pass",
    ),
    Mutation(
        "a schedule that was removed comes again",
        Schedules,
        "remove",
        "self._turn.write_for(write, None)",
        "pass",
    ),
    Mutation(
        "of all that was missed one is made up for",
        Schedules,
        "_on_due",
        'row.missed_max if row.missed == "all" else 1',
        "1",
    ),
    Mutation(
        "a call is answered with nothing",
        Watchers,
        "ended",
        "job.result, job.result_plain, to",
        "(), job.result_plain, to",
    ),
    Mutation(
        "one more runs than max_running",
        Service,
        "may_start_at",
        "len(self.running) + kept >= limit",
        "len(self.running) + kept > limit",
    ),
    Mutation(
        "a start uses up half of what the rate allows",
        Service,
        "started",
        "self._allowance -= 1.0",
        "self._allowance -= 0.5",
    ),
    Mutation("a paused service goes on", Service, "may_start_at", "if self.paused or not", "if not"),
    Mutation(
        "an attempt has more time than its ttr",
        Life,
        "start",
        "job.deadline_mono = turn.now + ttr_s",
        "job.deadline_mono = turn.now + ttr_s + 5.0",
    ),
    Mutation(
        "the time of a lease has no end",
        Life,
        "_on_lease_over",
        "if job is not None and job.lease",
        "if False and job.lease",
    ),
    Mutation(
        "the backoff is half of what it is to be",
        Life,
        "_backoff_s",
        "max(job.failures - 1, 0)",
        "max(job.failures - 2, -1)",
    ),
    Mutation(
        "a delay that a worker asks for is not kept",
        Life,
        "fail",
        "if delay_s is None else delay_s",
        "if True else delay_s",
    ),
    Mutation(
        "a record is forgotten too early",
        Life,
        "_finish",
        "job.keep if job.keep is not None else KEEP_S[job.state]",
        "0.0",
    ),
    Mutation(
        "a record is kept too long",
        Life,
        "_finish",
        "forget_at = turn.steady + (",
        "forget_at = turn.steady + 6.0 + (",
    ),
    Mutation(
        "a point of priority is a burden", Service, "rank", "ready_at - priority", "ready_at + priority"
    ),
    Mutation("a group keeps its turn", Service, "pop", "ready.move_to_end(name)", "pass"),
    Mutation(
        "a job is given out before the page that is before it",
        Group,
        "next",
        "if first is None or (self.horizon is not None and first[:2] >= self.horizon):",
        "if first is None:",
    ),
    Mutation(
        "the window is not kept to",
        Backlog,
        "trim",
        "service.held <= limits.window_jobs_max and service.held_bytes <= limits.window_bytes_max",
        "True",
    ),
    Mutation(
        "who waits for a job is not told that its time is over",
        Watchers,
        "_waits_timed_out",
        'Question(self.turn, caller, "zmws.wait", {}).answer(202, {"id": job_id})',
        "pass",
    ),
    Mutation(
        "who waits for events is not told that there are none",
        Watchers,
        "_watches_timed_out",
        "self._tell(watch[0], lambda: [])",
        "pass",
    ),
    Mutation(
        "only the repeat of a submit is answered",
        Submission,
        "inserted",
        "enumerate(callers):",
        "enumerate(callers[1:]):",
    ),
    Mutation(
        "a wait is answered with a job that has not ended",
        Watchers,
        "wait_for",
        "waiters.append((caller, until))",
        "self.tell_record([caller], job)\n    return",
    ),
    Mutation(
        "a start that a crash has undone is not adopted",
        Recovery,
        "adopt",
        "attempt != str(old.attempt + 1)",
        "attempt != str(old.attempt)",
    ),
    Mutation(
        "a full disk is called a full queue",
        Submission,
        "inserted",
        "if answer.verdict == DISK_FULL:",
        "if False:",
    ),
    Mutation(
        "a worker is given one more than its slots",
        Session,
        "has_room",
        "len(holding) - len(self._ahead) >= self.slots or len(holding) >= self.slots + self.prefetch",
        "len(holding) - len(self._ahead) > self.slots",
    ),
    Mutation(
        "the slots of each service are not counted",
        Session,
        "has_room",
        "return most is None or self._of_service[service] < most",
        "return True",
    ),
    Mutation(
        "a worker with a slot left keeps its place in the line",
        Taker,
        "go_to_the_tail",
        "if ring.pop(self, self) is None and self.has_room(ring.service):",
        "if not self.has_room(ring.service) and ring.pop(self, self) and False:",
    ),
    Mutation(
        "a worker that takes no more jobs is given some",
        Roster,
        "on_heartbeat",
        "session.slots = beat.slots",
        "pass",
    ),
    Mutation(
        "a worker that waits for DONE is given a job",
        Session,
        "has_room",
        "self.confirming or",
        "",
    ),
    Mutation("a released dispatch counts as an attempt", Life, "take_back", "job.attempt -= 1", "pass"),
    Mutation(
        "a released dispatch stands in the attempts",
        Life,
        "take_back",
        "self._leave_taker(job)",
        "self._attempt_over(job, None)\n    job.token = job.token",
    ),
    Mutation(
        "all that a dead worker held are charged",
        Sessions,
        "_lose",
        "alone or job.retries == 0",
        "True",
    ),
    Mutation(
        "a job that may run once is not charged in company",
        Sessions,
        "_lose",
        "alone or job.retries == 0",
        "alone",
    ),
    Mutation(
        "a suspect is given to a worker that holds others",
        Dispatch,
        "_dispatch",
        "if taker.holding and job.suspect:",
        "if False:",
    ),
    Mutation(
        "others are given to a worker that holds a suspect",
        Session,
        "has_room",
        "if self.reserved is not None or self._alone:",
        "if self.reserved is not None:",
    ),
    Mutation(
        "a suspect is not given to a worker that becomes empty",
        Taker,
        "stand_in_line",
        "elif not self.holding:",
        "elif False:",
    ),
    Mutation(
        "a worker that can be sent to again is passed over",
        Roster,
        "heard_from",
        "self._wake(session)",
        "pass",
    ),
    Mutation(
        "what an attempt saves first stands",
        Progress,
        "save",
        "job.saved = text",
        "job.saved = text = job.saved or text",
    ),
    Mutation(
        "what a worker tells goes before the configuration",
        Service,
        "take_defaults",
        "with_defaults(self.configured, defaults)",
        "with_defaults(ServiceOptions(rate=self.configured.rate), defaults)",
    ),
    Mutation(
        "what a worker tells is not taken",
        Held,
        "told",
        "service.take_defaults(defaults)",
        "service.defaults = defaults",
    ),
    Mutation(
        "a drained worker is given jobs", Session, "has_room", "self.draining or self.gone", "self.gone"
    ),
    Mutation(
        "who asks for a stack is not told that none came",
        Watchers,
        "_stacks_timed_out",
        'Question(self.turn, caller, "zmws.stack", {}).refuse(503, "no_answer", text)',
        "pass",
    ),
    Mutation(
        "a job that may run only once is sent ahead",
        Dispatch,
        "_send_ahead",
        "head.retries == 0 or head.suspect",
        "head.suspect",
    ),
    Mutation(
        "a suspect is sent ahead", Dispatch, "_send_ahead", "head.retries == 0 or head.suspect", "False"
    ),
    Mutation(
        "a worker keeps what lies",
        WorkerDialog,
        "tick",
        "self._let_go_of([token for token, until in self._ahead.items() if now >= until])",
        "pass",
    ),
    Mutation(
        "more is sent ahead than a worker takes",
        Session,
        "_offer_ahead",
        "count < self.slots + self.prefetch",
        "count <= self.slots + self.prefetch",
    ),
]

# What a transcript shows, and the simulator would only by contrivance: the file beside each.
BY_TRANSCRIPT = [
    (
        Mutation(
            "the REQUEST of a job that may run only once does not wait for the disk",
            Session,
            "give",
            "assignment.unsent = job.retries == 0 and job.kind == STORED",
            "assignment.unsent = False",
        ),
        "restart_once",
    ),
    (
        Mutation(
            "what lies is not taken back", Dispatch, "_take_back", "while overdue and", "while False and"
        ),
        "prefetch",
    ),
    (
        Mutation(
            "what lies is never overdue", Session, "look_ahead", "ring.overdue[token] = assignment", "pass"
        ),
        "prefetch",
    ),
    (
        Mutation(
            "the time to run of a job that was sent ahead has begun",
            Session,
            "now_holds",
            "assignment.job.deadline_mono = NO_DEADLINE",
            "pass",
        ),
        "prefetch",
    ),
    (
        Mutation(
            "jobs are sent ahead to who has not moved",
            Session,
            "takes_ahead",
            "if now - self._moved >= limits.prefetch_time_s:",
            "if False:",
        ),
        "prefetch",
    ),
    (
        Mutation("one job tells how long they run", RunTime, "expected_s", ">= JOBS_MIN", ">= 1"),
        "prefetch",
    ),
    (
        Mutation(
            "what ended during a prune is kept", Prune, "_pruned", "if meanwhile is not None:", "if False:"
        ),
        "prune_meanwhile",
    ),
    (
        Mutation(
            "a session that is over is given jobs",
            Session,
            "has_room",
            " or self.gone",
            "",
        ),
        "suspects_gone",
    ),
    (
        Mutation(
            "a leased token dies with the broker",
            Recovery,
            "_recover_running",
            "if job.lease is not None:",
            "if False:",
        ),
        "lease_restart",
    ),
    (
        Mutation(
            "what a worker told ends with the broker",
            Held,
            "recall",
            'json.loads(known.defaults or "{}")',
            "{}",
        ),
        "defaults",
    ),
    (
        Mutation(
            "a drained worker that comes back is drained no more",
            Roster,
            "on_ready",
            "if _process(info) in self._drained:",
            "if False:",
        ),
        "drain",
    ),
    (
        Mutation(
            "a foreign worker that is drained stays",
            Roster,
            "check",
            "if session.draining and not session.ours and not session.holding:",
            "if False:",
        ),
        "drain",
    ),
    (
        Mutation(
            "who does not name what it was given is not deaf",
            Session,
            "names",
            "assignment.unheard = True",
            "pass",
        ),
        "deaf",
    ),
    (
        Mutation("a pause ends with the broker", Held, "recall", "service.paused = known.paused", "pass"),
        "pause_restart",
    ),
    (
        Mutation(
            "a released dispatch uses up the rate",
            Life,
            "take_back",
            "service.not_started()",
            "pass",
        ),
        "slots_rate",
    ),
    (
        Mutation(
            "a worker that gets empty wakes nobody",
            Taker,
            "stand_in_line",
            "elif not self.holding:",
            "elif False:",
        ),
        "suspects_other",
    ),
    (
        Mutation(
            "a suspect that ends keeps its worker",
            Life,
            "_leave_queue",
            "self.turn.wake(service.name)",
            "pass",
        ),
        "suspects_reserve",
    ),
    (
        Mutation(
            "what is over is not in hand", Sessions, "_lose", "len(session.holding) == 1", "len(jobs) == 1"
        ),
        "suspects_hung",
    ),
    (
        Mutation(
            "a job that may run once is not charged in company", Sessions, "_lose", " or job.retries == 0", ""
        ),
        "suspects",
    ),
    (
        Mutation(
            "a suspect that is given back is none any more",
            Job,
            "suspect",
            'if code != "given_back":',
            "if True:",
        ),
        "suspects",
    ),
    (
        Mutation(
            "a hung slot is free",
            Roster,
            "check",
            "assignment.drop_by, assignment.hung = None, True",
            "session.let_go(assignment.token)",
        ),
        "slots",
    ),
    (
        Mutation(
            "what was saved under a dead token stands",
            Results,
            "on_partial",
            "if job is None or self._keys",
            "found = self.held.find(message.token.decode().split('/')[0])\n    job = job or found\n"
            "    if job is None or self._keys",
        ),
        "save",
    ),
    (
        Mutation(
            "one answer to the question for a stack",
            Watchers,
            "tell_stack",
            "for caller, _ in waiting:",
            "for caller, _ in waiting[:1]:",
        ),
        "stack",
    ),
    (
        Mutation(
            "the services of a READY need not name its own",
            roster,
            "fault_of_names",
            "service not in offer",
            "False",
        ),
        "bad_services",
    ),
]
