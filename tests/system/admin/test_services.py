"""Services that are purged, paused and resumed; the rows of services, workers and stats."""

from __future__ import annotations

import pytest

from tests.peers import wait_until
from tests.system.admin.echo import Echo, Held, failed_job, service
from zmws import Client, Refused, ServiceUnknown
from zmws.testing.fixtures import WorkerFactory


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


def test_a_service_is_shown_with_its_options_and_where_they_come_from(client: Client) -> None:
    told = client.service("ECHO")
    assert told["service"] == "ECHO" and told["params"] is None
    assert told["options"]["backoff"] == {"value": 0.01, "from": "configuration"}
    assert told["options"]["retries"] == {"value": 3, "from": "default"}
    with pytest.raises(ServiceUnknown):
        client.service("NOPE")


def test_a_drained_worker_finishes_its_job_and_leaves(client: Client, held: Held) -> None:
    running = client.submit("SLOW")
    assert held.begun.wait(10)
    assert client.drain(service="SLOW") == 1 and client.drain(service="OTHER") == 0
    waiting = client.submit("SLOW")
    (row,) = client.workers()
    assert row["state"] == "draining" and client.drain(row["id"]) == 1
    held.go.set()
    assert running.result(10) == "done"
    wait_until(lambda: not client.workers(), 10)
    assert waiting.status()["state"] == "waiting"
    with pytest.raises(Refused) as refused:
        client.drain(row["id"])
    assert refused.value.code == "unknown_worker"


def test_the_stack_of_what_does_not_run_is_refused(client: Client) -> None:
    job = client.submit("ECHO", delay=60)
    with pytest.raises(Refused) as refused:
        job.stack(1)
    assert refused.value.code == "not_possible"
