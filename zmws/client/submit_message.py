"""`SubmitMessage`: many jobs in one message of `zmws.submit`, and a verdict for each of them.

Rule 1: every job has an id before it leaves, so that a repeated message makes no second job.
Rule 2: what is wrong with one job is its own verdict, in its place; the others go their way.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any

from zmws import tracing
from zmws.client.answers import Steps, error_of, options_of
from zmws.client.asked import then
from zmws.client.asker import Asker
from zmws.client.given import service_of
from zmws.client.job import Job
from zmws.core.table import OBJECT_BYTES_MAX
from zmws.errors import BadValue, Refused
from zmws.wire import values

if TYPE_CHECKING:
    from zmws.tracing.spans import Sending

JOBS_MAX = 1_000  # of one message: as many as one commit holds, and any broker takes (submit_many_max)
_DEPTH_MAX = values.DEPTH_MAX - 2  # of parameters: they stand in a job, in a list
_STEP_DEPTH_MAX = _DEPTH_MAX - 2  # and these in a step, in the list of a chain
_NO_MORE: Any = object()
_IN_FLIGHT = 2  # messages: the next is made while the broker commits the one before


class SubmitMessage:
    """The jobs of one message, encoded as they come."""

    def __init__(self, bytes_max: int, jobs_max: int = JOBS_MAX, broker: str = "") -> None:
        """`broker`: its endpoint, for the spans of the jobs."""
        self._broker = broker
        self._sendings: dict[int, Sending] = {}  # by place, where tracing is on
        self._bytes_max = bytes_max
        self._jobs_max = jobs_max
        self._items: list[bytes] = []
        self._bytes = len(values.PARAM_JSON) + 2
        self._entries: list[str | Refused] = []  # a job's service, or why it was not put in

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, job: Mapping[str, Any]) -> bool:
        """Put a job in, `{"service", "params", **options}`, or a chain, `{"chain": steps, "id", "batch"}`,
        for which its first job stands. False if this message has no room for it."""
        if len(self._items) >= self._jobs_max:
            return False
        try:
            service, item, sending = _encoded(job, self._broker)
        except Refused as refused:
            self._entries.append(refused)
            return True
        size = len(item) + 1
        if self._bytes + size > self._bytes_max:
            if self._items:
                return False  # a span that was begun for it does not end, and so is none
            text = f"the job has {len(item)} bytes, and a message at most {self._bytes_max}"
            too_large = Refused("too_large", text)
            if sending is not None:
                sending.end(too_large)
            self._entries.append(too_large)
            return True
        if sending is not None:
            self._sendings[len(self._entries)] = sending
        self._items.append(item)
        self._entries.append(service)
        self._bytes += size
        return True

    def submit_future(self, asker: Asker) -> Future[list[Job | Refused]]:
        """Send it; a verdict for each job, in order. Nothing may be added any more."""
        if not self._items:
            nothing: Future[list[Any]] = Future()
            nothing.set_result([])
            return then(nothing, lambda told: self.verdicts(asker, told))
        body = values.PARAM_JSON + b"[" + b",".join(self._items) + b"]"
        self._items = []
        asked = asker.raw_future("zmws.submit", body)
        if self._sendings:
            from zmws.client.sent import end_with_fault  # not at the top: most programs trace nothing

            end_with_fault(asked, self._end_all)
        return then(asked, lambda told: self.verdicts(asker, told[1]))

    def verdicts(self, asker: Asker, told: Iterable[Mapping[str, Any]]) -> list[Job | Refused]:
        """A job or a refusal for each that was added."""
        answers = iter(told)
        made: list[Job | Refused] = []
        for entry in self._entries:
            made.append(entry if isinstance(entry, Refused) else _verdict(asker, entry, next(answers)))
        for n, sending in self._sendings.items():
            verdict = made[n]
            if isinstance(verdict, Refused):
                sending.end(verdict)
            else:
                sending.end(job_id=verdict.id)
        return made

    def _end_all(self, fault: BaseException) -> None:
        """The message was not answered."""
        for sending in self._sendings.values():
            sending.end(fault)

    def refused(self, why: Refused) -> list[Job | Refused]:
        """The verdicts where the message was refused as a whole."""
        return [
            entry if isinstance(entry, Refused) else Refused(why.code, str(why)) for entry in self._entries
        ]


def message_steps(asker: Asker, jobs_max: int = JOBS_MAX) -> Steps[Callable[[], SubmitMessage]]:
    """What makes messages of many jobs, as large as the broker takes."""
    bytes_max, many_max = yield from asker.limits_steps()
    return partial(SubmitMessage, bytes_max, min(jobs_max, many_max), asker.endpoint())


def submit_steps(asker: Asker, jobs: Iterable[Mapping[str, Any]]) -> Steps[list[Job | Refused]]:
    """The messages of `submit_many`."""
    made: list[Job | Refused] = []
    yield from sent_steps(asker, jobs, made.extend)
    return made


def sent_steps(
    asker: Asker, jobs: Iterable[Mapping[str, Any]], take: Callable[[list[Job | Refused]], None]
) -> Steps[None]:
    """As many messages as the jobs need, a few of them in flight at once. `take` is given the verdicts of
    each message, in order; what it raises ends it."""
    flying: deque[tuple[SubmitMessage, Future[list[Job | Refused]]]] = deque()
    left = iter(jobs)
    more = True
    try:
        new_message = yield from message_steps(asker)
        message = new_message()
        while more or flying:
            while more and len(flying) < _IN_FLIGHT:
                job = next(left, _NO_MORE)
                more = job is not _NO_MORE
                if not more or not message.add(job):
                    if len(message):
                        flying.append((message, message.submit_future(asker)))
                    message = new_message()
                    if more:
                        message.add(job)
            if flying:
                try:
                    verdicts = yield flying[0][1]
                except Refused as refused:
                    verdicts = flying[0][0].refused(refused)
                flying.popleft()
                take(verdicts)
    finally:
        for _, answer in flying:
            answer.cancel()  # nobody will hear it
        flying.clear()


def one_future(asker: Asker, item: Mapping[str, Any]) -> Future[Job]:
    """One job or chain in a message of its own. Raises Refused in the future."""
    limits = asker._connection.dialog
    message = SubmitMessage(limits.message_bytes_max, 1, asker.endpoint())
    message.add(item)
    return then(message.submit_future(asker), _only)


def _only(verdicts: list[Job | Refused]) -> Job:
    (verdict,) = verdicts
    if isinstance(verdict, Refused):
        raise verdict
    return verdict


def _encoded(job: Mapping[str, Any], broker: str) -> tuple[str, bytes, Sending | None]:
    """Service, JSON and span of a job. Raises Refused for what cannot be sent."""
    if not isinstance(job, Mapping):
        raise Refused("bad_request", f"each job is a mapping with a 'service', not a {type(job).__name__}")
    item = dict(job)
    if "chain" in item:
        return _encoded_chain(item, broker)
    service, params = service_of(item.pop("service", None)), item.pop("params", None)
    options = options_of(item)
    field, as_json = {}, b""
    if isinstance(params, (bytes, bytearray, memoryview)):
        field = values.field_of("params", params)
    elif params is not None and "params_base64" not in options:
        try:
            as_json = values.encode_json(params, "params")
        except BadValue as wrong:
            raise Refused("bad_params", str(wrong)) from None
        if as_json.count(b"[") + as_json.count(b"{") > _DEPTH_MAX and values.is_deeper(params, _DEPTH_MAX):
            why = f"params are nested more than {_DEPTH_MAX} deep; submit this job alone"
            raise Refused("bad_params", why)
    sending = None if tracing.on is None else tracing.on.sending(service, options, broker)
    text = json.dumps({"service": service, **options, **field}).encode()
    if as_json:
        text = text[:-1] + b', "params": ' + as_json + b"}"
    return service, text, sending


def _encoded_chain(item: dict[str, Any], broker: str) -> tuple[str, bytes, Sending | None]:
    """The same of a chain: service and span are those of its first step."""
    from zmws.client.items import chain_of  # not at the top: `zmws call` needs none of it

    steps, given = item.pop("chain"), options_of(item)
    wrong = sorted(set(given) - {"id", "batch"})
    if wrong:
        raise Refused("bad_option", f"a chain has 'id' and 'batch', and '{wrong[0]}' is an option of a step")
    try:
        told: list[dict[str, Any]] = chain_of(steps)["chain"]
    except Refused:
        raise
    except (ValueError, TypeError) as fault:  # BadValue too
        raise Refused("bad_params", str(fault)) from None
    for n, step in enumerate(told, 1):
        if values.is_deeper(step.get("params"), _STEP_DEPTH_MAX):
            why = f"step {n}: params are nested more than {_STEP_DEPTH_MAX} deep"
            raise Refused("bad_params", why)
    first = told[0]
    service, sending = str(first["service"]), None
    if tracing.on is not None:
        options = {"id": given["id"], **({"meta": first["meta"]} if "meta" in first else {})}
        sending = tracing.on.sending(service, options, broker)
        _link(told, options.get("meta") or {})
    return service, json.dumps({"chain": told, **given}).encode(), sending


def _link(steps: list[dict[str, Any]], meta: Mapping[str, Any]) -> None:
    """Each step is linked to the span that has sent them all."""
    context = {name: meta[name] for name in ("traceparent", "tracestate") if name in meta}
    for step in steps if context else ():
        linked = {**context, **step.get("meta", {})}
        if len(json.dumps(linked)) <= OBJECT_BYTES_MAX:  # the caller's own goes before ours
            step["meta"] = linked


def _verdict(asker: Asker, service: str, told: Mapping[str, Any]) -> Job | Refused:
    if "code" in told:
        error = error_of(told, None)
        return error if isinstance(error, Refused) else Refused(str(told["code"]), str(error))
    return Job(asker, str(told["id"]), service, str(told.get("durability")), bool(told.get("existing")))
