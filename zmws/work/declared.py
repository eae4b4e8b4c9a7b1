"""What a worker's class declares, checked once, at the start.

Rule: whatever cannot be is told before READY, with the class's name, what was given, and what it must be.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zmws.core.options import SERVICE_OPTIONS, option
from zmws.core.table import Row, Unfit, checked
from zmws.errors import OptionError, ZmwsError
from zmws.wire import names
from zmws.wire.words import SLOTS_MAX
from zmws.work import parameters
from zmws.work.attempt import Rules
from zmws.work.author import Worker, is_written
from zmws.work.parameters import ANYTHING, Parameters, schema_text

DEFAULTS = ("retries", "ttr", "backoff", "expires", "keep", "priority")  # told in READY
_LIMITS: dict[str, Row] = {
    "max_jobs": Row("whole", low=1, high=1_000_000_000),
    "max_memory": Row("bytes", low=1024 * 1024, high=2**50),
    "max_age": Row("seconds", above_low=True),
    "idle_after": Row("seconds", above_low=True),
    "stop_timeout": Row("seconds"),
    "kill_grace": Row("seconds"),
    "concurrency": Row("whole", low=1, high=SLOTS_MAX),
    "prefetch": Row("whole", low=0, high=SLOTS_MAX),
}
_DELAY = Row("seconds")
_ON_HUNG = ("leave", "stay")
INLINE, THREADS, COROUTINES, CHILDREN = "inline", "threads", "coroutines", "children"
PREFETCH = 128  # jobs ahead of the inline kind (docs/decisions.md)


class BadWorker(ZmwsError, ValueError):
    """A worker's class cannot be run as it is; the message says what is wrong, and what to write."""


@dataclass(frozen=True)
class Declared:
    """A class, looked through."""

    service: str
    defaults: Mapping[str, Any]  # of its jobs' options, those that are given
    parameters: Parameters
    rules: Rules
    max_jobs: int | None
    max_memory: int | None  # bytes
    max_age: float | None  # seconds
    idle_after: float | None  # seconds; None: three heartbeat intervals
    stop_timeout: float  # seconds
    kill_grace: float  # seconds
    kind: str  # of executor
    concurrency: int  # jobs at once
    prefetch: int  # jobs ahead
    stays_when_hung: bool
    log_output: bool

    @property
    def told(self) -> dict[str, Any]:
        """What READY says of the service: also that there is nothing, for a class of before may have told
        more."""
        schema = self.parameters.schema
        fits = schema is not None and schema_text(schema) is not None
        return {"defaults": dict(self.defaults), "params": schema if fits else {}}


def declared(worker: Worker, service: str | None = None) -> Declared:
    """What its class declares; `service`: instead of its `service_name`. Raises BadWorker, BadAnnotation."""
    cls = type(worker)
    name = service or worker.service_name
    if not isinstance(name, str):
        raise BadWorker(f"{cls.__name__}.service_name is {name!r}, but must be a text")
    fault = names.service_name_fault(name)
    if fault is None and names.is_reserved(name):
        fault = f"the service name '{name}' is reserved"
    if fault is not None:
        raise BadWorker(f"{cls.__name__}.service_name: {fault}")
    if (fault := work_fault(worker)) is not None:
        raise BadWorker(fault)
    limits = {name: _limit(worker, name, row) for name, row in _LIMITS.items()}
    for given in ("stop_timeout", "kill_grace", "concurrency"):
        if limits[given] is None:
            raise BadWorker(f"{cls.__name__}.{given} is None, but must be a number")
    if not isinstance(worker.isolate, bool):
        raise BadWorker(f"{cls.__name__}.isolate is {worker.isolate!r}, but must be True or False")
    kind = _kind(worker, limits["concurrency"])
    if limits["prefetch"] is None:
        limits["prefetch"] = PREFETCH if kind == INLINE else 0
    if limits["prefetch"] + limits["concurrency"] > SLOTS_MAX:
        raise BadWorker(f"{cls.__name__}.prefetch: concurrency and prefetch are above {SLOTS_MAX} together")
    if not isinstance(worker.log_output, bool):
        raise BadWorker(f"{cls.__name__}.log_output is {worker.log_output!r}, but must be True or False")
    if worker.on_hung not in _ON_HUNG:
        raise BadWorker(f"{cls.__name__}.on_hung is {worker.on_hung!r}, but must be 'leave' or 'stay'")
    return Declared(
        service=name,
        defaults=_defaults(worker),
        parameters=_parameters(worker),
        rules=Rules(_fail_on(worker), _retry_on(worker)),
        kind=kind,
        stays_when_hung=worker.on_hung == "stay",
        log_output=worker.log_output,
        **limits,
    )


