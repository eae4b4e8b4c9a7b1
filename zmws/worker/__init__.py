"""WorkerBase, and what runs it."""

from zmws.worker.base import WorkerBase
from zmws.worker.job import JobInHand

__all__ = ["JobInHand", "WorkerBase"]
