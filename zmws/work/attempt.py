"""One attempt at a job: what is to work, and its parameters, in; its FINAL out.

Rule 1: no thread, no socket, no log, and nothing is kept from one attempt to the next.
Rule 2: False or an exception is a failed attempt; any other value is the result, None is none.
Rule 3: what would come out the same another time fails for good: parameters that are not what is asked for, a
        result that JSON cannot hold. All else is as the exception says (Retry, Fail), then as its class
        declares (`fail_on`, `retry_on`), then as the job's options have it.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from zmws.errors import BadParams
from zmws.wire.values import PARAM_JSON, decode_params
from zmws.work.fault import asked_of, bad_params, encode_fault, exceptions_of, is_a
from zmws.work.job import follow_ups_of
from zmws.work.job_log import current
from zmws.work.raised import Fail, Retry
from zmws.work.results import encode_result


@dataclass(slots=True)
class Final:
    """How an attempt ended: with its result, as frames, or with an ERROR of docs/errors.md."""

    result: tuple[bytes, ...] = ()
    error: dict[str, Any] | None = None
    is_retry: bool = False  # the exception was a Retry: asked for, and no fault to be looked into
    jobs: bytes | None = None  # what is to follow, as JOBS-JSON

    @property
    def body(self) -> tuple[bytes, ...]:
        """As FINAL has it."""
        if self.error is None:
            return (b"COMPLETE", *self.result, *(() if self.jobs is None else (self.jobs,)))
        return (b"FAIL", PARAM_JSON + json.dumps(self.error).encode())


@dataclass(slots=True)
class Rules:
    """What becomes of exceptions: `fail_on` fail for good, `retry_on` say after how many seconds the next
    attempt is (None: after the job's backoff)."""

    fail_on: tuple[type[BaseException], ...] = ()
    retry_on: Mapping[type[BaseException], float | None] = field(default_factory=dict)

    def next_of(self, fault: BaseException) -> dict[str, Any]:
        """What is to be said of the next attempt: `retry`, `delay` and `count` of an ERROR. The exception
        says it itself, or the nearest class it has that is declared. A group is as all of its exceptions are,
        where they agree."""
        asked = asked_of(fault)
        if asked is not None:
            return asked
        inner = exceptions_of(fault)
        if inner is not None:
            first, *others = map(self.next_of, inner)
            return first if all(one == first for one in others) else {}
        # By identity, and past what a metaclass of the author's makes of its classes.
        for cls in _mro_of(type(fault)):
            if any(cls is one for one in self.fail_on):
                return {"retry": False}
            for one, delay in self.retry_on.items():
                if cls is one:
                    return {} if delay is None else {"delay": delay}
        return {}


_mro_of = vars(type)["__mro__"].__get__


NO_RULES = Rules()


def attempt(
    work: Callable[[Any], Any],
    body: tuple[bytes, ...],
    let_through: tuple[type[BaseException], ...] = (),
    read: Callable[[Any], Any] = lambda value: value,
    rules: Rules = NO_RULES,
) -> Final:
    """Run `work` on the parameters in `body`. `read`: what checks them, and raises BadParams or Fail for what
    is wrong with them. Raises what is `let_through`, and nothing else."""
    try:
        try:
            params = read(decode_params(body))
        except (BadParams, Fail) as wrong:
            return Final(error=bad_params(wrong))
        return _returned(work(params))
    except BaseException as fault:
        if is_a(fault, let_through):
            raise
        return _raised(fault, rules)


async def attempt_of_coroutine(
    work: Callable[[Any], Awaitable[Any]],
    body: tuple[bytes, ...],
    read: Callable[[Any], Awaitable[Any]],
    rules: Rules,
) -> Final:
    """The same where both are coroutines. Raises nothing."""
    try:
        try:
            params = await read(decode_params(body))
        except (BadParams, Fail) as wrong:
            return Final(error=bad_params(wrong))
        return _returned(await work(params))
    except BaseException as fault:
        return _raised(fault, rules)


def _returned(result: Any) -> Final:
    if result is False:
        return Final(error={"code": "job_failed", "error": "work() returned False"})
    return Final(encode_result(result, "the result"), jobs=follow_ups_of(current()))


def _raised(fault: BaseException, rules: Rules) -> Final:
    error = encode_fault(fault) | rules.next_of(fault)
    return Final(error=error, is_retry=is_a(fault, Retry))
