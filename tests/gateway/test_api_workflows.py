"""/api/v1: batches, chains, families, schedules and follow-ups: each row of the tables in docs/http.md."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway.conftest import Echo, Hold
from tests.gateway.stand import TOKENS, Gateway, gateway
from tests.gateway.test_api_jobs import ended, problem
from tests.peers import wait_until
from zmws.gateway.lateness import late_s
from zmws.gateway.metrics import SCHEDULES_MAX, _by_schedule
from zmws.testing import RunningBroker, broker_in_thread, worker_in_thread

API = "/api/v1"
NDJSON = {"content-type": "application/x-ndjson"}


def batch(ask: httpx.Client, **more: Any) -> dict[str, Any]:
    """A new one."""
    answer = ask.post(f"{API}/batches", json=more)
    assert answer.status_code == 201, answer.text
    told: dict[str, Any] = answer.json()
    return told


def whole(ask: httpx.Client, batch_id: str) -> dict[str, Any]:
    """A batch when it has ended."""
    answer = ask.get(f"{API}/batches/{batch_id}?wait=20")
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


# ---------------------------------------------------------------- batches


def test_a_batch_with_its_jobs_is_closed_and_what_follows_is_told_of_it(ask: httpx.Client) -> None:
    jobs = [{"service": "ECHO", "params": {"n": n}} for n in range(3)]
    answer = ask.post(f"{API}/batches", json={"id": "b1", "jobs": jobs, "then": {"service": "ECHO"}})
    told = answer.json()
    assert answer.status_code == 201 and answer.headers["location"] == f"{API}/batches/b1"
    assert (told["id"], told["closed"], told["total"], told["existing"]) == ("b1", True, 3, False)
    assert [one["id"] for one in told["jobs"]] == ["b1:1", "b1:2", "b1:3"]
    row = whole(ask, "b1")
    assert (row["state"], row["complete"], row["then_id"]) == ("complete", 3, "b1:then")
    record = ended(ask, "b1:then")
    assert record["concludes"]["total"] == 3 and record["params"]["as"] == "then"


def test_the_same_again_is_the_same_batch_and_the_same_jobs(ask: httpx.Client) -> None:
    sent = {"jobs": [{"service": "ECHO", "params": {"n": 1}}, {"service": "ECHO"}]}
    key = {"idempotency-key": "k" * 120}
    first, again = (ask.post(f"{API}/batches", json=sent, headers=key) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 200)
    one, two = first.json(), again.json()
    assert one["id"] == two["id"] and one["id"].startswith("ik-"), "an id of a batch is shorter"
    assert [job["id"] for job in one["jobs"]] == [job["id"] for job in two["jobs"]]
    assert [job["status"] for job in two["jobs"]] == [200, 200] and whole(ask, one["id"])["total"] == 2
    other = ask.post(f"{API}/batches", json={"jobs": [{"service": "ECHO", "params": 2}]}, headers=key)
    assert other.json()["jobs"][0]["code"] == "key_reused"
    both = ask.post(f"{API}/batches", json={"id": "x"}, headers=key)
    assert problem(both) == (400, "bad_request")


def test_of_jobs_of_which_one_is_refused_the_batch_stays_open(ask: httpx.Client) -> None:
    told = batch(ask, id="b2", jobs=[{"service": "ECHO"}, {"service": "NOPE"}], then={"service": "ECHO"})
    assert [one["status"] for one in told["jobs"]] == [202, 404] and told["state"] == "open"
    added = ask.post(f"{API}/batches/b2/jobs", json=[{"service": "ECHO"}])
    assert added.json()[0]["status"] == 202
    closed = ask.post(f"{API}/batches/b2/close")
    assert closed.status_code == 200 and closed.json()["closed"]
    assert ask.post(f"{API}/batches/b2/close").status_code == 200, "twice is once"
    assert whole(ask, "b2")["total"] == 2


def test_jobs_are_added_as_a_list_or_as_lines_until_it_is_closed(ask: httpx.Client) -> None:
    batch_id = batch(ask)["id"]
    lines = b'{"service": "ECHO"}\n{"service": "ECHO", "batch": "another"}\nnone\n'
    told = ask.post(f"{API}/batches/{batch_id}/jobs", content=lines, headers=NDJSON).json()
    assert [one.get("code") for one in told] == [None, "bad_option", "bad_request"]
    key = {"idempotency-key": "add-1"}
    for status in (202, 200):
        told = ask.post(f"{API}/batches/{batch_id}/jobs", json=[{"service": "ECHO"}], headers=key).json()
        assert told == [{"status": status, "id": "add-1:0", "existing": status == 200, "durability": "disk"}]
    ask.post(f"{API}/batches/{batch_id}/close")
    late = ask.post(f"{API}/batches/{batch_id}/jobs", json=[{"service": "ECHO"}]).json()
    assert (late[0]["status"], late[0]["code"]) == (409, "batch_closed")
    single = ask.post(f"{API}/jobs", json={"service": "ECHO", "batch": batch_id})
    assert problem(single) == (409, "batch_closed")
    assert whole(ask, batch_id)["total"] == 2


def test_a_batch_is_waited_for_and_its_jobs_are_found_and_cancelled(
    ask: httpx.Client, held: threading.Event
) -> None:
    batch(ask, id="b3", jobs=[{"service": "HOLD"}, {"service": "HOLD"}], failed={"service": "ECHO"})
    waited = ask.get(f"{API}/batches/b3?wait=0.05")
    assert waited.status_code == 202 and waited.headers["retry-after"] == "1"
    assert waited.json()["unfinished"] == 2 and ask.get(f"{API}/batches/b3").status_code == 200
    found = ask.get(f"{API}/jobs?batch=b3").json()["jobs"]
    assert {one["id"] for one in found} == {"b3:1", "b3:2"} and {one["batch"] for one in found} == {"b3"}
    dry = ask.post(f"{API}/jobs/cancel", json={"batch": "b3", "dry_run": True})
    assert dry.json()["count"] == 2
    gone = ask.post(f"{API}/batches/b3/cancel")
    assert gone.status_code == 200 and gone.json() == {"id": "b3", "count": 2}
    row = whole(ask, "b3")
    assert (row["state"], row["cancelled"], row["failed_id"]) == ("failed", 2, "b3:failed")


def test_batches_are_paged_through_the_newest_first(ask: httpx.Client) -> None:
    ids = [batch(ask, meta={"n": n})["id"] for n in range(3)]
    page = ask.get(f"{API}/batches?state=open&limit=2")
    assert [row["id"] for row in page.json()["batches"]] == ids[:0:-1]
    link = page.headers["link"].split(">")[0].removeprefix("<")
    assert ids[0] in [row["id"] for row in ask.get(link).json()["batches"]]
    assert problem(ask.get(f"{API}/batches?state=none")) == (400, "bad_request")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"than": {}}, 400, "bad_request"),
        ({"jobs": {}}, 400, "bad_request"),
        ({"then": {"service": "NOPE"}}, 404, "unknown_service"),
        ({"then": {"service": "ECHO", "id": "x"}}, 400, "bad_option"),
        ({"id": "x" * 101}, 400, "bad_request"),
        ({"id": "a b"}, 400, "bad_request"),
        ({"id": ".."}, 400, "bad_option"),
        ({"id": ""}, 400, "bad_request"),
        ({"keep": "long"}, 400, "bad_request"),
    ],
)
def test_a_batch_that_is_wrong_says_so(ask: httpx.Client, body: Any, status: int, code: str) -> None:
    assert problem(ask.post(f"{API}/batches", json=body)) == (status, code)


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("POST", "/close"), ("POST", "/cancel")])
def test_a_batch_that_there_is_not_is_404(ask: httpx.Client, method: str, path: str) -> None:
    assert problem(ask.request(method, f"{API}/batches/none{path}")) == (404, "unknown_batch")
    assert problem(ask.post(f"{API}/batches/none/jobs", json=[])) == (404, "unknown_batch")


# ---------------------------------------------------------------- chains, families, follow-ups


def test_a_chain_goes_on_with_the_result_before(ask: httpx.Client) -> None:
    steps = [
        {"service": "ECHO", "params": {"n": 2**60}},
        {"service": "ECHO", "previous": [""]},
        {"service": "ECHO", "params": {"a": None}, "previous": ["/a"]},
    ]
    answer = ask.post(f"{API}/chains", json={"id": "c1", "chain": steps})
    first = f"{API}/jobs/c1:1"
    links = {"first": first, "family": f"{first}/family"}
    told = {"id": "c1", "first": "c1:1", "steps": 3, "existing": False, "links": links}
    assert (answer.status_code, answer.json(), answer.headers["location"]) == (202, told, first)
    assert ask.post(f"{API}/chains", json={"id": "c1", "chain": steps}).status_code == 200
    wait_until(lambda: ask.get(f"{API}/jobs/c1:3").status_code == 200)
    record = ended(ask, "c1:3")
    assert record["params"]["a"]["params"]["params"] == {"n": 2**60}
    assert (record["chain"], record["step"], record["steps"], record["parent"]) == ("c1", 3, 3, "c1:2")
    assert len(ask.get(f"{API}/jobs?chain=c1").json()["jobs"]) == 3
    assert [one["id"] for one in ask.get(f"{API}/jobs?parent=c1:1").json()["jobs"]] == ["c1:2"]
    tree = ask.get(f"{API}/jobs/c1:2/family").json()
    assert [(one["id"], one["depth"], one["step"]) for one in tree["jobs"]] == [
        ("c1:1", 0, 1),
        ("c1:2", 0, 2),
        ("c1:3", 0, 3),
    ]
    cut = ask.get(f"{API}/jobs/c1:2/family?limit=2").json()
    assert len(cut["jobs"]) == 2 and cut["next"] is not None
    assert problem(ask.get(f"{API}/jobs/none/family")) == (404, "unknown_job")


def test_a_key_stands_for_one_chain(ask: httpx.Client) -> None:
    key = {"idempotency-key": "chain-1"}
    sent = {"chain": [{"service": "ECHO", "params": {"n": 1}, "previous": []}, {"service": "ECHO"}]}
    assert [ask.post(f"{API}/chains", json=sent, headers=key).status_code for _ in range(2)] == [202, 200]
    other = {"chain": [{"service": "ECHO", "params": {"n": 2}}]}
    assert problem(ask.post(f"{API}/chains", json=other, headers=key)) == (422, "key_reused")


def test_a_chain_is_cancelled_as_a_whole(ask: httpx.Client) -> None:
    ask.post(f"{API}/chains", json={"id": "c2", "chain": [{"service": "HOLD"}, {"service": "ECHO"}]})
    assert ask.post(f"{API}/chains/c2/cancel").json() == {"id": "c2", "count": 1}
    assert ended(ask, "c2:1")["state"] == "cancelled"
    assert ask.post(f"{API}/chains/c2/cancel").json()["count"] == 0
    assert problem(ask.post(f"{API}/chains/none/cancel")) == (404, "unknown_job")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "bad_request"),
        ({"chain": []}, 400, "bad_option"),
        ({"chain": [{"service": "ECHO"}], "priority": 1}, 400, "bad_option"),
        ({"chain": [{"service": "zmws.purge"}]}, 404, "unknown_service"),
        ({"chain": [{"service": "ECHO"}, {"service": "NOPE"}]}, 404, "unknown_service"),
        ({"chain": [{"service": "ECHO", "previous": [""]}]}, 400, "bad_option"),
        ({"chain": [5]}, 400, "bad_request"),
        ({"chain": [{"service": "ECHO"}], "batch": "none"}, 409, "batch_closed"),
        ({"chain": [{"service": "ECHO"}], "id": "x" * 121}, 400, "bad_option"),
    ],
)
def test_a_chain_that_is_wrong_says_so(ask: httpx.Client, body: Any, status: int, code: str) -> None:
    assert problem(ask.post(f"{API}/chains", json=body)) == (status, code)


def test_a_job_tells_another_service_of_its_end(ask: httpx.Client) -> None:
    sent = {"service": "ECHO", "params": {"fail": "1"}, "retries": 0, "on_failed": "ECHO"}
    job_id = ask.post(f"{API}/jobs", json=sent).json()["id"]
    assert ended(ask, job_id)["on_failed"] == "ECHO"
    (told,) = ask.get(f"{API}/jobs?parent={job_id}").json()["jobs"]
    assert ended(ask, told["id"])["params"]["error"]["error"] == "as asked"
    wrong = ask.post(f"{API}/jobs", json={"service": "ECHO", "on_complete": "NOPE"})
    assert problem(wrong) == (404, "unknown_service")


def test_a_worker_by_http_enqueues_what_follows(broker: RunningBroker, ask: httpx.Client) -> None:
    broker.server.node.broker.held.service_of("LEASED").registered = True
    job_id = ask.post(f"{API}/jobs", json={"service": "LEASED"}).json()["id"]
    token = ask.post(f"{API}/services/LEASED/lease?wait=10", json={}).json()["token"]
    report = {"token": token, "kind": "complete", "enqueue": [{"service": "ECHO", "params": {"n": 1}}]}
    assert ask.post(f"{API}/leases/report", json=report).status_code == 200
    assert ended(ask, f"{job_id}:1")["parent"] == job_id


# ---------------------------------------------------------------- schedules


def test_a_schedule_is_made_shown_paused_run_and_removed(ask: httpx.Client) -> None:
    sent = {"name": "s1", "service": "ECHO", "cron": "30 8 * * MON-FRI", "zone": "Europe/Berlin"}
    answer = ask.post(f"{API}/schedules", json=sent)
    at = f"{API}/schedules/s1"
    assert answer.status_code == 201 and answer.headers["location"] == at
    assert ask.get(at).json()["cron"] == sent["cron"] and ask.get(at).json()["next_at"] is not None
    assert "s1" in [row["name"] for row in ask.get(f"{API}/schedules").json()["schedules"]]
    assert problem(ask.post(f"{API}/schedules", json=sent)) == (409, "exists")
    assert ask.post(f"{API}/schedules", json={**sent, "replace": True}).status_code == 200
    paused = ask.post(f"{at}/pause").json()
    assert (paused["paused"], paused["next_at"]) == (True, None)
    assert ask.post(f"{at}/resume").json()["paused"] is False
    run = ask.post(f"{at}/run")
    assert run.status_code == 202 and run.headers["location"] == f"{API}/jobs/{run.json()['id']}"
    assert ended(ask, run.json()["id"])["state"] == "complete"
    assert ask.get(at).json()["last"]["id"] == run.json()["id"]
    assert ask.delete(at).json() == {"name": "s1"}
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/pause"), ("POST", "/run")):
        assert problem(ask.request(method, at + path)) == (404, "unknown_schedule")


def test_a_schedule_is_put_where_its_name_stands(ask: httpx.Client) -> None:
    at, sent = f"{API}/schedules/s2", {"service": "ECHO", "every": 3600}
    assert ask.put(at, json=sent).status_code == 201
    again = ask.put(at, json={**sent, "every": 60})
    assert again.status_code == 200 and ask.get(at).json()["every"] == 60
    assert problem(ask.put(at, json={**sent, "name": "other"})) == (400, "bad_request")
    assert problem(ask.put(at, json={**sent, "replace": False})) == (400, "bad_request")


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"service": "NOPE"}, 404, "unknown_service"),
        ({"name": "a b"}, 400, "bad_request"),
        ({"cron": "61 * * * *", "every": None}, 400, "bad_option"),
        ({"cron": "* * * * *"}, 400, "bad_option"),
        ({"cron": "* * * * *", "every": None, "zone": "Nowhere/At-all"}, 400, "bad_option"),
        ({"every": 0.5}, 400, "bad_request"),
        ({"evry": 1}, 400, "bad_request"),
        ({"do": "remove"}, 400, "bad_request"),
        ({"options": {"id": "x"}}, 400, "bad_option"),
    ],
)
def test_a_schedule_that_is_wrong_says_so(ask: httpx.Client, change: Any, status: int, code: str) -> None:
    sent = {"name": "s3", "service": "ECHO", "every": 60, **change}
    assert problem(ask.post(f"{API}/schedules", json=sent)) == (status, code)


# ---------------------------------------------------------------- who may


@pytest.fixture(scope="module")
def roles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with a token for each role."""
    folder = tmp_path_factory.mktemp("roles")
    names = {"eye": "viewer", "shop": "client", "hand": "worker", "boss": "operator"}
    with (
        broker_in_thread(store=f"sqlite:{folder / 'zmws.db'}") as broker,
        worker_in_thread(Echo, broker),
        worker_in_thread(Hold, broker),
        gateway(broker, folder, names) as found,
    ):
        yield found


