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
from types import FunctionType
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
    | {"on_hung", "log_output", "isolate", "concurrency", "prefetch", "kill_grace"}
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
    BadWorker for a name that a class does not declare, and for what is no function of a module; BadAnnotation
    for parameters that cannot come by name.
    """
    if not isinstance(service, str):
        raise BadWorker("@worker needs the name of a service: @worker('STR-REV')")
    for name in declares:
        if name not in _DECLARED:
            raise BadWorker(f"@worker: {no_such(name, 'setting of a worker', sorted(_DECLARED))}")

    def made(function: F) -> F:
        if (fault := _function_fault(function)) is not None:
            raise BadWorker(f"@worker('{service}') makes a worker of a function, and {fault}")
        where = f"{function.__name__}()"
        job_names = _job_names(function, where)
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
    """The class of a function that `@worker` has made one of, None if it has not. Raises BadWorker for
    another decorator's function around it, which no job would run."""
    if not issubclass(type(made), FunctionType):  # isinstance would ask the object itself
        return None
    found: type[FunctionWorker] | None = vars(made).get(_MADE)
    if found is not None and found.function is not made:
        raise BadWorker(f"{found.__name__}() has a decorator above @worker; put @worker above all others")
    return found


def worker_of(made: type[WorkerBase] | WorkerBase | Callable[..., Any]) -> WorkerBase:
    """An object of a class, of a function that `@worker` has made one, or that object itself. Raises
    BadWorker."""
    if isinstance(made, WorkerBase):
        return made
    cls = class_of(made)
    if isinstance(made, type) and issubclass(made, WorkerBase):
        cls = made
    if cls is None:
        raise BadWorker(f"{made!r} is no worker: a subclass of WorkerBase, or a function with @worker")
    return cls()


def _function_fault(function: Any) -> str | None:
    """Why it is no function that can be found by its name and called with keywords, or None."""
    if isinstance(function, type):
        return f"{function.__name__} is a class; write a subclass of WorkerBase"
    if not isinstance(function, FunctionType):
        return f"{function!r} is none"
    if function.__name__ == "<lambda>":
        return "a lambda has no name; write 'def'"
    around = function.__qualname__.rpartition(".")[0]
    if around and not around.endswith("<locals>"):
        return f"{function.__qualname__} is a method; write it outside of the class"
    known: Any = vars(function).get(_MADE)
    if known is not None and known.function is function:
        return f"{function.__name__}() serves '{known.service_name}' already; write one for each service"
    return None


def _job_names(function: Callable[..., Any], where: str) -> tuple[str, ...]:
    """Its parameters that are for the job. Raises BadAnnotation."""

    def is_for_job(name: str) -> bool:
        hint = parameters.hint_of(function, name, where)
        return JobInHand in (hint, *typing.get_args(hint))  # alone, or JobInHand | None

    return tuple(name for name in inspect.signature(function).parameters if is_for_job(name))
