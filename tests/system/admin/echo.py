"""Workers and small questions of the tests of what an operator does."""

from __future__ import annotations

import threading
from typing import Any

from zmws import Client, Refused, WorkerBase
from zmws.client import Job
from zmws.core.options import ServiceOptions

KNOWN = {name: ServiceOptions(backoff=0.01) for name in ("ECHO", "SLOW", "OTHER")}


class Echo(WorkerBase):
    """Gives back what it was given; fails where it is told to."""

    service_name = "ECHO"

    def work(self, job_id: str, params: Any) -> Any:
        if isinstance(params, dict) and params.get("fail", 0) >= self.job.attempt:
            self.job.log(f"attempt {self.job.attempt} fails")
            return False
        return params


class Held(WorkerBase):
    """Holds its jobs until the test lets them go."""

    service_name = "SLOW"

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()

    def work(self, job_id: str, params: Any) -> Any:
        self.job.progress(0.5, "half")
        self.begun.set()
        assert self.go.wait(20)
        self.job.partial(["part"])
        return "done"


def accepted(one: Job | Refused) -> Job:
    assert isinstance(one, Job), one
    return one


def service(client: Client, name: str) -> dict[str, Any]:
    return next(row for row in client.services() if row["service"] == name)


def failed_job(client: Client, **options: Any) -> Job:
    job = client.submit("ECHO", {"fail": 99}, retries=0, **options)
    assert job.wait(10)["state"] == "failed"
    return job


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["state"] if event["kind"] == "state" else event["kind"] for event in events]
