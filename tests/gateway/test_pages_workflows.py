"""The pages of batches, schedules and families by plain HTTP: what they show, ask, mask and keep."""

from __future__ import annotations

import html
import re
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.gateway.conftest import Echo
from tests.gateway.stand import TOKENS, Gateway, gateway
from tests.gateway.test_pages import PERSON, title
from tests.peers import wait_until
from zmws.gateway.pages import kin
from zmws.testing import RunningBroker, broker_in_thread, worker_in_thread

API = "/api/v1"
HOSTILE = "<script>stolen()</script>"


@pytest.fixture
def see(http: Gateway) -> Iterator[httpx.Client]:
    """A browser that follows nothing by itself."""
    with http.client(follow_redirects=False) as client:
        client.headers.update(PERSON)
        yield client


def batch(see: httpx.Client, batch_id: str, *jobs: dict[str, Any], **more: Any) -> None:
    """A batch with these jobs, closed."""
    made = see.post(f"{API}/batches", json={"id": batch_id, "jobs": list(jobs), **more})
    assert made.status_code == 201 and all(one["status"] == 202 for one in made.json()["jobs"]), made.text


def ended(see: httpx.Client, batch_id: str) -> None:
    wait_until(lambda: see.get(f"{API}/batches/{batch_id}").json()["ended_at"])


def schedule(see: httpx.Client, name: str, **more: Any) -> None:
    made = see.post(f"{API}/schedules", json={"name": name, "service": "ECHO", "every": 86_400, **more})
    assert made.status_code == 201, made.text


def plain(page: str) -> str:
    """The words of a page."""
    main = page.split('<main id="main"')[1].split("</main>")[0]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", main)).replace("\u202f", " ").split())


FAILS = {"service": "ECHO", "params": {"fail": "1"}, "retries": 0}

# ---------------------------------------------------------------- batches


def test_a_batch_tells_how_far_it_is_what_failed_and_what_followed(see: httpx.Client) -> None:
    batch(see, "pb1", FAILS, {"service": "ECHO"}, then={"service": "ECHO"}, failed={"service": "ECHO"})
    ended(see, "pb1")
    wait_until(lambda: see.get(f"{API}/jobs/pb1:failed").json()["state"] == "complete")
    page = see.get("/ui/batches/pb1").text
    words = plain(page)
    assert "2 of 2 jobs have ended" in words and "complete 1" in words and "failed 1" in words
    assert "ECHO follows when all of its jobs have completed." in words and "pb1:failed" in words
    assert 'href="/ui/jobs/pb1%3A1"' in page and "ValueError: as asked" in words
    assert 'href="/ui/jobs?batch=pb1&amp;state=failed"' in page
    row = see.get("/ui/batches").text.split('id="batch-pb1"')[1].split("</tr>")[0]
    assert "2 of 2" in row and "f-complete" in row and "f-failed" in row
    assert "pb1" in see.get("/ui/batches?state=failed").text
    assert "pb1" not in see.get("/ui/batches?state=open").text
    told = plain(see.get("/ui/jobs/pb1:failed").text)
    assert "concludes batch pb1 (failed): 1 of 2 complete, 1 failed" in told


def test_failed_members_are_retried_and_the_rest_cancelled_after_the_count_was_confirmed(
    see: httpx.Client, held: threading.Event
) -> None:
    batch(see, "pb2", FAILS, {"service": "HOLD"}, {"service": "HOLD"})
    wait_until(lambda: see.get(f"{API}/batches/pb2").json()["failed"] == 1)
    page = see.get("/ui/batches/pb2").text
    forms = re.findall(r'<form id="act-(\w+)" method="post" action="([^"]+)">(.*?)</form>', page)
    assert [name for name, _, _ in forms] == ["retry", "cancel"]
    for (_, action, inner), words, told in zip(
        forms, ("Retry 1 job?", "Cancel 2 jobs?"), ("many_retried&n=1", "many_cancelled&n="), strict=True
    ):
        fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', inner))
        asked = see.post(action, data=fields)
        assert title(asked) == words and "Those with" in asked.text and "batch pb2" in asked.text
        fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', asked.text))
        done = see.post(action, data={name: html.unescape(one) for name, one in fields.items()})
        assert done.headers["location"].startswith(f"/ui/batches/pb2?told={told}")
        wait_until(lambda: see.get(f"{API}/batches/pb2").json()["failed"] == 1)
    held.set()
    ended(see, "pb2")


