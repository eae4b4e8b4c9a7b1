"""The job that follows from the end of a batch: its record, as it is kept with the batch, and as it is made.

Rule 1: pure, and the same for every store: a store decides when, and this what.
Rule 2: a template's times count from the conclusion: `ready_at`, `rank` and `expires_at` are put upon it.
Rule 3: it tells what became of the batch (`concludes`); a job that was given no parameters has that as its
        own.
"""

from __future__ import annotations

import json
from typing import Any

from zmws.core.job import Job
from zmws.core.rows import BatchRow, Row, row_of
from zmws.wire.values import PARAM_JSON

THEN, FAILED = "then", "failed"


def template(job: Job, delay_s: float, head_start_s: float, expires_s: float | None) -> Row:
    """What is kept of a job until its batch has ended. `head_start_s`: what its priority is worth."""
    row = row_of(job)
    row |= {"ready_at": delay_s, "rank": delay_s - head_start_s, "expires_at": expires_s}
    return row | {"number": 0, "created_at": 0.0, "by_wall": False, "states": (), "events": 0}


def as_told(batch: BatchRow, kind: str) -> dict[str, Any]:
    """What that job is told of its batch. `kind`: THEN or FAILED."""
    return {
        "batch": batch.id,
        "as": kind,
        "total": batch.total,
        "complete": batch.complete,
        "failed": batch.failed,
        "cancelled": batch.cancelled,
        "expired": batch.expired,
        "first": list(batch.first),
    }


def conclusion(
    kept: Row, batch: BatchRow, kind: str, job_id: str, number: int, at: float, steady: float
) -> Row:
    """The record of the job that is made of a template, at wall time `at`."""
    row, told = dict(kept), as_told(batch, kind)
    row |= {"id": job_id, "number": number, "created_at": at, "concludes": told}
    row["ready_at"] = steady + kept["ready_at"]
    row["rank"] = steady + kept["rank"]
    if kept["expires_at"] is not None:
        row["expires_at"] = steady + kept["expires_at"]
    if not kept["body"]:
        row["body"] = (PARAM_JSON + json.dumps(told).encode(),)
    return row | {"events": 1, "states": ((1, at, row["state"], 0),)}


def usual_id(batch: BatchRow, kind: str) -> str:
    """Its id, unless another job has that."""
    return f"{batch.id}:{kind}"
