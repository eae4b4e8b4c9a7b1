"""The columns of a job's record: what a job has that nothing was said of."""

from __future__ import annotations

from dataclasses import fields
from typing import get_type_hints

import pytest

from tests.core.jobs import a_job
from zmws.core.record import NAMES, Record, marked


@pytest.mark.interpreted  # compiled there are no annotations
def test_what_the_metadata_of_a_column_says_of_its_type_is_what_its_annotation_says() -> None:
    assert {one.name: one.metadata["type"] for one in fields(Record)} == get_type_hints(Record)


def test_a_job_of_which_nothing_is_said_has_done_nothing_yet() -> None:
    job = a_job()
    zeros = (
        *("attempt", "failures", "losses", "priority", "progress_n", "events", "partials_count"),
        *(
            "partials_cut",
            "log_bytes",
            "log_cut",
            "body_bytes",
            "partials_bytes",
            "stacks_bytes",
            "progress_written_n",
        ),
    )
    assert {name: getattr(job, name) for name in zeros} == dict.fromkeys(zeros, 0)
    falses = ("by_wall", "worker_ours", "result_plain", "sync", "light", "lease_written")
    assert not any(getattr(job, name) for name in falses) and job.deadline_mono == 0.0
    assert (job.state, job.durability, job.retries, job.ttr, job.backoff) == (
        "waiting",
        "disk",
        3,
        3600.0,
        2.0,
    )
    nones = (
        *("group", "unique", "started_at", "ended_at", "expires_at", "worker", "progress", "progress_text"),
        *("error", "keep", "nonce", "deadline_at", "lease", "progress_at", "saved", "token", "last_write"),
    )
    assert {getattr(job, name) for name in nones} == {None}
    assert (job.states, job.attempts, job.result, job.history, job.callers) == ((), (), (), (), [])


def test_lists_show_twenty_two_columns_but_for_the_kind_in_the_order_of_the_protocol() -> None:
    assert marked("shown") == (
        *("id", "service", "state", "attempt", "failures", "retries", "priority", "group", "unique"),
        *("created_at", "ready_at", "started_at", "ended_at", "expires_at", "ttr", "worker"),
        *("progress", "progress_text", "error", "parent", "batch", "chain"),
    )
    assert set(marked("shown")) < set(NAMES) and set(marked("bulk")) <= set(marked("large"))
