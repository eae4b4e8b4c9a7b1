"""The pictures of docs/pages.md, of an installation that really runs: `python docs/tour.py [FOLDER] [--all]`.

It makes an installation in a temporary folder, gives it work for a while, and takes pictures of its pages
with a headless Chromium (`chromium` on the PATH, and playwright, which the extra `dev` brings). FOLDER is
where they go; docs/pictures unless given; `--all` takes whole pages, of every scheme and width.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from zmws import Client
from zmws.testing.processes import HeldPorts
from zmws.testing.processes import environment as environment_of

HERE = Path(__file__).parent
ZMWS = [sys.executable, "-P", "-m", "zmws"]
SECONDS = 75  # of work before the first picture
WORKERS = {
    "mail.py": '''
import smtplib, time, random
from zmws import worker

@worker("EMAIL", retries=1, backoff=3)
def send(to: str, template: str = "welcome", token: str = "") -> dict[str, str]:
    """Sends one mail."""
    time.sleep(random.uniform(0.05, 0.5))
    if random.random() < 0.06:
        raise smtplib.SMTPServerDisconnected("Connection unexpectedly closed")
    if to.endswith("invalid"):
        raise ValueError(f"'{to}' is no address")
    return {"sent": to}
''',
    "importing.py": '''
import time
from zmws import WorkerBase

class Import(WorkerBase):
    """Reads a file into the shop, row by row."""

    service_name = "IMPORT"

    def work(self, job_id: str, params: dict) -> dict:
        file, rows = params["file"], params.get("rows", 5000)
        for done in range(0, rows + 1, rows // 50):
            self.job.progress(done / rows, f"{done:,} of {rows:,} rows")
            if done % (rows // 5) == 0:
                self.job.log(f"{file}: {done:,} rows are in")
            time.sleep(0.25)
        return {"rows": rows}
''',
    "thumbs.py": """
import time, random
from zmws import worker

@worker("THUMBNAIL", concurrency=2)
def thumb(image: str, width: int = 320) -> str:
    time.sleep(random.expovariate(8))
    return f"{image}@{width}"
""",
}
SETTINGS = """
[broker]
client = "tcp://127.0.0.1:{0}"
worker = "tcp://127.0.0.1:{1}"
news = "tcp://127.0.0.1:{2}"
mdp = ""

[gateway]
http = "127.0.0.1:{3}"

[services.EMAIL]
max_running = 3

[services.PDF-RENDER]
retries = 2

[[workers]]
name = "mail"
file = "workers/mail.py"
count = 3

[[workers]]
name = "import"
file = "workers/importing.py"

[[workers]]
name = "thumbs"
file = "workers/thumbs.py"
count = 2
"""


@contextlib.contextmanager
def installation() -> Iterator[tuple[str, str]]:
    """One that runs; its HTTP address, and its broker's."""
    with tempfile.TemporaryDirectory(prefix="tour-") as made, HeldPorts(4) as ports:
        root = Path(made)
        (root / "workers").mkdir()
        (root / "etc").mkdir()
        for name, text in WORKERS.items():
            (root / "workers" / name).write_text(text.lstrip())
        (root / "etc" / "zmws.toml").write_text(SETTINGS.format(*ports))
        environ = environment_of({})
        try:
            subprocess.run([*ZMWS, "start"], cwd=root, env=environ, check=True)
            yield f"http://127.0.0.1:{ports[3]}", f"tcp://127.0.0.1:{ports[0]}"
        finally:
            subprocess.run([*ZMWS, "stop"], cwd=root, env=environ, check=False, stdout=subprocess.DEVNULL)


def give_work(broker: str, over: threading.Event) -> None:
    """Jobs as a shop has them, until it is over."""
    chance = random.Random(7)
    with Client(broker) as client:
        for n in range(42):
            client.submit("PDF-RENDER", {"invoice": 4_000 + n})
        client.submit("EMAIL", {"to": "later@example.org"}, delay=1800)
        client.ask("zmws.mark", {"text": "deploy 1.4", "by": "ci"})
        for schedule in SCHEDULES:
            client.ask("zmws.schedule", {"do": "add", **schedule})
        client.ask("zmws.schedule", {"do": "pause", "name": "weekly-digest"})
        n = 0
        while not over.wait(0.12):
            n += 1
            tenant = f"tenant-{chance.randrange(9)}"
            to = f"user{n}@example.{'invalid' if chance.random() < 0.03 else 'org'}"
            params = {"to": to, "template": "welcome", "token": f"t-{chance.getrandbits(60):x}"}
            client.submit("EMAIL", params, group=tenant)
            for _ in range(chance.randrange(3)):
                client.submit("THUMBNAIL", {"image": f"img/{chance.randrange(9999)}.jpg"})
            if n % 150 == 20:
                give_batch(client, f"catalogue-{n // 150 + 1}", n)
            if n % 60 == 1:
                client.submit("IMPORT", {"file": f"stock-{n}.csv"}, keep=3600)


