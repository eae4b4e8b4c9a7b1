"""A store on disk, as the tests open it, and its file as another program does."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zmws.store.sqlite.disk import SqliteStore

MIB = 1024 * 1024


def opened(path: Path, **changes: Any) -> SqliteStore:
    usual = {"reserve_bytes": 4096, "free_bytes_min": 0, "own_folder": path.parent}
    return SqliteStore(path, **usual | changes)


@contextlib.contextmanager
def by_hand(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection
