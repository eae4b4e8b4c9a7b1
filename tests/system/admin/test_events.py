"""Events of a job, as they come and afterwards."""

from __future__ import annotations

import time
from datetime import datetime

import pytest

from tests.system.admin.echo import Echo, Held, failed_job, kinds
from zmws import Client, JobTimeout, Refused
from zmws.testing.fixtures import WorkerFactory


def test_events_follow_a_live_job_over_its_retries(client: Client, zmws_worker: WorkerFactory) -> None:
    job = client.submit("ECHO", {"fail": 2})
    story = job.events(timeout=20)
    first = next(story)
    assert (first["kind"], first["state"]) == ("state", "waiting")
    zmws_worker(Echo)
    told = [first, *story]
    assert kinds(told) == [
        *("waiting", "running", "log", "scheduled"),
        *("waiting", "running", "log", "scheduled"),
        *("waiting", "running", "complete"),
    ]
    assert [event["attempt"] for event in told if event.get("state") == "running"] == [1, 2, 3]
    numbers = [event["n"] for event in told]
    assert numbers == sorted(set(numbers)) and told[2]["text"] == "attempt 1 fails"
    times = [datetime.fromisoformat(event["at"]) for event in told]
    assert times == sorted(times) and all(at.tzinfo is not None for at in times)
    assert list(job.events(after=numbers[4])) == told[5:]
    assert list(job.events(after=numbers[-1])) == [] and list(job.events(follow=False)) == told


def test_events_come_while_the_job_runs(client: Client, held: Held) -> None:
    job = client.submit("SLOW")
    story = job.events(timeout=20)
    while (event := next(story))["kind"] != "progress":
        pass
    assert (event["done"], event["text"]) == (0.5, "half")
    assert kinds(list(job.events(follow=False))) == ["waiting", "running", "progress"]
    held.go.set()
    rest = list(story)
    assert kinds(rest) == ["partial", "complete"] and rest[0]["value"] == ["part"]


def test_events_of_a_synchronous_call_and_of_a_retried_job(
    client: Client, zmws_worker: WorkerFactory
) -> None:
    zmws_worker(Echo)
    assert client.call("ECHO", 1, id="sync", timeout=10) == 1
    assert kinds(list(client.job("sync").events(timeout=10)))[-1] == "complete"
    job = failed_job(client)
    assert kinds(list(job.events()))[-1] == "failed"
    job.retry()
    told = kinds(list(job.events(timeout=10)))
    assert told.count("failed") == 2 and told[-1] == "failed", "the first failed was not the end"


def test_events_wait_no_longer_than_they_may(client: Client) -> None:
    job = client.submit("ECHO")
    began = time.monotonic()
    with pytest.raises(JobTimeout, match="has not ended within"):
        list(job.events(timeout=0.3))
    assert 0.3 <= time.monotonic() - began < 5
    with pytest.raises(Refused) as refused:
        list(client.job("nobody").events())
    assert refused.value.code == "unknown_job"


def test_waits_that_are_asked_again_still_end_in_time(client: Client) -> None:
    job = client.submit("ECHO")
    client._connection.dialog.settings.repeat_s = 0.1
    waiting, watching = job.wait_future(1.0), job.events_future(after=99, timeout=1.0)
    assert waiting.result(5) is None and watching.result(5) == []
