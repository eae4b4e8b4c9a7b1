"""A million waiting jobs: what a job costs then, against an empty queue, in one run. Read README.md here
first.

    python benchmarks/backlog.py [--jobs 1000000] [--drain 10000] [--body 1024] [--rounds 3] [--calls 20000]

Two brokers, one with the backlog and one without; each round drains the same number of jobs at each of
them, one after the other. Then, at the one with the backlog: what lists of jobs take while synchronous
calls run, and what they do to the calls; and how soon after a kill -9 a worker has its first job.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import (
    Broken,
    CannotRun,
    Disk,
    Drained,
    Process,
    Processes,
    as_json,
    build_c,
    disk,
    exit_code,
    figure,
    judge,
    median,
    note,
    parser,
    percentile,
    ratio,
    table,
    verdict_table,
    wait_until,
    watch_drain,
)
from own import Broker, fill, service_row

BACKLOG, OTHER, CALLED = "BACKLOG", "OTHER", "CALLED"
WORKERS = 2
CALLS_IN_FLIGHT = 10
LISTS_EACH = 50
DRAIN_TIMEOUT_S = 300.0
FIRST_DISPATCH_TIMEOUT_S = 300.0
COST_GATE, COST_AIM = 1.25, 1.1
MEMORY_MB_MAX = 300.0
DROP_CACHES = Path("/proc/sys/vm/drop_caches")

LISTS: dict[str, tuple[str, dict[str, Any]]] = {
    "jobs": ("zmws.jobs", {}),
    "jobs, of the service": ("zmws.jobs", {"service": BACKLOG}),
    "jobs, of another service": ("zmws.jobs", {"service": OTHER}),
    "jobs, waiting": ("zmws.jobs", {"state": "waiting"}),
    "jobs, complete": ("zmws.jobs", {"state": "complete"}),
    "jobs, failed (there are none)": ("zmws.jobs", {"state": "failed"}),
    "jobs, of the service, complete": ("zmws.jobs", {"service": BACKLOG, "state": "complete"}),
    "services": ("zmws.services", {}),
}


@dataclass
class Calls:
    """Latencies of one load of synchronous calls."""

    calls_per_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float


@dataclass
class Restart:
    """From the start of the broker's process."""

    broker: str
    cache: str
    first_dispatch_s: float


@dataclass
class Results:
    """What a run has found."""

    fill_jobs_per_s: float = 0.0
    store_mb: float = 0.0
    memory_mb: dict[str, float] = field(default_factory=dict)  # of the broker with the backlog, by moment
    empty: dict[str, list[Drained]] = field(default_factory=dict)  # by the service drained
    full: dict[str, list[Drained]] = field(default_factory=dict)
    quiet_calls: list[Calls] = field(default_factory=list)
    listed_calls: list[Calls] = field(default_factory=list)
    lists_ms: dict[str, list[float]] = field(default_factory=dict)
    restarts: list[Restart] = field(default_factory=list)


