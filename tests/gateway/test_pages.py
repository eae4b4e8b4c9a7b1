"""The pages by plain HTTP: their headers, what forms may bring, and what goes wrong told as a page."""

from __future__ import annotations

import html
import re
import threading
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.gateway.conftest import Echo
from tests.gateway.stand import Gateway
from tests.peers import wait_until
from zmws.gateway.pages.confirm import is_confirmed
from zmws.gateway.pages.forms import own_path, time_of
from zmws.gateway.pages.frame import ASSETS, TOLD
from zmws.gateway.pages.lanes import lanes_shown
from zmws.testing import RunningBroker, worker_in_thread

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


def html_texts(fields: dict[str, str]) -> dict[str, str]:
    return {name: html.unescape(value) for name, value in fields.items()}


def title(answer: httpx.Response) -> str:
    return answer.text.split("<h1>")[1].split("</h1>")[0]


@pytest.mark.parametrize(
    "path",
    [
        *("/ui/", "/ui/services", "/ui/jobs", "/ui/failures", "/ui/workers", "/ui/system", "/ui/submit"),
        *("/ui/batches", "/ui/schedules", "/ui/new-schedule"),
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
        answer = see.get(f"/ui/assets/{name}?v={asset.version}")
        assert answer.content == asset.data and "immutable" in answer.headers["cache-control"]
        for other in ("", "?v=of-another-version"):
            assert see.get(f"/ui/assets/{name}{other}").headers["cache-control"] == "no-cache"
    assert len(ASSETS["zmws.js"].data) < 8_192, "without a build step, and small"
    for name in ("none.js", "..%2f..%2fapp.py", "%2e%2e"):
        assert see.get(f"/ui/assets/{name}").status_code == 404


@pytest.mark.parametrize("told", sorted(TOLD))
def test_what_was_done_is_said_in_our_own_words(see: httpx.Client, told: str) -> None:
    texts = TOLD[told]
    one, many = (texts, texts) if isinstance(texts, str) else texts
    for text, n in ((one, "1"), (many.replace("{n}", "1,204"), "1204")):
        assert f'role="status">{text}<' in see.get("/ui/jobs", params={"told": told, "n": n}).text
    elsewhere = {"sec-fetch-site": "cross-site"}
    page = see.get("/ui/jobs", params={"told": told, "n": "1"}, headers=elsewhere)
    assert 'class="told"' not in page.text, "no form of ours led here"


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
    answer = see.post("/ui/services/ECHO/limits", data={"max_running": "2", "known": "max_running 9"})
    assert answer.status_code == 412 and "Look again" in answer.text


def test_many_are_acted_on_only_after_their_exact_count(see: httpx.Client, held: threading.Event) -> None:
    first = made(see, "HOLD")
    wait_until(lambda: see.get(f"{JOBS}/{first}").json()["state"] == "running")
    ids = [made(see, "HOLD", group="many") for _ in range(3)]
    form = {"service": "HOLD", "state": "waiting", "group": "many", "back": "/ui/jobs?group=many"}
    asked = see.post("/ui/many/cancel", data=form)
    assert asked.status_code == 200 and title(asked) == "Cancel 3 jobs?"
    for name, value in {**form, "back": "/ui/jobs?group=many", "confirmed": "3"}.items():
        assert f'name="{name}" value="{value}"' in asked.text
    sent = dict(re.findall(r'<input type="hidden" name="([a-z]+)" value="([^"]*)"', asked.text))
    later = [made(see, "HOLD", group="many") for _ in range(9)]
    for word in ("-1", "x", "", "1" * 12):
        assert title(see.post("/ui/many/cancel", data={**sent, "confirmed": word})) == "Cancel 3 jobs?"
    done = see.post("/ui/many/cancel", data=html_texts(sent))
    assert done.headers["location"] == "/ui/jobs?group=many&told=many_cancelled&n=3"
    assert {see.get(f"{JOBS}/{one}").json()["state"] for one in ids} == {"cancelled"}
    assert {see.get(f"{JOBS}/{one}").json()["state"] for one in later} == {"waiting"}, "they came later"
    assert see.post("/ui/many/cancel", data={**form, "group": "none"}).status_code == 409
    see.post("/ui/services/HOLD/purge", data={"confirmed": "9"})
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
    asked = see.post("/ui/system/processes/broker/stop")
    assert title(asked) == "Stop the broker?", "one click does not stop everything"
    answer = see.post("/ui/system/processes/broker/stop", data={"confirmed": "1"})
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


def test_a_count_that_has_grown_a_little_is_confirmed_and_one_that_has_grown_much_is_not() -> None:
    for said, count, confirmed in (
        ("3", 3, True),
        ("3", 0, True),
        ("3", 8, True),
        ("3", 9, False),
        ("1000", 1_100, True),
        ("1000", 1_101, False),
        ("", 0, False),
    ):
        assert is_confirmed({"confirmed": said}, count) is confirmed, (said, count)


@pytest.mark.parametrize("name", ["WHAT?", "A#B", "50%25", "a&b=c", "é+x", "MULTI:2", "q'\"<>"])
def test_a_service_may_have_any_name_and_its_forms_come_back_to_it(
    see: httpx.Client, broker: RunningBroker, name: str
) -> None:
    at = f"/ui/services/{quote(name, safe='')}"
    with worker_in_thread(type("Odd", (Echo,), {"service_name": name}), broker):
        wait_until(lambda: see.get(at).status_code == 200)
        for verb, told in (("pause", "paused"), ("resume", "resumed")):
            answer = see.post(f"{at}/{verb}")
            assert answer.headers["location"] == f"{at}?told={told}" and see.get(at).status_code == 200
        see.post(f"{at}/pause")
        made(see, name)
        asked = see.post(f"{at}/purge")
        action = html.unescape(asked.text.split('<form method="post" action="')[-1].split('"')[0])
        assert see.post(action, data={"confirmed": "1"}).headers["location"] == f"{at}?told=purged&n=1"
        assert see.get("/ui/find", params={"q": name}).headers["location"] == at
        assert f'href="{at}"' in see.get("/ui/services").text


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/ui/services/caf%C3%A9",
            "/ui/jobs?q=foo*",
            "/ui/jobs?group=a@b.c",
            "/ui/jobs?q=f(x)",
            "/ui/jobs?q=it%27s",
        ),
        *(
            "/ui/services/WHAT%3F",
            "/ui/jobs?q=a%2Fb&state=failed",
            "/ui/jobs?since=2026-01-31T00:00:00%2B01:00",
        ),
    ],
)
def test_every_address_of_ours_is_one_that_a_login_leads_to(path: str) -> None:
    assert own_path(path, "no") == path


