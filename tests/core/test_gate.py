"""What may leave when."""

from __future__ import annotations

import random

import pytest

from zmws.core.gate import Gate, Send
from zmws.core.reads import Filter, Read, ReadJob, ReadJobs
from zmws.core.writes import AppendToJob, DeleteJob, FinishJob, InsertJob, ReviveJob, UpdateJob, Write

PEER = ("client", b"c", "")


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


@pytest.mark.parametrize(
    ("sizes", "batches"),
    [
        ([200] * 3, [3]),
        ([200] * 4, [3, 1]),
        ([500, 500], [2]),
        ([500, 501], [1, 1]),
        ([5_000, 1], [1, 1]),
    ],
)
def test_a_batch_is_as_large_as_its_bounds(sizes: list[int], batches: list[int]) -> None:
    gate = Gate(3, 1_000)
    gate.push([DeleteJob(str(n), size=size) for n, size in enumerate(sizes)], [], [])
    found = []
    while (batch := gate.next_batch()) is not None:
        found.append(len(batch.writes))
        gate.committed(batch.seq)
    assert found == batches and gate.uncommitted_bytes == 0


def test_the_jobs_of_one_message_are_in_one_commit_whatever_its_bounds() -> None:
    gate = Gate(2, 1_000_000)
    gate.push([InsertJob({}, False, n > 0) for n in range(5)] + [InsertJob({})], [], [])
    batch = gate.next_batch()
    assert batch is not None and len(batch.writes) == 5


@pytest.mark.parametrize(("whole", "most"), [(True, 8), (False, 64)])
def test_the_reads_of_a_batch_are_bounded_by_what_they_weigh(whole: bool, most: int) -> None:
    gate = Gate(10, 1_000)
    gate.push([], [ReadJob(None, str(n), whole) for n in range(most + 1)], [])
    found = []
    while (batch := gate.next_batch()) is not None:
        found.append(len(batch.reads))
        gate.committed(batch.seq)
    assert found == [most, 1]


@pytest.mark.parametrize(
    ("rows", "size", "at_once"), [(9, 10, False), (10, 10, True), (2, 499, False), (2, 500, True)]
)
def test_what_gathers_goes_when_it_fills_a_batch(rows: int, size: int, at_once: bool) -> None:
    gate = Gate(10, 1_000, patience_s=5.0)
    gate.push([UpdateJob(str(n), {}, size=size) for n in range(rows)], [], [], now=1.0)
    assert (gate.next_batch(1.0) is not None) is at_once
    assert at_once or gate.due() == 6.0


def test_the_patience_counts_from_the_first_that_gathered_and_then_from_the_last_batch() -> None:
    gate = Gate(10, 1_000, patience_s=0.5)
    gate.push([UpdateJob("a", {})], [], [], now=1.0)
    gate.push([UpdateJob("b", {})], [], [], now=1.3)
    assert gate.due() == 1.5 and gate.next_batch(1.49) is None
    batch = gate.next_batch(1.5)
    assert batch is not None and gate.due() is None
    gate.push([UpdateJob("c", {})], [], [], now=1.7)
    gate.committed(batch.seq)
    assert gate.due() == 2.2


def test_a_revival_is_waited_for_and_progress_is_not() -> None:
    for write, at_once in (
        (ReviveJob("a", {}), True),
        (UpdateJob("a", {}), False),
        (AppendToJob("a", "log", "x"), False),
        (DeleteJob("a"), True),
        (InsertJob({}), True),
        (FinishJob("a", {}, "S", 0.0), False),
    ):
        gate = Gate(10, 1_000, patience_s=0.5)
        gate.push([write], [], [], now=1.0)
        assert (gate.next_batch(1.0) is not None) is at_once, write


def test_a_dispatch_that_has_left_is_not_taken_up_any_more() -> None:
    gate = Gate(10, 1_000)
    start, end = UpdateJob("a", {"state": "running"}), FinishJob("a", {"state": "complete"}, "S", 0.0)
    gate.push([start], [], [])
    batch = gate.next_batch(1.0)
    assert batch is not None
    gate.push([end], [], [])
    assert not start.void and gate.uncommitted_bytes == 400
    gate.committed(batch.seq)
    batch = gate.next_batch(1.0)
    assert batch is not None and batch.writes == [end] and end.changes == {"state": "complete"}


def test_a_dispatch_that_somebody_is_about_to_wait_for_is_not_taken_up() -> None:
    gate = Gate(10, 1_000)
    start, end = UpdateJob("a", {"state": "running"}), FinishJob("a", {}, "S", 0.0)
    gate.push([start, end], [], [Send(PEER, "started", start)])
    batch = gate.next_batch(1.0)
    assert batch is not None and batch.writes == [start, end]


def test_a_batch_of_what_was_taken_up_alone_ends_at_its_number() -> None:
    gate = Gate(1, 1_000)
    start, end = UpdateJob("a", {"state": "running"}), FinishJob("a", {}, "S", 0.0)
    gate.push([start, end, DeleteJob("x")], [], [])
    batch = gate.next_batch(1.0)
    assert batch is not None and (batch.writes, batch.seq) == ([end], 2)
    assert gate.uncommitted_bytes == 400
    gate.committed(2)
    batch = gate.next_batch(1.0)
    assert batch is not None and batch.seq == 3


def test_a_send_waits_for_its_own_write_and_not_for_the_others() -> None:
    gate = Gate(1, 1_000)
    writes = [DeleteJob(str(n)) for n in range(3)]
    assert gate.push(list(writes), [], [Send(PEER, n, write) for n, write in enumerate(writes)]) == []
    for n in range(3):
        assert gate.held == 3 - n
        batch = gate.next_batch()
        assert batch is not None
        assert [send.message for send in gate.committed(batch.seq)[0]] == [n]


def test_what_a_batch_has_left_gathers_from_then_on() -> None:
    gate = Gate(2, 10_000, patience_s=0.5)
    gate.push([UpdateJob(str(n), {}) for n in range(3)], [], [], now=1.0)
    batch = gate.next_batch(1.2)
    assert batch is not None and len(batch.writes) == 2
    gate.committed(batch.seq)
    assert gate.due() == 1.7 and gate.next_batch(1.6) is None and gate.next_batch(1.7) is not None
