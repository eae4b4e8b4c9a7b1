"""The disk of the simulation, and beside it the shipped store: what one does, the other must do."""

from __future__ import annotations

from collections.abc import Sequence

from tests.simulation.violation import demand
from tests.store.model import ModelStore
from zmws.core.reads import ReadBatch
from zmws.core.writes import Verdict, Write
from zmws.store.sqlite.memory import MemoryStore


class TwinStore(ModelStore):
    """Compares verdicts and batches, commit by commit."""

    def __init__(self) -> None:
        super().__init__()
        self._shipped = MemoryStore()

    def commit(self, writes: Sequence[Write]) -> list[Verdict]:
        verdicts = super().commit(writes)
        others = self._shipped.commit(writes)
        for one, other in zip(verdicts, others, strict=True):
            demand(one == other, f"the shipped store answers {other}, and not {one}")
        for name, batch in self.batches.items():
            found = self._shipped.read(ReadBatch("twin", name)).batches
            demand(found == [batch], f"the shipped store has {found}, and not {batch}")
        return verdicts
