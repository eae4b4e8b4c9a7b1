"""A job of no broker, for tests of what holds jobs."""

from __future__ import annotations

from typing import Any

from zmws.core.job import Job


def a_job(number: int = 1, rank: float = 0.0, **more: Any) -> Job:
    """The job `jNUMBER` of the service S, stored unless something else is said."""
    plain = {"kind": "stored", "service": "S", "body": (b"x",), "created_at": 0.0, "ready_at": rank}
    return Job(**{"id": f"j{number}", "rank": rank, "number": number, **plain, **more})
