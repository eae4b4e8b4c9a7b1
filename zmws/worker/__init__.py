"""WorkerBase, and what runs it."""

from zmws.worker.base import JobInHand, WorkerBase
from zmws.worker.io_thread import WorkerIO

__all__ = ["JobInHand", "WorkerBase", "WorkerIO"]
