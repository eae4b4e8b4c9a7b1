"""A worker of the tests of the client's thread."""

from __future__ import annotations

from typing import Any

from zmws import WorkerBase


class Echo(WorkerBase):
    """Gives back what it was given; says so before."""

    service_name = "ECHO"

    def work(self, job_id: str, params: Any) -> Any:
        self.job.partial("soon")
        if params == "fail":
            raise ValueError("failed")
        return params