@pytest.mark.parametrize(
    ("method", "path", "may"),
    [
        ("GET", "/batches", {"eye"}),
        ("POST", "/batches", {"shop"}),
        ("GET", "/batches/none", {"eye", "shop"}),
        ("POST", "/batches/none/jobs", {"shop"}),
        ("POST", "/batches/none/close", {"shop"}),
        ("POST", "/batches/none/cancel", {"shop"}),
        ("POST", "/chains", {"shop"}),
        ("POST", "/chains/none/cancel", {"shop"}),
        ("GET", "/jobs/none/family", {"eye", "shop"}),
        ("GET", "/schedules", {"eye"}),
        ("POST", "/schedules", set()),
        ("GET", "/schedules/none", {"eye"}),
        ("PUT", "/schedules/none", set()),
        ("DELETE", "/schedules/none", set()),
        ("POST", "/schedules/none/pause", set()),
        ("POST", "/schedules/none/resume", set()),
        ("POST", "/schedules/none/run", set()),
    ],
)
def test_each_is_for_its_roles(roles: Gateway, method: str, path: str, may: set[str]) -> None:
    for name in ("eye", "shop", "hand", "boss"):
        with roles.client(TOKENS[name]) as ask:
            told = ask.request(method, API + path, **({"json": {}} if method != "GET" else {}))
            assert (told.status_code != 403) == (name in may | {"boss"}), (name, told.text)


