"""Who may see and who may steer: logins, roles, links from elsewhere, and a gateway below a prefix."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.gateway.stand import TOKENS, Gateway, gateway
from tests.peers import wait_until
from tests.system.pages.browser import watched
from zmws import Client, WorkerBase
from zmws.testing import RunningBroker, broker_in_thread, worker_in_thread

SECRET = {"user": "ann", "password": "s3cret-text", "nested": {"api_key": "s3cret-too"}}


class Echo(WorkerBase):
    service_name = "ECHO"

    def work(self, job_id: str, params: Any) -> Any:
        return params


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    file = tmp_path_factory.mktemp("broker") / "zmws.db"
    with broker_in_thread(store=f"sqlite:{file}") as broker, worker_in_thread(Echo, broker):
        yield broker


@pytest.fixture(scope="module")
def closed(broker: RunningBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    roles = {name: name for name in ("viewer", "operator", "client")}
    with gateway(broker, tmp_path_factory.mktemp("closed"), roles) as found:
        yield found


def log_in(page: Any, name: str) -> None:
    page.get_by_label("Token").fill(TOKENS[name])
    page.get_by_role("button", name="Log in").click()


def test_one_logs_in_is_led_to_the_page_that_was_asked_for_and_logs_out(
    browser: Browser, closed: Gateway
) -> None:
    with watched(browser, closed.url) as seen:
        seen.may_fail = True
        page = seen.go("/ui/jobs?service=ECHO")
        expect(page.get_by_role("heading", level=1)).to_have_text("Log in")
        page.get_by_label("Token").fill("zmws_none")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("alert")).to_have_text("This is no token of this gateway.")
        log_in(page, "operator")
        page.wait_for_url(re.compile(r"/ui/jobs\?service=ECHO$"))
        expect(page.locator("header")).to_contain_text("operator")
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Log in")
        page.goto(f"{seen.base}/ui/")
        expect(page.get_by_role("heading", level=1)).to_have_text("Log in")


def test_a_viewer_sees_no_buttons_and_is_refused_all_the_same(
    browser: Browser, closed: Gateway, broker: RunningBroker
) -> None:
    with Client(broker.client) as client, watched(browser, closed.url) as seen:
        job = client.submit("ECHO", SECRET)
        job.wait(10)
        seen.may_fail = True
        page = seen.go("/ui/")
        log_in(page, "viewer")
        expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
        for path in ("/ui/", "/ui/services/ECHO", "/ui/workers", "/ui/system", f"/ui/jobs/{job.id}"):
            page = seen.go(path)
            buttons = page.locator("main button:visible").all_inner_texts()
            assert set(buttons) <= {"Copy"}, (path, buttons)
            assert "s3cret" not in page.content()
            expect(page.get_by_role("link", name="Submit")).to_have_count(0)
        page = seen.go(f"/ui/jobs/{job.id}?reveal=1")
        assert "s3cret" not in page.content() and "••••••" in page.content()
        for part in ("params", "result"):
            text = page.request.get(f"{seen.base}/ui/jobs/{job.id}/{part}?reveal=1").text()
            assert "s3cret" not in text and "ann" in text
        page = seen.go("/ui/submit")
        expect(page.get_by_role("heading", level=1)).to_have_text("This is not for your token")
        own = {"origin": closed.url, "accept": "text/html"}
        for path in (f"/ui/jobs/{job.id}/delete", "/ui/services/ECHO/pause", "/ui/many/cancel"):
            answer = page.request.post(f"{seen.base}{path}", headers=own, form={"service": "ECHO"})
            assert answer.status == 403 and "This is not for your token" in answer.text()
        assert not client.service("ECHO")["paused"] and job.status()["state"] == "complete"


def test_a_token_that_is_deleted_is_led_to_the_login(
    browser: Browser, broker: RunningBroker, tmp_path: Path
) -> None:
    roles = {"gone": "viewer", "stays": "viewer"}
    with gateway(broker, tmp_path, roles) as http, watched(browser, http.url) as seen:
        seen.may_fail = True
        page = seen.go("/ui/")
        log_in(page, "gone")
        expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
        http.tokens.delete("gone")
        wait_until(lambda: page.goto(f"{seen.base}/ui/jobs") and "/login" in page.url)


def test_a_link_of_another_page_finds_the_login_that_there_is(
    browser: Browser, closed: Gateway, tmp_path: Path
) -> None:
    with watched(browser, closed.url) as seen:
        seen.may_fail = True
        page = seen.go("/login")
        log_in(page, "viewer")
        elsewhere = closed.url.replace("127.0.0.1", "localhost")  # another site to a browser
        page.route(
            f"{elsewhere}/mail",
            lambda route: route.fulfill(
                body=f'<a href="{closed.url}/ui/services">see</a>', content_type="text/html"
            ),
        )
        seen.base = "http://"
        page.goto(f"{elsewhere}/mail")
        page.get_by_role("link", name="see").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("Services")


def test_a_page_of_another_site_may_do_nothing_here(browser: Browser, closed: Gateway) -> None:
    with watched(browser, closed.url) as seen:
        seen.may_fail = True
        page = seen.go("/login")
        log_in(page, "operator")
        expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
        answer = page.request.post(
            f"{seen.base}/ui/services/ECHO/pause",
            headers={"origin": "https://elsewhere.example", "accept": "text/html"},
        )
        assert answer.status == 403 and "Another page has asked for this" in answer.text()
        assert answer.headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize(
    "then", ["https://elsewhere.example/", "//elsewhere.example", "/\\elsewhere", "/api/v1/jobs"]
)
def test_a_login_leads_nowhere_but_to_the_pages(browser: Browser, closed: Gateway, then: str) -> None:
    with closed.client(follow_redirects=False) as ask:
        answer = ask.post("/login", data={"token": TOKENS["viewer"], "next": then})
        assert answer.headers["location"] == "/ui/"


def test_below_a_prefix_every_link_and_the_stream_are_below_it(
    browser: Browser, broker: RunningBroker, tmp_path: Path
) -> None:
    with gateway(broker, tmp_path, root_path="/jobs") as http, watched(browser, http.url) as seen:
        page = seen.go("/jobs/ui/")
        expect(page.locator("#fresh")).to_have_text("live")
        for link in page.locator("a[href]").all():
            href = str(link.get_attribute("href"))
            assert href.startswith(("/jobs/", "#")), href
        page.get_by_role("link", name="Services", exact=True).click()
        page.get_by_role("button", name="Pause ECHO").click()
        expect(page.locator(".told")).to_contain_text("paused")
        page.get_by_role("button", name="Resume ECHO").click()
        expect(page.locator(".told")).to_contain_text("goes on")
        assert page.url.startswith(f"{seen.base}/jobs/ui/")
