"""Many jobs at once, what an operator does, leases and events: over a real broker, by Python and by hand."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import pty
import re
import select
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.peers import wait_until
from tests.system.installation import ZMWS, Ran, environment, run
from zmws import AsyncClient, BrokerUnreachable, Client, JobTimeout, Refused, ServiceUnknown, WorkerBase
from zmws.client import AsyncJob, Job, Lease
from zmws.core.options import ServiceOptions
from zmws.testing import RunningBroker
from zmws.testing.fixtures import BrokerFactory, WorkerFactory

KNOWN = {name: ServiceOptions(backoff=0.01) for name in ("ECHO", "SLOW", "OTHER")}


class Echo(WorkerBase):
    """Gives back what it was given; fails where it is told to."""

    service_name = "ECHO"

    def work(self, job_id: str, params: Any) -> Any:
        if isinstance(params, dict) and params.get("fail", 0) >= self.job.attempt:
            self.job.log(f"attempt {self.job.attempt} fails")
            return False
        return params


class Held(WorkerBase):
    """Holds its jobs until the test lets them go."""

    service_name = "SLOW"

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()

    def work(self, job_id: str, params: Any) -> Any:
        self.job.progress(0.5, "half")
        self.begun.set()
        assert self.go.wait(20)
        self.job.partial(["part"])
        return "done"


@pytest.fixture
def zmws_broker(zmws_broker_factory: BrokerFactory) -> RunningBroker:
    """Its services are known without a worker."""
    return zmws_broker_factory(heartbeat_interval_s=0.5, services=KNOWN)


@pytest.fixture
def client(zmws_client: Client) -> Client:
    return zmws_client


@pytest.fixture
def held(zmws_worker: WorkerFactory) -> Iterator[Held]:
    """A worker of SLOW; whatever it still holds at the end is let go."""
    worker = Held()
    zmws_worker(worker)
    yield worker
    worker.go.set()


def accepted(one: Job | Refused) -> Job:
    assert isinstance(one, Job), one
    return one


def service(client: Client, name: str) -> dict[str, Any]:
    return next(row for row in client.services() if row["service"] == name)


def failed_job(client: Client, **options: Any) -> Job:
    job = client.submit("ECHO", {"fail": 99}, retries=0, **options)
    assert job.wait(10)["state"] == "failed"
    return job


# ---------------------------------------------------------------- submit_many


def test_many_jobs_in_one_message_have_their_results(client: Client, zmws_worker: WorkerFactory) -> None:
    zmws_worker(Echo)
    made = client.submit_many({"service": "ECHO", "params": {"n": n}} for n in range(50))
    assert [accepted(job).result(20) for job in made] == [{"n": n} for n in range(50)]
    assert len({accepted(job).id for job in made}) == 50
    assert all(accepted(job).durability == "memory" and not accepted(job).existing for job in made)
    assert client.submit_many([]) == []


def test_each_of_many_has_its_own_params_and_options(client: Client, zmws_worker: WorkerFactory) -> None:
    zmws_worker(Echo)
    given: list[dict[str, Any]] = [
        {"service": "ECHO", "params": b"\x00\xff", "id": "bytes"},
        {"service": "ECHO", "id": "none", "priority": 7, "group": None},
        {"service": "ECHO", "params": ["ä", None], "id": "json", "ttr": 9.0, "group": "g"},
    ]
    raw, none, listed = (accepted(job) for job in client.submit_many(given))
    assert (raw.id, none.id, listed.id) == ("bytes", "none", "json")
    assert raw.result(10) == b"\x00\xff" and none.result(10) == {} and listed.result(10) == ["ä", None]
    assert none.status()["priority"] == 7 and none.status()["params"] is None
    assert listed.status()["ttr"] == 9.0 and listed.status()["group"] == "g"


def test_what_is_wrong_with_one_of_many_is_its_own_verdict(client: Client) -> None:
    made = client.submit_many(
        [
            {"service": "ECHO", "id": "good"},
            {"service": "NOPE"},
            {"service": "ECHO", "priority": 3000},
            {"service": "ECHO", "prio": 1},
            {"service": "OTHER", "id": "good"},
            {"params": 1},
            {"service": "ECHO", "params": object()},
            {"service": "ECHO", "id": "last"},
        ]
    )
    assert [one.code if isinstance(one, Refused) else one.id for one in made] == [
        "good",
        "unknown_service",
        "bad_option",
        "bad_option",
        "id_conflict",
        "bad_service",
        "bad_params",
        "last",
    ]
    assert isinstance(made[1], ServiceUnknown) and "3000" in str(made[2])
    assert service(client, "ECHO")["waiting"] == 2


def test_many_that_are_sent_again_are_the_same_jobs(client: Client) -> None:
    given = [{"service": "ECHO", "id": f"job-{n}", "params": n} for n in range(3)]
    first = [accepted(job) for job in client.submit_many(given)]
    again = [accepted(job) for job in client.submit_many([*given, given[0], {"service": "ECHO"}])]
    assert [job.existing for job in first] == [False] * 3
    assert [job.existing for job in again] == [True] * 4 + [False]
    assert [job.id for job in again[:3]] == [job.id for job in first]
    assert service(client, "ECHO")["waiting"] == 4


def test_a_unique_key_counts_among_many(client: Client) -> None:
    one, two = (accepted(job) for job in client.submit_many([{"service": "ECHO", "unique": "k"}] * 2))
    assert one.id == two.id and (one.existing, two.existing) == (False, True)


def test_many_repeated_by_the_connection_are_accepted_once(client: Client) -> None:
    assert client.services()  # connected: from here on it repeats
    client._connection.dialog.settings.repeat_s = 0.001
    made = client.submit_many({"service": "ECHO", "params": "x" * 1000} for _ in range(1000))
    assert all(isinstance(one, Job) for one in made)
    assert service(client, "ECHO")["waiting"] == 1000


def test_more_than_a_message_holds_go_in_several(zmws_broker: RunningBroker) -> None:
    with zmws_broker.connect(message_bytes_max=20_000) as client:
        jobs = [{"service": "ECHO", "params": "x" * size} for size in (9_000, 9_000, 9_000, 30_000, 10)]
        made = client.submit_many(jobs)
        assert [isinstance(one, Job) for one in made] == [True, True, True, False, True]
        assert isinstance(made[3], Refused) and made[3].code == "too_large"
        with pytest.raises(Refused, match="more jobs than one message holds"):
            client.submit_many_future(jobs)
        (alone,) = client.submit_many_future(jobs[:1]).result(10)
        assert accepted(alone).id != accepted(made[0]).id
        assert service(client, "ECHO")["waiting"] == 5


def test_more_jobs_than_the_broker_takes_in_one_message_go_in_several(
    zmws_broker_factory: BrokerFactory,
) -> None:
    few = zmws_broker_factory(services=KNOWN, submit_many_max=2)
    with few.connect() as client:
        made = client.submit_many([{"service": "ECHO"}, {"service": "ECHO", "params": object()}] * 2)
        assert [isinstance(one, Refused) for one in made] == [False, True] * 2
        made = client.submit_many([{"service": "ECHO"}] * 5)
        assert not any(isinstance(one, Refused) for one in made)
        with pytest.raises(Refused, match="submit_many_max"):
            client.raw_future("zmws.submit", json.dumps([{"service": "ECHO"}] * 3).encode()).result()


def test_a_full_queue_refuses_what_is_over_it(zmws_broker_factory: BrokerFactory) -> None:
    full = zmws_broker_factory(services={"ECHO": ServiceOptions(max_waiting=3)})
    with full.connect() as client:
        made = client.submit_many([{"service": "ECHO"}] * 5)
        codes = [one.code if isinstance(one, Refused) else "" for one in made]
        assert codes == ["", "", "", "queue_full", "queue_full"]


def test_memory_jobs_go_among_many(client: Client, zmws_worker: WorkerFactory) -> None:
    zmws_worker(Echo)
    (job,) = client.submit_many([{"service": "ECHO", "params": 5, "durability": "memory"}])
    assert accepted(job).result(10) == 5 and accepted(job).status()["kind"] == "memory"


@pytest.mark.parametrize("body", [b"{}", b"[1]", b'["x"]', b"null", b"[", b'[{"service": 1}]'])
def test_a_malformed_list_is_refused_and_the_broker_goes_on(client: Client, body: bytes) -> None:
    try:
        status, told = client.raw_future("zmws.submit", body, 10).result()
    except Refused as refused:
        assert refused.code in ("bad_request", "bad_service")
    else:
        assert status == 200 and [one["code"] for one in told] in (["bad_request"], ["bad_service"])
    assert client.submit_many([{"service": "ECHO"}])


@pytest.mark.parametrize("given", ["not base64!", 3, None])
def test_bad_base64_is_a_verdict(client: Client, given: Any) -> None:
    body = json.dumps([{"service": "ECHO", "params_base64": given}]).encode()
    _, (told,) = client.raw_future("zmws.submit", body, 10).result()
    assert told["code"] in ("bad_option", "bad_params", "bad_request")


def test_no_broker_is_an_exception_and_no_list(tmp_path: Path) -> None:
    with Client(f"ipc://{tmp_path}/nobody", connect_timeout=0.2) as client, pytest.raises(BrokerUnreachable):
        client.submit_many([{"service": "ECHO"}])


# ---------------------------------------------------------------- events


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["state"] if event["kind"] == "state" else event["kind"] for event in events]


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


# ---------------------------------------------------------------- cancel, retry, delete


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


# ---------------------------------------------------------------- services


def test_a_purge_cancels_what_waits_and_leaves_what_runs(client: Client, held: Held) -> None:
    running = client.submit("SLOW")
    assert held.begun.wait(10)
    waiting = [client.submit("SLOW"), client.submit("SLOW", delay=900), client.submit("SLOW", group="g")]
    other = client.submit("OTHER")
    assert client.purge("SLOW") == 3
    assert {job.status()["state"] for job in waiting} == {"cancelled"}
    assert other.status()["state"] == "waiting"
    held.go.set()
    assert running.result(10) == "done"
    with pytest.raises(ServiceUnknown):
        client.purge("NOPE")


def test_a_paused_service_starts_nothing_until_it_is_resumed(
    client: Client, zmws_worker: WorkerFactory
) -> None:
    zmws_worker(Echo)
    zmws_worker(Echo, service="OTHER")
    client.pause("ECHO")
    client.pause("ECHO")
    assert service(client, "ECHO")["paused"] and not service(client, "OTHER")["paused"]
    job = client.submit("ECHO", 1)
    assert client.submit("OTHER", 2).result(10) == 2
    assert job.status()["state"] == "waiting" and service(client, "ECHO")["waiting"] == 1
    client.resume("ECHO")
    assert job.result(10) == 1 and not service(client, "ECHO")["paused"]
    for act in (client.pause, client.resume):
        with pytest.raises(ServiceUnknown):
            act("NOPE")


def test_the_rows_of_services_workers_and_stats(client: Client, zmws_worker: WorkerFactory) -> None:
    running = zmws_worker(Echo)
    assert client.call("ECHO", 1, timeout=10) == 1
    assert client.submit("ECHO", 1).result(10) == 1
    failed_job(client)
    with pytest.raises(Exception, match="False"):
        client.call("ECHO", {"fail": 9}, timeout=10)
    row = service(client, "ECHO")
    assert {k: row[k] for k in ("complete", "failed", "calls_complete", "calls_failed", "paused")} == {
        "complete": 1,
        "failed": 1,
        "calls_complete": 1,
        "calls_failed": 1,
        "paused": False,
    }
    assert (row["workers"], row["waiting"], row["oldest_s"]) == (1, 0, None)
    assert [worker["id"] for worker in client.workers()] == [running.id]
    assert client.stats()["workers"] == 1


# ---------------------------------------------------------------- leases


def leased(client: Client, name: str = "ECHO", **given: Any) -> Lease:
    lease = client.lease(name, **{"wait": 10.0, **given})
    assert lease is not None
    return lease


def test_a_leased_job_is_done_here(client: Client) -> None:
    job = client.submit("ECHO", {"a": 1})
    lease = leased(client, ttr=30)
    assert (lease.id, lease.service, lease.attempt, lease.params) == (job.id, "ECHO", 1, {"a": 1})
    assert lease.ttr == 30.0 and 0 < lease.deadline - time.monotonic() <= 30
    assert job.status()["state"] == "running" and service(client, "ECHO")["running"] == 1
    lease.progress(0.25, "a quarter")
    lease.partial([1])
    lease.log("a line")
    record = job.status()
    assert (record["progress"], record["progress_text"], record["log"]) == (0.25, "a quarter", ["a line"])
    lease.complete({"b": 2})
    assert job.result(10) == {"b": 2} and job.status()["partials"] == [[1]]
    told = kinds(list(job.events()))
    assert told == ["waiting", "running", "progress", "partial", "log", "complete"]


@pytest.mark.parametrize("value", [True, {"a": None}, "text", [1], b"\x00\xff"])
def test_params_and_results_of_a_lease_pass_as_they_are(client: Client, value: Any) -> None:
    job = client.submit("ECHO", value)
    lease = leased(client)
    assert lease.params == value
    lease.partial(value)
    lease.complete(value)
    assert job.result(10) == value
    partial = job.status()["partials"]
    shown = {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
    assert partial == [shown]


def test_a_job_without_params_is_leased_with_an_empty_object(client: Client) -> None:
    job = client.submit("ECHO")
    lease = leased(client)
    assert lease.params == {}
    lease.complete()
    assert job.result(10) is None


def test_a_synchronous_call_is_answered_by_a_lease(client: Client) -> None:
    partials: list[Any] = []
    calling = client.call_future("ECHO", 1, timeout=20, on_partial=partials.append)
    lease = leased(client)
    lease.partial("half")
    lease.complete("whole")
    assert calling.result(10) == "whole" and partials == ["half"]


def test_a_lease_waits_for_a_job_and_no_longer_than_it_may(client: Client) -> None:
    assert client.lease("ECHO") is None
    began = time.monotonic()
    assert client.lease("ECHO", wait=0.3) is None
    assert 0.3 <= time.monotonic() - began < 5
    with pytest.raises(ServiceUnknown):
        client.lease("NOPE")
    waiting = client.ask_future("zmws.lease", {"service": "ECHO", "wait": 20, "lease": "mine"}, 20)
    with Client(client._connection.dialog._brokers[0]) as other:
        job = other.submit("ECHO", 5)
    status, record = waiting.result(10)
    assert (status, record["id"], record["params"]) == (200, job.id, 5)


def test_a_lease_that_is_asked_for_again_still_ends_in_time(client: Client) -> None:
    assert client.services()  # connected: from here on it repeats
    client._connection.dialog.settings.repeat_s = 0.1
    began = time.monotonic()
    assert client.lease("ECHO", wait=1.0) is None
    assert time.monotonic() - began < 5


def test_a_repeat_of_a_lease_gets_the_same_job(client: Client) -> None:
    client.submit_many([{"service": "ECHO"}, {"service": "ECHO"}])
    question = {"service": "ECHO", "wait": 0, "lease": "mine"}
    one, again = client.ask("zmws.lease", question), client.ask("zmws.lease", question)
    assert one["token"] == again["token"] and one["id"] == again["id"]
    other = client.ask("zmws.lease", {**question, "lease": "another"})
    assert other["id"] != one["id"]
    report = {"token": one["token"], "kind": "complete", "result": 1}
    assert client.ask("zmws.report", report) == {} and client.ask("zmws.report", report) == {}
    assert client.job(one["id"]).result(10) == 1


def test_a_failed_lease_is_tried_again_and_its_token_is_dead(client: Client) -> None:
    job = client.submit("ECHO", retries=1)
    lease = leased(client)
    lease.fail("it broke", code="mine", type="Broken", traceback="here")
    for dead in (lease.complete, lease.release, lambda: lease.extend(5), lambda: lease.log("x")):
        with pytest.raises(Refused) as refused:
            dead()
        assert refused.value.code == "token_dead"
    assert job.status()["attempts"][0]["error"]["type"] == "Broken"
    leased(client).fail("for good", retry=False)
    record = job.wait(10)
    assert (record["state"], record["failures"], record["error"]["error"]) == ("failed", 2, "for good")


def test_a_failure_for_good_and_a_failure_with_a_delay(client: Client) -> None:
    one, two = client.submit("ECHO"), client.submit("OTHER")
    leased(client).fail("no", retry=False)
    assert one.wait(10)["state"] == "failed"
    leased(client, "OTHER").fail("later", delay=900)
    record = two.status()
    assert record["state"] == "scheduled"
    due = datetime.fromisoformat(record["ready_at"]) - datetime.now(UTC)
    assert 800 < due.total_seconds() <= 900


def test_a_released_job_waits_again_and_is_no_failure(client: Client) -> None:
    job = client.submit("ECHO", retries=0)
    leased(client).release()
    record = job.status()
    assert (record["state"], record["failures"]) == ("waiting", 0)
    again = leased(client)
    assert (again.id, again.attempt) == (job.id, 2)
    again.complete()


def test_a_lease_as_a_block(client: Client) -> None:
    job = client.submit("ECHO", retries=2)
    with leased(client):
        pass
    assert job.status()["failures"] == 0, "nothing was reported: it is released"
    with pytest.raises(KeyError), leased(client):
        raise KeyError("lost")
    failed = job.status()["attempts"][-1]["error"]
    assert (
        failed["type"] == "KeyError"
        and "lost" in failed["error"]
        and "in test_a_lease" in failed["traceback"]
    )
    with leased(client) as lease:
        lease.complete("done")
    assert lease.reported and job.result(10) == "done"


def test_a_lease_past_its_ttr_is_anothers_and_extend_moves_it(client: Client) -> None:
    job = client.submit("ECHO")
    first = leased(client, ttr=0.2)
    second = leased(client, ttr=0.2)
    assert (second.id, second.attempt) == (job.id, 2)
    second.extend(600)
    assert second.deadline - time.monotonic() > 500
    with pytest.raises(Refused) as refused:
        first.complete("late")
    assert refused.value.code == "token_dead"
    assert client.lease("ECHO", wait=0.5) is None, "its 0.2 s have passed, and it is still leased"
    second.complete("in time")
    assert job.result(10) == "in time"
    assert job.status()["attempts"][0]["error"]["code"] == "timeout"


def test_what_no_calendar_and_no_alphabet_has_is_refused(client: Client) -> None:
    with pytest.raises(Refused) as refused:
        client.submit("ECHO", at="9999-12-31T23:59:59-12:00")
    assert refused.value.code == "bad_option"
    (verdict,) = client.raw_future("zmws.submit", json.dumps([{"service": "\ud800"}]).encode()).result(5)[1]
    assert verdict["code"] == "bad_service"
    with pytest.raises(Refused):
        client.submit("ECHO", **{"x" * 100_000: 1})


def test_many_records_that_are_due_are_forgotten_in_steps(client: Client) -> None:
    jobs = [accepted(job) for job in client.submit_many([{"service": "ECHO", "keep": 0}] * 1_000)]
    kept = client.submit("ECHO")
    assert client.purge("ECHO") == 1_001
    wait_until(lambda: len(list(client.jobs(service="ECHO"))) == 1, 20, "a thousand records forgotten")
    assert kept.status()["state"] == "cancelled"
    with pytest.raises(Refused, match="there is no job"):
        jobs[0].status()
    (row,) = [row for row in client.services() if row["service"] == "ECHO"]
    assert row["waiting"] == 0


def test_a_repeat_of_a_known_id_hides_nothing(client: Client) -> None:
    job = client.submit("ECHO", id="known")
    lease = leased(client)
    lease.complete("done")
    assert job.wait(5)["state"] == "complete"
    again, waiting = client.submit_future("ECHO", id="known"), job.wait_future(20.0)
    assert again.result(5).existing and (waiting.result(5) or {})["state"] == "complete"


def test_a_cancelled_lease_is_told_so(client: Client) -> None:
    job = client.submit("ECHO")
    lease = leased(client)
    job.cancel()
    with pytest.raises(Refused) as refused:
        lease.progress(0.5)
    assert refused.value.code == "token_dead"


def test_leases_and_workers_take_turns_and_none_is_forgotten(
    client: Client, zmws_worker: WorkerFactory
) -> None:
    zmws_worker(Echo)
    client.pause("ECHO")
    asked = client.ask_future("zmws.lease", {"service": "ECHO", "wait": 20, "lease": "mine"}, 20)
    jobs = client.submit_many([{"service": "ECHO", "params": n} for n in range(4)])
    client.resume("ECHO")
    _, record = asked.result(10)
    client.ask("zmws.report", {"token": record["token"], "kind": "complete", "result": "leased"})
    results = [accepted(job).result(10) for job in jobs]
    assert results.count("leased") == 1 and len(set(map(str, results))) == 4


@pytest.mark.parametrize(
    ("verb", "question"),
    [
        ("lease", {"lease": "x"}),
        ("lease", {"service": "ECHO"}),
        ("lease", {"service": "ECHO", "lease": "x", "wait": -1}),
        ("lease", {"service": "ECHO", "lease": "x", "ttr": 0}),
        ("extend", {"token": "T", "seconds": 0}),
        ("extend", {"seconds": 5}),
        ("report", {"token": "T", "kind": "nonsense"}),
        ("report", {"kind": "complete"}),
        ("report", {"token": 3, "kind": "complete"}),
        ("report", {"token": "LIVE", "kind": "progress", "done": 2}),
        ("report", {"token": "LIVE", "kind": "log"}),
        ("report", {"token": "LIVE", "kind": "fail", "delay": "soon"}),
        ("report", {"token": "LIVE", "kind": "complete", "result_base64": "!"}),
    ],
)
def test_malformed_questions_are_refused(client: Client, verb: str, question: dict[str, Any]) -> None:
    job = client.submit("ECHO")
    lease = leased(client)
    tokens = {"T": lease.token, "LIVE": lease.token}
    if isinstance(question.get("token"), str):
        question = {**question, "token": tokens[question["token"]]}
    with pytest.raises(Refused) as refused:
        client.ask(f"zmws.{verb}", question)
    assert refused.value.code in ("bad_request", "unknown_service")
    lease.complete()
    assert job.result(10) is None


def test_the_client_refuses_what_cannot_be_reported(client: Client) -> None:
    client.submit("ECHO")
    lease = leased(client)
    with pytest.raises(ValueError, match="from 0 to 1"):
        lease.progress(1.5)
    with pytest.raises(ValueError, match="above 0"):
        lease.extend(0)
    with pytest.raises(TypeError):
        lease.complete(object())
    assert not lease.reported
    lease.complete()


# ---------------------------------------------------------------- asyncio


def test_the_asynchronous_client_does_the_same(
    zmws_broker: RunningBroker, zmws_worker: WorkerFactory
) -> None:
    zmws_worker(Echo)

    async def use() -> None:
        async with AsyncClient(zmws_broker.client) as client:
            made = await client.submit_many([{"service": "ECHO", "params": 1}, {"service": "NOPE"}])
            job, refused = made
            assert isinstance(job, AsyncJob) and isinstance(refused, ServiceUnknown)
            assert await job.result(10) == 1
            told = [event async for event in job.events(timeout=10)]
            assert kinds(told)[-1] == "complete" and (await job.status())["state"] == "complete"
            await job.delete()
            with pytest.raises(Refused):
                await job.status()

            broken = await client.submit("ECHO", {"fail": 99}, retries=0)
            assert (await broken.wait(10))["state"] == "failed"
            await broken.retry()
            assert (await broken.wait(10))["attempt"] == 2
            assert await client.retry_jobs(state="failed") == 1
            await broken.wait(10)
            assert await client.delete_jobs(service="ECHO") == 1

            await client.pause("ECHO")
            await client.submit("ECHO")
            assert (await client.services())[0]["service"] == "ECHO" and len(await client.workers()) == 1
            assert await client.purge("ECHO") == 1
            await client.resume("ECHO")
            assert await client.cancel_jobs(all=True) == 0

            assert await client.lease("OTHER") is None
            leasing = asyncio.create_task(client.lease("OTHER", wait=10, ttr=9))
            other = await client.submit("OTHER", "p")
            lease = await leasing
            assert lease is not None and (lease.id, lease.params, lease.ttr) == (other.id, "p", 9.0)
            with pytest.raises(KeyError):
                async with lease:
                    await lease.progress(0.5, "half")
                    await lease.partial(1)
                    await lease.log("line")
                    await lease.extend(20)
                    raise KeyError("x")
            async with await client.lease("OTHER", wait=10) or lease as again:
                assert again.attempt == 2 and not again.reported
            third = await client.lease("OTHER", wait=10)
            assert third is not None and third.attempt == 3
            await third.complete({"ok": 1})
            assert await other.result(10) == {"ok": 1}
            with pytest.raises(Refused):
                await third.release()

    asyncio.run(use())


def test_a_hundred_waits_of_asyncio_go_on_at_once(zmws_broker: RunningBroker, held: Held) -> None:
    async def use() -> None:
        async with AsyncClient(zmws_broker.client) as client:
            job = await client.submit("SLOW")
            waits = [asyncio.create_task(job.wait(20)) for _ in range(100)]
            assert await client.stats()
            held.go.set()
            assert {record["state"] for record in await asyncio.gather(*waits)} == {"complete"}

    asyncio.run(use())


# ---------------------------------------------------------------- the command line


@pytest.fixture
def zmws(zmws_broker: RunningBroker, tmp_path: Path) -> Any:
    """Runs a command at the test's broker."""

    def at_broker(*args: str, stdin: str | None = None) -> Ran:
        return run(*args, "--broker", zmws_broker.client, cwd=tmp_path, stdin=stdin)

    return at_broker