def work_fault(worker: Worker | type[Worker]) -> str | None:
    """What keeps `work` from being called, with what to write; or None."""
    cls = worker if isinstance(worker, type) else type(worker)
    work: Any = worker.work
    write = "write 'def work(self, job_id, params):' in it"
    if not is_written(work):
        return f"{cls.__name__} has no work(); {write}"
    if not callable(work):
        return f"{cls.__name__}.work is no method, but {type(work).__name__}; {write}"
    if cls is not worker and not _takes_a_job(work):
        what = f"{cls.__name__}.work{inspect.signature(work)}"
        return f"{what} cannot be called with a job's id and parameters; {write}"
    return None


def _takes_a_job(work: Any) -> bool:
    try:
        inspect.signature(work).bind("id", {})
    except TypeError:
        return False
    except ValueError:
        return True  # one of C's functions, which does not tell what it takes
    return True


def _kind(worker: Worker, concurrency: int) -> str:
    """What runs its jobs (executor.py)."""
    if worker.isolate:
        return CHILDREN
    if concurrency == 1:
        return INLINE
    work: Any = inspect.unwrap(getattr(worker, "function", worker.work))  # also behind a decorator
    waits = inspect.iscoroutinefunction(work) or inspect.iscoroutinefunction(worker.setup)
    return COROUTINES if waits else THREADS


def _defaults(worker: Worker) -> dict[str, Any]:
    cls = type(worker)
    found = {}
    for name in DEFAULTS:
        value = getattr(worker, name)
        if value is None:
            continue
        try:
            found[name] = option(name, SERVICE_OPTIONS[name], value)
        except OptionError as wrong:
            raise BadWorker(f"{cls.__name__}: {wrong}") from None
    return found


def _limit(worker: Worker, name: str, row: Row) -> Any:
    value = getattr(worker, name)
    if value is None:
        return None
    try:
        return checked(f"{type(worker).__name__}.{name}", row, value)
    except Unfit as wrong:
        raise BadWorker(str(wrong)) from None


def _parameters(worker: Worker) -> Parameters:
    cls = type(worker)
    own: Parameters | None = getattr(worker, "parameters_of_function", None)
    if own is not None:
        return own
    # Behind a decorator that keeps the name of what it wraps is that one's annotation.
    found = parameters.of_method(worker.work, 1, f"{cls.__name__}.work()")
    if found is None:
        found = parameters.of_method(worker.validate, 0, f"{cls.__name__}.validate()")
    return ANYTHING if found is None else found


def _exceptions(given: Any, where: str) -> tuple[type[BaseException], ...]:
    found = tuple(given) if isinstance(given, (tuple, list, set, frozenset, dict)) else (given,)
    for one in found:
        if not (isinstance(one, type) and issubclass(one, BaseException)):
            raise BadWorker(f"{where} names {one!r}, which is no class of exceptions")
    return found


def _fail_on(worker: Worker) -> tuple[type[BaseException], ...]:
    return _exceptions(worker.fail_on, f"{type(worker).__name__}.fail_on")


def _retry_on(worker: Worker) -> dict[type[BaseException], float | None]:
    where = f"{type(worker).__name__}.retry_on"
    given = worker.retry_on
    found: dict[type[BaseException], float | None] = dict.fromkeys(_exceptions(given, where))
    if not isinstance(given, Mapping):
        return found
    for cls, delay in given.items():
        if delay is not None:
            try:
                found[cls] = checked(f"{where}: the delay of {cls.__name__}", _DELAY, delay)
            except Unfit as wrong:
                raise BadWorker(f"{wrong}, or None for the backoff") from None
    return found
