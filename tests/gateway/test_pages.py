"""The pages by plain HTTP: their headers, what forms may bring, and what goes wrong told as a page."""

from __future__ import annotations

import threading
from typing import Any

import httpx
import pytest

from tests.gateway.stand import Gateway
from tests.peers import wait_until
from zmws.gateway.pages.frame import ASSETS, TOLD

JOBS = "/api/v1/jobs"
PERSON = {"accept": "text/html,application/xhtml+xml"}


@pytest.fixture
def see(http: Gateway) -> Any:
    """A browser that follows nothing by itself."""
    with http.client(follow_redirects=False) as client:
        client.headers.update(PERSON)
        yield client


def made(see: httpx.Client, service: str = "ECHO", **job: Any) -> str:
    job_id: str = see.post(JOBS, json={"service": service, **job}).json()["id"]
    return job_id


def title(answer: httpx.Response) -> str:
    return answer.text.split("<h1>")[1].split("</h1>")[0]


@pytest.mark.parametrize(
    "path",
    [
        *("/ui/", "/ui/services", "/ui/jobs", "/ui/failures", "/ui/workers", "/ui/system", "/ui/submit"),
        *("/ui/services/ECHO", "/ui/submit?service=ECHO", "/login", "/ui/no-such-page", "/ui/jobs/none"),
    ],
)
def test_every_page_has_the_headers_that_keep_it_safe(see: httpx.Client, path: str) -> None:
    answer = see.get(path)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert answer.headers["x-frame-options"] == "DENY" and answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin", "without one a form would have no Origin"


def test_a_browser_is_led_to_the_pages_and_a_program_is_told_what_there_is(see: httpx.Client) -> None:
    assert (see.get("/").status_code, see.get("/").headers["location"]) == (303, "/ui/")
    assert see.get("/ui").headers["location"] == "/ui/"
    assert see.get("/", headers={"accept": "*/*"}).json()["pages"] == "/ui/"


def test_what_goes_wrong_is_a_page_for_people_and_a_problem_for_programs(see: httpx.Client) -> None:
    for path, status, words in (
        ("/ui/jobs/none", 404, "There is no such job"),
        ("/ui/services/NONE", 404, "There is no such service"),
        ("/ui/nothing/here", 404, "There is no such page"),
        ("/ui/jobs?since=yesterday", 400, "Bad Request"),
        ("/ui/jobs?cursor=x", 400, "Bad Request"),
        ("/ui/failures?service=%5B%5D", 404, "There is no such service"),
    ):
        answer = see.get(path)
        assert (answer.status_code, title(answer)) == (status, words), path
        other = see.get(path, headers={"accept": "application/json"})
        assert other.headers["content-type"] == "application/problem+json" and other.status_code == status


def test_the_files_of_the_pages_may_be_kept_and_no_others_are_there(see: httpx.Client) -> None:
    page = see.get("/ui/").text
    for name, asset in ASSETS.items():
        assert f"/ui/assets/{name}?v={asset.version}" in page
        answer = see.get(f"/ui/assets/{name}")
        assert answer.content == asset.data and "immutable" in answer.headers["cache-control"]
    assert len(ASSETS["zmws.js"].data) < 8_192, "without a build step, and small"
    for name in ("none.js", "..%2f..%2fapp.py", "%2e%2e"):
        assert see.get(f"/ui/assets/{name}").status_code == 404


@pytest.mark.parametrize("told", sorted(TOLD))
def test_what_was_done_is_said_in_our_own_words(see: httpx.Client, told: str) -> None:
    text = TOLD[told].replace("{n}", "1,204")
    assert f'role="status">{text}<' in see.get("/ui/jobs", params={"told": told, "n": "1204"}).text


@pytest.mark.parametrize(
    "query", ["told=nothing", "told=<b>x</b>", "told=purged", "told=purged&n=<b>", "told=purged&n=-1"]
)
def test_an_address_puts_no_words_of_its_own_on_a_page(see: httpx.Client, query: str) -> None:
    assert 'class="told"' not in see.get(f"/ui/jobs?{query}").text


def test_a_form_of_another_kind_is_refused(see: httpx.Client) -> None:
    answer = see.post("/ui/services/ECHO/limits", json={"max_running": 1})
    assert answer.status_code == 415 and "x-www-form-urlencoded" in answer.text
    assert see.post("/ui/services/ECHO/limits", data={"max_running": "many"}).status_code == 400
    assert see.post("/ui/services/ECHO/limits", data={"max_running": "-1"}).status_code == 400
    assert see.post("/ui/system/marks", data={"text": " "}).status_code == 400
    assert see.post("/ui/many/explode", data={"service": "ECHO"}).status_code == 404
    assert see.post("/ui/many/cancel", data={}).status_code == 400, "never all jobs by accident"
    assert see.post("/ui/submit?service=zmws.stats", data={}).status_code == 404


def test_limits_of_before_are_not_written_over(see: httpx.Client) -> None:
    answer = see.post("/ui/services/ECHO/limits", data={"max_running": "2", "version": "of-before"})
    assert answer.status_code == 412 and "Look again" in answer.text


