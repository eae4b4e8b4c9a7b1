"""The fake client: what it keeps, when it runs jobs, its clock, and that it is a Client."""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.testing.workers import Chatty, Reverse, Shaky, Slow
from zmws import (
    PREVIOUS,
    AsyncClient,
    BadValue,
    Client,
    JobFailed,
    JobTimeout,
    OptionError,
    Refused,
    ServiceUnknown,
    WorkerBase,
    ZmwsError,
)
from zmws.client.asked import waited
from zmws.testing import AsyncFakeClient, FakeClient, Submitted
from zmws.wire import values

FOR_TESTS = {"submitted", "add_workers", "run_all", "pass_time", "connect", "connect_async"}


def shown(client: FakeClient | AsyncFakeClient) -> list[tuple[str, Any]]:
    return [(one.service, one.params) for one in client.submitted]


def public(cls: type[Any]) -> set[str]:
    return {name for name in dir(cls) if not name.startswith("_")}


# ---------------------------------------------------------------- it is a Client


@pytest.mark.parametrize(
    ("fake", "real", "more"),
    [(FakeClient, Client, FOR_TESTS), (AsyncFakeClient, AsyncClient, FOR_TESTS - {"connect_async"})],
)
def test_it_has_the_methods_of_a_client_with_their_signatures(
    fake: type[Any], real: type[Any], more: set[str]
) -> None:
    assert issubclass(fake, real)
    assert public(fake) - public(real) == more and public(real) <= public(fake)
    assert {"call", "submit", "submit_many", "job", "jobs", "cancel_jobs", "close"} <= public(real)
    for name in public(real):
        of_fake, of_real = getattr(fake, name), getattr(real, name)
        assert inspect.signature(of_fake) == inspect.signature(of_real), name
        assert inspect.iscoroutinefunction(of_fake) == inspect.iscoroutinefunction(of_real), name


@pytest.mark.parametrize("connect", ["connect", "connect_async"])
def test_it_connects_as_a_client_is_made(connect: str) -> None:
    made = inspect.signature(AsyncClient).parameters.values()
    assert list(inspect.signature(getattr(FakeClient(), connect)).parameters.values()) == list(made)
    client = getattr(FakeClient(), connect)(["tcp://10.0.0.1:5555"], connect_timeout=9)
    assert isinstance(client, AsyncFakeClient if connect == "connect_async" else FakeClient)


# ---------------------------------------------------------------- what was submitted


def test_without_workers_it_keeps_what_is_submitted_and_runs_nothing() -> None:
    with FakeClient() as client:
        job = client.submit("EMAIL", {"to": ("a", 1)}, retries=5, delay=timedelta(minutes=1), id="mail-1")
        other = client.submit("RESIZE", b"\x00\xff")
        client.submit("PING")
        first = Submitted("EMAIL", {"to": ["a", 1]}, {"retries": 5, "delay": 60.0}, "mail-1")
        assert client.submitted[0] == first and client.submitted[0].id == job.id
        assert shown(client)[1:] == [("RESIZE", b"\x00\xff"), ("PING", {})]
        assert client.submitted[1].id == other.id and not client.submitted[1].sync
        assert job.status()["state"] == "scheduled" and other.status()["state"] == "waiting"
        assert client.run_all() == 0 and other.status()["state"] == "waiting"
        client.submitted.clear()
        client.submit("PING")
        assert shown(client) == [("PING", {})]


def test_times_are_kept_as_they_are_sent() -> None:
    client = FakeClient()
    client.submit("EMAIL", at=datetime(2040, 1, 31, tzinfo=UTC), expires=None)
    assert client.submitted[0].options == {"at": "2040-01-31T00:00:00+00:00"}


def test_calls_and_batches_are_kept_too_in_the_order_of_their_asking() -> None:
    client = FakeClient(workers=[Reverse, Slow])
    client.call("STR-REV", {"str": "abc"}, timeout=5, priority=2)
    made = client.submit_many(
        [
            {"service": "SLOW", "params": [1], "retries": 0},
            {"service": "SLOW", "params": [1], "retrys": 0},
            {"service": "SLOW", "params": b"\xff", "id": "x"},
            {"service": "SLOW", "id": "x"},
        ]
    )
    assert shown(client) == [("STR-REV", {"str": "abc"}), ("SLOW", [1]), ("SLOW", b"\xff")]
    assert [one.sync for one in client.submitted] == [True, False, False]
    assert [one.options for one in client.submitted] == [{"priority": 2}, {"retries": 0}, {}]
    assert client.submitted[1].id == getattr(made[0], "id", None) and isinstance(made[1], Refused)


