"""What may leave when."""

from __future__ import annotations

import random

import pytest

from zmws.core.gate import Gate, Send
from zmws.core.writes import DeleteJob, Filter, FinishJob, Read, ReadJob, ReadJobs, UpdateJob, Write

PEER = ("client", b"c")


def test_a_send_that_speaks_of_a_write_waits_for_its_commit() -> None:
    gate = Gate(10, 1_000_000)
    first, second = DeleteJob("a"), DeleteJob("b")
    free = Send(PEER, "free")
    assert gate.push([first, second], [], [free, Send(PEER, "a", first), Send(PEER, "b", second)]) == [free]
    batch = gate.next_batch()
    assert batch is not None and batch.writes == [first, second] and gate.next_batch() is None
    assert gate.held == 2 and gate.uncommitted_bytes > 0
    free_now, writes = gate.committed(batch.seq)
    assert [send.message for send in free_now] == ["a", "b"] and writes == [first, second]
    assert gate.idle and gate.held == 0 and gate.uncommitted_bytes == 0


def test_what_gathers_during_a_commit_is_the_next_batch() -> None:
    gate = Gate(2, 1_000_000)
    gate.push([DeleteJob(str(n)) for n in range(3)], [], [])
    batch = gate.next_batch()
    assert batch is not None and len(batch.writes) == 2
    gate.push([DeleteJob("x")], [], [])
    gate.committed(batch.seq)
    batch = gate.next_batch()
    assert batch is not None and [w.job_id for w in batch.writes] == ["2", "x"]


def test_batches_are_bounded_by_bytes_and_one_write_always_goes() -> None:
    gate = Gate(100, 500)
    gate.push([DeleteJob("a", size=400), DeleteJob("b", size=400), DeleteJob("c", size=9_999)], [], [])
    sizes = []
    while (batch := gate.next_batch()) is not None:
        sizes.append([write.size for write in batch.writes])
        gate.committed(batch.seq)
    assert sizes == [[400], [400], [9_999]]


def test_a_read_sees_what_stands_before_it_and_lists_go_their_own_way() -> None:
    gate = Gate(100, 500)
    read, page = ReadJob(None, "a"), ReadJobs(None, Filter())
    gate.push([DeleteJob("a")], [read, page], [])
    gate.push([DeleteJob("b")], [], [])
    batch = gate.next_batch()
    assert batch is not None and batch.reads == [read] and len(batch.writes) == 1
    assert gate.lists == [page]


def test_what_nobody_waits_for_gathers_until_its_time_or_until_somebody_waits() -> None:
    gate = Gate(100, 10_000, patience_s=0.5)
    gate.push([UpdateJob("a", {"state": "waiting"})], [], [], now=1.0)
    assert gate.next_batch(1.4) is None and gate.due() == 1.5
    gate.push([UpdateJob("b", {"state": "waiting"})], [], [], now=1.4)
    batch = gate.next_batch(1.5)
    assert batch is not None and len(batch.writes) == 2 and gate.due() is None
    gate.committed(batch.seq)
    told = UpdateJob("c", {"state": "waiting"})
    for writes, reads, sends in (
        ([told], [], [Send(PEER, "c", told)]),
        ([UpdateJob("d", {})], [ReadJob(None, "d")], []),
        ([UpdateJob("e", {}), DeleteJob("x")], [], []),
        ([UpdateJob("f", {}, size=20_000)], [], []),
        ([UpdateJob(f"g{n}", {}) for n in range(100)], [], []),
    ):
        gate.push(writes, reads, sends, now=2.0)
        batch = gate.next_batch(2.0)
        assert batch is not None, writes[0]
        gate.committed(batch.seq)
        while (batch := gate.next_batch(9.0)) is not None:
            gate.committed(batch.seq)
    assert gate.idle and gate.uncommitted_bytes == 0


def test_the_end_of_a_job_takes_up_its_dispatch_unless_somebody_waits_for_that() -> None:
    for sends in (0, 1):
        gate = Gate(100, 10_000, patience_s=0.5)
        start = UpdateJob("a", {"state": "running", "attempt": 3})
        end = FinishJob("a", {"state": "complete"}, "S", 9.0)
        gate.push([start], [], [Send(PEER, "started", start)] * sends, now=0.0)
        gate.push([end], [], [Send(PEER, "done", end)], now=0.0)
        batch = gate.next_batch(0.0)
        assert batch is not None and batch.seq == end.seq
        if sends:
            assert batch.writes == [start, end]
        else:
            assert batch.writes == [end] and end.changes == {"state": "complete", "attempt": 3}
        assert [send.message for send in gate.committed(batch.seq)[0]] == ["started"] * sends + ["done"]
        assert gate.idle and gate.uncommitted_bytes == 0


def test_a_unit_takes_up_no_dispatch_for_the_job_runs_on_when_the_unit_is_refused() -> None:
    gate = Gate(100, 10_000)
    start = UpdateJob("a", {"state": "running", "attempt": 3})
    end, follow_up = FinishJob("a", {"state": "complete"}, "S", 9.0), DeleteJob("b", unit=True)
    gate.push([start], [], [])
    gate.push([end, follow_up], [], [])
    batch = gate.next_batch()
    assert batch is not None and batch.writes == [start, end, follow_up] and not start.void


def test_a_dispatch_that_is_in_a_unit_is_not_taken_up() -> None:
    for first, second in ((True, False), (False, True)):
        gate = Gate(100, 10_000)
        start, end = UpdateJob("a", {"state": "running"}), FinishJob("a", {"state": "complete"}, "S", 9.0)
        start.unit = second
        writes: list[Write] = [DeleteJob("b"), start, DeleteJob("c", unit=first)]
        gate.push(writes, [], [])
        gate.push([end], [], [])
        batch = gate.next_batch()
        assert batch is not None and batch.writes == [*writes, end]


@pytest.mark.parametrize("seed", range(50))
def test_no_unit_is_parted_and_all_leave_in_their_order(seed: int) -> None:
    chance = random.Random(seed)
    gate = Gate(chance.randint(1, 5), chance.choice((300, 1_000, 100_000)))
    made: list[Write] = []
    left: list[Write] = []

    def take() -> None:
        batch = gate.next_batch()
        if batch is not None:
            assert not (batch.writes and batch.writes[0].unit)
            left.extend(batch.writes)
            gate.committed(batch.seq)

    for n in range(40):
        writes: list[Write] = [DeleteJob(f"{n}-{k}", unit=k > 0 and chance.random() < 0.6) for k in range(4)]
        reads: list[Read] = [ReadJob(None, "a")] * chance.randint(0, 1)
        made += writes
        gate.push(writes, reads, [])
        if chance.random() < 0.5:
            take()
    while not gate.idle:
        take()
    assert left == made and gate.uncommitted_bytes == 0


def test_a_send_about_what_is_on_disk_leaves_at_once() -> None:
    gate = Gate(100, 500)
    write = DeleteJob("a")
    gate.push([write], [], [])
    batch = gate.next_batch()
    assert batch is not None
    gate.committed(batch.seq)
    about = Send(PEER, "a", write)
    assert gate.push([], [], [about]) == [about]
