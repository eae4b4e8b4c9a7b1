"""How long the pages take, and how large they are, with a million jobs in the store; and what open browsers
cost an idle broker. Read README.md here first.

    python benchmarks/pages.py [--jobs 1000000] [--failed 10000] [--browsers 10] [--seconds 30]

A broker and a gateway as they are shipped, each a process. Every page is asked for several times; its median
and its largest size are judged. Then so many headless Chromiums have a page open each, while nothing happens.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence

from harness import (
    CannotRun,
    Disk,
    Process,
    Processes,
    disk,
    exit_code,
    figure,
    judge,
    median,
    note,
    parser,
    table,
    verdict_table,
    wait_until,
)
from insight import filled
from insight_store import id_of
from own import Broker, await_workers

from zmws.testing import free_ports

ECHO, WORKERS = "ECHO", 2
TIMES = 7
SECONDS_GATE, SECONDS_AIM, BYTES_GATE = 0.3, 0.1, 100_000
PERCENT_GATE, PERCENT_AIM = 2.0, 1.0
PAGES = {
    "overview": "/ui/",
    "services": "/ui/services",
    "a service": "/ui/services/SERVICE-007",
    "a service, 24 hours": "/ui/services/SERVICE-007?range=24h",
    "a service, 30 days": "/ui/services/SERVICE-007?range=30d",
    "newest jobs": "/ui/jobs",
    "failed jobs": "/ui/jobs?state=failed",
    "jobs of a service": "/ui/jobs?service=SERVICE-007&state=waiting",
    "a search, found": "/ui/jobs?q=lorem",
    "a search, not found": "/ui/jobs?q=no+such+text",
    "a job that waits": f"/ui/jobs/{id_of(7)}",
    "a job that failed": f"/ui/jobs/{id_of(100)}",
    "failures": "/ui/failures",
    "workers": "/ui/workers",
    "system": "/ui/system",
    "submit": "/ui/submit?service=ECHO",
}


def gateway(processes: Processes, broker: Broker) -> tuple[Process, str]:
    """One in front of it, and where it is."""
    (port,) = free_ports(1)
    settings = processes.folder / "gateway" / "etc" / "zmws.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text(
        f'[broker]\nclient = "{broker.client_endpoint}"\nworker = "{broker.worker_endpoint}"\n'
        f'[gateway]\nhttp = "127.0.0.1:{port}"\n'
    )
    started = processes.start("gateway", [sys.executable, "-m", "zmws", "gateway", "-c", str(settings)])
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        if started.ended:
            raise CannotRun(started.why_ended())
        with contextlib.suppress(OSError):
            return len(fetched(f"{url}/readyz")) > 0
        return False

    if not wait_until(answers, 60):
        raise CannotRun("the gateway does not answer")
    return started, url


def fetched(url: str) -> bytes:
    asked = urllib.request.Request(url, headers={"accept": "text/html"})
    with urllib.request.urlopen(asked, timeout=60) as answer:
        body: bytes = answer.read()
        return body


def measured(url: str) -> Iterator[tuple[str, list[float], int]]:
    """Each page: how long it took, and its bytes. Between two the answers that are shared are forgotten."""
    for name, path in PAGES.items():
        times, size = [], 0
        for _ in range(TIMES):
            time.sleep(1.1)
            begun = time.perf_counter()
            size = max(size, len(fetched(url + path)))
            times.append(time.perf_counter() - begun)
        yield name, times, size


def idle_percent(watched: Sequence[Process], seconds: float) -> list[float]:
    """How much of a core each takes while nothing happens."""
    before = [one.cpu_s() or 0.0 for one in watched]
    time.sleep(seconds)
    return [100 * ((one.cpu_s() or 0.0) - cpu) / seconds for one, cpu in zip(watched, before, strict=True)]


@contextlib.contextmanager
def browsers(url: str, count: int) -> Iterator[None]:
    """So many, each with a page open that is live."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise CannotRun("playwright is not installed (pip install playwright)") from None
    program = shutil.which("chromium")
    if program is None:
        raise CannotRun("chromium is not installed (apt-get install chromium)")
    paths = [*list(PAGES.values())[:4], "/ui/jobs", "/ui/workers", "/ui/system", "/ui/failures"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for n in range(count):
            page = browser.new_context().new_page()
            page.goto(url + paths[n % len(paths)])
            page.locator("#fresh.live").wait_for()
        yield
        browser.close()


def measure(load: Disk, jobs: int, failed: int, count: int, seconds: int) -> int:
    with Processes(load.folder) as processes:
        note(f"making a store of {jobs:,} jobs")
        filled(processes.folder / "broker.db", jobs, failed)
        broker = Broker(processes, [ECHO], environment=load.environment())
        workers = broker.python_workers(ECHO, WORKERS, answer="params")
        await_workers(broker, ECHO, workers)
        served, url = gateway(processes, broker)
        rows, slowest, largest = [], ("", 0.0), ("", 0)
        for name, times, size in measured(url):
            usual = median(times) or 0.0
            rows.append([name, figure(usual, "{:.3f}"), figure(max(times), "{:.3f}"), f"{size:,}"])
            slowest, largest = (
                max(slowest, (name, usual), key=_second),
                max(largest, (name, size), key=_second),
            )
            note(f"{name}: {usual:.3f} s, {size:,} bytes")
        verdicts = judge(
            f"s, the slowest page ({slowest[0]})", slowest[1], SECONDS_GATE, SECONDS_AIM, at_most=True
        )
        verdicts += judge(
            f"bytes, the largest page ({largest[0]})", float(largest[1]), BYTES_GATE, None, at_most=True
        )
        time.sleep(10)  # what the start and the pages have begun is over
        alone = idle_percent([broker.process, served], seconds)
        with browsers(url, count):
            time.sleep(5)
            looked = idle_percent([broker.process, served], seconds)
    costs = [f"{looked[n] - alone[n]:.2f}" for n in (0, 1)]
    verdicts += judge(
        f"% of a core, what {count} open browsers cost the broker",
        looked[0] - alone[0],
        PERCENT_GATE,
        PERCENT_AIM,
        at_most=True,
    )
    idle = [
        ["broker", f"{alone[0]:.2f}", f"{looked[0]:.2f}", costs[0]],
        ["gateway", f"{alone[1]:.2f}", f"{looked[1]:.2f}", costs[1]],
    ]
    print(f"\n{jobs:,} jobs in the store, {load}:\n")
    print(table(["page", "s", "the longest", "bytes"], rows), "\n")
    print(table([f"% of a core in {seconds} s", "alone", f"{count} browsers", "cost"], idle), "\n")
    print(verdict_table(verdicts))
    return 0 if all(verdict.passed for verdict in verdicts) else 1


def _second(pair: tuple[str, float]) -> float:
    return pair[1]


def run() -> int:
    options = parser(
        "How long the pages take with a million jobs in the store, and what open browsers cost.",
        rounds=1,
        on_disk=True,
        jobs=(1_000_000, "jobs in the store"),
        failed=(10_000, "of them failed"),
        browsers=(10, "headless browsers with a page open"),
        seconds=(30, "seconds that an idle broker is watched"),
    ).parse_args()
    return measure(disk(options), options.jobs, options.failed, options.browsers, options.seconds)


if __name__ == "__main__":
    sys.exit(exit_code(run))
