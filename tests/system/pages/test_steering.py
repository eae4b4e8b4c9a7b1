"""What an operator does on the pages, in a real browser: submit, watch, cancel, retry, pause, start, stop."""

from __future__ import annotations

import os
import re
import signal

from playwright.sync_api import expect

from tests.peers import wait_until
from tests.system.installation import Installation
from tests.system.pages.browser import Watched, job_id
from tests.system.pages.conftest import let
from zmws import Client

OTHER = 2**63 + 1  # no double holds it


def test_a_job_by_the_form_its_progress_and_its_end(
    seen: Watched, shop: Installation, client: Client
) -> None:
    page = seen.go("/ui/submit?service=STEP")
    page.get_by_label("Parameters, as JSON").fill('{"name": "form", "steps": 2}')
    page.get_by_role("button", name="Submit", exact=True).click()
    expect(page.locator(".told")).to_have_text("The job is accepted.")
    expect(page.locator("h1 .pill")).to_contain_text("running")
    assert "told=" not in page.url, "said once"
    let(shop, "form.1")
    expect(page.locator("main")).to_contain_text("1 of 2")
    expect(page.locator("progress").first).to_have_attribute("value", "0.5")
    let(shop, "form.2")
    expect(page.locator("h1 .pill")).to_contain_text("complete")
    expect(page.get_by_label("Result")).to_contain_text('"steps": 2')
    assert client.job(job_id(page)).status()["params"] == {"name": "form", "steps": 2}


def test_fields_come_from_the_schema_and_what_is_wrong_stands_beside_them(
    seen: Watched, client: Client
) -> None:
    page = seen.go("/ui/submit")
    page.get_by_role("link", name="ORDER").click()
    page.get_by_label("item").fill("<b>Tee</b>")
    page.get_by_label("number").fill("many")
    page.get_by_label("size").select_option("large")
    seen.may_fail = True
    page.get_by_role("button", name="Submit", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("a whole number")
    expect(page.get_by_label("number")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("item")).to_have_value("<b>Tee</b>")
    page.get_by_label("number").fill(str(OTHER))
    page.get_by_label("tags").fill('["a", "b"]')
    page.get_by_text("Options").click()
    page.get_by_label("group", exact=True).fill("tenant-1")
    page.get_by_role("button", name="Submit", exact=True).click()
    expect(page.locator("h1 .pill")).to_contain_text("complete")
    record = client.job(job_id(page)).status()
    assert record["params"] == {"item": "<b>Tee</b>", "number": OTHER, "size": "large", "tags": ["a", "b"]}
    assert record["group"] == "tenant-1"
    expect(page.get_by_label("Parameters")).to_contain_text(str(OTHER)), "in whole"
    expect(page.get_by_label("Result")).to_contain_text(str(OTHER))


def test_a_form_that_is_sent_twice_is_one_job(seen: Watched, client: Client) -> None:
    page = seen.go("/ui/submit?service=ORDER")
    page.get_by_label("item").fill("twice")
    page.get_by_label("number").fill("1")
    page.get_by_role("button", name="Submit", exact=True).dblclick()
    expect(page.locator(".told")).to_be_visible()
    made = client.ask("zmws.jobs", {"service": "ORDER", "q": "twice"})["jobs"]
    assert [job["id"] for job in made] == [job_id(page)]


def test_a_running_job_is_cancelled_and_its_stack_is_shown(seen: Watched, client: Client) -> None:
    job = client.submit("STEP", {"name": "never", "seconds": 60})
    wait_until(lambda: job.status()["state"] == "running")
    page = seen.go(f"/ui/jobs/{job.id}")
    page.get_by_role("link", name="Show its stack now").click()
    expect(page.get_by_label("Where it is now")).to_contain_text("shop.py")
    page.goto(f"{seen.base}/ui/jobs/{job.id}")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("h1 .pill")).to_contain_text("cancelled")
    expect(page.locator(".told")).to_have_text("The job is cancelled.")
    assert job.status()["state"] == "cancelled"


