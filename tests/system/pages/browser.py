"""A real Chromium, which tells what must not happen on a page: errors, other hosts, broken policies."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from tests.peers import skip_unless_possible

PATIENCE_MS = 15_000
_VIOLATIONS = """
window.violations = [];
addEventListener("securitypolicyviolation",
    e => window.violations.push(`${e.violatedDirective} ${e.blockedURI} ${e.sample}`));
window.alert = () => window.violations.push("alert");
window.stolen = () => window.violations.push("stolen");
"""


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """One that runs until the block ends; skips where there is none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    skip_unless_possible(program is not None, "a real browser needs chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Watched:
    """A page, and what went wrong on it."""

    page: Page
    base: str
    wrong: list[str] = field(default_factory=list)
    may_fail: bool = False  # answers of 4xx and 5xx are meant

    def go(self, path: str) -> Page:
        """Open a page, and wait until it is live, if it is to be."""
        answer = self.page.goto(self.base + path)
        assert answer is not None and (answer.status < 400 or self.may_fail), (path, answer)
        assert answer.status < 500 or answer.status == 503, (path, answer.status)
        if self.page.locator("body[data-live]").count():
            self.page.locator("#fresh:not(.plain)").wait_for()  # no function: the policy knows no eval
        return self.page

    def check(self) -> None:
        """Nothing went wrong."""
        with contextlib.suppress(Exception):  # it is closed
            self.wrong += self.page.evaluate("window.violations || []")
        assert not self.wrong, self.wrong


@contextlib.contextmanager
def watched(browser: Browser, base: str, **context: Any) -> Iterator[Watched]:
    """A page in a context of its own; what went wrong on it fails the test at the end."""
    made = browser.new_context(viewport={"width": 1280, "height": 900}, **context)
    made.set_default_timeout(PATIENCE_MS)
    try:
        one = watch(made, base)
        yield one
        one.check()
    finally:
        made.close()


def watch(context: BrowserContext, base: str) -> Watched:
    """A new page of this context."""
    page = context.new_page()
    one = Watched(page, base)
    page.add_init_script(_VIOLATIONS)

    def on_console(message: ConsoleMessage) -> None:
        is_status = "Failed to load resource" in message.text
        is_gone = "net::ERR_" in message.text and one.may_fail
        if message.type in ("error", "warning") and not (is_status and one.may_fail) and not is_gone:
            one.wrong.append(f"console: {message.text}")

    def on_request(url: str) -> None:
        if not url.startswith((one.base, "blob:", "about:")):
            one.wrong.append(f"another host: {url}")

    page.on("console", on_console)
    page.on("pageerror", lambda error: one.wrong.append(f"script: {error}"))
    page.on("request", lambda request: on_request(request.url))
    return one


def overflows(page: Page) -> str:
    """What is wider than the window, "" for nothing."""
    found: str = page.evaluate(
        """() => {
            const wide = document.documentElement.clientWidth;
            if (document.documentElement.scrollWidth <= wide) return "";
            const out = [...document.querySelectorAll("body *")].filter(
                one => one.getBoundingClientRect().right > wide + 1
                    && !one.closest(".table-frame, header nav, pre"));
            return `${document.documentElement.scrollWidth} of ${wide}: ` + out.slice(0, 5).map(
                one => `${one.tagName}.${one.className} ${(one.textContent || "").slice(0, 40)}`).join(" | ");
        }"""
    )
    return found


def job_id(page: Page) -> str:
    """The job that the page is of."""
    found = re.search(r"/ui/jobs/([^/?]+)", page.url)
    assert found, page.url
    return found[1]
