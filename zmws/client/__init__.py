"""The calls: `Client` for threads, `AsyncClient` for asyncio, both over one pure dialogue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zmws.client.batch import Batch
from zmws.client.chain import Chain
from zmws.client.items import PREVIOUS
from zmws.client.job import Job
from zmws.client.lease import Lease
from zmws.client.schedule import Schedule
from zmws.client.synchronous import Client

if TYPE_CHECKING:
    from zmws.client.asynchronous import (
        AsyncBatch,
        AsyncChain,
        AsyncClient,
        AsyncJob,
        AsyncLease,
        AsyncSchedule,
    )

__all__ = [
    "PREVIOUS",
    "AsyncBatch",
    "AsyncChain",
    "AsyncClient",
    "AsyncJob",
    "AsyncLease",
    "AsyncSchedule",
    "Batch",
    "Chain",
    "Client",
    "Job",
    "Lease",
    "Schedule",
]


def __getattr__(name: str) -> Any:
    # On first use: asyncio costs a third of the start of `zmws call`.
    if name.startswith("Async") and name in __all__:
        from zmws.client import asynchronous

        return getattr(asynchronous, name)
    raise AttributeError(f"module 'zmws.client' has no attribute '{name}'")
