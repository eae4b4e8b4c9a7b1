"""The SQL of the stores, kept in files: migrations by number, statements by name.

Rule 1: `NNNN_name.sql` brings a file from version NNNN - 1 to NNNN; what was shipped never changes.
Rule 2: a migration holds no BEGIN and no COMMIT: it runs in a transaction that also sets the version.
Rule 3: `queries.sql` holds every statement, and another file those that a database wants in other words;
        only the SETs of an update, the WHERE of a list, and as many rows as one statement writes are put
        together in Python.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from zmws.store.rows import BATCH, BORN, BORN_AS_KIN, KEY, LIGHT, LISTED, RECORD, SCHEDULE, names

QUERIES = Path(__file__).parent / "queries.sql"

_MIGRATION = re.compile(r"(\d{4})_\w+\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """The statements that bring a file to `version`."""

    version: int
    name: str
    text: str


def migrations(folder: Path) -> list[Migration]:
    """All there are, in order: 1, 2, 3 ..."""
    found = []
    for path in sorted(folder.glob("*.sql")):
        match = _MIGRATION.fullmatch(path.name)
        if match is not None:
            found.append(Migration(int(match[1]), path.stem, path.read_text(encoding="utf-8")))
    assert [one.version for one in found] == list(range(1, len(found) + 1)), [one.name for one in found]
    return found


def queries(own: Path | None = None) -> dict[str, str]:
    """The statements by their names. `own`: a file of those that a database wants in other words."""
    found = _in_file(QUERIES)
    return found if own is None else found | _in_file(own)


def _in_file(path: Path) -> dict[str, str]:
    _, *parts = re.split(r"^-- name: (\w+)\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    parts[1::2] = [re.sub(r"^--.*\n?", "", one, flags=re.MULTILINE) for one in parts[1::2]]  # what explains
    columns = {
        "job": names(RECORD),
        "light": names(LIGHT),
        "job_values": _marks(RECORD),
        "listed": names(LISTED),
        "born": names(BORN),
        "born_values": _marks(BORN),
        "kin": names(BORN_AS_KIN),
        "kin_values": _marks(BORN_AS_KIN),
        "batch": names(BATCH),
        "schedule": names(SCHEDULE),
        "schedule_values": _marks(SCHEDULE),
        "key": names(KEY),
        "key_values": _marks(KEY),
    }
    return {
        name: statement.strip().format_map(columns)
        for name, statement in zip(parts[::2], parts[1::2], strict=True)
    }


def _marks(columns: tuple[str, ...]) -> str:
    return ", ".join("?" * len(columns))
