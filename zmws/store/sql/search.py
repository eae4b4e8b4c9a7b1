"""Jobs in which a text stands, the newest first.

Rule 1: a page looks at windows of jobs along their numbers until it has enough, or its time is up: it says
        how many it has looked at, how far back that was, and where to go on.
Rule 2: a text is found as it is, and as JSON writes it, with other characters than ASCII escaped or not.
Rule 3: of what JSON may hold, no word is told apart from another: the whole of it is looked through, letter
        by letter.
"""

from __future__ import annotations

import json
import re
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

from zmws.core.reads import Filter, ReadSearch
from zmws.core.rows import Row, Rows
from zmws.store.rows import LISTED, listed_row, quoted
from zmws.store.sql.dialect import Connection, Dialect
from zmws.store.sql.reads import path_of, terms_of

WINDOW_ROWS = 2_000
FIRST_ROWS = 50  # of the first window: nobody knows how large the records are
WINDOW_S = 0.02  # a window that took less is followed by one of twice as many, else of half
_NUMBER_MAX = (1 << 63) - 1
_COLUMNS = ", ".join(f"jobs.{quoted(name)}" for name in LISTED)
_ESCAPED = re.compile(r"\\u([0-9a-f]{4})")
_SURROGATES = re.compile("[\ud800-\udfff]")
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
        connection: Connection,
        dialect: Dialect,
        seconds_max: float,
        turn: AbstractContextManager[object] = nullcontext(),  # noqa: B008
        rows_max: int = WINDOW_ROWS,
    ) -> None:
        """`turn` is taken for each statement; a window has no more than `rows_max` rows."""
        self._execute = connection.execute
        self._dialect = dialect
        self._seconds_max = seconds_max
        self._turn = turn
        self._rows_max = rows_max

    def answer(self, read: ReadSearch) -> Rows:
        """A page. Raises what the database raises."""
        until = time.monotonic() + self._seconds_max
        source, path, path_values, terms, values = _where(read.where, self._dialect)
        text_terms, text_values = _found_in(read)
        wanted = [*path, *terms, text_terms, "number >= ?", "number < ?"]
        bodies = " LEFT JOIN bodies USING (number)" if "params" in read.places else ""
        text = f"SELECT {_COLUMNS} FROM {source}{bodies} WHERE {' AND '.join(wanted)}"
        text += " ORDER BY number DESC LIMIT ?"
        edge = "SELECT count(*), min(number), min(created_at) FROM (SELECT number, created_at"
        edge += f" FROM {source} WHERE {' AND '.join([*path, 'number >= ?', 'number < ?'])}"
        edge += " ORDER BY number DESC LIMIT ?) AS looked"
        below = _NUMBER_MAX if read.cursor is None else read.cursor
        window = min(FIRST_ROWS, self._rows_max)
        found = Rows()
        while True:
            begun = time.monotonic()
            count, low, oldest = self._fetch(edge, (*path_values, 0, below, window))[0]
            if not count:
                return found
            missing = read.limit + 1 - len(found.rows)
            found.rows += self._made(text, (*path_values, *values, *text_values, low, below, missing))
            if len(found.rows) > read.limit:  # within the window: so much of it was looked at
                del found.rows[read.limit :]
                low = found.next = found.rows[-1]["number"]
                count, _, oldest = self._fetch(edge, (*path_values, low, below, window))[0]
            found.looked += count
            found.looked_to = oldest if found.looked_to is None else min(found.looked_to, oldest)
            now = time.monotonic()
            if found.next is not None or count < window:
                return found
            if len(found.rows) == read.limit or now > until:
                found.next = low
                return found
            below = low
            window = min(2 * window, self._rows_max) if now - begun < WINDOW_S else max(1, window // 2)

    def _fetch(self, text: str, values: tuple[Any, ...]) -> list[Any]:
        with self._turn:
            found: list[Any] = self._execute(text, values).fetchall()
            return found

    def _made(self, text: str, values: tuple[Any, ...]) -> list[Row]:
        with self._turn:
            return [listed_row(one) for one in self._execute(text, values)]


def _where(where: Filter, dialect: Dialect) -> tuple[str, list[str], list[Any], list[str], list[Any]]:
    """What the numbers are walked along, with its terms and their values; then the rest of the filter."""
    states = None if where.state is None else (where.state,)
    terms, values = terms_of(replace(where, cause=None), states, dialect.unindexed)
    if where.cause is None:
        return "jobs", *path_of(where, states), terms, values
    return dialect.caused_first, ["caused.cause = ?"], [where.cause], terms, values


def _found_in(read: ReadSearch) -> tuple[str, list[Any]]:
    """The term that is true of a job in which the text stands."""
    escaped = json.dumps(read.text)[1:-1], json.dumps(read.text, ensure_ascii=False)[1:-1]
    forms = dict.fromkeys((read.text, *escaped))
    # Others' JSON escapes slashes, too (PHP), or writes the digits of \\u00e9 in capitals (.NET).
    forms |= dict.fromkeys([form.replace("/", "\\/") for form in forms])
    forms |= dict.fromkeys([_ESCAPED.sub(lambda found: f"\\u{found[1].upper()}", form) for form in forms])
    terms: list[str] = []
    values: list[Any] = []
    for place in read.places:
        column, of_bytes = _PLACES[place]
        for form in forms:
            encoded = form.encode("utf-8", "surrogatepass")
            if of_bytes or not _SURROGATES.search(form):  # which no column of text holds
                # The length before the one frame of most bodies has four bytes that mean no text.
                inside = f"substr({column}, 5)" if of_bytes and len(encoded) < 4 else column
                terms.append(f"instr({inside}, ?) > 0")
                values.append(encoded if of_bytes else form)
    return f"({' OR '.join(terms)})", values