def test_an_open_batch_is_closed_after_it_was_asked(see: httpx.Client) -> None:
    see.post(f"{API}/batches", json={"id": "pb3"})
    page = plain(see.get("/ui/batches/pb3").text)
    assert "Nobody has added a job yet." in page and "Close…" in page
    asked = see.post("/ui/batches/pb3/close")
    assert title(asked) == "Close this batch?" and not see.get(f"{API}/batches/pb3").json()["closed"]
    done = see.post("/ui/batches/pb3/close", data={"confirmed": "1"})
    assert done.headers["location"] == "/ui/batches/pb3?told=closed"
    assert see.get(f"{API}/batches/pb3").json()["closed"] and "Close…" not in see.get("/ui/batches/pb3").text
    assert see.get(f"{API}/audit?verb=close").json()["entries"][0]["by"] == "anybody (http)"


def test_what_there_is_not_is_told_as_a_page(see: httpx.Client) -> None:
    for path, words in (
        ("/ui/batches/none", "There is no such batch"),
        ("/ui/schedules/none", "There is no such schedule"),
    ):
        assert (see.get(path).status_code, title(see.get(path))) == (404, words)
    assert see.post("/ui/batches/none/close").status_code == 404
    assert see.post("/ui/schedules/none/remove").status_code == 404
    assert see.get("/ui/batches?state=strange").status_code == 400


def test_pages_of_batches_go_on_from_where_they_were(see: httpx.Client) -> None:
    for n in range(52):
        see.post(f"{API}/batches", json={"id": f"many-{n}"})
    first = see.get("/ui/batches").text
    (older,) = re.findall(r'rel="next" href="([^"]+)"', first)
    ids = [re.findall(r'id="batch-([^"]+)"', page) for page in (first, see.get(html.unescape(older)).text)]
    assert len(ids[0]) == 50 and not set(ids[0]) & set(ids[1]) and {"many-0", "many-1"} <= set(ids[1])


# ---------------------------------------------------------------- schedules


def test_a_schedule_tells_when_it_fires_what_became_of_the_last_and_its_next_five(see: httpx.Client) -> None:
    schedule(see, "ps1", every=None, cron="30 8 * * MON-FRI", zone="Europe/Berlin", options={"retries": 7})
    job_id = see.post(f"{API}/schedules/ps1/run").json()["id"]
    wait_until(lambda: see.get(f"{API}/jobs/{job_id}").json()["state"] == "complete")
    row = plain(see.get("/ui/schedules").text)
    assert "Monday to Friday at 08:30 30 8 * * MON-FRI Europe/Berlin" in row and "✓ complete" in row
    page = see.get("/ui/schedules/ps1").text
    assert page.split('<ol class="times">')[1].split("</ol>")[0].count("<li>") == 5
    assert "retries 7" in plain(page) and job_id in page
    assert 'href="/ui/schedules/ps1"' in see.get(f"/ui/jobs/{job_id}").text


def test_it_is_paused_resumed_run_and_removed_the_last_two_after_it_was_asked(see: httpx.Client) -> None:
    schedule(see, "ps2")
    at = "/ui/schedules/ps2"
    paused = see.post(f"{at}/pause", data={"back": "/ui/schedules?q=ps2"})
    assert paused.headers["location"] == "/ui/schedules?q=ps2&told=schedule_paused"
    page = see.get(at).text
    assert ">paused<" in page and ">Resume<" in page and "were it resumed now" in page
    assert see.post(f"{at}/resume").headers["location"] == f"{at}?told=schedule_resumed"
    assert (
        title(see.post(f"{at}/run")) == "Run ps2 now?"
        and see.get(f"{API}/schedules/ps2").json()["fired"] == 0
    )
    ran = see.post(f"{at}/run", data={"confirmed": "1"}).headers["location"]
    assert ran.startswith("/ui/jobs/cron:ps2:run-")
    assert title(see.post(f"{at}/remove")) == "Remove ps2?" and see.get(at).status_code == 200
    assert see.post(f"{at}/remove", data={"confirmed": "1"}).headers["location"] == (
        "/ui/schedules?told=schedule_removed"
    )
    assert see.get(at).status_code == 404 and "ps2" not in see.get("/ui/schedules").text