def give_batch(client: Client, batch: str, n: int) -> None:
    """Pictures and mails whose end together is waited for."""
    follows = {"service": "EMAIL", "params": {"to": "catalogue@example.org"}}
    client.ask("zmws.open", {"id": batch, "then": follows, "failed": follows, "by": "shop"})
    jobs = [{"service": "THUMBNAIL", "params": {"image": f"img/{n}-{one}.jpg"}} for one in range(60)]
    jobs += [{"service": "EMAIL", "params": {"to": f"{one}@example.{end}"}} for one, end in MAILS]
    client.submit_many([{**job, "batch": batch} for job in jobs])
    client.ask("zmws.close", {"id": batch})


MAILS = [("anna", "org"), ("bert", "invalid"), ("carl", "org"), ("dora", "org")]
SCHEDULES = (
    {"name": "stock", "service": "IMPORT", "every": 3600, "params": {"file": "stock.csv"}, "overlap": "skip"},
    {"name": "newsletter", "service": "EMAIL", "cron": "30 8 * * MON-FRI", "zone": "Europe/Berlin"},
    {"name": "heartbeat", "service": "THUMBNAIL", "every": 10, "params": {"image": "beat.jpg"}},
    {"name": "invoices", "service": "PDF-RENDER", "cron": "0 2 1 * *", "missed": "all"},
    {"name": "check-address", "service": "EMAIL", "every": 30, "params": {"to": "x@example.invalid"}},
    {"name": "weekly-digest", "service": "EMAIL", "cron": "0 7 * * SUN", "missed": "none"},
)


def settle(page: Page) -> None:
    """Until the page is whole, and has its stream."""
    page.wait_for_load_state("load")
    if page.locator("body[data-live]").count():
        page.locator("#fresh.live").wait_for()


def pages(client: Client) -> Iterator[tuple[str, str]]:
    """The pages of the tour: the name of a picture, and the path as it is now."""

    def first(**question: Any) -> str:
        found = client.ask("zmws.jobs", {"limit": 1, **question})["jobs"]
        return str(found[0]["id"]) if found else ""

    yield "overview", "/ui/"
    yield "services", "/ui/services"
    yield "service", "/ui/services/EMAIL"
    yield "jobs", "/ui/jobs"
    yield "job-running", f"/ui/jobs/{first(service='IMPORT', state='running')}"
    yield "job-failed", f"/ui/jobs/{first(service='EMAIL', state='failed')}"
    yield "batches", "/ui/batches"
    yield "batch", "/ui/batches/catalogue-2"
    yield "schedules", "/ui/schedules"
    yield "schedule", "/ui/schedules/newsletter"
    yield "failures", "/ui/failures"
    yield "workers", "/ui/workers"
    yield "system", "/ui/system"
    yield "submit", "/ui/submit?service=EMAIL"


# The pictures of docs/pages.md: the scheme and the width of each.
SHOWN = {
    "overview": [("light", 1280), ("dark", 1280), ("light", 390)],
    "service": [("light", 1280)],
    "jobs": [("light", 1280)],
    "job-running": [("light", 1280), ("dark", 390)],
    "job-failed": [("dark", 1280)],
    "batch": [("light", 1280)],
    "schedules": [("light", 1280)],
    "failures": [("light", 1280)],
    "workers": [("dark", 1280)],
    "system": [("light", 1280)],
    "submit": [("light", 1280)],
}
EVERY = [(scheme, width) for scheme in ("light", "dark") for width in (1440, 390)]
HEIGHT_MAX = 1_000  # of a picture; `--all` takes whole pages


def take(browser: Browser, at: str, client: Client, folder: Path, every: bool) -> None:
    """The pictures."""
    for name, path in pages(client):
        for scheme, width in EVERY if every else SHOWN.get(name, []):
            context = browser.new_context(
                color_scheme=scheme,  # type: ignore[arg-type]
                viewport={"width": width, "height": 844},
            )
            page = context.new_page()
            page.goto(f"{at}{path}")
            settle(page)
            high = min(HEIGHT_MAX, page.evaluate("document.documentElement.scrollHeight"))
            if not every:
                page.set_viewport_size({"width": width, "height": high})
            file = folder / f"{name}-{scheme}-{width}.png"
            page.screenshot(path=file, full_page=every)
            print(file)  # noqa: T201
            context.close()


def main() -> None:
    """Run it."""
    given = [one for one in sys.argv[1:] if one != "--all"]
    every = "--all" in sys.argv[1:]
    folder = Path(given[0]) if given else HERE / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    chromium = shutil.which("chromium") or sys.exit("there is no 'chromium' on the PATH")
    over = threading.Event()
    with installation() as (http, broker), Client(broker) as client, sync_playwright() as playwright:
        worker = threading.Thread(target=give_work, args=(broker, over))
        worker.start()
        try:
            time.sleep(SECONDS)
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            take(browser, http, client, folder, every)
            browser.close()
        finally:
            over.set()
            worker.join()


if __name__ == "__main__":
    main()
