"""What goes to the store and comes back."""

from __future__ import annotations

import pytest

from tests.core.jobs import a_job
from zmws.core.reads import Filter, ReadJob, ReadJobs
from zmws.core.record import NAMES
from zmws.core.rows import Rows, job_of, row_of, size_of
from zmws.core.writes import (
    AppendToJob,
    DeleteJob,
    InsertJob,
    UpdateJob,
    Verdict,
    refuses,
    units,
    units_verdicts,
)


def test_a_job_comes_back_out_of_its_record() -> None:
    job = a_job(4, 3.0, body=(b"ab", b"c"))
    job.attempts, job.events = ({"attempt": 1},), 7
    row = row_of(job)
    assert set(row) == set(NAMES) and row["events"] == 7
    back = job_of(row)
    assert row_of(back) == row and back.kind == "stored" and back.body_bytes == 3
    assert back.history == () and job_of({**row, "history": [(1, 2.0, "log", "x")]}).history == [
        (1, 2.0, "log", "x")
    ]


@pytest.mark.parametrize(("frames", "size"), [((), 0), ((b"",), 0), ((b"abc",), 3), ((b"a", b"", b"bc"), 3)])
def test_a_body_has_the_size_of_its_frames(frames: tuple[bytes, ...], size: int) -> None:
    assert size_of(frames) == size


def test_where_nothing_is_said_a_write_waits_for_nothing_and_weighs_a_little() -> None:
    for write in (DeleteJob("j"), UpdateJob("j", {}), AppendToJob("j", "log", "x")):
        assert (write.seq, write.size, write.void, write.job, write.told) == (0, 200, False, None, None)
    insert = InsertJob({})
    assert not insert.only_if_known and not insert.together
    assert ReadJob("asker", "j").whole and ReadJob("asker", "j").past is None
    assert ReadJobs("asker", Filter()).limit == 100 and Rows().rows == [] and Rows().fault is None


def test_what_is_one_unit_stands_together() -> None:
    writes = [DeleteJob("a"), DeleteJob("b", unit=True), DeleteJob("c"), DeleteJob("d")]
    assert units(writes) == [writes[:2], writes[2:3], writes[3:]] and units([]) == []


@pytest.mark.parametrize(
    ("verdict", "refused"),
    [
        (Verdict("new", "j"), False),
        (Verdict("deleted", "j"), False),
        (Verdict("existing", "j", service="E"), False),
        (Verdict("existing", "j", service="F"), True),
        (Verdict("full", "j"), True),
        (Verdict("disk_full", "j"), True),
        (Verdict("unique_conflict", "j"), True),
        (Verdict("unknown", "j"), True),
    ],
)
def test_what_refuses_a_unit(verdict: Verdict, refused: bool) -> None:
    assert refuses(verdict, InsertJob({"service": "E"})) is refused


def test_all_of_a_unit_that_take_a_verdict_are_told_which_was_refused() -> None:
    unit = [DeleteJob("a"), UpdateJob("b", {}), DeleteJob("c")]
    told = units_verdicts(unit, unit[2], Verdict("unknown", "c"))
    assert told == [Verdict("unknown", "c", by_unit=True), Verdict("unknown", "c")]