def test_pause_resume_and_purge_by_hand(zmws: Any, client: Client) -> None:
    assert zmws("pause", "ECHO").out == "paused: ECHO\n"
    row = next(line for line in zmws("services").out.splitlines() if line.startswith("ECHO"))
    assert "paused" in row.split()
    assert zmws("resume", "ECHO", "--json").json() == {"service": "ECHO", "paused": False}
    client.submit_many([{"service": "ECHO"}] * 3)
    assert zmws("purge", "ECHO").out == "cancelled: 3 jobs of ECHO\n"
    assert zmws("purge", "ECHO", "--json").json() == {"count": 0}
    for verb in ("pause", "resume", "purge"):
        ended = zmws(verb, "NOPE")
        assert ended.code == 4 and "unknown_service" in ended.err and ended.out == ""
        assert zmws(verb).code == 2


def test_many_jobs_are_cancelled_retried_and_deleted_by_hand(
    zmws: Any, client: Client, zmws_worker: WorkerFactory
) -> None:
    client.submit_many([{"service": "OTHER", "id": f"job-{n}", "group": str(n % 2)} for n in range(6)])
    ended = zmws("job", "cancel", "job-0", "nobody", "job-1")
    assert (ended.code, ended.out) == (4, "cancelled: job-0\ncancelled: job-1\ncancelled: 2 jobs\n")
    assert "refused (unknown_job)" in ended.err and "nobody" in ended.err
    assert zmws("job", "cancel", "job-2").out == "cancelled: job-2\n"
    assert zmws("job", "cancel", "--group", "1", "--service", "OTHER").out == "cancelled: 2 jobs\n"
    assert zmws("job", "cancel", "--all", "--json").json() == {"count": 1}
    assert (
        zmws("job", "delete", "--state", "cancelled", "--since", "2020-01-01T00:00Z").out
        == "deleted: 6 jobs\n"
    )
    zmws_worker(Echo)
    broken = failed_job(client)
    assert zmws("job", "retry", "--state", "failed", "--json").json() == {"count": 1}
    assert broken.wait(10)["attempt"] == 2
    both = zmws("job", "retry", broken.id, broken.id, "--json")
    assert both.json()["count"] >= 1


