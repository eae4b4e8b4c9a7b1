"""/api/v1/jobs: each row of the table in docs/http.md, each status."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import httpx
import pytest

from tests.gateway.stand import Gateway
from tests.peers import wait_until

JOBS = "/api/v1/jobs"
NDJSON = {"content-type": "application/x-ndjson"}


def made(ask: httpx.Client, service: str = "ECHO", **more: Any) -> str:
    """A job that was submitted; its id."""
    answer = ask.post(JOBS, json={"service": service, **more})
    assert answer.status_code in (200, 202), answer.text
    return str(answer.json()["id"])


def ended(ask: httpx.Client, job_id: str) -> dict[str, Any]:
    """Its record, when it has ended."""
    record: dict[str, Any] = {}

    def final() -> bool:
        record.update(ask.get(f"{JOBS}/{job_id}").json())
        return record["state"] in ("complete", "failed", "cancelled", "expired")

    wait_until(final)
    return record


def problem(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    told = answer.json()
    assert told["status"] == answer.status_code and told["type"].endswith(f"#{told['code']}")
    return answer.status_code, told["code"]


# ---------------------------------------------------------------- submit


def test_a_submit_is_202_with_where_it_is(ask: httpx.Client) -> None:
    options = {"priority": 5, "retries": 1, "meta": {"a": 1}, "group": "g", "ttr": 9}
    answer = ask.post(JOBS, json={"service": "ECHO", "params": {"n": 2**70}, **options})
    told = answer.json()
    assert answer.status_code == 202 and answer.headers["location"] == f"{JOBS}/{told['id']}"
    record = ended(ask, told["id"])
    assert record["result"] == {"params": {"n": 2**70}, "meta": {"a": 1}}
    assert (record["priority"], record["retries"], record["group"], record["ttr"]) == (5, 1, "g", 9)


def test_a_submit_that_is_waited_for_is_200_with_the_record(ask: httpx.Client) -> None:
    answer = ask.post(JOBS, json={"service": "ECHO"}, headers={"prefer": "respond-async, wait=10"})
    assert answer.status_code == 200 and answer.headers["preference-applied"] == "wait=10"
    assert answer.json()["state"] == "complete" and answer.headers["location"].endswith(answer.json()["id"])


def test_one_that_does_not_end_in_that_time_is_202(ask: httpx.Client) -> None:
    answer = ask.post(JOBS, json={"service": "HOLD"}, headers={"prefer": "wait=0.1"})
    assert answer.status_code == 202 and answer.headers["preference-applied"] == "wait=0.1"
    assert ask.post(f"{JOBS}/{answer.json()['id']}/cancel").status_code == 200


def test_bytes_go_as_base64(ask: httpx.Client) -> None:
    record = ended(ask, made(ask, params_base64="AP8="))
    assert record["params"] == {"base64": "AP8="} and record["params_kind"] == "bytes"


def test_a_key_that_comes_again_is_the_same_job_and_with_other_parameters_422(ask: httpx.Client) -> None:
    key = {"idempotency-key": "order-17"}
    first = ask.post(JOBS, json={"service": "ECHO", "params": {"n": 1}}, headers=key)
    again = ask.post(JOBS, json={"service": "ECHO", "params": {"n": 1}}, headers=key)
    assert (first.status_code, again.status_code) == (202, 200) and again.json()["id"] == "order-17"
    other = ask.post(JOBS, json={"service": "ECHO", "params": {"n": 2}}, headers=key)
    assert problem(other) == (422, "key_reused")
    other = ask.post(JOBS, json={"service": "HOLD", "params": {"n": 1}}, headers=key)
    assert problem(other) == (422, "key_reused")
    for data in ("AP8=", "AP8="):
        ended_with = ask.post(
            JOBS, json={"service": "ECHO", "params_base64": data}, headers={"idempotency-key": "b"}
        )
    assert ended_with.status_code == 200


def test_an_id_of_another_service_is_409(ask: httpx.Client) -> None:
    made(ask, id="mine")
    assert problem(ask.post(JOBS, json={"service": "HOLD", "id": "mine"})) == (409, "id_conflict")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "bad_request"),
        ([], 400, "bad_request"),
        ({"service": 5}, 400, "bad_request"),
        ({"service": "NOPE"}, 404, "unknown_service"),
        ({"service": "zmws.purge", "params": {"service": "ECHO"}}, 404, "unknown_service"),
        ({"service": "SYNC-ECHO"}, 400, "bad_service"),
        ({"service": "ECHO", "priorty": 1}, 400, "bad_option"),
        ({"service": "ECHO", "priority": 5000}, 400, "bad_option"),
        ({"service": "ECHO", "priority": {}}, 400, "bad_option"),
        ({"service": "ECHO", "meta": []}, 400, "bad_option"),
        ({"service": "ECHO", "meta": {"a": "x" * 5000}}, 400, "bad_option"),
        ({"service": "ECHO", "id": "a b"}, 400, "bad_option"),
        ({"service": "ECHO", "params_base64": "?"}, 400, "bad_request"),
        ({"service": "ECHO", "params_base64": 5}, 400, "bad_request"),
        ({"service": "ECHO", "params": 1, "params_base64": "AA=="}, 400, "bad_request"),
    ],
)
def test_a_submit_that_is_wrong_says_so(ask: httpx.Client, body: Any, status: int, code: str) -> None:
    assert problem(ask.post(JOBS, json=body)) == (status, code)


def test_a_body_of_another_type_is_415_and_one_that_is_no_json_400(ask: httpx.Client) -> None:
    assert problem(ask.post(JOBS, content=b"a=1")) == (415, "wrong_type")
    assert problem(ask.post(JOBS, data={"service": "ECHO"})) == (415, "wrong_type")
    assert problem(ask.post(JOBS, content=b"{", headers={"content-type": "application/json"}))[0] == 400
    nan = b'{"service": "ECHO", "params": NaN}'
    assert problem(ask.post(JOBS, content=nan, headers={"content-type": "application/json"}))[0] == 400


def test_a_unique_key_is_200_with_the_job_that_holds_it(ask: httpx.Client) -> None:
    first = made(ask, "HOLD", unique="k")
    answer = ask.post(JOBS, json={"service": "HOLD", "unique": "k", "params": 7})
    assert answer.status_code == 200 and answer.json()["id"] == first and answer.json()["existing"]
    ask.post(f"{JOBS}/{first}/cancel")


# ---------------------------------------------------------------- many


def test_many_are_submitted_with_a_verdict_each_in_order(ask: httpx.Client) -> None:
    jobs = [
        {"service": "ECHO", "id": "m-1"},
        {"service": "NOPE"},
        5,
        {"service": "ECHO", "ttr": "x"},
        {"service": "ECHO"},
    ]
    for body, headers in (
        (json.dumps(jobs), {"content-type": "application/json"}),
        ("\n".join(map(json.dumps, jobs)) + "\n\n{\n", NDJSON),
    ):
        answer = ask.post(f"{JOBS}/many", content=body, headers=headers)
        told = answer.json()
        assert answer.status_code == 200 and len(told) == (5 if headers is not NDJSON else 6)
        assert [one.get("code") for one in told[:5]] == [
            None,
            "unknown_service",
            "bad_request",
            "bad_option",
            None,
        ]
        assert told[0]["id"] == "m-1" and told[1]["status"] == 404 and told[4]["id"]
    assert told[0] == {"status": 200, "id": "m-1", "existing": True, "durability": "disk"}
    assert told[5]["code"] == "bad_request"


def test_many_with_a_key_are_the_same_jobs_again(ask: httpx.Client) -> None:
    sent = {"json": [{"service": "ECHO"}] * 3, "headers": {"idempotency-key": "batch"}}
    first, again = (ask.post(f"{JOBS}/many", **sent).json() for _ in range(2))
    assert [one["id"] for one in first] == [one["id"] for one in again] == ["batch:0", "batch:1", "batch:2"]
    assert all(one["existing"] for one in again)


def test_a_key_of_many_that_comes_with_other_parameters_is_told_for_each(ask: httpx.Client) -> None:
    key = {"idempotency-key": "k" * 128}
    jobs = [{"service": "ECHO", "params": n} for n in range(2)]
    first = ask.post(f"{JOBS}/many", json=jobs, headers=key).json()
    assert all(one["id"].startswith("ik-") for one in first), "what is no id is hashed, and never cut"
    jobs[1]["params"] = 7
    again = ask.post(f"{JOBS}/many", json=jobs, headers=key).json()
    assert [one["status"] for one in again] == [200, 422] and again[1]["code"] == "key_reused"


def test_more_than_so_many_are_413(ask: httpx.Client) -> None:
    for body, headers in (
        (b"[" + b"1," * 10_000 + b"1]", {"content-type": "application/json"}),
        (b"1\n" * 10_001, NDJSON),
    ):
        assert problem(ask.post(f"{JOBS}/many", content=body, headers=headers)) == (413, "too_many_jobs")


def test_many_that_are_no_list_are_400_and_none_is_an_empty_list(ask: httpx.Client) -> None:
    assert problem(ask.post(f"{JOBS}/many", json={"service": "ECHO"})) == (400, "bad_request")
    assert ask.post(f"{JOBS}/many", json=[]).json() == []


def test_a_thousand_and_more_go_in_one_request(ask: httpx.Client) -> None:
    told = ask.post(f"{JOBS}/many", json=[{"service": "ECHO", "params": n} for n in range(2_500)]).json()
    assert len({one["id"] for one in told}) == 2_500


# ---------------------------------------------------------------- look


def test_jobs_are_listed_by_page_and_filter(ask: httpx.Client) -> None:
    ids = [made(ask, group="listed") for _ in range(5)]
    answer = ask.get(JOBS, params={"group": "listed", "limit": 2})
    assert [job["id"] for job in answer.json()["jobs"]] == ids[:2:-1]
    link = answer.headers["link"]
    assert link.endswith('; rel="next"')
    answer = ask.get(link.partition(">")[0][1:])
    assert [job["id"] for job in answer.json()["jobs"]] == ids[2:0:-1]
    whole = ask.get(JOBS, params={"group": "listed", "service": "ECHO"})
    assert len(whole.json()["jobs"]) == 5 and "link" not in whole.headers
    assert ask.get(JOBS, params={"group": "listed", "since": "2999-01-01T00:00:00Z"}).json()["jobs"] == []
    assert ask.get(JOBS, params={"memory": "true", "group": "listed"}).json()["jobs"] == []


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=x", "limit=-1", "state=done", "since=now", "nope=1", "memory=2", "cursor=x"]
)
def test_a_filter_that_is_wrong_is_400(ask: httpx.Client, query: str) -> None:
    assert problem(ask.get(f"{JOBS}?{query}")) == (400, "bad_request")


def test_a_record_has_an_etag_and_is_304_as_long_as_it_is_the_same(
    ask: httpx.Client, held: threading.Event
) -> None:
    job_id = made(ask, "HOLD")
    wait_until(lambda: ask.get(f"{JOBS}/{job_id}").json()["progress"] == 0.5)
    wait_until(lambda: len(ask.get(f"{JOBS}/{job_id}").json()["partials"]) == 1)
    answer = ask.get(f"{JOBS}/{job_id}")
    etag = answer.headers["etag"]
    assert etag.startswith('W/"') and answer.json()["state"] == "running"
    for known in (etag, f'"x", {etag}', "*"):
        same = ask.get(f"{JOBS}/{job_id}", headers={"if-none-match": known})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)
    held.set()
    ended(ask, job_id)
    assert ask.get(f"{JOBS}/{job_id}", headers={"if-none-match": etag}).status_code == 200


def test_head_of_a_record_has_no_body(ask: httpx.Client) -> None:
    answer = ask.head(f"{JOBS}/{made(ask)}")
    assert answer.status_code == 200 and answer.content == b"" and "etag" in answer.headers


@pytest.mark.parametrize("path", ["", "/result", "/events"])
def test_a_job_that_there_is_not_is_404(ask: httpx.Client, path: str) -> None:
    assert problem(ask.get(f"{JOBS}/gone{path}")) == (404, "unknown_job")
    assert problem(ask.get(f"{JOBS}/a%20b{path}")) == (400, "bad_request")


def test_a_result_is_202_until_it_is_there_then_200_in_its_own_type(
    ask: httpx.Client, held: threading.Event
) -> None:
    job_id = made(ask, "HOLD")
    for wait in ("0", "0.05"):
        answer = ask.get(f"{JOBS}/{job_id}/result", params={"wait": wait})
        assert answer.status_code == 202 and answer.headers["retry-after"] == "1"
    held.set()
    answer = ask.get(f"{JOBS}/{job_id}/result?wait=10")
    assert answer.status_code == 200 and answer.json() == "let go"
    answer = ask.get(f"{JOBS}/{made(ask, params={'bytes': '1'})}/result?wait=10")
    assert answer.content == b"\x00\xff" and answer.headers["content-type"] == "application/octet-stream"


def test_a_result_that_will_never_be_is_409_with_why(ask: httpx.Client) -> None:
    failed = made(ask, params={"fail": "1"}, retries=0)
    answer = ask.get(f"{JOBS}/{failed}/result?wait=10")
    assert problem(answer) == (409, "job_failed")
    assert answer.json()["state"] == "failed" and answer.json()["exception"] == "ValueError"
    cancelled = made(ask, delay=100)
    ask.post(f"{JOBS}/{cancelled}/cancel")
    answer = ask.get(f"{JOBS}/{cancelled}/result")
    assert problem(answer) == (409, "cancelled") and answer.json()["state"] == "cancelled"
    ask.patch("/api/v1/services/ECHO", json={"paused": True})
    expired = made(ask, expires=0.05)
    answer = ask.get(f"{JOBS}/{expired}/result?wait=10")
    ask.patch("/api/v1/services/ECHO", json={"paused": False})
    assert problem(answer) == (409, "expired") and answer.json()["state"] == "expired"


@pytest.mark.parametrize("wait", ["x", "-1", "nan", "inf", "1" * 30, "1_0", "1e1", "", " 1"])
def test_a_wait_that_is_no_number_of_seconds_is_400(ask: httpx.Client, wait: str) -> None:
    assert problem(ask.get(f"{JOBS}/{made(ask)}/result", params={"wait": wait})) == (400, "bad_request")


def test_a_wait_is_no_longer_than_wait_max(
    ask: httpx.Client, http: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    object.__setattr__(http.desk.settings, "wait_max", 0.2)
    try:
        begun = time.monotonic()
        job_id = made(ask, delay=100)
        assert ask.get(f"{JOBS}/{job_id}/result?wait=100").status_code == 202
        assert time.monotonic() - begun < 5
    finally:
        object.__setattr__(http.desk.settings, "wait_max", 60.0)
    ask.post(f"{JOBS}/{job_id}/cancel")


# ---------------------------------------------------------------- act


def test_a_job_is_cancelled_retried_and_deleted_and_409_where_it_cannot_be(ask: httpx.Client) -> None:
    job_id = made(ask, delay=100)
    assert problem(ask.post(f"{JOBS}/{job_id}/retry")) == (409, "not_possible")
    assert problem(ask.delete(f"{JOBS}/{job_id}")) == (409, "not_possible")
    answer = ask.post(f"{JOBS}/{job_id}/cancel")
    assert answer.status_code == 200 and answer.json() == {"id": job_id, "count": 1}
    assert problem(ask.post(f"{JOBS}/{job_id}/cancel")) == (409, "not_possible")
    assert ask.post(f"{JOBS}/{job_id}/retry").status_code == 202
    ended(ask, job_id)
    assert ask.delete(f"{JOBS}/{job_id}").status_code == 200
    for answer in (ask.delete(f"{JOBS}/{job_id}"), ask.post(f"{JOBS}/{job_id}/cancel")):
        assert problem(answer) == (404, "unknown_job")


def test_a_job_is_run_again_with_changes(ask: httpx.Client) -> None:
    job_id = made(ask, params={"a": 1}, meta={"m": 1})
    same = ask.post(f"{JOBS}/{job_id}/copy", json={})
    assert same.status_code == 202 and same.headers["location"] == f"{JOBS}/{same.json()['id']}"
    assert ended(ask, same.json()["id"])["result"] == {"params": {"a": 1}, "meta": {"m": 1}}
    other = ask.post(f"{JOBS}/{job_id}/copy", json={"params": {"b": 2}, "id": "copied", "priority": 3})
    assert other.json()["id"] == "copied" and ended(ask, "copied")["params"] == {"b": 2}
    assert ask.post(f"{JOBS}/{job_id}/copy").status_code == 202, "no body is no change"
    assert problem(ask.post(f"{JOBS}/gone/copy", json={})) == (404, "unknown_job")
    assert problem(ask.post(f"{JOBS}/{job_id}/copy", json={"service": "NOPE"})) == (404, "unknown_service")
    assert problem(ask.post(f"{JOBS}/{job_id}/copy", json={"ttr": -1})) == (400, "bad_request")
    gone = ask.post(f"{JOBS}/gone/copy", json={})
    assert gone.json()["id"] == "gone", "the one that there is not"
    both = ask.post(f"{JOBS}/{job_id}/copy", json={"id": "x"}, headers={"idempotency-key": "y"})
    assert problem(both) == (400, "bad_request")


def test_many_are_acted_on_by_a_filter_and_counted_before_by_a_dry_run(ask: httpx.Client) -> None:
    for _ in range(3):
        made(ask, group="acted", delay=100)
    for verb, count in (("cancel", 3), ("retry", 0), ("delete", 3)):
        where = {"group": "acted"}
        dry = ask.post(f"{JOBS}/{verb}", json={**where, "dry_run": True})
        assert dry.status_code == 200 and dry.json()["count"] == count, verb
        assert ask.post(f"{JOBS}/{verb}", json=where).json()["count"] == count
    assert problem(ask.post(f"{JOBS}/cancel", json={})) == (400, "bad_request")
    assert problem(ask.post(f"{JOBS}/cancel", json={"nope": 1})) == (400, "bad_request")
    assert problem(ask.post(f"{JOBS}/cancel", json={"state": "complete"})) == (400, "bad_request")


def test_what_there_is_not_is_404_and_methods_that_are_not_taken_405(ask: httpx.Client) -> None:
    assert problem(ask.get("/api/v1/nope")) == (404, "no_such_page")
    assert problem(ask.get("/api/v1/jobs/a/b/c")) == (404, "no_such_page")
    answer = ask.delete(JOBS)
    assert problem(answer) == (405, "no_such_method") and answer.headers["allow"] == "GET, POST, HEAD"