def test_a_failed_job_is_retried_and_a_group_after_its_exact_count(
    seen: Watched, shop: Installation, client: Client
) -> None:
    jobs = [client.submit("FLAKY", {"name": f"thing{n}"}) for n in range(5)]
    wait_until(lambda: all(job.status()["state"] == "failed" for job in jobs))
    let(shop, "thing0.ok")
    page = seen.go(f"/ui/jobs/{jobs[0].id}")
    expect(page.locator("main")).to_contain_text("LookupError")
    expect(page.locator(".frames")).to_contain_text("shop.py"), "the author's own frames come first"
    page.get_by_role("button", name="Retry").click()
    expect(page.locator("h1 .pill")).to_contain_text("complete")

    page = seen.go("/ui/failures")
    cause = page.locator(".cause", has_text="LookupError")
    expect(cause).to_contain_text("4 failed now")
    for n in range(1, 5):
        let(shop, f"thing{n}.ok")
    cause.get_by_role("button", name=re.compile("Retry all")).click()
    expect(page.get_by_role("heading")).to_have_text("Retry 4 jobs?")
    page.get_by_role("link", name="No, go back").click()
    expect(page.locator(".cause", has_text="LookupError")).to_contain_text("4 failed now")
    page.get_by_role("button", name=re.compile("Retry all")).click()
    client.submit("FLAKY", {"name": "late"}).wait(10)  # it came after the count
    page.get_by_role("button", name="Retry 4 jobs").click()
    expect(page.locator(".told")).to_have_text("4 jobs wait again, with all their retries.")
    assert page.url.endswith("/ui/failures"), "back to where it was"
    cause = page.locator(".cause", has_text="LookupError")
    expect(cause).to_contain_text("1 failed now")
    let(shop, "late.ok")
    cause.get_by_role("button", name=re.compile("Retry all")).click()
    page.get_by_role("button", name="Retry 1 job").click()
    expect(page.locator(".told")).to_have_text("1 job waits again.")
    expect(page.locator("main")).to_contain_text("No job is failed.")
    assert all(job.status()["state"] == "complete" for job in jobs)


def test_a_service_is_paused_resumed_limited_and_purged(seen: Watched, client: Client) -> None:
    page = seen.go("/ui/services/STR-REV")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("h1")).to_contain_text("paused")
    job = client.submit("STR-REV", {"str": "abc"})
    page.goto(f"{seen.base}/ui/jobs/{job.id}")
    expect(page.locator("main")).to_contain_text("paused")
    page = seen.go("/ui/services/STR-REV")
    page.get_by_role("button", name="Purge what waits").click()
    expect(page.get_by_role("heading")).to_have_text("Cancel 1 waiting or scheduled job of STR-REV?")
    page.get_by_role("button", name="Purge").click()
    expect(page.locator(".told")).to_contain_text("1 waiting job is cancelled")
    assert job.status()["state"] == "cancelled"
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("h1")).not_to_contain_text("paused")
    assert client.call("STR-REV", {"str": "abc"}) == "cba"
    page.get_by_label("max_running").fill("1")
    page.get_by_role("button", name="Set").click()
    expect(page.get_by_label("max_running")).to_have_value("1")
    assert client.service("STR-REV")["options"]["max_running"]["value"] == 1
    page.get_by_label("max_running").fill("")
    page.get_by_role("button", name="Set").click()
    expect(page.locator("main")).to_contain_text("no limit")
    assert client.service("STR-REV")["options"]["max_running"]["value"] is None


def test_a_job_runs_again_with_changes_and_its_secrets(seen: Watched, client: Client) -> None:
    secret = client.submit("STEP", {"name": "again", "seconds": 0.05, "steps": 1, "api_key": "s3cret"})
    secret.wait(10)
    page = seen.go(f"/ui/jobs/{secret.id}")
    expect(page.get_by_label("Parameters")).to_contain_text("••••••")
    assert "s3cret" not in page.content()
    page.get_by_role("link", name="Reveal secrets").click()
    expect(page.get_by_label("Parameters")).to_contain_text("s3cret")
    page.get_by_role("link", name="Run again with changes").click()
    field = page.get_by_label("Parameters, as JSON")
    field.fill(field.input_value().replace('"again"', '"changed"'))
    page.get_by_role("button", name="Run it").click()
    expect(page.locator("h1 .pill")).to_contain_text("complete")
    record = client.job(job_id(page)).status()
    assert record["params"]["api_key"] == "s3cret" and record["params"]["name"] == "changed"
    assert record["id"] != secret.id