def test_ids_or_a_filter_and_never_neither(zmws: Any, client: Client) -> None:
    job = client.submit("ECHO")
    for verb in ("cancel", "retry", "delete"):
        for words in ([], ["--yes"], [job.id, "--all"], [job.id, "--service", "ECHO"]):
            ended = zmws("job", verb, *words)
            assert ended.code == 2 and "give IDs or a filter" in ended.err
    ended = zmws("job", "cancel", "--service", "ECHO", "--group", "", "--yes")  # a variable that is not set
    assert ended.code == 2 and "--group is empty" in ended.err
    assert zmws("job", "cancel", "--state", "complete").code == 2
    ended = zmws("job", "cancel", "--before", "yesterday")
    assert ended.code == 2 and "ISO 8601" in ended.err
    assert job.status()["state"] == "waiting"


def test_a_terminal_is_asked_before_many_are_cancelled(
    zmws_broker: RunningBroker, client: Client, tmp_path: Path
) -> None:
    job = client.submit("ECHO")
    for answer, code in ((b"n\n", 130), (b"y\n", 0)):
        master, slave = pty.openpty()
        command = [*ZMWS, "job", "cancel", "--service", "ECHO", "--broker", zmws_broker.client]
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment(), stdin=slave, stdout=slave, stderr=slave
        )
        os.close(slave)
        shown = b""
        while b"[y/N]" not in shown:
            assert select.select([master], [], [], 20)[0]
            shown += os.read(master, 4096)
        assert b"cancel all jobs of '--service ECHO'?" in shown
        os.write(master, answer)
        assert process.wait(20) == code
        os.close(master)
        assert job.status()["state"] == ("cancelled" if code == 0 else "waiting")


