"""The calls: `Client` for threads, `AsyncClient` for asyncio, both over one pure dialogue."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from zmws.client.job import Job
from zmws.client.lease import Lease
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
    from zmws.client.batch import Batch
    from zmws.client.chain import Chain
    from zmws.client.items import PREVIOUS
    from zmws.client.schedule import Schedule

# On first use: asyncio costs a third of the start of `zmws call`, which needs none of the others either.
_WHERE = {"Batch": "batch", "Chain": "chain", "PREVIOUS": "items", "Schedule": "schedule"}

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
    if name in __all__:
        module = importlib.import_module(f"zmws.client.{_WHERE.get(name, 'asynchronous')}")
        return getattr(module, name)
    raise AttributeError(f"module 'zmws.client' has no attribute '{name}'")