def test_many_are_acted_on_only_after_their_exact_count(see: httpx.Client, held: threading.Event) -> None:
    first = made(see, "HOLD")
    wait_until(lambda: see.get(f"{JOBS}/{first}").json()["state"] == "running")
    ids = [made(see, "HOLD", group="many") for _ in range(3)]
    form = {"service": "HOLD", "state": "waiting", "group": "many"}
    asked = see.post("/ui/many/cancel", data=form)
    assert asked.status_code == 200 and title(asked) == "Cancel 3 jobs?"
    for name, value in {**form, "confirmed": "3"}.items():
        assert f'name="{name}" value="{value}"' in asked.text
    wrong = see.post("/ui/many/cancel", data={**form, "confirmed": "2"})
    assert title(wrong) == "Cancel 3 jobs?" and "There are other ones by now" in wrong.text
    done = see.post("/ui/many/cancel", data={**form, "confirmed": "3"})
    assert done.headers["location"] == "/ui/jobs?told=many_cancelled&n=3"
    assert {see.get(f"{JOBS}/{one}").json()["state"] for one in ids} == {"cancelled"}
    assert see.post("/ui/many/cancel", data=form).status_code == 409
    held.set()


def test_a_record_is_deleted_only_after_it_was_asked(see: httpx.Client) -> None:
    job_id = made(see)
    wait_until(lambda: see.get(f"{JOBS}/{job_id}").json()["state"] == "complete")
    assert title(see.post(f"/ui/jobs/{job_id}/delete")).startswith("Delete the record")
    assert see.get(f"{JOBS}/{job_id}").status_code == 200
    assert see.post(f"/ui/jobs/{job_id}/delete", data={"confirmed": "1"}).status_code == 303
    assert see.get(f"{JOBS}/{job_id}").status_code == 404
    assert see.post(f"/ui/jobs/{job_id}/delete").status_code == 404


def test_what_is_changed_is_seen_on_the_very_next_page(see: httpx.Client) -> None:
    for _ in range(3):
        assert see.get("/ui/services/ECHO").status_code == 200
        see.post("/ui/services/ECHO/pause")
        assert ">paused<" in see.get("/ui/services/ECHO").text and ">Resume<" in see.get("/ui/").text
        see.post("/ui/services/ECHO/resume")
        assert ">paused<" not in see.get("/ui/services/ECHO").text


def test_a_form_leads_back_to_where_it_was_and_nowhere_else(see: httpx.Client) -> None:
    for back, leads_to in (
        ("/ui/", "/ui/?told=resumed"),
        ("/ui/services?q=E", "/ui/services?q=E&told=resumed"),
        ("https://elsewhere.example/", "/ui/services/ECHO?told=resumed"),
        ("//elsewhere.example", "/ui/services/ECHO?told=resumed"),
    ):
        answer = see.post("/ui/services/ECHO/resume", data={"back": back})
        assert answer.headers["location"] == leads_to


def test_where_no_supervisor_keeps_the_gateway_it_steers_no_processes(see: httpx.Client) -> None:
    assert "No supervisor keeps this gateway" in see.get("/ui/system").text
    answer = see.post("/ui/system/processes/broker/stop")
    assert answer.status_code == 409 and "no supervisor keeps this gateway" in answer.text
    assert see.get("/ui/system/logs/..%2fetc%2fpasswd").status_code == 404
    assert see.get("/ui/system/logs/broker").status_code == 404
    assert see.post("/ui/system/processes/broker/explode").status_code == 404


def test_large_values_are_cut_and_shown_in_whole_behind_a_link(see: httpx.Client) -> None:
    big = "x" * 300_000
    job_id = made(see, params={"big": big, "list": list(range(5_000))})
    wait_until(lambda: see.get(f"{JOBS}/{job_id}").json()["state"] == "complete")
    page = see.get(f"/ui/jobs/{job_id}")
    assert len(page.content) < 60_000 and "All 3" in page.text
    for part in ("params", "result"):
        whole = see.get(f"/ui/jobs/{job_id}/{part}")
        assert whole.headers["content-type"] == "text/plain; charset=utf-8" and big in whole.text
    assert see.get(f"/ui/jobs/{job_id}/everything").status_code == 404


def test_a_job_in_memory_has_a_page_too(see: httpx.Client) -> None:
    job_id = made(see, durability="memory")
    wait_until(lambda: see.get(f"{JOBS}/{job_id}").json()["state"] == "complete")
    page = see.get(f"/ui/jobs/{job_id}").text
    assert "in memory" in page and ">Retry<" not in page and "Delete…" not in page
    assert job_id in see.get("/ui/jobs?memory=1").text and job_id not in see.get("/ui/jobs").text


def test_bytes_are_shown_as_what_they_are(see: httpx.Client) -> None:
    job_id = made(see, params={"bytes": "1"})
    wait_until(lambda: see.get(f"{JOBS}/{job_id}").json()["state"] == "complete")
    assert "2 bytes, in base64" in see.get(f"/ui/jobs/{job_id}").text


def test_links_of_old_lists_and_texts_of_any_kind_are_kept_apart(see: httpx.Client) -> None:
    strange = "gr&oup\"'<>+%/?#é"
    job_id = made(see, group=strange)
    page = see.get("/ui/jobs", params={"group": strange})
    assert job_id in page.text and "<>" not in page.text.replace("&lt;&gt;", "")
    assert see.get("/ui/jobs?service=A&service=B").status_code == 200
