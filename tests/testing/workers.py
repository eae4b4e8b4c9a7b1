"""Workers for the tests of the fake client; they do what their parameters say."""

from __future__ import annotations

from typing import Any

from zmws import WorkerBase


class Reverse(WorkerBase):
    """What a user's worker is."""

    service_name = "STR-REV"

    def work(self, job_id: str, params: Any) -> Any:
        return params["str"][::-1]


class Shaky(WorkerBase):
    """Fails as often as it is told, and in the way it is told."""

    service_name = "SHAKY"

    def work(self, job_id: str, params: Any) -> Any:
        if self.job.attempt <= params.get("fails", 0):
            raise RuntimeError(f"attempt {self.job.attempt}")
        return {"false": False, "odd": object(), "none": None, "bytes": b"\x00\xff"}.get(
            params.get("how", ""), [self.job.attempt, {"a": (1, 2)}]
        )


class Chatty(WorkerBase):
    """Says all that a job can say."""

    service_name = "CHATTY"

    def work(self, job_id: str, params: Any) -> Any:
        self.job.progress(0.5, "half")
        self.job.partial({"part": params})
        self.job.partial(b"\xff")
        self.job.log("a line")
        self.job.extend(60)
        return params


class Slow(WorkerBase):
    """A coroutine."""

    service_name = "SLOW"

    async def work(self, job_id: str, params: Any) -> Any:
        return params
