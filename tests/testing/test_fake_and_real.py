"""The fake client beside a real broker in a thread: the same is asked of both, and the same comes of it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.testing.workers import Chatty, Reverse, Shaky, Slow
from zmws import Client, Job, ZmwsError
from zmws.core.options import ServiceOptions
from zmws.testing import FakeClient, broker_in_thread, worker_in_thread

WORKERS = (Reverse, Shaky, Chatty, Slow)
SERVICES = {
    "NOBODY": ServiceOptions(),
    "FULL": ServiceOptions(max_waiting=1),
    "PAUSED": ServiceOptions(paused=True, retries=7, priority=3),
}
_OF_ITS_OWN = ("created_at", "ready_at", "started_at", "ended_at", "expires_at", "worker", "id", "traceback")

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

Scenario = Callable[[Client], Any]
SCENARIOS: list[Scenario] = []


def scenario(one: Scenario) -> Scenario:
    SCENARIOS.append(one)
    return one


@pytest.fixture(scope="module")
def real() -> Iterator[Client]:
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(broker_in_thread(services=SERVICES))
        for worker in WORKERS:
            stack.enter_context(worker_in_thread(worker, broker))
        yield stack.enter_context(broker.connect())


@pytest.mark.parametrize("asked", SCENARIOS, ids=lambda one: one.__name__)
@pytest.mark.parametrize("run_at_once", [True, False], ids=["at once", "when somebody waits"])
def test_the_fake_does_as_a_broker_does(asked: Scenario, run_at_once: bool, real: Client) -> None:
    with FakeClient(workers=WORKERS, run_at_once=run_at_once, services=SERVICES) as fake:
        of_fake = asked(fake)
    assert of_fake == asked(real)


# ---------------------------------------------------------------- what is compared


def outcome(ask: Callable[[], Any]) -> Any:
    """What it gives back, or all that its exception tells."""
    try:
        return ask()
    except ZmwsError as fault:
        told = {name: getattr(fault, name, None) for name in ("code", "type", "attempts", "option")}
        trace = getattr(fault, "traceback", None)
        return (
            type(fault).__name__,
            _UUID.sub("ID", str(fault)),
            told,
            trace.splitlines()[-1] if trace else None,
        )


def fixed(value: Any) -> Any:
    """A record without what is another each time."""
    if isinstance(value, dict):
        return {name: fixed(one) for name, one in value.items() if name not in _OF_ITS_OWN}
    return [fixed(one) for one in value] if isinstance(value, list) else value


def story(client: Client, service: str, params: Any = None, **options: Any) -> Any:
    """A job's whole life: its result, its record, its events."""
    job = client.submit(service, params, **options)
    came_of_it = outcome(lambda: job.result(timeout=20))
    events = [{k: v for k, v in one.items() if k != "at"} for one in job.events(timeout=20)]
    return job.existing, job.durability, came_of_it, fixed(job.status()), fixed(events)


# ---------------------------------------------------------------- calls


@scenario
def a_call_comes_back(client: Client) -> Any:
    return [
        client.call("STR-REV", {"str": "äbc"}, timeout=20),
        client.call("SLOW", [1, None, (2.5,)], timeout=20),
        client.call("SLOW", timeout=20),
        client.call("SHAKY", {"how": "bytes"}, timeout=20),
        client.call("SHAKY", {"how": "none"}, timeout=20),
    ]


@scenario
def a_call_that_fails_is_not_tried_again(client: Client) -> Any:
    return [
        outcome(lambda: client.call("SHAKY", {"fails": 1}, timeout=20)),
        outcome(lambda: client.call("SHAKY", {"how": "false"}, timeout=20)),
        outcome(lambda: client.call("SHAKY", {"how": "odd"}, timeout=20)),
        outcome(lambda: client.call("STR-REV", {}, timeout=20)),
    ]


@scenario
def partial_results_come_on_the_way(client: Client) -> Any:
    came = list[Any]()
    return client.call("CHATTY", 1, timeout=20, on_partial=came.append), came


