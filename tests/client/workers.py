"""Workers of the tests of chains and batches."""

from __future__ import annotations

from typing import Any

from zmws import WorkerBase


class Echo(WorkerBase):
    """Gives back what it was given."""

    service_name = "ECHO"

    def work(self, job_id: str, params: Any) -> Any:
        return params


class Shaky(WorkerBase):
    """Fails as often as it is told, for the first attempts."""

    service_name = "SHAKY"

    def work(self, job_id: str, params: Any) -> Any:
        if self.job.attempt <= params["fails"]:
            raise RuntimeError(f"attempt {self.job.attempt}")
        return self.job.attempt


class Split(WorkerBase):
    """Makes as many more members of its batch as it is told."""

    service_name = "SPLIT"

    def work(self, job_id: str, params: Any) -> Any:
        for n in range(params["parts"]):
            self.job.enqueue("ECHO", {"part": n}, batch=self.job.batch)


WORKERS = (Echo, Shaky, Split)
