"""How a job stands to others: its chain with the steps, and its family as a tree.

Rule 1: a tree has a bounded size, and says when it is cut; where it is, filters of Jobs lead on.
Rule 2: a step of a chain stands below the one before, at the same depth: a long chain is a list, no stair.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

FAMILY_SHOWN = 60  # jobs
STEPS_SHOWN = 12  # of a chain: those about this one
DEPTH_SHOWN = 6  # what is deeper stands no further to the right


@dataclass(frozen=True, slots=True)
class Relative:
    """One job of a tree. `depth`: how far to the right; `under`: whose end made it; `is_it`: of this job the
    page is."""

    row: dict[str, Any]
    depth: int
    under: str | None
    is_it: bool


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a chain. `row` is None of one that is not made yet."""

    number: int
    row: dict[str, Any] | None
    is_it: bool


def question(job_id: str) -> dict[str, Any]:
    """What zmws.family is asked for a page."""
    return {"id": job_id, "limit": FAMILY_SHOWN}


def tree(family: dict[str, Any] | None, job_id: str) -> list[Relative]:
    """Its family, each behind what made it; empty of a job that stands alone, and of a chain of which all
    stands in its steps."""
    rows = [] if family is None else family["jobs"]
    chains = {row["chain"] for row in rows}
    if len(rows) < 2 or (len(chains) == 1 and None not in chains and len(rows) <= STEPS_SHOWN):
        return []
    known = {row["id"] for row in rows}
    children: dict[str, list[dict[str, Any]]] = {}
    tops: list[dict[str, Any]] = []
    for row in rows:
        if row["parent"] in known and row["parent"] != row["id"] and tops:
            children.setdefault(row["parent"], []).append(row)
        else:
            tops.append(row)
    found: list[Relative] = []
    left = [(row, 0) for row in reversed(tops)]
    while left:
        row, depth = left.pop()
        found.append(Relative(row, min(depth, DEPTH_SHOWN), row["parent"], row["id"] == job_id))
        below = children.pop(row["id"], [])
        # Last in, first out: what it made of itself stands under it, then the next step beside it.
        below.sort(key=lambda one: _goes_on(row, one))
        left += [(one, depth if _goes_on(row, one) else depth + 1) for one in reversed(below)]
    return found


def _goes_on(row: dict[str, Any], child: dict[str, Any]) -> bool:
    """Whether the child is the next step of the same chain."""
    return row["chain"] is not None and child["chain"] == row["chain"]


def steps(job: dict[str, Any], family: dict[str, Any] | None) -> list[Step]:
    """The steps of a job's chain that are about it."""
    if job["chain"] is None or not job["steps"]:
        return []
    rows = [] if family is None else family["jobs"]
    made = {row["step"]: row for row in rows if row["chain"] == job["chain"] and row["step"]}
    made.setdefault(job["step"], job)
    begin = max(1, min(job["step"] - STEPS_SHOWN // 2, job["steps"] - STEPS_SHOWN + 1))
    numbers = range(begin, min(job["steps"], begin + STEPS_SHOWN - 1) + 1)
    return [Step(n, made.get(n), n == job["step"]) for n in numbers]
