"""What a caller hands to a client: Python's own types, and what no broker could ever be asked."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from tests.system.installation import run
from zmws import AsyncClient, Client, Job, JobTimeout, Refused, WorkerBase, ZmwsError
from zmws.core.options import ServiceOptions
from zmws.errors import OptionError
from zmws.testing import RunningBroker
from zmws.testing.fixtures import BrokerFactory, WorkerFactory

SOON = timedelta(seconds=10)


class Echo(WorkerBase):
    """Gives back what it was given."""

    service_name = "ECHO"

    def work(self, job_id: str, params: Any) -> Any:
        return params


@pytest.fixture
def zmws_broker(zmws_broker_factory: BrokerFactory) -> RunningBroker:
    """Its services are known without a worker."""
    return zmws_broker_factory(heartbeat_interval_s=0.5, services={"ECHO": ServiceOptions()})


@pytest.fixture
def client(zmws_client: Client) -> Client:
    return zmws_client


def refused(make: Callable[[], Any]) -> Refused:
    with pytest.raises(Refused) as why:
        make()
    return why.value


# ---------------------------------------------------------------- Python's types


def test_options_take_a_datetime_timedeltas_and_a_uuid(client: Client, zmws_worker: WorkerFactory) -> None:
    zmws_worker(Echo)
    job_id = uuid4()
    hour = timedelta(hours=1)
    job = client.submit(
        "ECHO", 1, id=job_id, delay=timedelta(0), ttr=hour, expires=hour, backoff=hour, keep=hour
    )
    assert job.id == str(job_id)
    assert job.result(SOON) == 1
    assert client.job(job_id).wait(SOON)["state"] == "complete"
    assert client.submit("ECHO", 2, at=datetime.now(UTC)).result(SOON) == 2
    assert client.call("ECHO", 3, timeout=SOON, id=uuid4()) == 3
    later = datetime.now(UTC) + hour
    record = client.submit("ECHO", at=later).status()
    assert record["state"] == "scheduled"
    assert [one["state"] for one in client.jobs(since=later - 2 * hour, state="scheduled")] in (
        [],
        ["scheduled"],
    )


def test_many_jobs_take_them_too_and_a_wrong_one_is_one_jobs_verdict(
    client: Client, zmws_worker: WorkerFactory
) -> None:
    zmws_worker(Echo)
    job_id = uuid4()
    made = client.submit_many(
        [
            {"service": "ECHO", "params": 1, "id": job_id, "at": datetime.now(UTC), "ttr": SOON},
            {"service": "ECHO", "at": datetime(2030, 1, 1)},
            {"service": "ECHO", "delay": [1]},
            {"service": "SYNC-ECHO"},
            {"service": None},
            {"service": "\ud800"},
            None,
            {"service": "ECHO", "params": 2},
        ]
    )
    first, last = made[0], made[-1]
    assert isinstance(first, Job) and isinstance(last, Job)
    assert first.id == str(job_id)
    assert (first.result(SOON), last.result(SOON)) == (1, 2)
    verdicts = [(one.code, getattr(one, "option", None)) for one in made[1:-1] if isinstance(one, Refused)]
    assert verdicts == [
        ("bad_option", "at"),
        ("bad_option", "delay"),
        ("bad_service", None),
        ("bad_service", None),
        ("bad_service", None),
        ("bad_request", None),
    ]


def test_what_the_broker_says_of_an_option_is_an_option_error_too(client: Client) -> None:
    for given, option in (({"retries": -1}, "retries"), ({"retrys": 1}, "retrys"), ({"ttr": 0}, "ttr")):
        wrong = refused(lambda given=given: client.submit("ECHO", **given))  # type: ignore[misc]
        assert isinstance(wrong, OptionError) and (wrong.code, wrong.option) == ("bad_option", option)
    (verdict,) = client.submit_many([{"service": "ECHO", "priority": 5000}])
    assert isinstance(verdict, OptionError) and verdict.option == "priority"
    with pytest.raises(OptionError, match="it can only expire") as only_expires:
        client.submit("ECHO", delay=5, expires=1)
    assert only_expires.value.option == ""


def test_a_lease_takes_timedeltas(client: Client) -> None:
    client.submit("ECHO", 1)
    lease = client.lease("ECHO", wait=timedelta(seconds=5), ttr=timedelta(seconds=30))
    assert lease is not None and lease.ttr == 30.0
    lease.extend(timedelta(seconds=60))
    lease.fail("no", delay=timedelta(hours=1))
    assert client.job(lease.id).status()["state"] == "scheduled"
    assert client.lease("ECHO", wait=timedelta(0)) is None
    with pytest.raises(OptionError, match="'ttr' is"):
        client.lease("ECHO", ttr=math.inf)


def test_an_async_client_takes_them_too(zmws_broker: RunningBroker, zmws_worker: WorkerFactory) -> None:
    zmws_worker(Echo)

    async def ask() -> None:
        async with AsyncClient(zmws_broker.client, connect_timeout=SOON) as client:
            job = await client.submit("ECHO", 1, at=datetime.now(UTC), id=uuid4())
            assert await job.result(SOON) == 1
            assert await client.call("ECHO", 2, timeout=SOON) == 2
            for wrong in ({"delay": [1]}, {"at": datetime(2030, 1, 1)}):
                with pytest.raises(OptionError):
                    await client.submit("ECHO", **wrong)
            with pytest.raises(Refused, match="'ECHO'"):
                await client.call("SYNC-ECHO")
            assert await client.lease("ECHO", wait=timedelta(0), ttr=SOON) is None

    asyncio.run(asyncio.wait_for(ask(), 20))


# ---------------------------------------------------------------- what cannot be asked

WRONG: list[tuple[str, Any]] = [
    ("at", datetime(2030, 1, 1)),
    ("at", timedelta(1)),
    ("delay", [1]),
    ("delay", datetime.now(UTC)),
    ("ttr", math.nan),
    ("expires", math.inf),
    ("priority", 10**5000),
    ("unique", {"a": 1}),
    ("group", object()),
    ("id", b"abc"),
    ("keep", {1}),
    ("no_such_option", object()),
]


@pytest.mark.parametrize(("name", "value"), WRONG, ids=[f"{name}-{type(v).__name__}" for name, v in WRONG])
def test_an_option_that_cannot_be_sent_is_refused_by_its_name_and_other_calls_go_on(
    client: Client, zmws_worker: WorkerFactory, name: str, value: Any
) -> None:
    zmws_worker(Echo)
    for make in (client.submit_future, client.call_future):  # raised here, not in the future
        with pytest.raises(OptionError, match=name) as wrong:
            make("ECHO", 1, **{name: value})
        assert wrong.value.option == name
    assert client.call("ECHO", 1, timeout=10) == 1


def test_a_time_without_a_zone_says_what_to_write(client: Client) -> None:
    with pytest.raises(OptionError, match=r"zone.*datetime\.now\(timezone\.utc\)"):
        client.submit("ECHO", at=datetime(2030, 1, 1))


@pytest.mark.parametrize(
    "timeout", ["5", math.nan, [1], 10**400, True], ids=["text", "nan", "list", "huge", "bool"]
)
def test_a_timeout_that_is_no_number_of_seconds_is_refused(client: Client, timeout: Any) -> None:
    with pytest.raises(OptionError, match="timeout"):
        client.call("ECHO", 1, timeout=timeout)
    job = client.submit("ECHO", delay=60)
    for wait in (job.wait, job.result, lambda given: list(job.events(timeout=given))):
        with pytest.raises(OptionError, match="timeout"):
            wait(timeout)
    with pytest.raises(OptionError, match="connect_timeout"):
        Client("tcp://127.0.0.1:5555", connect_timeout=timeout)
    with pytest.raises(JobTimeout, match=r"within 0\.01 s"):
        job.wait(timedelta(milliseconds=10))


def test_an_endless_timeout_is_none(client: Client, zmws_worker: WorkerFactory) -> None:
    zmws_worker(Echo)
    assert client.call("ECHO", 1, timeout=math.inf) == 1
    assert client.submit("ECHO", 2).result(math.inf) == 2


@pytest.mark.parametrize("service", [None, 5, b"ECHO", "", "\ud800", "a\nb", "a b", "x" * 256], ids=ascii)
def test_what_is_no_service_name_is_refused_at_once_and_other_calls_go_on(
    client: Client, zmws_worker: WorkerFactory, service: Any
) -> None:
    zmws_worker(Echo)
    for make in (client.submit_future, client.call_future, client.ask_future, client.lease):
        assert refused(lambda make=make: make(service)).code == "bad_service"
    assert client.call("ECHO", 1, timeout=10) == 1


def test_the_brokers_own_services_can_be_asked(client: Client) -> None:
    assert "counters" in client.ask("zmws.stats")
    assert isinstance(client.call("SERVER-WORKERS"), (list, dict, str, bytes, bool))
    assert isinstance(refused(lambda: client.ask("zmws.nothing")), ZmwsError)


@pytest.mark.parametrize("service", ["SYNC-ECHO", "JOB: ECHO", "JOB:ECHO", "JOB: SYNC-ECHO"])
def test_a_prefix_of_the_wire_is_refused_with_what_to_write_instead(client: Client, service: str) -> None:
    for make in (client.submit_future, client.call_future, client.lease):
        why = refused(lambda make=make: make(service))
        assert why.code == "bad_service" and "write 'ECHO'" in str(why), why
    (verdict,) = client.submit_many([{"service": service}])
    assert isinstance(verdict, Refused) and "write 'ECHO'" in str(verdict)


def test_the_command_line_says_so_too(zmws_broker: RunningBroker, tmp_path: Any) -> None:
    for verb in ("call", "submit"):
        ran = run(verb, "SYNC-ECHO", "--broker", zmws_broker.client, cwd=tmp_path)
        assert ran.code == 4 and "write 'ECHO'" in ran.err, ran