def test_a_token_takes_no_ids_that_are_anothers_keys(roles: Gateway) -> None:
    with roles.client(TOKENS["shop"]) as ask:
        for path, more in (("/batches", {}), ("/chains", {"chain": [{"service": "ECHO"}]})):
            for job_id in ("boss", "boss:1"):
                told = ask.post(API + path, json={"id": job_id, **more})
                assert problem(told) == (403, "not_allowed"), "its jobs would be boss:1"
        assert ask.post(f"{API}/batches", json={"id": "shop"}).status_code == 201


def test_a_viewer_sees_no_secrets_of_batches_schedules_and_jobs_that_are_told_of_others(
    roles: Gateway, tmp_path: Path
) -> None:
    with roles.client(TOKENS["boss"]) as boss, roles.client(TOKENS["eye"]) as eye:
        boss.post(f"{API}/batches", json={"id": "sb", "meta": {"token": "hush-1"}})
        for name, params in (
            ("ss", {"params": {"password": "hush-2"}}),
            ("sr", {"params_base64": "aHVzaA=="}),
        ):
            options = {"meta": {"api_key": "hush-3"}}
            sent = {"name": name, "service": "ECHO", "every": 9e4, "options": options, **params}
            assert boss.post(f"{API}/schedules", json=sent).status_code == 201
        job = {"service": "ECHO", "params_base64": "aHVzaA==", "retries": 0, "on_failed": "ECHO", "id": "sj"}
        boss.post(f"{API}/jobs", json=job)
        ended(boss, "sj")
        (told,) = boss.get(f"{API}/jobs?parent=sj").json()["jobs"]
        ended(boss, told["id"])
        paths = (
            *("/batches", "/batches/sb", "/schedules", "/schedules/ss", "/schedules/sr"),
            *("/jobs/sj", f"/jobs/{told['id']}"),
        )
        for path in paths:
            seen, masked = boss.get(API + path).text, eye.get(API + path).text
            assert "hush" in seen or "aHVzaA" in seen, path
            assert "hush" not in masked and "••••••" in masked, path
            assert "aHVzaA" not in masked.partition('"result"')[0], path


