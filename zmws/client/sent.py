"""What a job that was sent becomes, as a span where tracing is on (docs/tracing.md).

Rule: the span has ended before anybody hears of the answer: a program may end with that.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any

from zmws.client.asked import then
from zmws.client.job import Job

if TYPE_CHECKING:
    from zmws.tracing.spans import Sending


def then_end(asked: Future[Any], step: Callable[[Any], Any], sending: Sending) -> Future[Any]:
    """As `asked.then`; `sending` ends with it."""

    def made(answer: Any) -> Any:
        try:
            value = step(answer)
        except BaseException as fault:
            sending.end(fault)
            raise
        sending.end(job_id=value.id if isinstance(value, Job) else None)
        return value

    end_with_fault(asked, sending.end)
    future = then(asked, made)
    future.add_done_callback(lambda _: sending.end())  # cancelled while the answer came
    return future


def end_with_fault(asked: Future[Any], end: Callable[[BaseException], object]) -> None:
    """Where no answer comes, `end` is called with what comes instead."""

    def ended(done: Future[Any]) -> None:
        fault = CancelledError() if done.cancelled() else done.exception()
        if fault is not None:
            end(fault)

    asked.add_done_callback(ended)
