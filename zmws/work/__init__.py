"""WorkerBase, and what runs it."""

from zmws.work.base import WorkerBase
from zmws.work.function import worker
from zmws.work.job import JobInHand
from zmws.work.raised import Fail, Retry

__all__ = ["Fail", "JobInHand", "Retry", "WorkerBase", "worker"]
