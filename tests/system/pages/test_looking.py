"""Every page in a real browser: readable, reachable, narrow, dark, without a script, and shown as text."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from tests.peers import wait_until
from tests.system.installation import Installation
from tests.system.pages import everything
from tests.system.pages.browser import Watched, overflows, watched
from tests.system.pages.everything import HOSTILE, HOSTILE_NAME, Everything
from zmws import Client

BYTES_MAX = 100_000  # of a page


@pytest.fixture(scope="module")
def all_of_it(shop: Installation) -> Iterator[Everything]:
    with Client(shop.client) as client:
        yield everything.make(shop, client)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_any_page(
    browser: Browser, shop: Installation, all_of_it: Everything, scheme: str
) -> None:
    found = []
    with watched(browser, shop.http, color_scheme=scheme) as seen:
        seen.may_fail = True
        for path in all_of_it.paths:
            page = seen.go(path)
            for one in page.locator("main details").all():
                one.evaluate("e => e.open = true")
            for wrong in Axe().run(page).response["violations"]:
                nodes = [node["html"][:160] + " " + node["failureSummary"] for node in wrong["nodes"][:3]]
                found.append(f"{path}: {wrong['id']}: {nodes}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("width", [390, 768, 1440])
def test_no_page_is_wider_than_the_window(
    browser: Browser, shop: Installation, all_of_it: Everything, width: int
) -> None:
    with watched(browser, shop.http) as seen:
        seen.may_fail = True
        seen.page.set_viewport_size({"width": width, "height": 844})
        wide = {path: text for path in all_of_it.paths if (text := overflows(seen.go(path)))}
    assert not wide, wide


def test_whatever_a_job_a_mark_or_an_operator_says_is_shown_as_text(
    seen: Watched, all_of_it: Everything, client: Client
) -> None:
    seen.may_fail = True
    shown = ""
    for path in all_of_it.paths:
        page = seen.go(path)
        assert (
            page.evaluate("document.querySelectorAll('main script, main img, main svg[onload]').length") == 0
        )
        shown += page.locator("main").inner_text()
    for text in (*HOSTILE[:3], HOSTILE_NAME, "<script>stolen()<!--"):
        assert text in shown, text
    assert str(2**60 + 1) in shown, "in whole"


def test_each_page_is_small_and_loads_nothing_but_its_own(seen: Watched, all_of_it: Everything) -> None:
    seen.may_fail = True
    for path in all_of_it.paths:
        answer = seen.page.goto(seen.base + path)
        assert answer is not None and len(answer.body()) < BYTES_MAX, path
        policy = answer.headers["content-security-policy"]
        assert "unsafe" not in policy and "default-src 'none'" in policy
        assert "style=" not in answer.text(), path
        assert answer.headers["cache-control"] == "no-store"


def test_it_works_without_a_script(browser: Browser, shop: Installation, all_of_it: Everything) -> None:
    with watched(browser, shop.http, java_script_enabled=False) as seen:
        page = seen.page
        page.goto(f"{seen.base}/ui/submit?service=ORDER")
        expect(page.locator("#fresh")).to_have_text(re.compile("as of .* UTC"))
        page.get_by_label("item").fill("plain")
        page.get_by_label("number").fill("3")
        page.get_by_role("button", name="Submit", exact=True).click()
        expect(page.locator(".told")).to_have_text("The job is accepted.")
        expect(page.locator(".record")).to_contain_text("UTC"), "times say what they are"
        page.goto(f"{seen.base}/ui/jobs?service=ORDER")
        expect(page.locator("#fresh")).to_have_text(re.compile("as of .* UTC"))
        expect(page.locator("tbody tr").first).to_contain_text("ORDER")
        page.get_by_role("searchbox", name=re.compile("jump|Go to")).fill("STEP")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_contain_text("STEP")


def test_all_is_done_by_the_keyboard(seen: Watched, all_of_it: Everything) -> None:
    page = seen.go("/ui/services")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("/")
    expect(page.locator("#jump")).to_be_focused()
    page.keyboard.type(all_of_it.jobs["complete"])
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/ui/jobs/" + all_of_it.jobs["complete"]))
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        told = page.evaluate(
            "(e => [e.nodeName, (e.textContent || '').trim(), getComputedStyle(e).outlineStyle])"
            "(document.activeElement)"
        )
        if told[0] != "BODY":
            reached.add(told[1])
            assert told[2] != "none", f"where the focus is can be seen: {told}"
    assert {"Run again with changes", "Copy as curl", "Delete…", "Reveal secrets"} <= reached


@pytest.mark.parametrize(
    ("text", "leads_to"),
    [
        ("STEP", r"/ui/services/STEP$"),
        ("step", r"/ui/services/STEP$"),
        ("service:STEP state:complete", r"/ui/jobs\?service=STEP&state=complete"),
        ('error:"is not there"', r"/ui/jobs\?q=is\+not\+there"),
        ("nothing like it", r"/ui/jobs\?q=nothing\+like\+it"),
        ("", r"/ui/jobs$"),
    ],
)
def test_the_box_leads_to_what_is_meant(
    seen: Watched, all_of_it: Everything, text: str, leads_to: str
) -> None:
    page = seen.go("/ui/workers")
    page.locator("#jump").fill(text)
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(leads_to))


def test_a_search_looks_into_parameters_and_says_how_far(seen: Watched, all_of_it: Everything) -> None:
    page = seen.go("/ui/jobs")
    page.get_by_label("Text").fill("<svg onload")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("main")).to_contain_text("that is all")
    expect(page.locator(f"[id='job-{all_of_it.jobs['hostile']}']")).to_have_count(1)
    page.get_by_role("link", name=re.compile("Without text")).click()
    expect(page.locator(".chip")).to_have_count(0)


def test_what_is_new_comes_by_itself_and_focus_and_selection_stay(
    seen: Watched, all_of_it: Everything, client: Client
) -> None:
    client.submit("ORDER", {"item": "first", "number": 1}).wait(10)
    page = seen.go("/ui/jobs?service=ORDER")
    rows = page.locator("tbody tr")
    before = rows.count()
    link = rows.first.get_by_role("link").first
    link.focus()
    focused = link.get_attribute("href")
    client.submit("ORDER", {"item": "new", "number": 1}).wait(10)
    expect(rows).to_have_count(before + 1)
    assert page.evaluate("document.activeElement.getAttribute('href')") == focused
    page.get_by_role("textbox", name="Service").fill("half-typed")
    page.locator("h1").select_text()
    client.submit("ORDER", {"item": "newer", "number": 1}).wait(10)
    expect(page.locator("#fresh")).to_have_text("held: text is selected")
    expect(rows).to_have_count(before + 1)
    page.evaluate("getSelection().removeAllRanges()")
    expect(rows).to_have_count(before + 2)
    expect(page.get_by_role("textbox", name="Service")).to_have_value("half-typed")


def test_a_hidden_tab_holds_no_stream(seen: Watched, shop: Installation) -> None:
    page = seen.go("/ui/jobs")
    expect(page.locator("#fresh")).to_have_text("live")

    def hide(is_hidden: bool) -> None:
        page.evaluate(
            """hidden => { Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
                           document.dispatchEvent(new Event("visibilitychange")); }""",
            is_hidden,
        )

    with page.expect_event("requestfailed", lambda one: "/ui/live" in one.url):
        hide(True)
    with page.expect_request(lambda one: "/ui/live" in one.url):
        hide(False)


def test_times_are_of_the_place_and_utc_stands_in_the_title(
    browser: Browser, shop: Installation, all_of_it: Everything
) -> None:
    texts = []
    for zone in ("UTC", "Asia/Kolkata"):
        with watched(browser, shop.http, timezone_id=zone) as seen:
            page = seen.go(f"/ui/jobs/{all_of_it.jobs['complete']}")
            made = page.locator(".record time").first
            texts.append((made.inner_text(), made.get_attribute("title")))
    assert texts[0][1] == texts[1][1] and str(texts[0][1]).endswith("UTC")
    assert texts[0][0] != texts[1][0] and texts[0][0][-8:] in str(texts[0][1])


def test_a_hundred_thousand_jobs_are_paged_through(seen: Watched, shop: Installation, client: Client) -> None:
    client.pause("FLAKY")
    made = 0
    while made < 100_000:
        client.submit_many([{"service": "FLAKY", "params": {"name": f"n{made + n}"}} for n in range(1_000)])
        made += 1_000
    page = seen.go("/ui/jobs?service=FLAKY&state=waiting")
    ids: set[str] = set()
    for _ in range(5):
        shown = page.locator("tbody th a").all_inner_texts()
        assert len(shown) == 50 and not ids & set(shown), "no job comes twice, and none is left out"
        ids |= set(shown)
        page.get_by_role("link", name="older").click()
        page.wait_for_load_state("load")
    wanted = [job["id"] for job in client.ask("zmws.jobs", {"service": "FLAKY", "limit": 250})["jobs"]]
    assert ids == set(wanted)
    page.get_by_role("link", name="newest").click()
    expect(page.locator("tbody th a").first).to_have_text(wanted[0])
    page = seen.go("/ui/")
    expect(page.locator("main")).to_contain_text("100\u202f0")
    page = seen.go("/ui/services/FLAKY")
    page.get_by_role("button", name="Purge what waits").click()
    expect(page.get_by_role("heading")).to_have_text(re.compile("Cancel 100,00. waiting"))
    page.get_by_role("button", name="Purge").click()
    wait_until(lambda: "are cancelled" in page.content() or "being done" in page.content(), 60)