@pytest.mark.parametrize(
    "path",
    [
        *(
            "",
            None,
            "/",
            "/login",
            "https://x/",
            "//x",
            "/ui//x",
            "/ui/../api",
            "/ui/..",
            "/ui/jobs/..",
            "/ui/\\x",
            "/ui/ x",
            "/ui/\nx",
            "/ui",
        ),
        *("javascript:alert(1)", "/ui/é", "/ui/<b>"),
    ],
)
def test_no_address_of_others_is(path: str | None) -> None:
    assert own_path(path, "no") == "no"


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-01-31", "2026-01-31T00:00:00+00:00"),
        ("2026-01-31 12:30", "2026-01-31T12:30:00+00:00"),
        ("2026-01-31T12:30:00Z", "2026-01-31T12:30:00+00:00"),
        ("2026-01-31T12:30:00+02:00", "2026-01-31T12:30:00+02:00"),
    ],
)
def test_a_time_is_taken_as_a_person_writes_it(text: str, at: str) -> None:
    assert time_of("since", text) == at
    ago = datetime.now(UTC) - datetime.fromisoformat(time_of("since", "2h"))
    assert 7_199 < ago.total_seconds() < 7_260


def test_what_is_wrong_with_a_filter_stands_beside_it(see: httpx.Client) -> None:
    page = see.get("/ui/jobs?since=yesterday&service=ECHO")
    assert page.status_code == 200 and "must be like 2h" in page.text and 'value="ECHO"' in page.text


