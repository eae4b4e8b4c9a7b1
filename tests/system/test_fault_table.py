"""The table of faults finds what it is to find; all of it takes too long, and is run by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.fault_table import ALL, FAULTS, HEAD, measure

_BY_NAME = {one.name: one for one in FAULTS}


@pytest.mark.parametrize(
    ("name", "kind", "seen"),
    [
        ("worker-killed", "inline", ["worker_lost", "lost", "the worker ended: -9"]),
        ("segfault", "children", ["ChildDied", "SIGSEGV"]),
    ],
)
def test_a_row_tells_what_is_seen_and_how_the_job_went_on(
    tmp_path: Path, name: str, kind: str, seen: list[str]
) -> None:
    row = measure(_BY_NAME[name], kind, tmp_path)
    assert not row.wrong and row.went_on_s is not None
    assert row.end.startswith("complete, attempt 2, 1 failures")
    assert all(one in row.seen for one in seen), row.seen
    assert len(row.cells()) == len(HEAD)


def test_rows_have_names_of_their_own_and_kinds_that_there_are() -> None:
    assert len(_BY_NAME) == len(FAULTS)
    assert all(set(one.kinds) <= set(ALL) for one in FAULTS)
