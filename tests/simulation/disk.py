"""The disk of the world: the memory store, which outlives the broker and can be full."""

from __future__ import annotations

from zmws.core.writes import DISK_FULL, InsertJob, Verdict
from zmws.store.memory import MemoryStore


class SimDisk(MemoryStore):
    """Says of itself what a durable store says."""

    durability = "disk"
    full = False  # no new job fits; ends do

    def _insert(self, write: InsertJob) -> Verdict:
        row = write.row
        known = row["id"] in self._rows or (row["service"], row["unique"]) in self._unique
        if self.full and not known:
            return Verdict(DISK_FULL, row["id"], row["service"])
        return super()._insert(write)
