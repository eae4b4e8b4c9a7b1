"""An attempt in a span of its own, where tracing is on (docs/tracing.md); where it is not, as it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ParamSpec

from zmws import tracing
from zmws.work.attempt import Final
from zmws.work.job import JobInHand

P = ParamSpec("P")


def traced(job: JobInHand, attempt: Callable[P, Final]) -> Callable[P, Final]:
    """What runs an attempt at this job."""
    spans = tracing.on
    if spans is None:
        return attempt

    def in_span(*args: P.args, **given: P.kwargs) -> Final:
        with spans.attempt(job.service, job.id, job.attempt, job.meta) as span:
            final = attempt(*args, **given)
            span.over(final.error, final.is_retry)
            return final

    return in_span


def traced_coroutine(job: JobInHand, attempt: Callable[P, Awaitable[Final]]) -> Callable[P, Awaitable[Final]]:
    """The same of a coroutine."""
    spans = tracing.on
    if spans is None:
        return attempt

    async def in_span(*args: P.args, **given: P.kwargs) -> Final:
        with spans.attempt(job.service, job.id, job.attempt, job.meta) as span:
            final = await attempt(*args, **given)
            span.over(final.error, final.is_retry)
            return final

    return in_span
