"""Jobs that are cancelled, retried and deleted: one, or those that a filter names."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.system.admin.echo import Echo, Held, failed_job, service
from zmws import Client, Refused
from zmws.client import Job
from zmws.testing.fixtures import WorkerFactory


def test_one_job_is_cancelled_retried_and_deleted(client: Client, zmws_worker: WorkerFactory) -> None:
    waiting = client.submit("OTHER")
    waiting.cancel()
    assert waiting.status()["state"] == "cancelled"
    zmws_worker(Echo)
    broken = failed_job(client)
    broken.retry()
    assert broken.wait(10)["attempt"] == 2
    broken.delete()
    with pytest.raises(Refused) as refused:
        waiting.cancel()
    assert refused.value.code == "not_possible"
    waiting.retry()
    assert waiting.status()["state"] == "waiting"
    for act in (broken.cancel, broken.retry, broken.delete):
        with pytest.raises(Refused) as refused:
            act()
        assert refused.value.code == "unknown_job"


def test_a_filter_cancels_what_it_names_and_nothing_else(client: Client, held: Held) -> None:
    running = client.submit("SLOW", group="a")
    assert held.begun.wait(10)
    for name, group in (("SLOW", "a"), ("SLOW", "b"), ("OTHER", "a"), ("OTHER", "b")):
        client.submit_many(
            [{"service": name, "group": group}, {"service": name, "group": group, "delay": 900}]
        )
    assert client.cancel_jobs(service="OTHER", group="b") == 2
    assert client.cancel_jobs(group="a", state="scheduled") == 2
    assert client.cancel_jobs(service="SLOW") == 4, "waiting, scheduled and the running one"
    assert running.wait(10)["state"] == "cancelled"
    assert client.cancel_jobs(all=True) == 1
    assert client.cancel_jobs(all=True) == 0
    rows = service(client, "OTHER")
    assert (rows["waiting"], rows["scheduled"]) == (0, 0)


def test_a_filter_by_time(client: Client) -> None:
    job = client.submit("ECHO")
    now = datetime.now(UTC)
    assert client.cancel_jobs(since=now + timedelta(minutes=1)) == 0
    assert client.cancel_jobs(before=(now - timedelta(minutes=1)).isoformat()) == 0
    assert client.cancel_jobs(since=now - timedelta(minutes=1), before=now + timedelta(minutes=1)) == 1
    assert job.status()["state"] == "cancelled"


def test_a_filter_retries_and_deletes(client: Client, zmws_worker: WorkerFactory) -> None:
    zmws_worker(Echo)
    broken = [failed_job(client, group=str(n % 2)) for n in range(4)]
    good = client.submit("ECHO", 1)
    assert good.wait(10)["state"] == "complete"
    assert client.retry_jobs(group="1") == 2
    assert [job.wait(10)["attempt"] for job in broken] == [1, 2, 1, 2]
    assert client.delete_jobs(state="failed", group="0") == 2
    assert client.delete_jobs(service="ECHO") == 3
    assert list(client.jobs()) == [] and service(client, "ECHO")["failed"] == 0


def test_a_filter_over_many_jobs_counts_them_all(client: Client) -> None:
    made = client.submit_many({"service": "ECHO", "params": n} for n in range(2_500))
    assert all(isinstance(one, Job) for one in made)
    assert client.cancel_jobs(service="ECHO") == 2_500
    assert client.delete_jobs(service="ECHO", state="cancelled") == 2_500
    assert list(client.jobs()) == []


def test_an_empty_or_misspelt_filter_does_nothing(client: Client) -> None:
    job = client.submit("ECHO")
    for act in (client.cancel_jobs, client.retry_jobs, client.delete_jobs):
        with pytest.raises(ValueError, match="at least one"):
            act()
        with pytest.raises(ValueError, match="at least one"):
            act(service=None, all=False)
        with pytest.raises(TypeError, match="'servce'"):
            act(servce="ECHO")
    for bad in ({}, {"state": "nope"}, {"since": "yesterday"}, {"service": 3}, {"id": 3}):
        with pytest.raises(Refused) as refused:
            client.ask("zmws.cancel", bad)
        assert refused.value.code == "bad_request"
    assert job.status()["state"] == "waiting"
