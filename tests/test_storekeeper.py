"""Who commits: the loop itself or the writer's thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import pytest
import zmq

from zmws.core.gate import Batch
from zmws.core.host import Commits
from zmws.core.reads import Read, ReadUnfinished
from zmws.core.rows import Rows
from zmws.core.writes import NEW, Verdict, Write
from zmws.errors import StoreError
from zmws.server.storekeeper import AT_ONCE_ROWS, Report, Storekeeper
from zmws.store.sqlite.memory import MemoryStore

from .store.contract import insert


class Watched(MemoryStore):
    """Says which thread committed; may promise more than it keeps, and fail."""

    def __init__(self, durability: str = "memory", fault: StoreError | None = None) -> None:
        super().__init__()
        self.durability = durability
        self._fault = fault
        self.threads: list[str] = []

    def commit(self, writes: Sequence[Write]) -> list[Verdict]:
        self.threads.append(threading.current_thread().name)
        if self._fault is not None:
            raise self._fault
        return super().commit(writes)

    def read(self, read: Read) -> Rows:
        self.threads.append(threading.current_thread().name)
        return super().read(read)


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    with zmq.Context() as context:
        yield context


def reported(keeper: Storekeeper, batch: Batch) -> Report:
    """What became of it, however it came."""
    report = keeper.commit(batch)
    if report is None:
        assert keeper.reports.poll(10_000), "the writer says nothing"
        (report,) = keeper.take()
    return report


def batch_of(count: int, **more: list[Read]) -> Batch:
    return Batch(count, [insert(f"j{n}", number=n + 1) for n in range(count)], **more)


HERE = threading.main_thread().name


@pytest.mark.parametrize(
    "durability, batch, by",
    [
        ("memory", batch_of(1), HERE),
        ("memory", batch_of(AT_ONCE_ROWS), HERE),
        ("memory", batch_of(AT_ONCE_ROWS + 1), "zmws-writer"),
        ("memory", batch_of(1, reads=[ReadUnfinished(None)]), "zmws-writer"),
        ("disk", batch_of(1), "zmws-writer"),
    ],
)
def test_only_short_batches_for_a_store_that_waits_for_nothing_are_the_loops_own(
    context: zmq.Context[zmq.Socket[bytes]], durability: str, batch: Batch, by: str
) -> None:
    store = Watched(durability)
    keeper = Storekeeper(store, context, Commits())
    report = reported(keeper, batch)
    assert report.fault is None and report.seq == batch.seq
    assert [verdict.verdict for verdict in report.verdicts] == [NEW] * len(batch.writes)
    assert [read for read, _ in report.loaded] == batch.reads
    assert set(store.threads) == {by}
    keeper.close()


@pytest.mark.parametrize("durability", ["memory", "disk"])
def test_a_store_that_fails_is_reported_whoever_commits(
    context: zmq.Context[zmq.Socket[bytes]], durability: str
) -> None:
    fault = StoreError("the host failed")
    keeper = Storekeeper(Watched(durability, fault), context, Commits())
    report = reported(keeper, batch_of(1))
    assert report.fault is fault and report.verdicts == []
    keeper.close()