def test_of_a_chain_the_first_job_is_kept_with_all_its_steps() -> None:
    client = FakeClient()
    chain = client.chain([("FETCH", {"url": "a"}, {"retries": 1}), ("STORE", {"image": PREVIOUS})], id="c")
    (one,) = client.submitted
    assert (one.service, one.params, one.id) == ("FETCH", {"url": "a"}, "c:1") and one.id == chain.first.id
    assert one.options["retries"] == 1
    assert one.options["chain"][1] == {"service": "STORE", "params": {"image": None}, "previous": ["/image"]}
    assert client.chain([("FETCH", 1)], id="c").existing
    assert len(client.submitted) == 1


def test_without_workers_every_service_that_is_named_is_known() -> None:
    client = FakeClient()
    client.chain([("FETCH", 1), ("STORE", PREVIOUS, {"on_failed": "ALERT"})])
    with client.batch(then="REPORT", failed=("ALARM", 1)) as batch:
        batch.add("RESIZE", 1, on_complete="HOOK")
        client.submit("RESIZE", 2, on_complete="WEBHOOK", batch=batch)
    client.add_schedule("nightly", "CLEAN", cron="@daily", on_failed="MAIL")
    assert shown(client) == [("FETCH", 1), ("RESIZE", 1), ("RESIZE", 2)]
    assert client.submitted[2].options == {"on_complete": "WEBHOOK", "batch": batch.id}
    assert {row["service"] for row in client.services()} >= {
        "STORE",
        "ALERT",
        "ALARM",
        "HOOK",
        "CLEAN",
        "MAIL",
    }


def test_a_wait_for_a_batch_that_would_never_end_is_refused() -> None:
    client = FakeClient(workers=[Reverse], services={"NOBODY": {}})
    with client.batch() as batch:
        batch.add("STR-REV", {"str": "ab"})
        with pytest.raises(ZmwsError, match="is open, and whoever waits for its end would wait for ever"):
            batch.wait()
        batch.add("NOBODY")
    with pytest.raises(ZmwsError, match="no worker of NOBODY is here"):
        batch.wait()
    with pytest.raises(JobTimeout):
        batch.wait(60)
    with pytest.raises(ZmwsError, match="no worker of NOBODY is here"):
        client.chain([("STR-REV", {"str": "ab"}), ("NOBODY", PREVIOUS)]).result()


@pytest.mark.parametrize("run_at_once", [True, False])
def test_a_wait_for_a_batch_lets_its_jobs_run_also_later(run_at_once: bool) -> None:
    client = FakeClient(workers=[Reverse], run_at_once=run_at_once)
    jobs = [("STR-REV", {"str": "ab"}, {"delay": 30 * 86_400}), ("STR-REV", {"str": "cd"})]
    assert client.batch(jobs, then="STR-REV").wait()["complete"] == 2


def test_what_follows_is_done_by_the_workers_too() -> None:
    seen = list[Any]()

    class Splits(WorkerBase):
        service_name = "SPLIT"

        def work(self, job_id: str, params: Any) -> Any:
            for n in range(params):
                self.job.enqueue("SEE", n, batch=self.job.batch)
            self.job.enqueue_chain([("SEE", "a"), ("SEE", [PREVIOUS])])

    def see(params: Any) -> Any:
        seen.append(params)
        return params

    client = FakeClient(workers={"SEE": see})
    client.add_workers(Splits)
    row = client.batch([("SPLIT", 2)], then=("SEE", "then")).wait()
    assert (row["total"], row["complete"]) == (3, 3)
    assert sorted(map(str, seen)) == ["0", "1", "['a']", "a", "then"]


def test_schedules_fire_when_time_passes() -> None:
    seen = list[Any]()
    client = FakeClient(workers={"CLEAN": seen.append})
    one = client.add_schedule("clean", "CLEAN", {"n": 1}, every=3600)
    client.add_schedule("daily", "CLEAN", "day", cron="0 0 * * *")
    client.pass_time(86_400)
    assert seen.count({"n": 1}) == 24 and seen.count("day") == 1
    assert one.status()["fired"] == 24 and one.status()["last"]["state"] == "complete"
    assert client.run_all() == 0  # what a schedule makes one day is no work that there is


