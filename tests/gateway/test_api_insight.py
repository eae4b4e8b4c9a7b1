"""/api/v1: series, lanes, failures, why, warnings, marks, and searches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway.stand import TOKENS, gateway
from tests.gateway.test_api_jobs import JOBS, ended, made, problem
from tests.peers import wait_until
from zmws.testing import RunningBroker

API = "/api/v1"


def failed(ask: httpx.Client, **options: Any) -> dict[str, Any]:
    """A job of ECHO that has failed."""
    job = {"service": "ECHO", "params": {"fail": "1"}, "retries": 0, **options}
    return ended(ask, ask.post(JOBS, json=job).json()["id"])


def test_the_figures_of_a_service_and_of_all_count_what_was_done(ask: httpx.Client) -> None:
    before = ask.get(f"{API}/services/ECHO/series").json()["total"].get("complete", 0)
    for _ in range(3):
        ended(ask, made(ask))

    def counted() -> bool:
        total = ask.get(f"{API}/services/ECHO/series").json()["total"]
        return bool(total.get("complete", 0) == before + 3)

    wait_until(counted)
    told = ask.get(f"{API}/services/ECHO/series", params={"figures": "complete,waiting"}).json()
    assert told["step"] == 1 and set(told["figures"]) == {"complete", "waiting"}
    assert len(told["figures"]["complete"]) == told["points"]
    assert told["run"]["p50"] > 0 and told["wait"]["p95"] >= told["wait"]["p50"]
    everything = ask.get(f"{API}/series").json()
    assert everything["service"] is None and everything["total"]["complete"] >= before + 3
    assert "store_bytes" in everything["figures"] and everything["figures"]["slots"][-1] >= 2


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("services/NOPE/series", 404, "unknown_service"),
        ("services/NOPE/failures", 404, "unknown_service"),
        ("series?step=day", 400, "bad_request"),
        ("series?figures=complete,nonsense", 400, "bad_request"),
        ("series?since=2000-01-01T00:00:00Z", 400, "bad_request"),
        ("series?service=ECHO", 400, "bad_request"),
        ("lanes?limit=101", 400, "bad_request"),
        ("lanes?step=-1", 400, "bad_request"),
        ("lanes?worker=none", 404, "unknown_worker"),
        ("lanes?service=NOPE", 404, "unknown_service"),
        ("failures?limit=many", 400, "bad_request"),
        ("failures?cursor=x", 400, "bad_request"),
        ("jobs/no-such-job/why", 404, "unknown_job"),
        ("jobs?q=x&memory=true", 400, "bad_request"),
    ],
)
def test_a_question_that_is_wrong_is_told_what_is(
    ask: httpx.Client, path: str, status: int, code: str
) -> None:
    assert problem(ask.get(f"{API}/{path}")) == (status, code)


def test_a_figure_that_there_is_not_is_told_the_nearest(ask: httpx.Client) -> None:
    answer = ask.get(f"{API}/series", params={"figures": "complet"})
    assert "did you mean 'complete'?" in answer.json()["detail"]


def test_failures_come_by_cause_and_one_cause_is_retried_and_deleted(ask: httpx.Client) -> None:
    jobs = [failed(ask) for _ in range(3)]
    (cause,) = ask.get(f"{API}/services/ECHO/failures").json()["causes"]
    assert (cause["type"], cause["message"]) == ("ValueError", "as asked")
    assert cause["count"] == cause["total"] == sum(cause["trend"]) == 3
    assert cause["frame"].startswith("gateway/conftest.py:") and cause["frame"].endswith(" in work")
    assert {job["cause"] for job in jobs} == {cause["cause"]}
    listed = ask.get(JOBS, params={"cause": cause["cause"]}).json()["jobs"]
    assert {one["id"] for one in listed} == {job["id"] for job in jobs}
    wanted = {"cause": cause["cause"]}
    assert ask.post(f"{JOBS}/retry", json={**wanted, "dry_run": True}).json()["count"] == 3
    assert ask.post(f"{JOBS}/retry", json=wanted).json()["count"] == 3
    wait_until(lambda: ask.get(f"{API}/failures").json()["causes"][0]["total"] == 6)
    assert ask.get(f"{API}/failures").json()["causes"][0]["count"] == 3
    assert ask.post(f"{JOBS}/delete", json=wanted).json()["count"] == 3
    assert ask.get(f"{API}/failures").json()["causes"][0]["count"] == 0


def test_why_a_job_waits_is_told_with_the_next_step(ask: httpx.Client) -> None:
    ask.patch(f"{API}/services/ECHO", json={"paused": True})
    job_id = made(ask)
    told = ask.get(f"{JOBS}/{job_id}/why").json()
    assert told["now"]["reason"] == "paused" and told["now"]["next"] == "zmws resume ECHO"
    assert told["ahead"] == {"jobs": 0, "at_least": False, "groups": 0}
    # Longer than all else that it waits for.
    wait_until(lambda: ask.get(f"{JOBS}/{job_id}/why").json()["waited_s"] > 0.2)
    found = [one for one in ask.get(f"{API}/warnings").json() if one["code"] == "paused"]
    assert found and found[0]["service"] == "ECHO" and found[0]["next"] == "zmws resume ECHO"
    ask.patch(f"{API}/services/ECHO", json={"paused": False})
    ended(ask, job_id)
    told = ask.get(f"{JOBS}/{job_id}/why").json()
    seconds = {one["reason"]: one["seconds"] for one in told["reasons"]}
    assert told["now"] is None and seconds["paused"] == max(seconds.values())
    assert sum(seconds.values()) == pytest.approx(told["waited_s"], abs=0.01)


def test_a_search_finds_what_stands_in_a_job_and_says_how_far_it_looked(ask: httpx.Client) -> None:
    job_id = made(ask, params={"to": "needle@example.com"})
    page = ask.get(JOBS, params={"q": "needle@"}).json()
    assert [job["id"] for job in page["jobs"]] == [job_id]
    assert page["looked"] >= 1 and page["looked_to"] is not None
    assert ask.get(JOBS, params={"q": job_id[:20]}).json()["jobs"]
    assert ask.get(JOBS, params={"q": "no such text at all"}).json()["jobs"] == []


def test_a_mark_stands_beside_the_figures(ask: httpx.Client) -> None:
    answer = ask.post(f"{API}/marks", json={"text": "deploy 1.4", "service": "ECHO"})
    assert answer.status_code == 200 and answer.json()["text"] == "deploy 1.4"
    ask.post(f"{API}/marks", json={"text": "of HOLD alone", "service": "HOLD"})
    marks = ask.get(f"{API}/services/ECHO/series").json()["marks"]
    texts = [mark["text"] for mark in marks]
    assert "deploy 1.4" in texts and "of HOLD alone" not in texts
    assert any(mark["kind"] == "broker" for mark in marks), "the start of the broker is one by itself"
    for wrong in ({}, {"text": ""}, {"text": "x", "by": "me"}, {"text": "x" * 256}):
        assert problem(ask.post(f"{API}/marks", json=wrong))[0] == 400, wrong
    assert problem(ask.post(f"{API}/marks", json={"text": "x", "service": "NOPE"}))[0] == 404


def test_a_viewer_finds_nothing_by_what_is_masked(
    broker: RunningBroker, tmp_path: Path, ask: httpx.Client
) -> None:
    job_id = made(ask, params={"password": "hidden-word"})
    with gateway(broker, tmp_path, {"looker": "viewer", "boss": "operator"}) as closed:
        for name, found in (("looker", []), ("boss", [job_id])):
            with closed.client(TOKENS[name]) as client:
                jobs = client.get(JOBS, params={"q": "hidden-word"}).json()["jobs"]
                assert [job["id"] for job in jobs] == found
                assert client.get(JOBS, params={"q": job_id}).json()["jobs"]
                assert client.get(JOBS, params={"q": "x", "places": "all"}).status_code == 400


def test_what_each_worker_did_is_told(ask: httpx.Client) -> None:
    job_id = made(ask)
    ended(ask, job_id)

    def ids() -> list[Any]:
        told = ask.get(f"{API}/lanes", params={"step": "0", "service": "ECHO"}).json()
        assert told["more"] == 0 and told["now"] > told["from"]
        return [bar for lane in told["lanes"] for bar in lane["bars"]]

    assert sum(bar["jobs"] for bar in ids()) >= 1
    (lane, *_) = ask.get(f"{API}/lanes", params={"limit": "1"}).json()["lanes"]
    assert lane["slots"] >= 1 and lane["gone_at"] is None and lane["state"] != "gone"
    one = ask.get(f"{API}/lanes", params={"worker": lane["worker"]}).json()["lanes"]
    assert [each["worker"] for each in one] == [lane["worker"]]


def test_what_an_operator_does_is_in_the_audit_with_the_name_of_the_token(
    broker: RunningBroker, tmp_path: Path
) -> None:
    with gateway(broker, tmp_path, {"boss": "operator", "looker": "viewer"}) as closed:
        with closed.client(TOKENS["boss"]) as client:
            client.post(f"{API}/services/ECHO/purge")
            client.patch(f"{API}/services/ECHO", json={"max_running": None})
            client.post(f"{JOBS}/no-such-job/cancel")
            page = client.get(f"{API}/audit", params={"by": "boss (http)", "limit": "2"}).json()
            assert [(one["verb"], one["on"], one["outcome"]) for one in page["entries"]] == [
                ("cancel", "no-such-job", "unknown_job"),
                ("limit", "ECHO", "done"),
            ]
            where = {"by": "boss (http)", "cursor": page["next"]}
            (purge,) = client.get(f"{API}/audit", params=where).json()["entries"]
            assert (purge["verb"], purge["on"], purge["detail"]) == ("purge", "ECHO", None)
            assert purge["count"] == 0 and purge["at"].endswith("Z")
            for wrong in ("limit=0", "cursor=x", "since=yesterday", "verb=No", "who=boss"):
                assert problem(client.get(f"{API}/audit?{wrong}")) == (400, "bad_request"), wrong
        with closed.client(TOKENS["looker"]) as client:
            assert problem(client.get(f"{API}/audit")) == (403, "not_allowed")
        with closed.client() as client:
            assert problem(client.get(f"{API}/audit")) == (401, "no_token")
            assert client.post("/login", json={"token": TOKENS["looker"]}).status_code == 303
            assert client.post("/login", json={"token": "no such"}).status_code == 401
        with closed.client(TOKENS["boss"]) as client:

            def logins() -> list[tuple[str, str]]:
                entries = client.get(f"{API}/audit", params={"verb": "login"}).json()["entries"]
                return [(one["by"], one["on"]) for one in entries]

            wait_until(lambda: logins() == [("looker (http)", "looker")])


def test_without_any_token_it_was_anybody(ask: httpx.Client) -> None:
    ask.post(f"{API}/services/HOLD/purge")
    entries = ask.get(f"{API}/audit", params={"on": "HOLD", "verb": "purge"}).json()["entries"]
    assert [(one["by"], one["verb"]) for one in entries] == [("anybody (http)", "purge")]


def test_what_workers_report_by_http_is_no_act(ask: httpx.Client) -> None:
    before = ask.get(f"{API}/audit").json()["entries"]
    told = {"token": "x/1/y", "kind": "log", "text": "x"}
    assert ask.post(f"{API}/leases/report", json=told).status_code == 409
    assert ask.get(f"{API}/audit").json()["entries"] == before


def test_a_login_does_not_wait_for_a_broker_that_is_away(tmp_path: Path) -> None:
    with gateway("tcp://127.0.0.1:1", tmp_path, {"looker": "viewer"}) as closed, closed.client() as client:
        assert client.post("/login", json={"token": TOKENS["looker"]}).status_code == 303
