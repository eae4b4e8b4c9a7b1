"""/api/v1/services, /workers, /stats, leases; health."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.gateway.stand import Gateway, gateway
from tests.gateway.test_api_jobs import JOBS, ended, made, problem
from tests.peers import wait_until

API = "/api/v1"


def test_services_are_listed_and_one_is_shown_with_its_etag(ask: httpx.Client) -> None:
    names = {row["service"] for row in ask.get(f"{API}/services").json()}
    assert {"ECHO", "HOLD"} <= names
    answer = ask.get(f"{API}/services/ECHO")
    assert answer.json()["options"]["retries"] == {"value": 3, "from": "default"}
    assert answer.headers["etag"] == f'"{answer.json()["version"]}"'
    assert problem(ask.get(f"{API}/services/NOPE")) == (404, "unknown_service")


def test_a_service_is_changed_and_with_if_match_only_if_nobody_has_since(ask: httpx.Client) -> None:
    path = f"{API}/services/ECHO"
    etag = ask.get(path).headers["etag"]
    answer = ask.patch(path, json={"max_running": 3, "rate": 100}, headers={"if-match": etag})
    assert answer.status_code == 200 and answer.json()["options"]["max_running"]["value"] == 3
    assert answer.headers["etag"] != etag
    assert problem(ask.patch(path, json={"paused": True}, headers={"if-match": etag})) == (412, "changed")
    assert problem(ask.patch(path, json={"paused": True}, headers={"if-match": '"x"'})) == (412, "changed")
    known = ask.get(path).headers["etag"]
    listed = ask.patch(path, json={"max_running": 2}, headers={"if-match": f'"zz", {known}'})
    assert listed.status_code == 200
    merge = {"content-type": "application/merge-patch+json", "if-match": "*"}
    answer = ask.patch(path, content=b'{"max_running": null, "rate": null}', headers=merge)
    assert answer.json()["options"]["max_running"] == {"value": None, "from": "default"}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"nope": 1},
        {"paused": 1},
        {"paused": None},
        {"rate": 0},
        {"max_running": "x"},
        {"service": "HOLD"},
        [],
    ],
)
def test_a_change_that_is_wrong_is_400(ask: httpx.Client, body: Any) -> None:
    assert problem(ask.patch(f"{API}/services/ECHO", json=body)) == (400, "bad_request")


def test_what_waits_is_peeked_at_and_purged(ask: httpx.Client) -> None:
    ask.patch(f"{API}/services/HOLD", json={"paused": True})
    ids = [made(ask, "HOLD") for _ in range(3)]
    jobs = ask.get(f"{API}/services/HOLD/peek?limit=2").json()["jobs"]
    assert [job["id"] for job in jobs] == ids[:2]
    assert ask.post(f"{API}/services/HOLD/purge").json() == {"count": 3}
    ask.patch(f"{API}/services/HOLD", json={"paused": False})
    assert problem(ask.get(f"{API}/services/HOLD/peek?limit=x")) == (400, "bad_request")


def test_workers_and_stats(ask: httpx.Client) -> None:
    workers = ask.get(f"{API}/workers").json()
    assert {name for row in workers for name in row["services"]} == {"ECHO", "HOLD"}
    assert ask.get(f"{API}/stats").json()["limits"]["list_rows_max"] == 1_000
    assert problem(ask.post(f"{API}/workers/nobody/drain")) == (404, "unknown_worker")


# ---------------------------------------------------------------- leases


@pytest.fixture
def leased(ask: httpx.Client) -> Any:
    """Jobs of HOLD for whoever leases: its worker is held off."""
    ids = [made(ask, "LEASED", params={"n": n}) for n in range(2)]
    yield ids
    for job_id in ids:
        ask.post(f"{JOBS}/{job_id}/cancel")


@pytest.fixture(autouse=True)
def service(broker: Any, ask: httpx.Client) -> None:
    """The service LEASED is known."""
    broker.server.node.broker.held.service_of("LEASED").registered = True


def lease(ask: httpx.Client, **more: Any) -> Any:
    answer = ask.post(f"{API}/services/LEASED/lease?wait=5", json=more)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_worker_leases_extends_reports_and_completes(ask: httpx.Client, leased: list[str]) -> None:
    job = lease(ask, ttr=30)
    assert job["id"] == leased[0] and job["params"] == {"n": 0} and 29 < job["ttr"] <= 30
    token = job["token"]
    assert ask.post(f"{API}/leases/extend", json={"token": token, "seconds": 60}).json() == {}
    for more in (
        {"kind": "progress", "done": 0.5},
        {"kind": "partial", "value": [1]},
        {"kind": "log", "text": "x"},
        {"kind": "save", "value": {"at": 5}},
        {"kind": "complete", "result": {"ok": True}},
        {"kind": "complete", "result": {"ok": True}},
    ):
        answer = ask.post(f"{API}/leases/report", json={"token": token, **more})
        assert (answer.status_code, answer.json()) == (200, {}), more
    record = ask.get(f"{JOBS}/{leased[0]}").json()
    assert record["state"] == "complete" and record["result"] == {"ok": True} and record["log"] == ["x"]


def test_a_repeat_of_a_lease_gets_the_same_job_by_its_own_id_or_key(
    ask: httpx.Client, leased: list[str]
) -> None:
    assert lease(ask, lease="l-1")["token"] == lease(ask, lease="l-1")["token"]
    path, key = f"{API}/services/LEASED/lease", {"idempotency-key": "l-2"}
    first, again = (ask.post(path, headers=key).json() for _ in range(2))
    assert first["token"] == again["token"] and first["id"] == leased[1]


def test_what_is_released_comes_back_and_what_fails_is_told(ask: httpx.Client, leased: list[str]) -> None:
    token = lease(ask)["token"]
    assert ask.post(f"{API}/leases/report", json={"token": token, "kind": "release"}).status_code == 200
    job = lease(ask)
    assert job["id"] == leased[0] and job["token"] != token
    said = {"token": job["token"], "kind": "fail", "error": "no", "retry": False}
    assert ask.post(f"{API}/leases/report", json=said).status_code == 200
    assert ended(ask, leased[0])["error"]["error"] == "no"


def test_a_dead_token_is_409_and_says_whether_the_job_was_cancelled(
    ask: httpx.Client, leased: list[str]
) -> None:
    token = lease(ask)["token"]
    ask.post(f"{JOBS}/{leased[0]}/cancel")
    for path, more in (("extend", {"seconds": 5}), ("report", {"kind": "complete"})):
        answer = ask.post(f"{API}/leases/{path}", json={"token": token, **more})
        assert problem(answer) == (409, "token_dead") and answer.json()["cancelled"] is True
    answer = ask.post(f"{API}/leases/report", json={"token": "gone/1/ab", "kind": "complete"})
    assert problem(answer) == (409, "token_dead") and answer.json()["cancelled"] is False


def test_none_that_came_is_204(ask: httpx.Client) -> None:
    answer = ask.post(f"{API}/services/LEASED/lease")
    assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("services/LEASED/lease", {"nope": 1}, 400),
        ("services/LEASED/lease", {"ttr": -1}, 400),
        ("services/NOPE/lease", {}, 404),
        ("leases/extend", {"token": "x", "seconds": 1}, 400),
        ("leases/extend", {"token": "a/1/ab"}, 400),
        ("leases/report", {"token": "a/1/ab", "kind": "nope"}, 400),
        ("leases/report", {"token": "a/1/ab", "kind": "log", "by": "me"}, 400),
        ("leases/report", {}, 400),
    ],
)
def test_what_is_wrong_with_a_lease_is_said(ask: httpx.Client, path: str, body: Any, status: int) -> None:
    assert problem(ask.post(f"{API}/{path}", json=body))[0] == status


def test_a_job_that_comes_for_who_has_gone_is_another_workers_at_once(
    ask: httpx.Client, http: Gateway
) -> None:
    request = (
        b"POST /api/v1/services/LEASED/lease?wait=60 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
    )
    with socket.create_connection(http.address) as waiting:
        waiting.sendall(request)
        wait_until(lambda: http.desk.streams, what="it to wait")
    wait_until(lambda: not http.desk.streams, what="its end to be seen")
    job_id = made(ask, "LEASED")
    taken: list[str] = []

    def took() -> bool:
        answer = ask.post(f"{API}/services/LEASED/lease?wait=1")
        if answer.status_code == 200:
            taken.append(answer.json()["token"])
        return bool(taken)

    wait_until(took, what="the job to be leased by another")
    said = {"token": taken[0], "kind": "complete"}
    assert ask.post(f"{API}/leases/report", json=said).status_code == 200 and taken[0].startswith(job_id)


def test_a_lease_that_was_asked_for_again_is_not_given_back_under_its_worker(
    ask: httpx.Client, http: Gateway, leased: list[str]
) -> None:
    for job_id in leased:
        ask.post(f"{JOBS}/{job_id}/cancel")
    body = b'{"lease": "mine"}'
    head = b"POST /api/v1/services/LEASED/lease?wait=0.3 HTTP/1.1\r\nHost: localhost\r\n"
    head += b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    with socket.create_connection(http.address) as lost:
        lost.sendall(head + body)
        wait_until(lambda: http.desk.streams == 1, what="the first to wait")
    wait_until(lambda: http.desk.streams == 0, what="its end to be seen")
    job_id = made(ask, "LEASED")
    job = lease(ask, lease="mine")
    assert job["id"] == job_id
    assert ("LEASED", "mine") not in http.desk.leasing, "who asked last has it, and nobody gives it back"
    said = {"token": job["token"], "kind": "complete"}
    wait_until(
        lambda: not http.desk.client._client._connection.dialog.pending, 20, "the first to be answered"
    )
    assert ask.post(f"{API}/leases/report", json=said).status_code == 200


def test_a_gateway_that_is_to_end_asks_the_broker_nothing_more(broker: Any, tmp_path: Any) -> None:
    with gateway(broker, tmp_path) as http, http.client() as ask:
        http.loop.call_soon_threadsafe(http.desk.closing.set)
        wait_until(http.desk.closing.is_set)
        with contextlib.suppress(httpx.HTTPError):  # new connections are not taken
            assert ask.post(f"{API}/services/LEASED/lease?wait=5").status_code == 503
        assert not http.server.server_state.connections


# ---------------------------------------------------------------- health


def test_health_and_readiness(ask: httpx.Client, http: Gateway, broker: Any) -> None:
    assert ask.get("/healthz").json() == {"status": "ok"}
    assert ask.get("/readyz").json()["status"] == "ready"


def families(ask: httpx.Client) -> dict[str, Any]:
    answer = ask.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {family.name: family for family in text_string_to_metric_families(answer.text)}


def test_metrics_are_what_prometheus_reads(ask: httpx.Client) -> None:
    ended(ask, made(ask))
    found = families(ask)
    jobs = {(s.labels["service"], s.labels["state"]): s.value for s in found["zmws_jobs"].samples}
    assert jobs["ECHO", "complete"] >= 1 and found["zmws_broker_up"].samples[0].value == 1
    assert {
        *("zmws_oldest_waiting_seconds", "zmws_events", "zmws_jobs_ended", "zmws_gateway_streams"),
        *("zmws_commit_seconds", "zmws_store_bytes", "zmws_refused", "zmws_sessions", "zmws_slots"),
    } <= found.keys()
    assert all(family.documentation for family in found.values())


def test_histograms_of_waits_and_runs_add_up(ask: httpx.Client) -> None:
    before = histogram(families(ask)["zmws_job_run_seconds"])
    for _ in range(3):
        ended(ask, made(ask))
    found = families(ask)
    for name in ("zmws_job_wait_seconds", "zmws_job_run_seconds"):
        buckets, count, sum_s = histogram(found[name])
        assert buckets == sorted(buckets) and buckets[-1] == count and sum_s > 0
    assert histogram(found["zmws_job_run_seconds"])[1] == before[1] + 3
    commits = {sample.name: sample.value for sample in found["zmws_commit_seconds"].samples}
    assert commits["zmws_commit_seconds_count"] > 0


def histogram(family: Any) -> tuple[list[float], float, float]:
    """The buckets of ECHO's, in their order, their count and sum."""
    samples = [one for one in family.samples if one.labels["service"] == "ECHO"]
    buckets = [one.value for one in samples if one.name.endswith("_bucket")]
    (count,) = [one.value for one in samples if one.name.endswith("_count")]
    (sum_s,) = [one.value for one in samples if one.name.endswith("_sum")]
    return buckets, count, sum_s


def test_only_so_many_services_have_lines_of_their_own(ask: httpx.Client, broker: Any) -> None:
    held = broker.server.node.broker.held
    most = broker.server.node.broker.turn.limits.series_services_max
    extra = [f'S{n}"\\' for n in range(most + 5)]
    for name in extra:
        held.service_of(name).registered = True
    try:
        names = {sample.labels["service"] for sample in families(ask)["zmws_jobs"].samples}
        assert len(names) == most + 1 and "other" in names and "ECHO" in names
        counted = {one.labels["service"] for one in families(ask)["zmws_jobs_submitted"].samples}
        assert counted == names
    finally:
        for name in extra:
            with contextlib.suppress(KeyError):
                del held.services[name]