class Run:
    """Both brokers, and what is done to them."""

    def __init__(self, processes: Processes, programs: dict[str, Path], body_bytes: int, place: Disk) -> None:
        self.processes = processes
        self.programs = programs
        self.params = "x" * body_bytes
        services = [BACKLOG, OTHER, CALLED]
        self.empty = Broker(processes, services, "empty", place.environment())
        self.full = Broker(processes, services, "full", place.environment())
        self.results = Results()

    def fill(self, jobs: int) -> None:
        begun = time.monotonic()
        fill(self.full, BACKLOG, jobs, self.params)
        self.results.fill_jobs_per_s = jobs / (time.monotonic() - begun)
        self.results.store_mb = self.full.store_bytes() / 1e6
        self._look_at_memory("filled")
        found = self.results
        note(
            f"filled: {found.fill_jobs_per_s:.0f} jobs/s, {found.memory_mb['filled']:.0f} MB of memory, "
            f"{found.store_mb:.0f} MB on disk"
        )

    def drain(self, service: str, jobs: int) -> None:
        """So many jobs of a service, at the broker without a backlog and at the one with it."""
        fill(self.empty, service, jobs, self.params)
        if service != BACKLOG:
            fill(self.full, service, jobs, self.params)
        for broker, into in ((self.empty, self.results.empty), (self.full, self.results.full)):
            workers: list[Process] = []
            with broker.connect() as client:
                drained = watch_drain(
                    lambda broker=broker, workers=workers: workers.extend(
                        broker.c_workers(self.programs["echo_worker"], service, WORKERS, answer="1")
                    ),
                    lambda client=client: int(service_row(client, service)["complete"]),
                    jobs,
                    broker.cpu_s,
                    DRAIN_TIMEOUT_S,
                )
            _end_workers(broker, service, workers)
            into.setdefault(service, []).append(drained)
        self._look_at_memory("drained")
        rates = [each[service][-1].jobs_per_s for each in (self.results.empty, self.results.full)]
        note(f"drained {service}: {rates[0]:.0f} jobs/s without the backlog, {rates[1]:.0f} with it")

    def call(self, calls: int) -> None:
        """Synchronous calls without lists and with them, until each list has been asked for often enough."""
        workers = self.full.c_workers(self.programs["echo_worker"], CALLED, WORKERS)
        self._load(500)  # to warm up
        self.results.quiet_calls.append(self._load(calls))
        stop = threading.Event()
        faults: list[BaseException] = []
        asking = threading.Thread(target=self._ask_for_lists, args=(stop, faults), daemon=True)
        asking.start()
        try:
            while asking.is_alive() and min(map(len, self.results.lists_ms.values()), default=0) < LISTS_EACH:
                self.results.listed_calls.append(self._load(calls))
        finally:
            stop.set()
            asking.join(60)
        if faults:
            raise faults[0]
        _end_workers(self.full, CALLED, workers)
        self._look_at_memory("listed")

    def _ask_for_lists(self, stop: threading.Event, faults: list[BaseException]) -> None:
        try:
            with self.full.connect() as client:
                while not stop.is_set():
                    for name, (service, question) in LISTS.items():
                        begun = time.monotonic()
                        client.ask(service, question)
                        took = (time.monotonic() - begun) * 1e3
                        self.results.lists_ms.setdefault(name, []).append(took)
        except BaseException as fault:
            faults.append(fault)

    def _load(self, calls: int) -> Calls:
        figures = [calls, CALLS_IN_FLIGHT, 100, 60 + calls // 100]
        command = [self.programs["load_client"], self.full.client_endpoint, f"SYNC-{CALLED}"]
        client = self.processes.start("calls", [*command, *map(str, figures)])
        if client.wait(figures[-1] + 10):
            raise Broken(client.why_ended())
        _, seconds, p50, p99, most, _ = map(float, client.output.split())
        return Calls(calls / seconds, p50, p99, most)

    def restart(self, name: str, broker: Broker, cold: bool) -> None:
        """kill -9, a new start, and a worker that waits for its first job."""
        broker.kill()
        if cold:
            DROP_CACHES.write_text("3\n")
        [worker] = broker.c_workers(self.programs["echo_worker"], BACKLOG, 1, answer="1")
        begun = time.monotonic()
        broker.start()

        def works() -> bool:
            if broker.process.ended:
                raise Broken(broker.process.why_ended())
            time.sleep(0.002)
            return bool(worker.output)

        if not wait_until(works, FIRST_DISPATCH_TIMEOUT_S):
            raise Broken(f"no job within {FIRST_DISPATCH_TIMEOUT_S:.0f} s of a restart")
        took = time.monotonic() - begun
        broker.await_answer()
        _end_workers(broker, BACKLOG, [worker])
        cache = "cold" if cold else "warm"
        self.results.restarts.append(Restart(name, cache, took))
        note(f"restarted, {name}, {cache} page cache: the first dispatch after {took:.2f} s")
        if broker is self.full:
            self._look_at_memory("restarted")

    def _look_at_memory(self, moment: str) -> None:
        found = self.full.process.resident_bytes() / 1e6
        self.results.memory_mb[moment] = max(found, self.results.memory_mb.get(moment, 0.0))


def _end_workers(broker: Broker, service: str, workers: list[Process]) -> None:
    """End them, and wait until the broker has taken back what they held."""
    for worker in workers:
        worker.end()
    with broker.connect() as client:

        def gone() -> bool:
            time.sleep(0.05)
            row = service_row(client, service)
            return not row["running"] and not row["workers"]

        if not wait_until(gone, 30):
            raise Broken(f"workers of {service} that have ended are still known")


# ---------------------------------------------------------------- the report


def cost_ratios(results: Results, service: str) -> dict[str, float | None]:
    """What a job costs with the backlog against without, each within its round."""
    empty, full = results.empty[service], results.full[service]
    return {
        "time": ratio([1 / one.jobs_per_s for one in full], [1 / one.jobs_per_s for one in empty]),
        "cpu": ratio([one.cpu_us for one in full], [one.cpu_us for one in empty]),
    }


def drain_rows(results: Results) -> Iterator[list[str]]:
    for service, what in ((BACKLOG, "of the service with the backlog"), (OTHER, "of another service")):
        ratios = cost_ratios(results, service)
        for name, each in (("without", results.empty[service]), ("with", results.full[service])):
            yield [
                f"{what}, {name}",
                figure(median(one.jobs_per_s for one in each), "{:.0f}"),
                figure(median(one.cpu_us for one in each), "{:.0f}"),
                figure(ratios["time"]) if name == "with" else "",
                figure(ratios["cpu"]) if name == "with" else "",
            ]


def call_rows(results: Results) -> Iterator[list[str]]:
    for name, each in (("no lists", results.quiet_calls), ("lists asked for", results.listed_calls)):
        columns = [
            [one.calls_per_s for one in each],
            [one.p50_ms for one in each],
            [one.p99_ms for one in each],
            [one.max_ms for one in each],
        ]
        forms = ["{:.0f}", "{:.1f}", "{:.1f}", "{:.1f}"]
        yield [name, *(figure(median(c), form) for c, form in zip(columns, forms, strict=True))]


def list_rows(results: Results) -> Iterator[list[str]]:
    for name, took in results.lists_ms.items():
        ordered = sorted(took)
        yield [name, str(len(took)), f"{percentile(ordered, 50):.1f}", f"{ordered[-1]:.1f}"]


def run() -> None:
    asked = parser(
        "What a job costs with a million waiting, against none.",
        rounds=3,
        on_disk=True,
        jobs=(1_000_000, "waiting jobs"),
        drain=(10_000, "jobs drained a measurement"),
        body=(1024, "bytes of a job's body"),
        calls=(20_000, "synchronous calls a load"),
    )
    options = asked.parse_args()
    if options.jobs < options.drain * (options.rounds + 1):
        raise CannotRun("fewer --jobs than the rounds drain")
    place = disk(options)
    programs = build_c(["load_client", "echo_worker"])
    with Processes(place.folder) as processes:
        benchmark = Run(processes, programs, options.body, place)
        benchmark.fill(options.jobs)
        for _ in range(options.rounds):
            benchmark.drain(OTHER, options.drain)
            benchmark.drain(BACKLOG, options.drain)
        for _ in range(options.rounds):
            benchmark.call(options.calls)
        may_drop = os.access(DROP_CACHES, os.W_OK)
        fill(benchmark.empty, BACKLOG, 100, benchmark.params)  # something to dispatch
        for cold in (False, True) if may_drop else (False,):
            benchmark.restart("without the backlog", benchmark.empty, cold)
            benchmark.restart("with the backlog", benchmark.full, cold)
        results = benchmark.results
    judged = []
    for service, what in ((BACKLOG, "same service"), (OTHER, "another service")):
        for kind, measured in cost_ratios(results, service).items():
            name = f"{kind} a job with {options.jobs} waiting / none, {what}"
            judged += judge(name, measured, COST_GATE, COST_AIM, at_most=True)
    most = max(results.memory_mb.values())
    judged += judge("broker's resident memory, MB", most, MEMORY_MB_MAX, None, at_most=True)
    if options.json:
        found = {
            "load": {**vars(options), "folder": None, "disk": place.as_figures()},
            "fill_jobs_per_s": results.fill_jobs_per_s,
            "store_mb": results.store_mb,
            "memory_mb": results.memory_mb,
            "lists_ms": results.lists_ms,
        }
        rounds = {
            **{f"{service}, without": each for service, each in results.empty.items()},
            **{f"{service}, with": each for service, each in results.full.items()},
            "calls": results.quiet_calls,
            "calls beside lists": results.listed_calls,
            "restarts": results.restarts,
        }
        print(as_json(found, judged, rounds, {}))
        return
    memory = ", ".join(f"{moment} {mb:.0f}" for moment, mb in results.memory_mb.items())
    print(
        f"\n{options.jobs} jobs of {options.body} bytes: {results.store_mb:.0f} MB on disk, submitted at ",
        end="",
    )
    print(f"{results.fill_jobs_per_s:.0f} jobs/s. The broker's memory in MB: {memory}.\n")
    print(f"Medians of {options.rounds} rounds of {options.drain} jobs, {WORKERS} workers in C:\n")
    print(table(["drained", "jobs/s", "CPU us/job", "time :", "CPU :"], list(drain_rows(results))))
    print(f"\nSynchronous calls beside the backlog, {CALLS_IN_FLIGHT} in flight:\n")
    print(table(["", "calls/s", "p50 ms", "p99 ms", "max ms"], list(call_rows(results))))
    print()
    print(table(["list, beside those calls", "asked", "median ms", "max ms"], list(list_rows(results))))
    print()
    rows = [[one.broker, one.cache, f"{one.first_dispatch_s:.2f}"] for one in results.restarts]
    print(table(["kill -9 and start", "page cache", "first dispatch s"], rows))
    if not may_drop:
        print("a cold page cache was not tried: only root can empty it")
    print()
    print(verdict_table(judged))


if __name__ == "__main__":
    sys.exit(exit_code(run))