def test_what_was_typed_is_there_once_more_when_something_is_wrong(see: httpx.Client) -> None:
    for params in ('{"n": 1e400}', '{"n": NaN}', "[1,", '{"a": '):
        answer = see.post("/ui/submit?service=ECHO", data={"params": params, "priority": "7"})
        assert (
            answer.status_code == 400
            and html.escape(params, quote=True).replace("&quot;", "&#34;") in answer.text
        )
        assert 'value="7"' in answer.text
    for field, value in (("id", ".."), ("id", "a b"), ("priority", "5000"), ("delay", "soon")):
        answer = see.post("/ui/submit?service=ECHO", data={field: value})
        assert (
            answer.status_code == 400 and 'role="alert"' in answer.text and f'value="{value}"' in answer.text
        )
    job_id = made(see, params={"a": 1})
    wrong = see.post(f"/ui/jobs/{job_id}/again", data={"params": "[1,", "service": "ECHO"})
    assert wrong.status_code == 400 and ">[1,</textarea>" in wrong.text


def test_a_job_runs_again_once_however_often_its_form_is_sent(see: httpx.Client) -> None:
    job_id = made(see, params={"a": 1}, group="g")
    form = see.get(f"/ui/jobs/{job_id}/again").text
    (new_id,) = re.findall(r'name="new_id" value="([^"]+)"', form)
    data = {"new_id": new_id, "params": '{"a": 2}', "service": "ECHO", "group": "g"}
    first, second = (see.post(f"/ui/jobs/{job_id}/again", data=data).headers["location"] for _ in range(2))
    assert first == f"/ui/jobs/{new_id}?told=submitted" and second == f"/ui/jobs/{new_id}?told=existing"
    mask = see.post(f"/ui/jobs/{job_id}/again", data={"params": '{"a": "••••••"}', "service": "ECHO"})
    assert mask.status_code == 400 and "mask of no secret" in mask.text


def test_parameters_too_large_for_a_form_are_taken_as_they_are(see: httpx.Client) -> None:
    job_id = made(see, params={"big": "x" * 300_000})
    form = see.get(f"/ui/jobs/{job_id}/again")
    assert len(form.content) < 20_000 and "taken as they are" in form.text
    again = see.post(f"/ui/jobs/{job_id}/again", data={"service": "ECHO"}).headers["location"]
    copied = see.get(f"{JOBS}/{again.split('/')[-1].split('?')[0]}").json()
    assert copied["params"] == {"big": "x" * 300_000}


def test_two_gateways_of_one_host_log_nobody_out_of_the_other(http: Gateway) -> None:
    settings = http.desk.settings
    assert http.desk.guard.cookie == f"zmws-{settings.http.rpartition(':')[2]}"


def test_a_lane_has_the_name_of_a_process_of_this_machine_alone() -> None:
    row = {"worker": "w", "host": "here", "pid": 7, "services": ["A"], "slots": 1, "state": "idle"}
    row |= {"gone_at": None, "why": None, "bars": []}
    told = {"now": "2026-01-31T00:05:00Z", "from": "2026-01-31T00:00:00Z", "more": 0}
    told["lanes"] = [row, {**row, "host": "elsewhere"}]
    lanes = lanes_shown(None, told, {("here", 7): "mail_00"})
    assert [lane.label for lane in lanes.lanes] == ["mail_00", "A 7"] and lanes.length_s == 300


def test_a_page_that_is_not_there_has_the_frame_of_who_looks(see: httpx.Client) -> None:
    assert 'href="/ui/submit"' in see.get("/ui/no-such-page").text


def test_of_many_warnings_a_few_are_shown_and_the_rest_behind_a_word(
    see: httpx.Client, http: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = http.desk.looks.ask

    async def asked(service: str, *given: Any) -> Any:
        if service != "zmws.warnings":
            return await ask(service, *given)
        told = {"code": "no_worker", "next": "start one", "worker": None, "job": None}
        return [{**told, "text": f"S{n} has no worker", "service": f"S{n}"} for n in range(100)]

    monkeypatch.setattr(http.desk.looks, "ask", asked)
    page = see.get("/ui/").text
    first, rest = page.split("96 more warnings</summary>")
    assert first.count('class="warn bad"') == 4 and rest.count('class="warn bad"') == 56
    assert "and 40 more" in rest and len(page) < 60_000


def test_secrets_are_revealed_once_and_not_again_with_each_change(
    see: httpx.Client, held: threading.Event
) -> None:
    job_id = made(see, "HOLD", params={"password": "hush"})
    assert f'data-live="/ui/live?job={job_id}"' in see.get(f"/ui/jobs/{job_id}").text
    page = see.get(f"/ui/jobs/{job_id}?reveal=1").text
    assert "hush" in page and "data-live" not in page.split("<main")[0]
    held.set()
