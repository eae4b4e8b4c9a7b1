"""What follows a job's end: the jobs that it asked for, the next step of its chain, the service that is told.

Rule 1: it is inserted by the commit that ends the job, or not at all: the inserts are one unit with that
        end. (A memory job's are stored first, and its answer waits for them.)
Rule 2: what is wrong with it is found before the end is decided, and fails the attempt. What can only be
        found at the end (a result that does not fit into the next step) fails that step.
Rule 3: no lack of room refuses it, for the job that it follows has ended.
Rule 4: its ids follow from the job's own, so that the same end makes the same jobs.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from zmws.core.held import Held
from zmws.core.items import BadItem, Item, item_of, services_of, step_of
from zmws.core.job import STORED, Job, record
from zmws.core.keys import Keys
from zmws.core.making import Making
from zmws.core.options import JobOptions
from zmws.core.rows import row_of
from zmws.core.states import COMPLETE, EXPIRED, FAILED
from zmws.core.table import ID_PATTERN
from zmws.core.turn import Turn
from zmws.core.writes import InsertJob
from zmws.wire.values import KIND_JSON, PARAM_JSON, frames_of, shown

Error = dict[str, Any]


class FollowUps:
    """Makes them, and writes them behind the end."""

    def __init__(self, turn: Turn, held: Held, making: Making, keys: Keys) -> None:
        self._turn = turn
        self._held = held
        self._making = making
        self._keys = keys

    # ------------------------------------------------------------ what a job asked for

    def planned(self, job: Job, items: list[Any], user: str, by: str | None = None) -> list[Job]:
        """The jobs that an attempt of this one asks for. `user`: whose worker that was; `by`: for whom.
        Raises BadItem: then it is to fail."""
        limits = self._turn.limits
        if len(items) > limits.follow_ups_max:
            text = f"{len(items)} follow-ups; a job may have {limits.follow_ups_max} (follow_ups_max)"
            raise BadItem("bad_follow_up", text)
        if job.depth >= limits.tree_depth_max:
            text = f"it is {job.depth} generations away from the first job (tree_depth_max)"
            raise BadItem("bad_follow_up", text)
        found = []
        more: dict[str, int] = {}  # of each service
        for n, given in enumerate(items, 1):
            try:
                found.append(self._planned(job, n, item_of(given, limits), more, user, by))
            except BadItem as wrong:
                raise BadItem("bad_follow_up", f"follow-up {n}: {wrong}") from None
        return found

    def _planned(self, job: Job, n: int, item: Item, more: dict[str, int], user: str, by: str | None) -> Job:
        held = self._held
        fault = self._keys.follow_up_fault(user, by, item)
        if fault is not None:
            raise BadItem("not_allowed", fault)
        self.require_known(item, "")
        options, service = item.options, held.services[item.service]
        batch = options.batch
        if batch is not None and batch != job.batch:
            self._check_joining(user, by, batch)
        if (options.durability or service.options.durability) == "memory" and batch is not None:
            raise BadItem("bad_option", "a job with durability 'memory' is in no batch")
        if options.durability == "memory":
            raise BadItem("bad_option", "what follows is stored: durability 'memory' is none of its options")
        options.group = self._keys.group_of(job.submitter) or options.group
        more[service.name] = more.get(service.name, 0) + 1
        most = service.options.max_waiting
        if most is not None and service.waiting_count + service.inserting + more[service.name] > most:
            raise BadItem("queue_full", f"{most} jobs wait for {service.name} already (max_waiting)")
        fault = held.group_limit(service, options.group)
        if fault is not None:
            raise BadItem("queue_full", fault)
        usual = _id_of(job.id, str(n))
        if item.chain is not None:
            return self.first_step(item, job.depth + 1, item.chain or usual)
        options.id = options.id or usual
        return self._made(item, job.depth + 1)

    def _check_joining(self, user: str, by: str | None, batch: str) -> None:
        """Raises BadItem where no job of a user's worker may be added to this batch."""
        known = self._held.open_batches.get(batch)
        if known is None:
            raise BadItem("batch_closed", f"there is no open batch '{batch}'")
        fault = self._keys.follow_up_joining_fault(user, by, known)
        if fault is not None:
            raise BadItem("not_allowed", fault)

    def require_known(self, item: Item, user: str) -> None:
        """Every service that an item names is known, and this user may submit to it. Raises BadItem."""
        fault = self._keys.item_fault(user, item)
        if fault is not None:
            raise BadItem("not_allowed", fault, item.chain or item.options.id)
        for where, name in services_of(item):
            service = self._held.services.get(name)
            if service is None or not service.registered:
                text = f"{where}no worker ever registered the service '{name}' and no configuration names it"
                raise BadItem("unknown_service", text, item.chain or item.options.id)

    def first_step(self, item: Item, depth: int, chain: str) -> Job:
        """The first job of a chain. Raises BadItem."""
        item.options.id = _id_of(chain, "1")
        job = self._made(item, depth)
        job.chain, job.step, job.steps = chain, 1, 1 + len(item.rest)
        job.rest = item.rest_json
        job.body_bytes += len(job.rest or "")
        return job

    def _made(self, item: Item, depth: int) -> Job:
        """Raises BadItem."""
        service = self._held.known(item.service)
        start = self._making.start(service, item.options)
        if start.fault is not None:
            raise BadItem("bad_option", start.fault, item.options.id)
        job = self._making.job(service, item.options, item.body, start)
        job.depth = depth
        return job

    # ------------------------------------------------------------ the end

    def next_step(self, job: Job) -> tuple[Job, Error | None] | None:
        """The step that follows a completed one, and why it fails at once; None if none follows."""
        if job.rest is None or job.state != COMPLETE:
            return None
        steps = json.loads(job.rest)
        step, why = self._step(job, steps[0])
        step.chain, step.step, step.steps = job.chain, job.step + 1, job.steps
        step.batch, step.depth = job.batch, job.depth
        step.rest = json.dumps(steps[1:]) if len(steps) > 1 else None
        step.body_bytes += len(step.rest or "")
        return step, why

    def _step(self, job: Job, given: dict[str, Any]) -> tuple[Job, Error | None]:
        value, fault = None, None
        places = given.get("previous") or []
        if places and places != [""]:
            value, fault = _value_of(job)
        try:
            if fault is not None:
                raise BadItem("bad_previous", f"the result of job '{job.id}' {fault}")
            most = self._turn.limits.message_bytes_max
            # Before they are made: a result may go into many places.
            fits = places == [""] or len(places) * sum(map(len, job.result)) <= most
            item = step_of(given, job.result, value) if fits else None
            if item is None or any(len(frame) > most for frame in item.body):
                text = f"with the result of job '{job.id}' its parameters are too large (message_bytes_max)"
                raise BadItem("bad_previous", text)
            item.options.id = _id_of(str(job.chain), str(job.step + 1))
            return self._made(item, job.depth), None
        except BadItem as wrong:
            # Under an id of its own: it ends in the commit that makes it, and must not end another's job.
            item = Item(given["service"], JobOptions(), frames_of(given, "params"))
            made = self._making
            service = self._held.known(item.service)
            step = made.job(service, item.options, item.body, made.start(service, item.options))
            return step, {"code": wrong.code, "error": str(wrong)}

    def told(self, job: Job) -> Job | None:
        """The job for the service that is told of this end; None if none is."""
        if job.state == COMPLETE:
            name, how = job.on_complete, "on_complete"
        elif job.state in (FAILED, EXPIRED):
            name, how = job.on_failed, "on_failed"
        else:
            return None
        if name is None:
            return None
        turn = self._turn
        if job.depth >= turn.limits.tree_depth_max:
            turn.counters["ends_untold"] += 1
            text = f"{name} is not told of the end of job {job.id}: that is {job.depth} generations away"
            turn.note_rarely(f"untold {name}", "warning", f"{text} from the first job (tree_depth_max)")
            return None
        options = JobOptions(
            id=_id_of(job.id, f"{how}-{job.events}"), group=self._keys.group_of(job.submitter)
        )
        service, made = self._held.known(name), self._making
        start = made.start(service, options)
        told = made.job(service, options, (self._record_of(job),), start)
        told.depth = job.depth + 1
        return told

    def _record_of(self, job: Job) -> bytes:
        """The record as parameters; what would make it too large for a message is left out, and named."""
        whole = record(job, self._turn.lead)
        del whole["partials"], whole["log"]
        cut: list[str] = []
        for name in ("params", "result", "meta"):
            frame = PARAM_JSON + json.dumps(whole | {"cut": cut}, default=str).encode()
            if 2 * len(frame) <= self._turn.limits.message_bytes_max:
                return frame
            whole[name] = None
            cut.append(name)
        return PARAM_JSON + json.dumps(whole | {"cut": cut}, default=str).encode()

    def insert(self, child: Job, parent: Job) -> InsertJob:
        """Write it behind the end of its parent, as one unit with that."""
        held, turn = self._held, self._turn
        child.parent, child.parent_number = parent.id, parent.number
        child.submitter = parent.submitter
        if child.submitter is not None:
            self._keys.moved(child.submitter, 1)
        held.inserting[child.id] = child
        held.services[child.service].inserting += 1
        unit = parent.kind == STORED
        spare_id = turn.suppliers.new_id()
        size = 600 + child.body_bytes
        write = InsertJob(row_of(child), together=not unit, spare_id=spare_id, size=size, unit=unit)
        turn.write(write, child)
        return write


def _value_of(job: Job) -> tuple[Any, str | None]:
    """The result as one JSON value, or what is wrong with that."""
    if not job.result:
        return None, None
    value, kind = shown(job.result)
    return (value, None) if kind == KIND_JSON else (None, "is no JSON value, as 'previous' needs it")


def _id_of(parent: str, suffix: str) -> str:
    """`PARENT:SUFFIX`, or where that would be too long an id that follows from it."""
    made = f"{parent}:{suffix}"
    if ID_PATTERN.match(made):
        return made
    return f"f-{hashlib.sha256(made.encode()).hexdigest()[:40]}:{suffix}"
