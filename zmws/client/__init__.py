"""The calls: `Client` for threads, `AsyncClient` for asyncio, both over one pure dialogue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zmws.client.job import Job
from zmws.client.lease import Lease
from zmws.client.synchronous import Client

if TYPE_CHECKING:
    from zmws.client.asynchronous import AsyncClient, AsyncJob, AsyncLease

__all__ = ["AsyncClient", "AsyncJob", "AsyncLease", "Client", "Job", "Lease"]


def __getattr__(name: str) -> Any:
    # On first use: asyncio costs a third of the start of `zmws call`.
    if name in ("AsyncClient", "AsyncJob", "AsyncLease"):
        from zmws.client import asynchronous

        return getattr(asynchronous, name)
    raise AttributeError(f"module 'zmws.client' has no attribute '{name}'")
