"""WorkerBase, and what runs it."""

from zmws.worker.base import WorkerBase
from zmws.worker.function import worker
from zmws.worker.job import JobInHand
from zmws.worker.raised import Fail, Retry

__all__ = ["Fail", "JobInHand", "Retry", "WorkerBase", "worker"]
