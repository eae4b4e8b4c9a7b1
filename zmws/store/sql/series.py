"""Figures over time, as rows of a minute and of an hour, and marks beside them (core/series.py)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from zmws.core.rows import SeriesMark
from zmws.core.series import CLOCKS, added
from zmws.core.writes import WriteMark, WriteSeries
from zmws.store.sql.dialect import Connection

MINUTE, HOUR = 60, 3600
_CLOCK = re.compile(rf'"({"|".join(("seconds", *CLOCKS))})":([0-9.e+-]+)')
FORGOTTEN_MAX = 5_000  # rows, by one write


def write_series(connection: Connection, queries: Mapping[str, str], write: WriteSeries) -> None:
    """Add the figures to those of the minute, and of its hour; forget what is old."""
    for step in (MINUTE, HOUR):
        at = write.at // step * step
        for service, figures in write.figures:
            found = connection.execute(queries["figures"], (service, step, at)).fetchone()
            if found is not None:
                figures = added((json.loads(found[0]), figures))
            text = json.dumps(figures, separators=(",", ":"))
            connection.execute(queries["set_figures"], (service, step, at, text))
    for step, before in ((MINUTE, write.minutes_from), (HOUR, write.hours_from)):
        connection.execute(queries["forget_figures"], (step, before, FORGOTTEN_MAX))
    connection.execute(queries["forget_marks"], (write.hours_from, FORGOTTEN_MAX))


def write_mark(connection: Connection, queries: Mapping[str, str], write: WriteMark) -> None:
    """Add a mark."""
    text = write.text.encode("utf-8", "replace").decode()
    connection.execute(queries["add_mark"], (write.at, write.kind, text, write.service, write.by))


def line_from(values: tuple[Any, ...]) -> tuple[int, str, dict[str, Any]]:
    """A row of the figures."""
    at, service, figures = values
    return at, service, json.loads(figures)


def clocks_from(values: tuple[Any, ...]) -> tuple[int, str, dict[str, Any]]:
    """The same with the clocks and the seconds alone: there may be thousands, and the rest is long."""
    at, service, figures = values
    return at, service, {name: float(value) for name, value in _CLOCK.findall(figures)}


def mark_from(values: tuple[Any, ...]) -> SeriesMark:
    """A row of the marks."""
    return SeriesMark(*values)