def test_what_is_refused_or_there_already_is_not_kept() -> None:
    client = FakeClient(workers=[Reverse], services={"FULL": {"max_waiting": 1}})
    with pytest.raises(ServiceUnknown):
        client.submit("NONE")
    with pytest.raises(ServiceUnknown):
        client.call("NONE")
    for option, value in (("retries", -1), ("backoff", object()), ("retrys", 1)):
        with pytest.raises(OptionError, match=f"'{option}'") as wrong:
            client.submit("STR-REV", **{option: value})
        assert wrong.value.option == option
    with pytest.raises(BadValue):
        client.submit("STR-REV", object())
    assert client.submitted == []
    for _ in range(2):
        client.submit("FULL", unique="key")
        client.submit("STR-REV", {"str": "a"}, id="same")
        client.call("STR-REV", {"str": "b"}, id="call")
    with pytest.raises(Refused):
        client.submit("FULL")
    assert [one.service for one in client.submitted] == ["FULL", "STR-REV", "STR-REV"]


def test_a_call_that_fails_is_kept() -> None:
    client = FakeClient(workers=[Reverse])
    with pytest.raises(JobFailed):
        client.call("STR-REV")
    assert shown(client) == [("STR-REV", {})]


# ---------------------------------------------------------------- when jobs run


def test_a_job_is_run_when_it_is_submitted() -> None:
    client = FakeClient(workers=[Reverse])
    job = client.submit("STR-REV", {"str": "abc"})
    assert job.status()["state"] == "complete" and job.result() == "cba"


def test_or_when_it_is_told_or_somebody_waits() -> None:
    client = FakeClient(workers=[Reverse], run_at_once=False)
    first, second = client.submit("STR-REV", {"str": "ab"}), client.submit("STR-REV", {"str": "cd"})
    assert first.status()["state"] == second.status()["state"] == "waiting"
    assert list(first.events(follow=False))[-1]["state"] == "waiting"
    assert client.run_all() == 2
    assert first.status()["state"] == second.status()["state"] == "complete"
    third = client.submit("STR-REV", {"str": "ef"})
    assert third.result() == "fe"
    fourth = client.submit("STR-REV", {"str": "gh"})
    assert list(fourth.events())[-1]["state"] == "complete"
    assert client.call("STR-REV", {"str": "ij"}) == "ji"
    cancelled = client.submit("STR-REV", {"str": "kl"})
    cancelled.cancel()
    assert client.run_all() == 0 and cancelled.status()["state"] == "cancelled"


def test_with_a_list_of_no_workers_no_service_is_known() -> None:
    with FakeClient(workers=[]) as client, pytest.raises(ServiceUnknown):
        client.submit("EMAIL")


