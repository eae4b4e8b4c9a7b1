"""In what databases differ: the rest of this folder is written for any of them.

Rule 1: statements are named in `queries.sql`, their values marked `?` or `?N`, as SQLite has it; another
        database has its own text for a name where it must, and marks as it wants them.
Rule 2: what is written in numbers, new jobs and changes of jobs, each database does in its own way (`Bulk`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class Connection(Protocol):
    """A connection, as sqlite3 has it: what it is asked and what it gives back."""

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Any:
        """One statement; its cursor."""
        ...

    def executemany(self, sql: str, parameters: Sequence[Sequence[Any]], /) -> Any:
        """One statement with each of these."""
        ...

    @property
    def in_transaction(self) -> bool:
        """Whether one is open, be it broken."""
        ...


class Bulk(Protocol):
    """Many rows at once."""

    def insert(self, name: str, rows: Sequence[Sequence[Any]]) -> int:
        """Insert rows by the statement of this name; how many were."""
        ...

    def update(self, columns: tuple[str, ...], key: str, also: str, rows: Sequence[Sequence[Any]]) -> int:
        """Set these columns of the job that each row names with its last value, `key`: how many there were.
        `also`: a further condition. No job is named twice."""
        ...


@dataclass(frozen=True, slots=True)
class Dialect:
    """One database's own words."""

    begin: str  # of a transaction that writes
    bulk: Callable[[Any, Mapping[str, str]], Bulk]
    unindexed: str  # before a column, so that the planner chooses no index for it
    caused_first: str  # the jobs of a cause, found by that
