"""Batches: how members come into one, what follows, and what is left where something goes wrong."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from zmws import PREVIOUS, Batch, Client, Job, JobTimeout, OptionError, Refused, ServiceUnknown


def state(client: Client, job_id: str) -> str:
    return str(client.job(job_id).wait(20)["state"])


def test_what_follows_runs_when_all_have_completed(client: Client) -> None:
    with client.batch(
        then=("ECHO", {"to": "a"}, {"priority": 3}), failed="TOLD", id="b", meta={"m": 1}
    ) as batch:
        assert batch.id == "b" and not batch.existing and batch.status()["state"] == "open"
        job = batch.add("ECHO", {"n": 0}, priority=2)
        assert isinstance(job, Job) and job.status()["batch"] == "b" and job.status()["priority"] == 2
        added = [("ECHO", 1), ("ECHO",), "ECHO", {"service": "ECHO", "params": b"\xff", "retries": 1}]
        assert batch.add_many(added) == 4
        assert batch.add_chain([("ECHO", 1), ("ECHO", PREVIOUS)], id="c").result(20) == 1
    row = batch.wait(20)
    assert (row["state"], row["total"], row["complete"], row["meta"]) == ("complete", 7, 7, {"m": 1})
    assert row["then_id"] == "b:then" and row["failed_id"] is None
    assert client.job("b:then").result(20) == {"to": "a"}
    assert client.job("b:then").status()["priority"] == 3
    assert client.job("b:then").status()["concludes"]["total"] == 7
    assert len(list(batch.jobs())) == len(list(client.jobs(batch=batch, limit=2))) == 7
    assert [row["id"] for row in client.batches(state="complete")] == ["b"]
    assert not list(client.batches(state="open"))


def test_with_its_jobs_at_hand_it_is_closed_at_once(client: Client) -> None:
    batch = client.batch(({"service": "ECHO", "params": n} for n in range(2_500)), then="TOLD")
    row = batch.wait(60)
    assert row["closed"] and row["complete"] == row["total"] == 2_500
    assert client.job(row["then_id"]).status()["params"]["complete"] == 2_500


def test_of_none_at_all_it_is_complete_at_once(client: Client) -> None:
    row = client.batch([], then="TOLD").wait(20)
    assert row["state"] == "complete" and row["total"] == 0 and row["then_id"]


def test_if_one_fails_the_other_follows_and_a_retry_may_mend_it(client: Client) -> None:
    batch = client.batch([("ECHO", 1), ("SHAKY", {"fails": 1}, {"retries": 0})], then="TOLD", failed="TOLD")
    row = batch.wait(20)
    assert (row["state"], row["failed"], row["then_id"]) == ("failed", 1, None)
    assert row["first"] == [job["id"] for job in batch.jobs(state="failed")]
    assert client.job(row["failed_id"]).status()["params"]["as"] == "failed"
    assert batch.retry() == 1
    assert batch.wait(20)["state"] == "complete" and batch.status()["then_id"]


def test_its_jobs_add_to_it(client: Client) -> None:
    batch = client.batch([("SPLIT", {"parts": 3}), ("SPLIT", {"parts": 2})], then="TOLD")
    row = batch.wait(20)
    assert (row["total"], row["complete"]) == (7, 7)
    assert sorted(job["parent"] is not None for job in batch.jobs()) == [False] * 2 + [True] * 5


def test_an_exception_in_the_block_leaves_it_open_and_nothing_follows(client: Client) -> None:
    with pytest.raises(ZeroDivisionError), client.batch(then="TOLD", id="half") as batch:
        job = batch.add("ECHO", 1)
        raise ZeroDivisionError
    assert job.result(20) == 1
    assert batch.status()["state"] == "open" and batch.status()["then_id"] is None
    with client.get_batch("half") as again:  # the rest, later
        again.add("ECHO", 2)
    assert again.wait(20)["complete"] == 2


def test_the_first_that_is_refused_leaves_it_open(client: Client) -> None:
    for jobs, kind, text in (
        ([("ECHO", 1), ("NONE", 1)], Refused, "job 2 of batch half: no worker ever registered"),
        (
            [("ECHO", 1), ("ECHO", 1, {"retries": -1}), "ECHO"],
            Refused,
            "job 2 of batch half: option 'retries'",
        ),
        ([("ECHO", 1), ("ECHO", object())], Refused, "job 2 of batch half: params"),
        (["ECHO", 5], TypeError, "job 2 of the batch is 5"),
    ):
        with pytest.raises(kind, match=text):
            client.batch(jobs, then="TOLD", id="half")  # type: ignore[arg-type]
        assert client.get_batch("half").status()["state"] == "open"
    with pytest.raises(OptionError, match="retries"):
        client.get_batch("half").add("ECHO", retries=-1)
    with pytest.raises(ServiceUnknown):
        client.batch(then="NONE")
    with pytest.raises(TypeError, match="then"):
        client.batch(then=5)  # type: ignore[arg-type]
    assert len(list(client.batches())) == 1


def test_after_its_end_nobody_adds_to_it_but_a_repeat_is_no_addition(client: Client) -> None:
    jobs = [{"service": "ECHO", "params": n, "id": f"j{n}"} for n in range(3)]
    client.batch(jobs, id="r", then="TOLD")
    again = client.batch(jobs, id="r", then="TOLD")  # the program was started again
    assert again.existing and again.wait(20)["total"] == 3
    with pytest.raises(Refused) as fault:
        again.add("ECHO", 1)
    assert fault.value.code == "batch_closed"
    with pytest.raises(Refused, match="no batch 'none'"):
        client.get_batch("none").status()


def test_jobs_without_ids_are_the_same_jobs_when_the_batch_is_asked_for_again(client: Client) -> None:
    jobs: list[Any] = [
        ("ECHO", 1),
        {"service": "ECHO", "params": 2, "id": "own"},
        "ECHO",
        {"chain": [("ECHO", 4), ("ECHO", PREVIOUS)]},
        {"service": "ECHO", "id": None},
    ]
    with pytest.raises(ZeroDivisionError):
        client.batch((jobs[n] if n < 2 else 1 / 0 for n in range(5)), id="x", then="TOLD")
    left = client.batch(id="x")  # whether the program died before its jobs were sent, or behind
    left.add("ECHO", 1, id="x:1")
    for _ in range(2):  # to an open batch, and to one that has ended
        row = client.batch(jobs, id="x", then="TOLD").wait(20)
        assert (row["total"], row["complete"]) == (6, 6)
        ids = {job["id"] for job in client.get_batch("x").jobs()}
        assert ids == {"x:1", "own", "x:3", "x:4:1", "x:4:2", "x:5"}
    with pytest.raises(Refused, match="job 6 of batch x"):  # no repeat
        client.batch([*jobs, "ECHO"], id="x")


def test_cancelled_it_is_closed_and_ends(client: Client) -> None:
    batch = client.batch(then="TOLD", failed="TOLD")
    batch.add_many([("NOBODY", n) for n in range(3)])
    batch.add("ECHO", 1).wait(20)
    assert batch.cancel() == 3
    row = batch.wait(20)
    assert (row["state"], row["cancelled"], row["complete"]) == ("failed", 3, 1)
    assert row["failed_id"] and not row["then_id"]


def test_a_wait_ends_in_time(client: Client) -> None:
    batch = client.batch([("NOBODY", 1)], id="late")
    with pytest.raises(JobTimeout, match=r"batch late has not ended within 0\.2 s"):
        batch.wait(0.2)
    assert batch.cancel() == 1


def test_a_batch_may_be_given_where_its_id_may(client: Client) -> None:
    batch = client.batch()
    client.submit("NOBODY", batch=batch)
    client.submit_many([{"service": "NOBODY", "batch": batch}])
    client.chain([("NOBODY", 1)], batch=batch)
    assert batch.status()["total"] == 3
    assert client.cancel_jobs(batch=batch) == 3 and client.retry_jobs(batch=batch, state="cancelled") == 3
    assert client.cancel_jobs(batch=batch.id) == 3 and client.delete_jobs(batch=batch) == 3
    job = client.submit("NOBODY")
    with pytest.raises(OptionError, match=r"the id of a batch, or what Client\.batch gives"):
        client.submit("NOBODY", batch=job)
    assert batch.close()["state"] == "failed"


def test_the_end_of_a_job_is_told_to_a_service(client: Client) -> None:
    job = client.submit("ECHO", 5, on_complete="TOLD", on_failed="TOLD")
    assert job.result(20) == 5
    (told,) = client.jobs(parent=job)
    assert client.job(told["id"]).status()["params"]["result"] == 5


class Item(dict[str, Any]):
    """A job that can be counted."""


def test_however_many_are_added_few_of_them_are_kept(client: Client) -> None:
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    most = 0

    class Kept:
        """Goes with its item."""

    def jobs() -> Iterator[dict[str, Any]]:
        nonlocal most
        for n in range(6_000):
            item = Item(service="NOBODY", params=n)
            mark = Kept()
            item.mark = mark  # type: ignore[attr-defined]
            alive.add(mark)
            most = max(most, len(alive))
            yield item

    batch = client.batch(jobs())
    gc.collect()
    assert batch.status()["total"] == 6_000 and not alive
    assert most < 100
    assert isinstance(batch, Batch)