@scenario
def a_call_that_nobody_takes_times_out(client: Client) -> Any:
    # The client says so, or the broker, whose job expires at the same time.
    return outcome(lambda: client.call("NOBODY", timeout=0.2))[0]


# ---------------------------------------------------------------- jobs


@scenario
def jobs_complete(client: Client) -> Any:
    return [
        story(client, "STR-REV", {"str": "abc"}),
        story(client, "SHAKY", {}, priority=5, group="g", retries=1, keep=60),
        story(client, "SHAKY", {"how": "bytes"}),
        story(client, "SHAKY", {"how": "none"}),
        story(client, "SLOW", b"\x00\xff"),
        story(client, "SLOW", "x", durability="memory"),
    ]


@scenario
def a_job_says_what_it_says(client: Client) -> Any:
    return story(client, "CHATTY", {"a": "ä"})


@scenario
def retries_are_counted(client: Client) -> Any:
    return [
        story(client, "SHAKY", {"fails": 2}, backoff=0),
        story(client, "SHAKY", {"fails": 3}, backoff=0, retries=2),
        story(client, "SHAKY", {"fails": 1}, backoff=0, retries=0),
        story(client, "SHAKY", {"how": "false"}, backoff=0, retries=1),
    ]


@scenario
def what_would_fail_again_is_not_retried(client: Client) -> Any:
    return story(client, "SHAKY", {"how": "odd"}, retries=5)


@scenario
def a_failed_job_is_retried_and_deleted(client: Client) -> Any:
    job = client.submit("SHAKY", {"fails": 2}, retries=0)
    told = [outcome(lambda: job.result(timeout=20))]
    told.append(outcome(job.cancel))
    job.retry()
    told.append(outcome(lambda: job.result(timeout=20)))
    job.retry()
    told += [job.result(timeout=20), outcome(job.retry)]
    job.delete()
    return [*told, outcome(job.delete)[0], outcome(job.status)[0]]


@scenario
def a_job_that_waits_is_cancelled(client: Client) -> Any:
    job = client.submit("NOBODY", 1)
    told = [job.status()["state"]]
    job.cancel()
    return [*told, outcome(lambda: job.result(timeout=20))[0], fixed(job.status())]


@scenario
def what_is_to_start_later_starts_later(client: Client) -> Any:
    job = client.submit("STR-REV", {"str": "abc"}, delay=0.2)
    return job.status()["state"], job.result(timeout=20)


@scenario
def a_wait_ends_in_time(client: Client) -> Any:
    job = client.submit("STR-REV", {"str": "abc"}, delay=1000)
    told = [outcome(lambda: job.wait(timeout=0.1))[0], outcome(lambda: list(job.events(timeout=0.1)))[0]]
    job.cancel()
    return told, [event["state"] for event in job.events(follow=False)]


@scenario
def a_job_expires(client: Client) -> Any:
    job = client.submit("NOBODY", 1, expires=0.1)
    return outcome(lambda: job.result(timeout=20))[0], job.status()["state"]


# ---------------------------------------------------------------- refusals and repeats


@scenario
def options_are_checked(client: Client) -> Any:
    wrong: list[dict[str, Any]] = [
        {"retrys": 1},
        {"retries": -1},
        {"retries": "x"},
        {"priority": 5000},
        {"delay": 5, "at": "2030-01-01T00:00:00Z"},
        {"expires": 1, "delay": 5},
        {"unique": "k", "durability": "memory"},
        {"id": "no space"},
        {"ttr": 0},
        {"at": "tomorrow"},
        {"backoff": float("nan")},
    ]
    told = [outcome(lambda given=given: client.submit("STR-REV", **given)) for given in wrong]  # type: ignore[misc]
    return [*told, outcome(lambda: client.call("STR-REV", retrys=1, timeout=20))]


@scenario
def values_are_checked(client: Client) -> Any:
    odd: list[Any] = [object(), {"a": {1, 2}}, float("nan"), {1: 1, "1": 2}]
    return [outcome(lambda one=one: client.submit("STR-REV", one)) for one in odd]  # type: ignore[misc]