def test_a_form_makes_one_and_what_is_wrong_stands_beside_the_field(see: httpx.Client) -> None:
    assert "needed" in see.get("/ui/new-schedule?service=ECHO").text
    good = {"name": "ps3", "service": "ECHO", "cron": "0 8 * * *", "params": '{"n": 9007199254740993}'}
    for change, field in (
        ({"name": "a b"}, "name"),
        ({"name": ""}, "name"),
        ({"service": ""}, "service"),
        ({"service": "NOPE"}, "service"),
        ({"cron": "61 * * * *"}, "cron"),
        ({"zone": "Nowhere"}, "zone"),
        ({"every": "5"}, "cron"),
        ({"cron": "", "every": "0.1"}, "every"),
        ({"cron": "", "every": "soon"}, "every"),
        ({"params": "[1,"}, "params"),
        ({"until": "tomorrow"}, "until"),
        ({"jitter": "-1"}, "jitter"),
        ({"retries": "-1"}, "retries"),
        ({"on_failed": "zmws.job"}, "on_failed"),
    ):
        answer = see.post("/ui/new-schedule", data={**good, **change})
        assert answer.status_code == 400 and 'role="alert"' in answer.text, change
        assert f'id="w-{field}"' in answer.text and f'aria-describedby="w-{field}"' in answer.text, change
        for name, text in {**good, **change}.items():
            assert html.escape(text, quote=False) in html.unescape(answer.text), (name, "is there once more")
    options = {"retries": "2", "on_failed": "ECHO", "missed": "all", "overlap": "skip", "until": "2999-01-01"}
    made = see.post("/ui/new-schedule", data={**good, **options})
    assert made.headers["location"] == "/ui/schedules/ps3?told=scheduled"
    row = see.get(f"{API}/schedules/ps3").json()
    assert row["params"] == {"n": 2**53 + 1} and row["options"] == {"retries": 2, "on_failed": "ECHO"}
    assert (row["missed"], row["overlap"], row["by"]) == ("all", "skip", "anybody (http)")
    again = see.post("/ui/new-schedule", data=good)
    assert again.status_code == 400 and 'id="w-name"' in again.text


def test_the_form_shows_the_next_times_before_anything_is_made(see: httpx.Client) -> None:
    for when in ({"cron": "0 8 * * *", "zone": "Asia/Tokyo"}, {"every": "90"}):
        answer = see.post("/ui/new-schedule", data={"show": "times", **when})
        assert answer.status_code == 200
        assert answer.text.split('<ol class="times">')[1].split("</ol>")[0].count("<li>") == 5
    neither = see.post("/ui/new-schedule", data={"show": "times"})
    assert neither.status_code == 400 and "give 'cron' or 'every'" in html.unescape(neither.text)


def test_secrets_of_a_schedule_are_masked_until_an_operator_reveals_them(see: httpx.Client) -> None:
    schedule(see, "ps4", params={"password": "hush", "to": HOSTILE}, options={"meta": {"api_key": "hush"}})
    page = see.get("/ui/schedules/ps4").text
    assert "hush" not in page and "••••••" in page and HOSTILE not in page and "Reveal secrets" in page
    revealed = see.get("/ui/schedules/ps4?reveal=1").text
    assert "hush" in revealed and "data-live" not in revealed.split("<main")[0]
    told = f"{API}/audit?verb=reveal&on=ps4"
    wait_until(lambda: see.get(told).json()["entries"])
    assert see.get(told).json()["entries"][0]["by"] == "anybody (http)"


# ---------------------------------------------------------------- a job's family


def test_a_job_shows_its_chain_its_family_and_what_it_will_tell(see: httpx.Client) -> None:
    steps = [
        {"service": "ECHO", "on_complete": "ECHO"},
        {"service": "HOLD", "previous": [""]},
        {"service": "ECHO"},
    ]
    see.post(f"{API}/chains", json={"id": "pc1", "chain": steps})
    wait_until(lambda: see.get(f"{API}/jobs/pc1:2").status_code == 200)
    page = see.get("/ui/jobs/pc1:2").text
    words = plain(page)
    assert "step 2 of 3 of chain pc1" in words and "3 not made yet" in words
    assert 'href="/ui/jobs?chain=pc1"' in page and 'href="/ui/jobs/pc1%3A1"' in page
    tree = page.split('<ul class="tree">')[1].split("</ul>")[0]
    assert re.findall(r'<li class="in-(\d)"', tree) == ["0", "1", "0"] and 'aria-current="true"' in tree
    assert "on complete ECHO" in plain(see.get("/ui/jobs/pc1:1").text)
    filtered = see.get("/ui/jobs?parent=pc1:1").text
    assert "job-pc1:2" in filtered and "Without parent pc1:1" in filtered
    assert see.get("/ui/find", params={"q": "chain:pc1"}).headers["location"] == "/ui/jobs?chain=pc1"
    see.post(f"{API}/chains/pc1/cancel")


