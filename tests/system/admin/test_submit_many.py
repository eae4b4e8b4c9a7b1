"""Many jobs in one message: each has its own verdict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.system.admin.echo import KNOWN, Echo, accepted, service
from zmws import BrokerUnreachable, Client, Refused, ServiceUnknown
from zmws.client import Job
from zmws.core.options import ServiceOptions
from zmws.testing import RunningBroker
from zmws.testing.fixtures import BrokerFactory, WorkerFactory


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
    settings = client._connection.dialog.settings
    patience, settings.repeat_s = settings.repeat_s, 0.01
    made = client.submit_many({"service": "ECHO", "params": "x" * 1000} for _ in range(1000))
    settings.repeat_s = patience
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
