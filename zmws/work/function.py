"""`@worker`: a plain function as a worker.

    @worker("STR-REV", retries=3)
    def reverse(text: str) -> str:
        return text[::-1]

The function stays what it was, and can be called as before. Its parameters come by name out of a JSON object;
one that is annotated with JobInHand is given the job.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import Any, TypeVar

from zmws.core.table import no_such
from zmws.work import parameters
from zmws.work.base import WorkerBase
from zmws.work.declared import DEFAULTS, BadWorker
from zmws.work.job import JobInHand
from zmws.work.parameters import Parameters

F = TypeVar("F", bound=Callable[..., Any])

_MADE = "zmws_worker"  # the attribute of a function that holds its class
_DECLARED = frozenset(
    {*DEFAULTS, "retry_on", "fail_on", "max_jobs", "max_memory", "max_age", "idle_after", "stop_timeout"}
    | {"on_hung", "log_output", "isolate", "concurrency"}
)


class FunctionWorker(WorkerBase):
    """The class of a function: its `work()` calls it."""

    function: Callable[..., Any]
    parameters_of_function: Parameters
    names_of_job: tuple[str, ...] = ()

    def work(self, job_id: str, params: dict[str, Any]) -> Any:
        given = dict.fromkeys(self.names_of_job, self.job)
        return type(self).function(**params, **given)


def worker(service: str, **declares: Any) -> Callable[[F], F]:
    """Make a function a worker of this service.

    `declares`: what a class would declare (`retries=3`, `retry_on={...}`, `max_jobs=1000`, ...). Raises
    BadWorker for a name that a class does not declare, and BadAnnotation for parameters that cannot come by
    name.
    """
    if not isinstance(service, str):
        raise BadWorker("@worker needs the name of a service: @worker('STR-REV')")
    for name in declares:
        if name not in _DECLARED:
            raise BadWorker(f"@worker: {no_such(name, 'setting of a worker', sorted(_DECLARED))}")

    def made(function: F) -> F:
        where = f"{getattr(function, '__name__', function)}()"
        if not inspect.isroutine(function):
            raise BadWorker(f"@worker makes a worker of a function, and {where} is none")
        job_names = _job_names(function)
        body = {
            **declares,
            "service_name": service,
            "function": staticmethod(function),
            "parameters_of_function": parameters.of_keywords(function, where, frozenset(job_names)),
            "names_of_job": job_names,
            "__doc__": function.__doc__,
            "__module__": function.__module__,
        }
        setattr(function, _MADE, type(function.__name__, (FunctionWorker,), body))
        return function

    return made


def class_of(made: Any) -> type[WorkerBase] | None:
    """The class of a function that `@worker` has made one of, None if it has not."""
    found = getattr(made, _MADE, None)
    return found if isinstance(found, type) and issubclass(found, WorkerBase) else None


def worker_of(made: type[WorkerBase] | WorkerBase | Callable[..., Any]) -> WorkerBase:
    """An object of a class, of a function that `@worker` has made one, or that object itself. Raises
    BadWorker."""
    if isinstance(made, WorkerBase):
        return made
    cls = made if isinstance(made, type) and issubclass(made, WorkerBase) else class_of(made)
    if cls is None:
        raise BadWorker(f"{made!r} is no worker: a subclass of WorkerBase, or a function with @worker")
    return cls()


def _job_names(function: Callable[..., Any]) -> tuple[str, ...]:
    """Its parameters that are for the job."""
    try:
        hints = typing.get_type_hints(function)
    except Exception:
        return ()  # told when its parameters are looked at
    return tuple(name for name in inspect.signature(function).parameters if hints.get(name) is JobInHand)
