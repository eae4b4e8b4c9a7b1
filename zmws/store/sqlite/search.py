"""Jobs in which a text stands, the newest first.

Rule 1: a page looks at windows of jobs along their numbers until it has enough, or its time is up: it says
        how many it has looked at, how far back that was, and where to go on.
Rule 2: a text is found as it is, and as JSON writes it, with other characters than ASCII escaped or not.
Rule 3: of what JSON may hold, no word is told apart from another: the whole of it is looked through, letter
        by letter.
"""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from zmws.core.writes import ReadSearch, Row, Rows
from zmws.store.rows import LISTED, listed_row, quoted
from zmws.store.sqlite.reads import path_of, terms_of

WINDOW_ROWS = 2_000
_NUMBER_MAX = (1 << 63) - 1
_COLUMNS = ", ".join(f"jobs.{quoted(name)}" for name in LISTED)
# In which column each place is looked for, and whether that holds bytes.
_PLACES = {
    "id": ("id", False),
    "error": ("error", False),
    "params": ("body", True),
    "result": ("result", True),
}


class Search:
    """Searches over one connection, each at most `seconds_max` long."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        seconds_max: float,
        turn: AbstractContextManager[object] = nullcontext(),  # noqa: B008
        rows_max: int = WINDOW_ROWS,
    ) -> None:
        """`turn` is taken for each statement; a window has no more than `rows_max` rows."""
        self._execute = connection.execute
        self._seconds_max = seconds_max
        self._turn = turn
        self._rows_max = rows_max

    def answer(self, read: ReadSearch) -> Rows:
        """A page. Raises sqlite3.Error."""
        until = time.monotonic() + self._seconds_max
        states = None if read.where.state is None else (read.where.state,)
        path, path_values = path_of(read.where, states)
        terms, values = terms_of(read.where, states)
        if read.where.cause is not None:
            path, path_values = ["number IN (SELECT number FROM caused WHERE cause = ?)"], [read.where.cause]
        text_terms, text_values = _found_in(read)
        source = "jobs LEFT JOIN bodies USING (number)" if "params" in read.places else "jobs"
        wanted = [*path, *terms, text_terms, "number > ?", "number < ?"]
        text = f"SELECT {_COLUMNS} FROM {source} WHERE {' AND '.join(wanted)} ORDER BY number DESC LIMIT ?"
        edge = "SELECT number, created_at FROM jobs WHERE "
        edge += f"{' AND '.join([*path, 'number < ?'])} ORDER BY number DESC LIMIT 1 OFFSET ?"
        last = f"SELECT count(*), min(created_at) FROM jobs WHERE {' AND '.join([*path, 'number < ?'])}"
        below = _NUMBER_MAX if read.cursor is None else read.cursor
        found = Rows()
        while True:
            edges = self._fetch(edge, (*path_values, below, self._rows_max - 1))
            low = edges[0][0] - 1 if edges else 0
            missing = read.limit + 1 - len(found.rows)
            found.rows += self._made(text, (*path_values, *values, *text_values, low, below, missing))
            if len(found.rows) > read.limit:
                del found.rows[read.limit :]
                found.next = found.rows[-1]["number"]
                return self._looked(found, path, path_values, found.next, below)
            if not edges:
                count, oldest = self._fetch(last, (*path_values, below))[0]
                found.looked += count
                found.looked_to = oldest if count else found.looked_to
                return found
            found.looked += self._rows_max
            below, found.looked_to = edges[0]
            if time.monotonic() > until:
                found.next = below
                return found

    def _looked(self, found: Rows, path: list[str], values: list[Any], low: int, below: int) -> Rows:
        """Enough were found within a window: so much of it was looked at."""
        text = "SELECT count(*), min(created_at) FROM jobs WHERE "
        text += " AND ".join([*path, "number >= ?", "number < ?"])
        count, found.looked_to = self._fetch(text, (*values, low, below))[0]
        found.looked += count
        return found

    def _fetch(self, text: str, values: tuple[Any, ...]) -> list[Any]:
        with self._turn:
            return self._execute(text, values).fetchall()

    def _made(self, text: str, values: tuple[Any, ...]) -> list[Row]:
        with self._turn:
            return [listed_row(one) for one in self._execute(text, values)]


def _found_in(read: ReadSearch) -> tuple[str, list[Any]]:
    """The term that is true of a job in which the text stands."""
    escaped = json.dumps(read.text)[1:-1], json.dumps(read.text, ensure_ascii=False)[1:-1]
    forms = dict.fromkeys((read.text, *escaped))
    terms: list[str] = []
    values: list[Any] = []
    for place in read.places:
        column, of_bytes = _PLACES[place]
        for form in forms:
            terms.append(f"instr({column}, ?) > 0")
            encoded = form.encode("utf-8", "surrogatepass" if of_bytes else "replace")
            values.append(encoded if of_bytes else encoded.decode())
    return f"({' OR '.join(terms)})", values