def test_a_function_can_stand_for_a_worker() -> None:
    client = FakeClient(workers={"PRICE": lambda params: params["n"] * 2, "FAIL": lambda params: 1 // 0})
    assert client.call("PRICE", {"n": 21}) == 42
    with pytest.raises(JobFailed, match="by zero"):
        client.call("FAIL")
    with pytest.raises(ServiceUnknown):
        client.call("OTHER")


def test_jobs_run_in_the_order_that_a_broker_gives_them_out() -> None:
    done, running = list[str](), list[int]()

    class Noting(WorkerBase):
        service_name = "NOTE"

        def work(self, job_id: str, params: Any) -> Any:
            done.append(params)
            running.append(len(list(client.jobs(state="running"))))

    client = FakeClient(workers=[Noting], run_at_once=False)
    for name, priority in (("a", 0), ("b", 0), ("c", 9)):
        client.submit("NOTE", name, priority=priority)
    client.run_all()
    assert done == ["c", "a", "b"] and running == [1, 1, 1]


def test_retries_come_at_once_and_are_counted() -> None:
    begun = datetime.now(UTC)
    client = FakeClient(workers=[Shaky])
    job = client.submit("SHAKY", {"fails": 3}, backoff=600)
    assert (job.status()["state"], job.status()["attempt"], job.status()["failures"]) == ("complete", 4, 3)
    failed = client.submit("SHAKY", {"fails": 9}, retries=2)
    with pytest.raises(JobFailed, match="attempt 3") as caught:
        failed.result()
    assert (caught.value.code, caught.value.type, caught.value.attempts) == ("job_failed", "RuntimeError", 3)
    assert "in work" in str(caught.value.traceback)
    assert datetime.now(UTC) - begun < timedelta(seconds=60)


def test_what_a_work_submits_runs_after_it_and_what_it_calls_within_it() -> None:
    told = list[str]()

    class Chain(WorkerBase):
        service_name = "CHAIN"

        def work(self, job_id: str, params: Any) -> Any:
            told.append(f"{params} begins")
            if params == "submits":
                next_job = client.submit("CHAIN", "submitted")
                told.append(next_job.status()["state"])
            if params == "calls":
                told.append(client.call("CHAIN", "called"))
            told.append(f"{self.job.id == job_id} {params} ends")
            return f"{params}'s result"

    client = FakeClient(workers=[Chain])
    client.submit("CHAIN", "submits")
    assert told == [
        "submits begins",
        "waiting",
        "True submits ends",
        "submitted begins",
        "True submitted ends",
    ]
    told.clear()
    assert client.call("CHAIN", "calls") == "calls's result"
    assert told == [
        "calls begins",
        "called begins",
        "True called ends",
        "called's result",
        "True calls ends",
    ]
    assert [one.params for one in client.submitted] == ["submits", "submitted", "calls", "called"]


def test_a_long_chain_of_jobs_that_submit_each_other_ends() -> None:
    class Countdown(WorkerBase):
        service_name = "COUNT"

        def work(self, job_id: str, params: Any) -> Any:
            if params:
                client.submit("COUNT", params - 1)

    client = FakeClient(workers=[Countdown])
    client.submit("COUNT", 500)
    assert len(client.submitted) == 501
    assert all(job["state"] == "complete" for job in client.jobs())


def test_one_object_is_made_of_a_class_and_a_given_one_is_used() -> None:
    class Counting(WorkerBase):
        service_name = "COUNT"
        made = 0

        def __init__(self) -> None:
            type(self).made += 1
            self.done = list[Any]()

        def work(self, job_id: str, params: Any) -> Any:
            self.done.append(params)
            if params == "again":
                client.call("COUNT", "within")
            return self.job.id == job_id

    client = FakeClient(workers=[Counting])
    assert Counting.made == 1
    assert client.call("COUNT", 1) is True and client.call("COUNT", 2) is True
    assert Counting.made == 1
    worker = Counting()
    client = FakeClient(workers=[worker])
    assert client.call("COUNT", "again") is True
    assert worker.done == ["again", "within"] and Counting.made == 2


def test_what_a_job_says_comes_on_the_way() -> None:
    heard = list[Any]()
    client = FakeClient(workers=[Chatty])
    assert client.call("CHATTY", 1, on_partial=heard.append) == 1
    assert heard == [{"part": 1}, b"\xff"]
    calls = list[Any]()
    with pytest.raises(ZeroDivisionError):
        client.call("CHATTY", 1, on_partial=lambda part: calls.append(part) or 1 // 0)  # type: ignore[func-returns-value]
    assert calls == [{"part": 1}], "who has failed is not called again"
    assert client.call("CHATTY", 2) == 2


def test_a_job_that_is_cancelled_while_it_runs_is_told_so() -> None:
    class Stopping(WorkerBase):
        service_name = "STOP"

        def work(self, job_id: str, params: Any) -> Any:
            before = self.job.cancelled
            client.job(job_id).cancel()
            seen.append((before, self.job.cancelled))
            return "too late"

    seen = list[tuple[bool, bool]]()
    client = FakeClient(workers=[Stopping])
    job = client.submit("STOP")
    assert seen == [(False, True)] and job.status()["state"] == "cancelled"
    client.submit("STOP")
    assert seen == [(False, True)] * 2


def test_a_job_that_runs_for_longer_than_its_ttr_has_failed() -> None:
    class Long(WorkerBase):
        service_name = "LONG"

        def work(self, job_id: str, params: Any) -> Any:
            if params == "told":
                client.pass_time(20)
                cancelled.append(self.job.cancelled)
            else:
                client._broker._ahead_s += 20  # as if it took so long
            return "too late"

    cancelled = list[bool]()
    client = FakeClient(workers=[Long])
    for params in ("told", "untold"):
        job = client.submit("LONG", params, ttr=10, retries=0)
        with pytest.raises(JobFailed) as caught:
            job.result()
        assert caught.value.code == "timeout"
    assert cancelled == [True]


def test_ctrl_c_in_a_work_passes_and_the_client_goes_on() -> None:
    class Interrupted(WorkerBase):
        service_name = "INT"

        def work(self, job_id: str, params: Any) -> Any:
            if self.job.attempt == 1:
                raise KeyboardInterrupt
            return "done"

    client = FakeClient(workers=[Interrupted])
    with pytest.raises(KeyboardInterrupt):
        client.submit("INT", id="a")
    assert client.run_all() == 1 and client.job("a").result() == "done"


def test_a_class_that_no_object_can_be_made_of_fails_where_that_is_needed() -> None:
    class Broken(WorkerBase):
        service_name = "BROKEN"

        def __init__(self) -> None:
            if broken:
                raise OSError("no such model")

        def work(self, job_id: str, params: Any) -> Any:
            return client.call("BROKEN", "within") if params == "calls" else "done"

    broken = True
    with pytest.raises(OSError, match="no such model"):
        FakeClient(workers=[Broken])
    broken = False
    client = FakeClient(workers=[Broken])
    broken = True
    job = client.submit("BROKEN", "calls", retries=0)
    with pytest.raises(JobFailed, match="no such model"):
        job.result()
    assert client.call("BROKEN") == "done"


@pytest.mark.parametrize(
    ("cls", "wrong"),
    [
        (type("Unnamed", (WorkerBase,), {"work": Reverse.work}), "service_name"),
        (type("Idle", (WorkerBase,), {"service_name": "IDLE"}), r"has no work\(\)"),
        (type("Odd", (WorkerBase,), {"service_name": "zmws.x", "work": Reverse.work}), "is reserved"),
    ],
)
def test_a_worker_that_could_not_run_is_refused(cls: type[WorkerBase], wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        FakeClient(workers=[cls])


# ---------------------------------------------------------------- its clock


def test_a_job_of_later_waits_for_its_time() -> None:
    client = FakeClient(workers=[Reverse])
    job = client.submit("STR-REV", {"str": "abc"}, delay=86400)
    at = client.submit("STR-REV", {"str": "abc"}, at=datetime.now(UTC) + timedelta(days=3))
    client.pass_time(86000)
    assert job.status()["state"] == "scheduled"
    client.pass_time(500)
    assert job.status()["state"] == "complete" and at.status()["state"] == "scheduled"
    assert client.run_all() == 1 and at.status()["state"] == "complete"
    later = client.submit("STR-REV", {"str": "abc"}, delay=9e6)
    assert later.result() == "cba", "for who waits, time passes"


def test_what_time_brings_about_happens_in_its_order() -> None:
    client = FakeClient(workers=[Reverse])
    jobs = [client.submit("STR-REV", {"str": "a"}, delay=n, expires=n + 1) for n in (30, 10, 20)]
    client.pass_time(1000)
    assert [job.status()["state"] for job in jobs] == ["complete"] * 3
    ended = [job.status()["started_at"] for job in jobs]
    assert sorted(ended) == [ended[1], ended[2], ended[0]]


def test_a_time_that_has_come_is_now() -> None:
    client = FakeClient(workers=[Reverse])
    assert client.submit("STR-REV", {"str": "ab"}, at=datetime.now(UTC)).status()["state"] == "complete"


def test_time_that_passes_lets_jobs_expire_and_records_be_forgotten() -> None:
    client = FakeClient(workers=[Reverse], services={"NOBODY": {}})
    job, kept = client.submit("NOBODY", expires=60), client.submit("STR-REV", {"str": "a"}, keep=600)
    client.pass_time(59)
    assert job.status()["state"] == "waiting"
    client.pass_time(2)
    assert job.status()["state"] == "expired" and kept.status()["state"] == "complete"
    client.pass_time(600)
    with pytest.raises(Refused, match="no job"):
        kept.status()


def test_what_is_paused_or_limited_runs_when_it_may() -> None:
    client = FakeClient(workers=[Reverse], services={"STR-REV": {"rate": 1, "paused": True}})
    jobs = [client.submit("STR-REV", {"str": "ab"}) for _ in range(5)]
    assert client.run_all() == 0
    with pytest.raises(ZmwsError, match="STR-REV is paused"):
        jobs[0].result()
    with pytest.raises(JobTimeout):
        jobs[0].result(timeout=3600)
    client.resume("STR-REV")
    client.run_all()
    assert {job.status()["state"] for job in jobs} == {"complete"}


# ---------------------------------------------------------------- waits that would not end


@pytest.mark.parametrize(
    "wait",
    [
        lambda client: client.submit("EMAIL").result(),
        lambda client: client.submit("EMAIL").wait(),
        lambda client: list(client.submit("EMAIL").events()),
        lambda client: client.call("EMAIL"),
        lambda client: client.submit("EMAIL", delay=1e6).wait(),
    ],
)
def test_a_wait_that_would_never_end_is_refused(wait: Callable[[Client], Any]) -> None:
    with FakeClient() as client, pytest.raises(ZmwsError, match=r"no worker of EMAIL is here.*workers=\["):
        wait(client)


def test_a_wait_with_a_timeout_ends_then_at_once() -> None:
    client = FakeClient()
    begun = datetime.now(UTC)
    with pytest.raises(JobTimeout, match="no answer of EMAIL within 3600 s"):
        client.call("EMAIL", timeout=3600)
    job = client.submit("EMAIL")
    with pytest.raises(JobTimeout, match="has not ended within 3600 s"):
        job.result(timeout=3600)
    with pytest.raises(JobTimeout):
        list(job.events(timeout=3600))
    lease = client.lease("EMAIL", wait=3600)
    assert lease is not None
    lease.complete()
    assert client.lease("EMAIL", wait=3600) is None
    assert datetime.now(UTC) - begun < timedelta(seconds=60)


def test_another_threads_work_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()

    class Holding(WorkerBase):
        service_name = "HOLD"

        def work(self, job_id: str, params: Any) -> Any:
            begun.set()
            assert go_on.wait(20)
            return "held"

    client = FakeClient(workers=[Holding])
    thread = threading.Thread(target=lambda: client.submit("HOLD", id="a"))
    thread.start()
    assert begun.wait(20)
    assert client.job("a").status()["state"] == "running"
    changed = client._broker.changed
    wait = changed.wait
    monkeypatch.setattr(changed, "wait", lambda: (go_on.set(), wait(20)))
    assert client.job("a").result() == "held"
    thread.join(20)


def test_many_threads_share_it() -> None:
    client = FakeClient(workers=[Reverse])
    results = list[Any]()

    def ask(n: int) -> None:
        for k in range(20):
            results.append(client.call("STR-REV", {"str": f"{n},{k}"}) == f"{n},{k}"[::-1])

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == [True] * 80 and len(client.submitted) == 80


# ---------------------------------------------------------------- others of the same


def test_other_clients_of_it_share_all() -> None:
    fake = FakeClient(workers=[Reverse])
    with fake.connect("tcp://10.0.0.1:5555") as client:
        job = client.submit("STR-REV", {"str": "abc"})
    with pytest.raises(ZmwsError, match="is closed"):
        client.submit("STR-REV")
    assert fake.job(job.id).result() == "cba" and client.submitted is fake.submitted


def test_an_asynchronous_one_does_the_same() -> None:
    class Looping(WorkerBase):
        service_name = "LOOP"

        def work(self, job_id: str, params: Any) -> Any:
            return asyncio.run(asyncio.sleep(0, params))

    async def main() -> None:
        heard = list[Any]()
        async with AsyncFakeClient(workers=[Reverse, Slow, Chatty]) as client:
            assert await client.call("STR-REV", {"str": "abc"}) == "cba"
            assert await client.call("SLOW", 1) == 1, "a work() that is a coroutine"
            client.add_workers(Looping)
            assert await client.call("LOOP", 1) == 1
            assert await client.call("CHATTY", 1, on_partial=heard.append) == 1
            job = await client.submit("STR-REV", {"str": "abc"}, delay=60)
            assert (await job.status())["state"] == "scheduled"
            client.pass_time(60)
            assert await job.result() == "cba"
            events = [event["state"] async for event in job.events()]
            assert events == ["scheduled", "waiting", "running", "complete"]
            client.add_workers(Shaky)
            made = await client.submit_many([{"service": "SHAKY"}, {"service": "NONE"}])
            assert isinstance(made[1], Refused)
            assert [job["service"] async for job in client.jobs()] == ["SHAKY", "STR-REV"]
            other = client.connect()
            assert [one.service for one in other.submitted][-1] == "SHAKY" and client.run_all() == 0
            with pytest.raises(ServiceUnknown):
                await other.submit("NONE")
        assert heard == [{"part": 1}, b"\xff"]
        async with FakeClient().connect_async() as client:
            with pytest.raises(ZmwsError, match="no worker of EMAIL"):
                await client.call("EMAIL")
            assert shown(client) == [("EMAIL", {})]

    asyncio.run(main())


def test_the_fixture_keeps_what_is_submitted_and_takes_workers(zmws_fake_client: FakeClient) -> None:
    waiting = zmws_fake_client.submit("STR-REV", {"str": "abc"})
    assert shown(zmws_fake_client) == [("STR-REV", {"str": "abc"})]
    zmws_fake_client.add_workers(Reverse)
    assert waiting.status()["state"] == "complete"
    with pytest.raises(ServiceUnknown):
        zmws_fake_client.submit("NONE")


def test_a_worker_has_one_event_loop_from_setup_to_teardown_with_the_clients_end() -> None:
    seen: list[tuple[str, asyncio.AbstractEventLoop]] = []

    class Keeps(WorkerBase):
        service_name = "KEEPS"

        async def setup(self) -> None:
            seen.append(("setup", asyncio.get_running_loop()))
            self.told: asyncio.Queue[int] = asyncio.Queue()

        async def work(self, job_id: str, params: Any) -> Any:
            seen.append(("work", asyncio.get_running_loop()))
            await self.told.put(params)
            return self.told.qsize()

        async def teardown(self) -> None:
            seen.append(("teardown", asyncio.get_running_loop()))

    with FakeClient(workers=[Keeps]) as client:
        assert [client.call("KEEPS", n) for n in range(2)] == [1, 2]
    assert [what for what, _ in seen] == ["setup", "work", "work", "teardown"]
    assert len({id(loop) for _, loop in seen}) == 1


# ---------------------------------------------------------------- what is no job


@pytest.mark.parametrize(
    "item",
    [
        1,
        None,
        [],
        {},
        {"id": "a"},
        {"id": "a", "service": 1},
        {"id": "a", "service": "E", "params_base64": "?"},
        {"id": "a", "chain": 1},
        {"id": "a", "chain": []},
        {"id": "a", "chain": [1]},
        {"id": "a", "chain": [{"params": 1}, {"service": "E"}]},
    ],
)
def test_what_is_no_job_is_refused_as_the_broker_does(item: Any) -> None:
    client = FakeClient()
    good = {"id": "b", "service": "E"}
    verdicts = waited(client.raw_future("zmws.submit", values.PARAM_JSON + json.dumps([item, good]).encode()))
    bad = verdicts[1][0]
    assert bad["code"] in ("bad_request", "bad_option", "bad_service", "bad_params"), bad
    assert shown(client) == [("E", {})]


def test_jobs_that_give_no_id_are_kept_with_the_brokers() -> None:
    client = FakeClient()
    items = [{"service": "E"}, {"chain": [{"service": "X"}, {"service": "E"}]}]
    verdicts = waited(client.raw_future("zmws.submit", values.PARAM_JSON + json.dumps(items).encode()))[1]
    assert [one.id for one in client.submitted] == [verdict["id"] for verdict in verdicts]
    assert shown(client) == [("E", {}), ("X", {})]


@pytest.mark.parametrize("service", ["zmws.submit", "zmws.open", "zmws.schedule", "zmws.copy"])
@pytest.mark.parametrize("question", [1, [], "x", None])
def test_what_is_no_question_is_refused_as_the_broker_does(service: str, question: Any) -> None:
    client = FakeClient()
    asked = client.raw_future(service, values.PARAM_JSON + json.dumps(question).encode())
    if (service, question) == ("zmws.submit", []):
        assert waited(asked) == (200, [])
    else:
        with pytest.raises(Refused):
            waited(asked)
    assert client.submitted == []
