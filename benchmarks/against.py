"""This checkout against another one of the project, in one run. Read README.md here first.

    python benchmarks/against.py CHECKOUT [--only calls,submits,drain] [--rounds 7] [--json FILE]

Each round does each work once on each checkout, on a fresh broker; every second round goes backwards. The
load comes from here for both, so that only brokers and workers differ. Exits with 1 when a gate is missed.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import (
    REPOSITORY,
    Broken,
    CannotRun,
    Disk,
    Processes,
    Verdict,
    Watched,
    as_json,
    check_alive,
    cpu_of,
    cpu_s,
    disk,
    exit_code,
    figure,
    interleaved,
    judge,
    median,
    note,
    parser,
    ratio,
    table,
    verdict_table,
)
from own import Broker, await_workers, check_waiting, drained, fill
from wire import Wire

SERVICE = "ECHO"
WARM_UP_JOBS = 500
START_TIMEOUT_S = 30.0
JOBS_PER_S_MIN = 50  # slower than this is broken, not slow
BEFORE, THIS = "before", "this"
CPU_GATE, RATE_GATE = 1.05, 0.93  # of before: at most, at least


@dataclass
class Load:
    calls: int
    submits: int
    drained: int
    in_flight: int
    workers: int
    body_bytes: int
    disk: Disk
    memory: bool = False  # the store is `memory:`


@dataclass
class Measured:
    jobs_per_s: float
    cpu_us: float  # a job: user and system time of the checkout's processes, the broker and its workers
    load_cpu_us: float | None  # a job, of this process, which is not counted; None where it only looks on


Work = Callable[[Load, Path], Measured]


def calls(load: Load, checkout: Path) -> Measured:
    """Synchronous calls of Python workers that echo."""
    with Processes(load.disk.folder, checkout) as processes:
        broker = Broker(processes, [SERVICE], environment=load.disk.environment(), memory=load.memory)
        workers = broker.python_workers(SERVICE, load.workers, answer="params")
        await_workers(broker, SERVICE, workers)
        with Wire(broker.client_endpoint, broker.durability) as wire:
            call = functools.partial(wire.call, SERVICE, in_flight=load.in_flight, body_bytes=load.body_bytes)
            return _timed(call, load.calls, [broker.process, *workers])


def submits(load: Load, checkout: Path) -> Measured:
    """Single submits that are on disk when acknowledged, into an empty store; no workers."""
    with Processes(load.disk.folder, checkout) as processes:
        broker = Broker(processes, [SERVICE], environment=load.disk.environment(), memory=load.memory)
        with Wire(broker.client_endpoint, broker.durability) as wire:
            submit = functools.partial(
                wire.submit, SERVICE, in_flight=load.in_flight, body_bytes=load.body_bytes
            )
            measured = _timed(submit, load.submits, [broker.process])
        check_waiting(broker, SERVICE, load.submits + WARM_UP_JOBS)
    return measured


def drain(load: Load, checkout: Path) -> Measured:
    """Jobs drained by Python workers, results stored. The service is paused until all workers are ready:
    what their start takes is in no figure."""
    with Processes(load.disk.folder, checkout) as processes:
        broker = Broker(processes, [SERVICE], environment=load.disk.environment(), memory=load.memory)
        fill(broker, SERVICE, load.drained, None)
        with broker.connect() as client:
            client.pause(SERVICE)
            workers = broker.python_workers(SERVICE, load.workers)
            await_workers(broker, SERVICE, workers)
            timeout_s = START_TIMEOUT_S + load.drained / JOBS_PER_S_MIN
            found = drained(broker, SERVICE, load.drained, workers, lambda: client.resume(SERVICE), timeout_s)
    assert found.cpu_us is not None  # `run` has seen to it
    return Measured(found.jobs_per_s, found.cpu_us, None)


WORKS: dict[str, Work] = {"calls": calls, "submits": submits, "drain": drain}


def _timed(do: Callable[[int], float], jobs: int, processes: Sequence[Watched]) -> Measured:
    """`do` so many jobs, after some to warm up; it says how many seconds they took."""

    def used() -> float:
        check_alive(processes)
        found = cpu_of(processes)
        assert found is not None  # `run` has seen to it
        return found

    try:
        do(WARM_UP_JOBS)
        cpu_before, own_before = used(), time.process_time()
        seconds = do(jobs)
        cpu, own = used() - cpu_before, time.process_time() - own_before
    except Broken:
        check_alive(processes)  # says more than an answer that is missing
        raise
    return Measured(jobs / seconds, cpu / jobs * 1e6, own / jobs * 1e6)


# --- the two checkouts ---


def find_checkout(named: Path, folder: Path) -> Path:
    """Its path, when programs started with it import its zmws. Raises CannotRun."""
    checkout = named.resolve()
    if not (checkout / "zmws" / "__init__.py").is_file():
        raise CannotRun(f"{named} is no checkout of the project: it has no zmws/ with an __init__.py")
    with Processes(folder, checkout) as processes:
        probe = processes.start("probe", [sys.executable, "-c", "import zmws; print(zmws.__file__)"])
        if probe.wait(START_TIMEOUT_S):
            raise CannotRun(f"{named}: {probe.why_ended()}")
        imported = Path(probe.output.strip()).resolve().parent
    if imported != checkout / "zmws":
        raise CannotRun(f"{named}: Python imports zmws from {imported}")
    return checkout


# --- what is made of it ---


@dataclass
class Compared:
    """One work on both checkouts, over all rounds."""

    before: list[Measured]
    this: list[Measured]

    @property
    def rate_ratio(self) -> float | None:
        return ratio([one.jobs_per_s for one in self.this], [one.jobs_per_s for one in self.before])

    @property
    def cpu_ratio(self) -> float | None:
        return ratio([one.cpu_us for one in self.this], [one.cpu_us for one in self.before])

    def as_figures(self) -> dict[str, object]:
        sides = {BEFORE: _figures(self.before), THIS: _figures(self.this)}
        return {**sides, "rate_ratio": self.rate_ratio, "cpu_ratio": self.cpu_ratio}


def _figures(rounds: Sequence[Measured]) -> dict[str, float | None]:
    return {
        "jobs_per_s": median(one.jobs_per_s for one in rounds),
        "cpu_us_min": min(one.cpu_us for one in rounds),
        "cpu_us": median(one.cpu_us for one in rounds),
        "load_cpu_us": median(one.load_cpu_us for one in rounds),
    }


def verdicts(compared: Mapping[str, Compared]) -> list[Verdict]:
    judged = []
    for work, both in compared.items():
        judged += judge(f"{work}: CPU a job, this / before", both.cpu_ratio, CPU_GATE, None, at_most=True)
        judged += judge(f"{work}: jobs/s, this / before", both.rate_ratio, RATE_GATE, None)
    return judged


def report(compared: Mapping[str, Compared]) -> str:
    head = ["", "jobs/s", ": before", "CPU us/job, least", "median", ": before", "load's CPU us/job"]
    forms = ["{:.0f}", "{:.3f}", "{:.0f}", "{:.0f}", "{:.3f}", "{:.0f}"]
    rows = []
    for work, both in compared.items():
        for side, rounds in ((BEFORE, both.before), (THIS, both.this)):
            rate, cpu_min, cpu, load_cpu = _figures(rounds).values()
            ratios = (both.rate_ratio, both.cpu_ratio) if side == THIS else (None, None)
            line = [rate, ratios[0], cpu_min, cpu, ratios[1], load_cpu]
            cells = [figure(value, form) for value, form in zip(line, forms, strict=True)]
            rows.append([f"{work}, {side}", *cells])
    return table(head, rows)


def say(measured: Measured) -> str:
    own = figure(measured.load_cpu_us, "{:.0f} us")
    return f"{measured.jobs_per_s:6.0f} jobs/s  CPU a job: {measured.cpu_us:.0f} us, the load's {own}"


# --- the command line ---


def works(text: str) -> list[str]:
    """The names of an --only."""
    names = text.split(",")
    for name in names:
        if name not in WORKS:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(WORKS)}")
    return [name for name in WORKS if name in names]


def run() -> int:
    asked = parser(
        "This checkout of the project against another one.",
        rounds=7,
        on_disk=True,
        json_file=True,
        calls=(10_000, "calls a measurement"),
        submits=(40_000, "submits a measurement"),
        drained=(10_000, "jobs drained a measurement"),
        in_flight=(100, "calls and submits under way at once"),
        workers=(2, "worker processes"),
        body=(100, "bytes of a call's or submit's body"),
    )
    asked.add_argument("checkout", type=Path, help="the other checkout: a folder with zmws/ in it")
    asked.add_argument("--memory", action="store_true", help="both with the store `memory:`")
    asked.add_argument("--only", type=works, default=list(WORKS), help=f"of these works: {','.join(WORKS)}")
    options = asked.parse_args()
    if cpu_s(os.getpid()) is None:
        raise CannotRun("no /proc here (not Linux), and processor time is what is judged")
    if options.json and not options.json.absolute().parent.is_dir():
        raise CannotRun(f"{options.json} cannot be written: its folder is not there")
    jobs = (options.calls, options.submits, options.drained)
    sizes = (options.in_flight, options.workers, options.body)
    load = Load(*jobs, *sizes, disk(options), options.memory)
    sides = {
        BEFORE: find_checkout(options.checkout, load.disk.folder),
        THIS: find_checkout(REPOSITORY, load.disk.folder),
    }
    for side, checkout in sides.items():
        note(f"{side}: {checkout}")
    contestants = {
        f"{work}, {side}": functools.partial(WORKS[work], load, checkout)
        for work in options.only
        for side, checkout in sides.items()
    }
    results, _ = interleaved(contestants, options.rounds, say, needed=list(contestants), alternate=True)
    compared = {
        work: Compared(results[f"{work}, {BEFORE}"], results[f"{work}, {THIS}"]) for work in options.only
    }
    judged = verdicts(compared)
    if options.json:
        figures = {
            "checkouts": {side: str(checkout) for side, checkout in sides.items()},
            "load": {**vars(load), "disk": load.disk.as_figures()},
            "works": {work: both.as_figures() for work, both in compared.items()},
        }
        options.json.write_text(as_json(figures, judged, results, {}) + "\n")
    print(
        f"\nMedians of {options.rounds} rounds, {load.in_flight} in flight, {load.workers} workers, ", end=""
    )
    print(f"{load.body_bytes}-byte bodies, {load.disk}:\n")
    print(f"{report(compared)}\n\n{verdict_table(judged)}")
    return 0 if all(verdict.passed for verdict in judged) else 1


if __name__ == "__main__":
    sys.exit(exit_code(run))