def test_a_worker_vanishes_and_another_takes_its_place(
    seen: Watched, shop: Installation, client: Client
) -> None:
    page = seen.go("/ui/workers")
    row = page.locator("tr", has=page.get_by_text("shop_00", exact=True))
    expect(row).to_have_count(1)
    first = row.get_attribute("id")
    os.kill(shop.pids()["shop_00"], signal.SIGKILL)
    expect(page.locator(".lanes .gone")).to_have_count(1)
    expect(row).to_have_count(1)
    wait_until(lambda: row.get_attribute("id") != first, what="the new worker to be listed")


def test_a_worker_is_drained(seen: Watched, shop: Installation, client: Client) -> None:
    page = seen.go("/ui/workers")
    page.get_by_role("button", name="Drain reverse").click()
    expect(page.locator(".told")).to_contain_text("gets no more jobs")
    wait_until(lambda: "reverse" not in shop.pids(), what="it to leave")
    page = seen.go("/ui/system")
    page.get_by_role("button", name="Start reverse").click()
    expect(page.locator("#process-reverse")).to_contain_text("running")
    assert client.call("STR-REV", {"str": "ab"}) == "ba"


def test_a_process_is_stopped_started_restarted_and_scaled(
    seen: Watched, shop: Installation, client: Client
) -> None:
    page = seen.go("/ui/system")
    row = page.locator("#process-reverse")
    page.get_by_role("button", name="Stop reverse").click()
    expect(row).to_contain_text("stopped")
    assert "reverse" not in shop.pids()
    page.get_by_role("button", name="Start reverse").click()
    expect(row).to_contain_text("running")
    before = shop.pids()["reverse"]
    page.get_by_role("button", name="Restart reverse").click()
    expect(page.locator(".told")).to_have_text("It was stopped, and runs again.")
    assert shop.pids()["reverse"] != before
    page.get_by_role("spinbutton", name="Copies of shop").fill("3")
    page.get_by_role("button", name="Set the copies of shop").click()
    expect(page.locator("#process-shop_02")).to_contain_text("running")
    page.get_by_role("spinbutton", name="Copies of shop").fill("2")
    page.get_by_role("button", name="Set the copies of shop").click()
    expect(page.locator(".told")).to_have_text("So many copies run now.")
    wait_until(lambda: "shop_02" not in shop.pids())
    page.get_by_role("link", name="Log of broker").click()
    expect(page.get_by_label("Log of broker")).to_contain_text("INFO")
    audit = seen.go("/ui/system").get_by_label("Audit")
    for verb in ("stop", "start", "restart", "scale"):
        expect(audit.get_by_role("cell", name=verb, exact=True).first).to_be_visible()


def test_the_broker_goes_and_comes_back_under_an_open_page(
    seen: Watched, shop: Installation, client: Client
) -> None:
    page = seen.go("/ui/jobs")
    expect(page.locator("#fresh")).to_have_text("live")
    seen.may_fail = True
    shop.run("stop", "broker")
    expect(page.locator("#fresh")).to_have_text("the broker is away")
    with_error = seen.page.context.new_page()
    with_error.goto(f"{seen.base}/ui/services")
    expect(with_error.get_by_role("heading", level=1)).to_have_text("The broker is not there")
    with_error.get_by_role("link", name="System", exact=True).last.click()
    with_error.get_by_role("button", name="Start broker").click()
    expect(with_error.locator("#process-broker")).to_contain_text("running")
    expect(page.locator("#fresh")).to_have_text("live")
    job = client.submit("STR-REV", {"str": "back"})
    expect(page.locator(f"[id='job-{job.id}']")).to_contain_text("complete")
    with_error.close()


def test_an_error_page_comes_to_life_with_the_broker(seen: Watched, shop: Installation) -> None:
    shop.run("stop", "broker")
    seen.may_fail = True
    page = seen.page
    page.goto(f"{seen.base}/ui/services")
    expect(page.get_by_role("heading", level=1)).to_have_text("The broker is not there")
    shop.run("start", "broker")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Services")


def test_a_moment_is_marked(seen: Watched) -> None:
    page = seen.go("/ui/system")
    page.get_by_label("Mark this moment in the plots").fill("deploy <1.4>")
    page.get_by_role("button", name="Mark").click()
    expect(page.locator(".told")).to_have_text("The moment is marked.")
    page.locator(".marks summary").first.click()
    expect(page.locator(".marks").first).to_contain_text("deploy <1.4>")
