"""The disk of the simulation, and beside it what the shipped store commits: both must do the same."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from tests.simulation.violation import demand
from tests.store.model import ModelStore
from zmws.core.reads import ReadBatch
from zmws.core.writes import DISK_FULL, Verdict, Write
from zmws.store.sql.reads import Reads
from zmws.store.sql.sql_files import migrations, queries
from zmws.store.sql.writer import Writer
from zmws.store.sqlite.dialect import SQL_FOLDER, SQLITE


class TwinStore(ModelStore):
    """Compares verdicts and batches, commit by commit."""

    def __init__(self) -> None:
        super().__init__()
        connection = sqlite3.connect(":memory:", isolation_level=None)
        for migration in migrations(SQL_FOLDER):
            connection.executescript(migration.text)
        self._writer = Writer(connection, queries(), SQLITE)
        self._reads = Reads(connection, queries(), SQLITE, self._writer.counts)

    def commit(self, writes: Sequence[Write]) -> list[Verdict]:
        verdicts = super().commit(writes)
        others = self._writer.commit(writes, refusing=self.no_room == DISK_FULL)
        for one, other in zip(verdicts, others, strict=True):
            demand(one == other, f"the shipped store answers {other}, and not {one}")
        for name, batch in self.batches.items():
            found = self._reads.answer(ReadBatch("twin", name)).batches
            demand(found == [batch], f"the shipped store has {found}, and not {batch}")
        return verdicts
