"""Leases: jobs that are done by a program that is no worker."""

from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.peers import wait_until
from tests.system.admin.echo import Echo, accepted, kinds, service
from zmws import Client, Refused, ServiceUnknown
from zmws.client import Lease
from zmws.testing.fixtures import WorkerFactory


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


def test_a_repeat_has_the_time_that_is_left_and_no_new_one(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zmws.client.lease.ids.new_id", lambda: "asked-twice")
    client.submit("ECHO")
    first, again = leased(client, ttr=20), leased(client, ttr=600)
    assert again.token == first.token
    assert again.ttr <= 20 and again.deadline - time.monotonic() <= 20


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
