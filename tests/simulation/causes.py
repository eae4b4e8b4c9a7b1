"""Why jobs have failed is counted right, whatever a crash undoes."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.simulation.violation import demand
from tests.store.model import ModelStore
from zmws.core.reads import ReadCauses
from zmws.core.states import FAILED
from zmws.core.writes import FinishJob, Write
from zmws.wire.causes import cause_of


class Causes:
    """Follows the jobs that fail, and what the store says of them."""

    def __init__(self) -> None:
        self.ever: Counter[str] = Counter()  # failures by cause, over all lives

    def committed(self, writes: list[Write]) -> None:
        """A batch is on disk."""
        for write in writes:
            if isinstance(write, FinishJob) and write.changes["state"] == FAILED:
                self.ever[cause_of(write.changes["error"]).key(write.service)] += 1

    def look(self, disk: ModelStore) -> None:
        """The counts are those of the rows, each named after its own error."""
        failed: Counter[str] = Counter()
        for row in disk.rows.values():
            named = cause_of(row["error"]).key(row["service"]) if row["state"] == FAILED else None
            demand(row["cause"] == named, f"{row['id']} is {row['state']}, of the cause {row['cause']}")
            if named is not None:
                failed[named] += 1
        told = disk.read(ReadCauses("look", None, 1_000)).causes
        demand({one.cause: one.total for one in told} == dict(self.ever), f"not all that failed: {told}")
        for one in told:
            text = f"{one.failed} are failed for {one.cause}, and {failed[one.cause]} there are"
            demand(one.failed == failed[one.cause], text)
            demand(sum(one.hours.values()) == one.total, f"the hours of {one} are not all of it")

    def answered(self, told: dict[str, Any], disk: ModelStore) -> None:
        """zmws.failures has answered, all of it in one page."""
        failed = Counter(row["cause"] for row in disk.rows.values() if row["state"] == FAILED)
        counts = {one["cause"]: one["count"] for one in told["causes"] if one["count"]}
        demand(counts == dict(failed), f"told of {counts}, and failed have {failed}")