@scenario
def services_are_checked(client: Client) -> Any:
    return [
        outcome(lambda: client.submit("NONE")),
        outcome(lambda: client.call("NONE", timeout=20)),
        outcome(lambda: client.submit("JOB: STR-REV")),
        outcome(lambda: client.submit("")),
        outcome(lambda: client.submit("zmws.nope")),
        [str(one) for one in client.submit_many([{"service": "NONE"}])],
    ]


@scenario
def a_repeated_id_is_one_job(client: Client) -> Any:
    first = client.submit("STR-REV", {"str": "abc"}, id="same")
    again = client.submit("STR-REV", {"str": "xyz"}, id="same")
    other = outcome(lambda: client.submit("SHAKY", id="same"))[2]
    told = [first.existing, again.existing, again.result(timeout=20), other]
    first.delete()
    return told


@scenario
def a_unique_key_is_held_until_the_job_has_ended(client: Client) -> Any:
    first = client.submit("NOBODY", unique="key")
    again = client.submit("NOBODY", unique="key")
    other = client.submit("NOBODY", unique="other")
    told = [again.existing, again.id == first.id, other.existing]
    first.cancel()
    other.cancel()
    third = client.submit("NOBODY", unique="key")
    third.cancel()
    return [*told, third.existing, third.id == first.id]


@scenario
def a_full_service_refuses(client: Client) -> Any:
    job = client.submit("FULL")
    told = outcome(lambda: client.submit("FULL"))
    job.cancel()
    return told


@scenario
def a_paused_service_starts_nothing(client: Client) -> Any:
    job = client.submit("PAUSED")
    told = [fixed(job.status()), outcome(lambda: job.wait(timeout=0.1))[0]]
    return [*told, client.purge("PAUSED"), job.status()["state"]]


@scenario
def pause_and_resume(client: Client) -> Any:
    client.pause("STR-REV")
    job = client.submit("STR-REV", {"str": "abc"})
    told = [job.status()["state"], outcome(lambda: job.wait(timeout=0.1))[0]]
    client.resume("STR-REV")
    return [*told, job.result(timeout=20)]


# ---------------------------------------------------------------- many, lists, leases


@scenario
def many_are_submitted_at_once(client: Client) -> Any:
    made = client.submit_many(
        [
            {"service": "STR-REV", "params": {"str": "abc"}},
            {"service": "STR-REV", "params": {"str": "abc"}, "retrys": 1},
            {"service": "NONE"},
            {"service": "SLOW", "params": b"\xff", "priority": 1},
            {"service": "SLOW", "params": object()},
        ]
    )
    return [one.result(timeout=20) if isinstance(one, Job) else (one.code, str(one)) for one in made]


@scenario
def jobs_are_listed_and_cancelled_by_a_filter(client: Client) -> Any:
    made = [client.submit("NOBODY", n, group="of this test") for n in range(3)]
    where = {"service": "NOBODY", "group": "of this test"}
    told = [len(list(client.jobs(**where, state="waiting", limit=2)))]
    told += [client.cancel_jobs(**where), client.retry_jobs(**where, state="cancelled")]
    told += [client.cancel_jobs(**where), client.delete_jobs(**where)]
    return told, len(made), outcome(lambda: client.cancel_jobs(**where, since="yesterday"))


@scenario
def a_job_is_leased(client: Client) -> Any:
    assert client.lease("NOBODY") is None
    client.submit("NOBODY", {"a": 1}, id="leased")
    lease = client.lease("NOBODY", ttr=30)
    assert lease is not None
    with lease:
        lease.progress(0.5)
        lease.log("a line")
        lease.complete("done")
    job = client.job("leased")
    told = [
        lease.params,
        lease.attempt,
        outcome(lease.release)[0],
        job.result(timeout=20),
        fixed(job.status()),
    ]
    job.delete()
    return told


@scenario
def questions_are_answered(client: Client) -> Any:
    return [
        outcome(lambda: client.ask("zmws.job", {"id": "none"})),
        outcome(lambda: client.ask("zmws.job", {"ide": "none"})),
        outcome(lambda: client.job("none").result(timeout=1)),
        sorted(row["service"] for row in client.services() if row["workers"]),
        sorted(service for row in client.workers() for service in row["services"]),
    ]
