"""/ui/batches and one of them: how far it is, what has failed, what follows; close. Its jobs are cancelled
and retried as those of any filter are (jobs.py)."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.responses import Response

from zmws.core.rows import BATCH_STATES
from zmws.gateway.desk import Visitor
from zmws.gateway.looks import or_none, patiently
from zmws.gateway.masks import batch_for_viewers
from zmws.gateway.pages import svg
from zmws.gateway.pages.confirm import confirm, is_confirmed
from zmws.gateway.pages.forms import form_of
from zmws.gateway.pages.frame import answer, go_on
from zmws.gateway.pages.rows import job_row
from zmws.gateway.pages.shown import between, cut, number

SHOWN = 50  # on a page
FAILED_SHOWN = 8
ENDS = ("complete", "failed", "cancelled", "expired")


async def page(visitor: Visitor) -> Response:
    """GET /ui/batches?state=&cursor=."""
    query = visitor.request.query_params
    state, cursor = query.get("state", ""), query.get("cursor", "")
    question: dict[str, Any] = {"limit": SHOWN}
    question |= {name: text for name, text in (("state", state), ("cursor", cursor)) if text}
    told = await visitor.desk.looks.ask("zmws.batches", question)
    values = {
        "title": "Batches",
        "current": "/ui/batches",
        "live": "" if not cursor else None,
        "batches": [_shown(row) for row in told["batches"]],
        "next": told["next"],
        "cursor": cursor,
        "state": state,
        "states": BATCH_STATES,
    }
    return answer(visitor, "batches.html", values)


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """A row with its picture, and how many of its jobs have ended."""
    parts = [(name, row[name]) for name in ENDS]
    took_s = between(row["created_at"], row["ended_at"]) if row["ended_at"] else None
    ended = row["total"] - row["unfinished"]
    return {**row, "ended": ended, "took_s": took_s, "picture": svg.shares(parts, row["total"])}


async def show(visitor: Visitor) -> Response:
    """GET /ui/batches/ID."""
    batch_id, looks = visitor.path["id"], visitor.desk.looks
    failed = {"batch": batch_id, "state": "failed", "limit": FAILED_SHOWN}
    row, jobs = await asyncio.gather(
        looks.ask("zmws.batch", {"id": batch_id}),
        or_none(looks.ask("zmws.jobs", failed)),
    )
    values = {
        "title": f"Batch {batch_id}",
        "current": "/ui/batches",
        "live": "" if row["ended_at"] is None else "slow=1",
        "batch": _shown(batch_for_viewers(row)),
        "counts": [(name, row[name]) for name in ("unfinished", *ENDS)],
        "failed": [job_row(one) for one in (jobs or {}).get("jobs", ())],
        "follows": [
            ("then", "all of its jobs have completed", *_of(row, "then")),
            ("failed", "all have ended and not all have completed", *_of(row, "failed")),
        ],
    }
    return answer(visitor, "batch.html", values)


def _of(row: dict[str, Any], kind: str) -> tuple[Any, Any, Any]:
    return row[f"{kind}_service"], row[f"{kind}_id"], row[f"{kind}_at"]


async def close(visitor: Visitor) -> Response:
    """POST /ui/batches/ID/close, confirmed."""
    batch_id, form = visitor.path["id"], await form_of(visitor)
    at = f"/ui/batches/{batch_id}"
    if not is_confirmed(form, 1):
        row = await patiently(visitor.ask("zmws.batch", {"id": batch_id}))
        jobs = "1 job" if row["total"] == 1 else f"{number(row['total'])} jobs"
        note = f"{cut(batch_id)} has {jobs}. No client can add to it any more, and it cannot be opened again."
        return confirm(visitor, "Close this batch?", "Close", form, 1, at, note)
    await patiently(visitor.ask("zmws.close", {"id": batch_id}))
    return go_on(visitor, at, "closed")