def test_who_changed_what_is_kept(roles: Gateway) -> None:
    with roles.client(TOKENS["boss"]) as ask:
        ask.put(f"{API}/schedules/kept", json={"service": "ECHO", "every": 9e4})
        ask.post(f"{API}/schedules/kept/pause")
        ask.post(f"{API}/batches", json={"id": "kept-b"})
        ask.post(f"{API}/batches/kept-b/close")
        acts = [(one["verb"], one["on"], one["by"]) for one in ask.get(f"{API}/audit").json()["entries"][:3]]
    assert acts == [
        ("close", "kept-b", "boss (http)"),
        ("schedule", "kept", "boss (http)"),
        ("schedule", "kept", "boss (http)"),
    ]


# ---------------------------------------------------------------- what Prometheus is told


def test_prometheus_is_told_of_schedules_their_lateness_and_failures(ask: httpx.Client) -> None:
    sent = {"name": "m1", "service": "ECHO", "every": 9e4, "params": {"fail": "1"}, "options": {"retries": 0}}
    assert ask.post(f"{API}/schedules", json=sent).status_code == 201
    job_id = ask.post(f"{API}/schedules/m1/run").json()["id"]
    assert ended(ask, job_id)["state"] == "failed"
    ask.post(f"{API}/schedules/m1/pause")  # asks anew
    page = ask.get("/metrics").text
    assert 'zmws_events_total{name="schedules_missed"}' in page
    wait_until(lambda: 'zmws_schedule_failed{schedule="m1"} 1' in ask.get("/metrics").text, 15)
    page = ask.get("/metrics").text
    assert 'zmws_schedule_late_seconds{schedule="m1"}' in page and 'zmws_schedules{state="paused"} 1' in page


def test_one_that_nobody_has_begun_is_the_later_the_longer_it_waits() -> None:
    now = datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC)
    last = {"id": "cron:n:2026-01-01T12:00:00Z", "state": "waiting", "started_at": None}
    row = {
        "late_s": None,
        "last": last,
        "last_at": "2026-01-01T12:00:00Z",
        "fired_at": "2026-01-01T12:00:20Z",
    }
    assert late_s(row, now) == 30.0
    assert late_s({**row, "last": {**last, "id": "cron:n:run-2026"}}, now) == 10.0
    assert late_s({**row, "late_s": 2}, now) == 2.0
    for other in (None, {**last, "state": "running", "started_at": "2026-01-01T12:00:01Z"}):
        assert late_s({**row, "last": other}, now) is None


def test_of_many_schedules_the_rest_is_one_line() -> None:
    values = {f"n{n:03d}": float(n) for n in range(SCHEDULES_MAX + 3)}
    told = list(_by_schedule(values))
    assert len(told) == SCHEDULES_MAX + 1 and told[-1] == ({"schedule": "other"}, SCHEDULES_MAX + 2.0)
