"""What zmws needs of an author's class. WorkerBase is that; whatever runs one knows no more of it than this.

Rule: what an author may leave out has its default in WorkerBase, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar

from zmws.work.job import JobInHand

if TYPE_CHECKING:
    import click

    from zmws.client import Client

Exceptions = type[BaseException] | tuple[type[BaseException], ...]
F = TypeVar("F", bound=Callable[..., Any])


class Worker(Protocol):
    """Its declarations and methods, as docs/writing-a-worker.md tells them."""

    service_name: ClassVar[str]
    retries: ClassVar[int | None]
    ttr: ClassVar[float | None]
    backoff: ClassVar[float | None]
    expires: ClassVar[float | None]
    keep: ClassVar[float | None]
    priority: ClassVar[int | None]
    retry_on: ClassVar[Mapping[type[BaseException], float | None] | Exceptions]
    fail_on: ClassVar[Exceptions]
    max_jobs: ClassVar[int | None]
    max_memory: ClassVar[int | str | None]
    max_age: ClassVar[float | None]
    idle_after: ClassVar[float | None]
    stop_timeout: ClassVar[float]
    on_hung: ClassVar[Literal["leave", "stay"]]
    log_output: ClassVar[bool]
    flags: ClassVar[Sequence[click.Option]]
    isolate: ClassVar[bool]
    concurrency: ClassVar[int]

    prefetch: ClassVar[int | None]
    kill_grace: ClassVar[float]

    options: Mapping[str, Any]
    client_of: Callable[[], Client] | None

    @property
    def job(self) -> JobInHand: ...

    def setup(self) -> Any: ...

    def teardown(self) -> Any: ...

    def validate(self, params: Any) -> Any: ...

    def around(self, work: Callable[[], Any]) -> Any: ...

    def work(self, job_id: str, params: Any) -> Any: ...

    def idle(self) -> Any: ...


def to_be_written(method: F) -> F:
    """A method of the base that each class has to write itself."""
    method.__dict__["to_be_written"] = True
    return method


def is_written(method: Any) -> bool:
    """Whether a class has written such a method."""
    return not getattr(getattr(method, "__func__", method), "to_be_written", False)
