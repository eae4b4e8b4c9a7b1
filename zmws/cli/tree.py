"""`zmws job tree`: the jobs that followed from one another, each under its parent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from zmws.cli.tables import show_table
from zmws.core.amounts import duration

_HERE = "<-"  # marks the job that was asked for


def show_tree(rows: list[dict[str, Any]], job_id: str) -> None:
    """Print a family, as zmws.family tells it."""
    shown = [
        (
            "  " * depth + row["id"] + (f" {_HERE}" if row["id"] == job_id else ""),
            row["service"],
            row["state"],
            f"{row['step']}/{row['steps']}" if row["step"] else "",
            _took(row),
        )
        for depth, row in _in_order(rows)
    ]
    show_table(("ID", "SERVICE", "STATE", "STEP", "TOOK"), shown)


def _in_order(rows: list[dict[str, Any]]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each behind its parent and what followed from its elder siblings; with its depth under the first."""
    children = defaultdict[str, list[dict[str, Any]]](list)
    for row in rows[1:]:
        children[row["parent"]].append(row)
    left = [(0, row) for row in rows[:1]]
    while left:
        depth, row = left.pop()
        yield depth, row
        left += [(depth + 1, child) for child in reversed(children.pop(row["id"], []))]


def _took(row: dict[str, Any]) -> str | None:
    begun, ended = row["started_at"], row["ended_at"]
    if begun is None or ended is None:
        return None
    return duration((datetime.fromisoformat(ended) - datetime.fromisoformat(begun)).total_seconds())