def test_events_by_hand(zmws: Any, zmws_broker: RunningBroker, client: Client, held: Held) -> None:
    job = client.submit("SLOW", id="mine")
    assert held.begun.wait(10)
    wait_until(lambda: len(list(job.events(follow=False))) == 3, what="its progress")
    shown = zmws("job", "events", "mine")
    lines = [re.sub(r"^\d\d:\d\d:\d\d\.\d{3}  ", "", line) for line in shown.out.splitlines()]
    assert lines == ["state     waiting", "state     running, attempt 1", "progress  50% half"], shown
    command = [*ZMWS, "job", "events", "mine", "-f", "--json", "--broker", zmws_broker.client]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        told = [json.loads(process.stdout.readline()) for _ in range(3)]
        held.go.set()
        told += [json.loads(line) for line in process.stdout]
    assert process.returncode == 0
    assert kinds(told) == ["waiting", "running", "progress", "partial", "complete"]
    after = zmws("job", "events", "mine", "--after", str(told[3]["n"]), "--json")
    assert after.json() == told[4]
    assert zmws("job", "events", "nobody").code == 4
    assert zmws("job", "events", "mine", "--timeout", "1").code == 2
    client.submit("OTHER", id="waits")
    assert zmws("job", "events", "waits", "--follow", "--timeout", "0.3").code == 124