def test_a_family_that_is_too_large_says_that_it_is_cut(
    see: httpx.Client, broker: RunningBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kin, "FAMILY_SHOWN", 3)
    broker.server.node.broker.held.service_of("LEASED").registered = True
    job_id = see.post(f"{API}/jobs", json={"service": "LEASED"}).json()["id"]
    token = see.post(f"{API}/services/LEASED/lease?wait=10", json={}).json()["token"]
    enqueue = [{"service": "ECHO"}] * 5
    report = {"token": token, "kind": "complete", "enqueue": enqueue}
    assert see.post(f"{API}/leases/report", json=report).status_code == 200
    page = see.get(f"/ui/jobs/{job_id}").text
    assert page.count('<li class="in-') == 3 and "There are more than these 3" in plain(page)
    assert f'href="/ui/jobs?parent={job_id}"' in page
    assert "parent " + job_id in plain(see.get(f"/ui/jobs/{job_id}:1").text)
    alone = see.post(f"{API}/jobs", json={"service": "ECHO"}).json()["id"]
    assert 'id="kin"' not in see.get(f"/ui/jobs/{alone}").text, "it stands alone"


def test_run_again_keeps_who_is_told_of_the_end(see: httpx.Client) -> None:
    sent = {"service": "ECHO", "on_complete": "ECHO", "on_failed": "HOLD"}
    job_id = see.post(f"{API}/jobs", json=sent).json()["id"]
    form = see.get(f"/ui/jobs/{job_id}/again").text
    fields = dict(re.findall(r'<input[^>]* name="(\w+)" value="([^"]*)"', form))
    assert (fields["on_complete"], fields["on_failed"]) == ("ECHO", "HOLD")
    again = see.post(f"/ui/jobs/{job_id}/again", data={**fields, "params": ""}).headers["location"]
    record = see.get(f"{API}/jobs/{again.split('/')[-1].split('?')[0]}").json()
    assert (record["on_complete"], record["on_failed"]) == ("ECHO", "HOLD")


# ---------------------------------------------------------------- who may, and how often is asked


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("closed")
    with (
        broker_in_thread(store=f"sqlite:{folder / 'zmws.db'}") as broker,
        worker_in_thread(Echo, broker),
        gateway(broker, folder, {"eye": "viewer", "boss": "operator"}) as found,
    ):
        yield found


def test_a_viewer_looks_and_has_no_buttons(closed: Gateway) -> None:
    with closed.client(TOKENS["boss"]) as boss, closed.client(TOKENS["eye"]) as eye:
        eye.headers.update(PERSON)
        boss.post(f"{API}/batches", json={"id": "vb", "meta": {"token": "hush"}})
        schedule(boss, "vs", params_base64="aHVzaA==")
        for path in ("/ui/batches", "/ui/batches/vb", "/ui/schedules", "/ui/schedules/vs"):
            page = eye.get(path).text
            main = page.split('<main id="main"')[1]
            assert 'method="post"' not in main and "hush" not in page and "aHVzaA" not in page, path
        assert eye.get("/ui/new-schedule").status_code == 403
        for path in ("/ui/batches/vb/close", "/ui/schedules/vs/remove", "/ui/schedules/vs/run"):
            assert eye.post(path, data={"confirmed": "1"}).status_code == 403
        assert "hush" not in eye.get("/ui/schedules/vs?reveal=1").text


def test_ten_who_look_at_once_ask_the_broker_as_much_as_one(
    see: httpx.Client, http: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule(see, "ps5")
    see.post(f"{API}/batches", json={"id": "pb5"})
    asked: list[str] = []
    ask = http.desk.client.ask_status

    async def counting(service: str, *given: Any) -> Any:
        asked.append(service)
        return await ask(service, *given)

    monkeypatch.setattr(http.desk.client, "ask_status", counting)
    monkeypatch.setattr("zmws.gateway.looks.FRESH_S", 60.0)
    http.desk.looks.clear()
    for path in ("/ui/batches", "/ui/batches/pb5", "/ui/schedules", "/ui/schedules/ps5"):
        asked.clear()
        for _ in range(10):
            assert see.get(path).status_code == 200
        assert len(asked) == len(set(asked)), (path, asked)
