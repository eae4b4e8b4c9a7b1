"""Batches, schedules and families on the pages, in a real browser: watched, steered, and made by a form."""

from __future__ import annotations

import re

from playwright.sync_api import Browser, expect

from tests.peers import wait_until
from tests.system.installation import Installation
from tests.system.pages.browser import Watched, watched
from tests.system.pages.conftest import let
from zmws import Client


def test_a_batch_is_watched_closed_retried_and_what_follows_does(
    seen: Watched, shop: Installation, client: Client
) -> None:
    client.ask(
        "zmws.open", {"id": "books", "then": {"service": "ORDER", "params": {"item": "b", "number": 1}}}
    )
    client.submit("FLAKY", {"name": "book"}, batch="books").wait(10)
    client.submit("STEP", {"name": "books", "steps": 1, "seconds": 60}, batch="books")
    page = seen.go("/ui/batches")
    row = page.locator("#batch-books")
    expect(row).to_contain_text("1 of 2")
    row.get_by_role("link", name="books").click()
    expect(page.locator("main")).to_contain_text("It is open")
    page.get_by_role("button", name="Close…").click()
    expect(page.get_by_role("heading")).to_have_text("Close this batch?")
    page.get_by_role("button", name="Close").click()
    expect(page.locator("h1 .pill")).to_contain_text("running")
    let(shop, "books.1")
    expect(page.locator("h1 .pill")).to_contain_text("failed"), "by itself"
    let(shop, "book.ok")
    page.get_by_role("button", name="Retry what failed…").click()
    page.get_by_role("button", name="Retry 1 job").click()
    expect(page.locator("h1 .pill")).to_contain_text("complete")
    expect(page.locator("main")).to_contain_text("ORDER followed")
    page.get_by_role("link", name="books:then").click()
    expect(page.locator(".record")).to_contain_text("batch books (then): 2 of 2 complete")


def test_what_is_left_of_a_batch_is_cancelled_after_the_count(seen: Watched, client: Client) -> None:
    client.ask("zmws.open", {"id": "late"})
    for _ in range(3):
        client.submit("STEP", {"seconds": 60}, batch="late", delay=3600)
    page = seen.go("/ui/batches/late")
    page.get_by_role("button", name="Cancel…").click()
    expect(page.get_by_role("heading")).to_have_text("Cancel 3 jobs?")
    page.get_by_role("button", name="Cancel 3 jobs").click()
    expect(page.locator(".told")).to_have_text("3 jobs are cancelled.")
    expect(page.locator("main")).to_contain_text("3 of 3 jobs have ended")


def test_a_schedule_is_made_by_the_form_and_steered(seen: Watched, client: Client) -> None:
    page = seen.go("/ui/schedules")
    page.get_by_role("link", name="New schedule").click()
    page.get_by_role("textbox", name="Name").fill("by-form")
    page.get_by_role("combobox", name="Service").select_option("ORDER")
    page.get_by_label("By the calendar (cron)").fill("0 25 * * *")
    page.get_by_label("Parameters, as JSON").fill('{"item": "s", "number": 9007199254740993}')
    seen.may_fail = True
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_role("alert")).to_contain_text("hour")
    expect(page.get_by_label("By the calendar (cron)")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_role("textbox", name="Name")).to_have_value("by-form")
    page.get_by_label("By the calendar (cron)").fill("0 2 * * MON-FRI")
    page.get_by_label("in the time zone").fill("Europe/Berlin")
    page.get_by_role("button", name="Show its next times").click()
    expect(page.locator(".times li")).to_have_count(5)
    page.get_by_role("button", name="Add").click()
    expect(page.locator(".told")).to_have_text("The schedule is there.")
    expect(page.locator("main")).to_contain_text("Monday to Friday at 02:00")
    page.get_by_role("button", name="Run now…").click()
    page.get_by_role("button", name="Run it").click()
    expect(page.locator("h1 .pill")).to_contain_text("complete")
    expect(page.get_by_label("Result")).to_contain_text("9007199254740993")
    page.locator(".record").get_by_role("link", name="by-form").click()
    expect(page.locator("main")).to_contain_text("complete")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("h1 .pill")).to_have_text("paused")
    page = seen.go("/ui/schedules")
    page.get_by_role("button", name="Resume by-form").click()
    expect(page.get_by_role("button", name="Pause by-form")).to_be_visible()
    page.get_by_role("button", name="Remove by-form").click()
    page.get_by_role("button", name="Remove", exact=True).click()
    expect(page.locator(".told")).to_have_text("The schedule is removed.")
    assert "by-form" not in [row["name"] for row in client.ask("zmws.schedules")["schedules"]]


def test_a_family_grows_on_the_page_of_the_job(seen: Watched, shop: Installation, client: Client) -> None:
    job = client.submit("STEP", {"name": "parent", "steps": 1, "seconds": 60}, on_complete="ORDER")
    wait_until(lambda: job.status()["state"] == "running")
    page = seen.go(f"/ui/jobs/{job.id}")
    expect(page.locator("#kin")).to_have_count(0)
    let(shop, "parent.1")
    expect(page.locator("#kin .tree li")).to_have_count(2)
    page.locator("#kin").get_by_role("link", name="ORDER").click()
    page.wait_for_url(re.compile("on_complete"))
    page.locator(".record").get_by_role("link", name=job.id).click()
    expect(page.locator("h1 .id")).to_have_text(job.id)


def test_schedules_and_batches_work_without_a_script(
    browser: Browser, shop: Installation, client: Client
) -> None:
    client.ask("zmws.open", {"id": "plain"})
    with watched(browser, shop.http, java_script_enabled=False) as seen:
        page = seen.page
        page.goto(f"{seen.base}/ui/new-schedule")
        page.get_by_role("textbox", name="Name").fill("plain")
        page.get_by_role("combobox", name="Service").select_option("ORDER")
        page.get_by_label("Or every so many seconds").fill("3600")
        page.get_by_role("button", name="Add").click()
        expect(page.locator(".times li")).to_have_count(5)
        expect(page.locator(".times")).to_contain_text("UTC")
        page.get_by_role("button", name="Remove…").click()
        page.get_by_role("button", name="Remove", exact=True).click()
        expect(page.locator(".told")).to_have_text("The schedule is removed.")
        page.goto(f"{seen.base}/ui/batches/plain")
        page.get_by_role("button", name="Close…").click()
        page.get_by_role("button", name="Close").click()
        expect(page.locator("h1 .pill")).to_contain_text("complete")
