"""The calls: `Client` for threads, `AsyncClient` for asyncio, both over one pure dialogue."""

from zmws.client.asynchronous import AsyncClient, AsyncJob
from zmws.client.synchronous import Client, Job

__all__ = ["AsyncClient", "AsyncJob", "Client", "Job"]