def test_stats_by_hand(zmws: Any, client: Client, zmws_worker: WorkerFactory) -> None:
    zmws_worker(Echo)
    assert client.call("ECHO", 1, timeout=10) == 1
    shown = zmws("stats")
    assert shown.code == 0 and "uptime" in shown.out and "workers" in shown.out and "limits" in shown.err
    assert zmws("stats", "--json").json()["limits"]["heartbeat_interval_s"] == 0.5


def test_each_submits_many_in_a_message(zmws: Any, client: Client, zmws_worker: WorkerFactory) -> None:
    zmws_worker(Echo)
    lines = "".join(f"line {n}\n" for n in range(1_200))
    ended = zmws("submit", "ECHO", "--each", "-", "--wait", stdin=lines)
    assert ended.code == 0, ended.err
    assert [json.loads(line) for line in ended.out.splitlines()] == [
        {"line": f"line {n}"} for n in range(1_200)
    ]
    assert service(client, "ECHO")["complete"] == 1_200


def test_each_answers_a_slow_pipe_line_by_line(
    zmws_broker: RunningBroker, zmws_worker: WorkerFactory
) -> None:
    zmws_worker(Echo)
    command = [*ZMWS, "submit", "ECHO", "--each", "-", "--wait", "--broker", zmws_broker.client]
    with subprocess.Popen(
        command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        for n in range(3):
            process.stdin.write(b'{"n": %d}\n' % n)
            process.stdin.flush()
            assert select.select([process.stdout], [], [], 20)[0], "held up until the next line"
            assert json.loads(process.stdout.readline()) == {"n": n}
        process.stdin.close()
    assert process.returncode == 0
