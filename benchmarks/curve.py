"""What it costs that everybody proves who he is and everything is encrypted (CURVE): a broker that asks for
keys against one that asks nobody, in one run. Read README.md here first.

    python benchmarks/curve.py [--calls 5000] [--submits 10000] [--drained 5000] [--rounds 5]

Each round measures each work with and without, one after another, every second one backwards. Works: calls
with many under way and one at a time, submits that are on disk, a drain by Python workers, and bytes in both
directions: parameters to a worker, and results from it. All of it on the loopback, and so that what is
measured is the encryption, and not a network. Nothing is judged: the ratios are what it costs.
"""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from harness import (
    CannotRun,
    Disk,
    Processes,
    Watched,
    as_json,
    cpu_of,
    cpu_s,
    disk,
    exit_code,
    figure,
    interleaved,
    median,
    parser,
    ratio,
    table,
)
from own import Broker, await_workers, check_waiting, drained, fill
from wire import Wire

SERVICE = "ECHO"
PLAIN, CURVE = "without", "with CURVE"
KB, MB = 1_000, 1_000_000
SIZES = {"1 KB": KB, "100 KB": 100 * KB, "1 MB": MB}
WARM_UP = 50
DRAIN_TIMEOUT_S = 120.0


@dataclass
class Load:
    calls: int
    submits: int
    drained: int
    moved_mb: int
    in_flight: int
    workers: int
    body_bytes: int
    disk: Disk


@dataclass
class Measured:
    """`a_second`: calls, jobs, or megabytes. `server_us`: processor time of the broker, a job."""

    a_second: float
    server_us: float
    all_us: float | None  # and of its workers


Work = Callable[[Load, bool], Measured]


def calls(load: Load, curve: bool) -> Measured:
    """Synchronous calls of Python workers that echo, many under way."""
    return _called(load, curve, "params", load.calls, load.in_flight, load.body_bytes)


def single(load: Load, curve: bool) -> Measured:
    """The same, one at a time."""
    return _called(load, curve, "params", load.calls // 5, 1, load.body_bytes)


def _called(load: Load, curve: bool, answer: str, count: int, in_flight: int, size: int) -> Measured:
    with Processes(load.disk.folder) as processes:
        broker = Broker(processes, [SERVICE], environment=load.disk.environment(), curve=curve)
        workers = broker.python_workers(SERVICE, load.workers, answer=answer)
        await_workers(broker, SERVICE, workers)
        with Wire(broker.client_endpoint, key=broker.key) as wire:

            def do(jobs: int) -> float:
                return wire.call(SERVICE, jobs, in_flight, size)

            return _timed(do, count, broker, workers)


def moved(load: Load, curve: bool, size: int, to_worker: bool) -> Measured:
    """Bodies of this size, in one direction; megabytes a second."""
    count = max(20, min(load.calls, load.moved_mb * MB // size))
    with Processes(load.disk.folder) as processes:
        broker = Broker(processes, [SERVICE], environment=load.disk.environment(), curve=curve)
        workers = broker.python_workers(
            SERVICE, load.workers, "len(params)" if to_worker else 'b"x" * params'
        )
        await_workers(broker, SERVICE, workers)
        body = b"x" * size if to_worker else b"PARAM-JSON: %d" % size
        in_flight = max(4, min(load.in_flight, 8 * MB // size))
        with Wire(broker.client_endpoint, key=broker.key) as wire:

            def do(jobs: int) -> float:
                return wire.move(SERVICE, jobs, in_flight, body, 1 if to_worker else size)

            found = _timed(do, count, broker, workers)
    found.a_second *= size / MB
    return found


def submits(load: Load, curve: bool) -> Measured:
    """Single submits that are on disk when acknowledged, into an empty store; no workers."""
    with Processes(load.disk.folder) as processes:
        broker = Broker(processes, [SERVICE], environment=load.disk.environment(), curve=curve)
        with Wire(broker.client_endpoint, broker.durability, broker.key) as wire:

            def do(jobs: int) -> float:
                return wire.submit(SERVICE, jobs, load.in_flight, load.body_bytes)

            measured = _timed(do, load.submits, broker, [])
        check_waiting(broker, SERVICE, load.submits + WARM_UP)
    return measured


def drain(load: Load, curve: bool) -> Measured:
    """Jobs drained by Python workers, results stored; paused until all workers are ready."""
    with Processes(load.disk.folder) as processes:
        broker = Broker(processes, [SERVICE], environment=load.disk.environment(), curve=curve)
        fill(broker, SERVICE, load.drained, None)
        with broker.connect() as client:
            client.pause(SERVICE)
            workers = broker.python_workers(SERVICE, load.workers)
            await_workers(broker, SERVICE, workers)
            start = functools.partial(client.resume, SERVICE)
            found = drained(broker, SERVICE, load.drained, workers, start, DRAIN_TIMEOUT_S)
    assert found.server_us is not None  # `run` has seen to it
    return Measured(found.jobs_per_s, found.server_us, found.cpu_us)


WORKS: dict[str, tuple[str, Work]] = {
    "calls": ("calls/s", calls),
    "calls, one at a time": ("calls/s", single),
    "submits": ("jobs/s", submits),
    "drain": ("jobs/s", drain),
    **{
        f"{what}, {name}": ("MB/s", functools.partial(moved, size=size, to_worker=what == "parameters"))
        for name, size in SIZES.items()
        for what in ("parameters", "results")
    },
}


def _timed(do: Callable[[int], float], jobs: int, broker: Broker, workers: Sequence[Watched]) -> Measured:
    """`do` so many jobs, after some to warm up; it says how many seconds they took."""
    do(WARM_UP)
    server, every = broker.cpu_s(), cpu_of([broker.process, *workers])
    seconds = do(jobs)
    server_us = (broker.cpu_s() - server) / jobs * 1e6
    after = cpu_of([broker.process, *workers])
    all_us = None if every is None or after is None else (after - every) / jobs * 1e6
    return Measured(jobs / seconds, server_us, all_us)


def report(results: Mapping[str, Sequence[Measured]]) -> str:
    head = ["", "", PLAIN, CURVE, "ratio", "broker CPU us a job", CURVE, "ratio", "with workers: ratio"]
    rows = []
    for name, (unit, _) in WORKS.items():
        sides = [results.get(f"{name}, {side}", []) for side in (PLAIN, CURVE)]
        if not all(sides):
            continue
        plain, curve = sides
        rates = [[one.a_second for one in side] for side in (plain, curve)]
        servers = [[one.server_us for one in side] for side in (plain, curve)]
        alls = [[one.all_us for one in side] for side in (plain, curve)]
        cells = [figure(median(rates[0]), "{:.0f}"), figure(median(rates[1]), "{:.0f}")]
        cells += [figure(ratio(rates[1], rates[0]))]
        cells += [figure(median(servers[0]), "{:.0f}"), figure(median(servers[1]), "{:.0f}")]
        cells += [figure(ratio(servers[1], servers[0])), figure(ratio(alls[1], alls[0]))]
        rows.append([name, unit, *cells])
    return table(head, rows)


def say(measured: Measured) -> str:
    return f"{measured.a_second:8.1f} a second  {measured.server_us:.0f} us of broker CPU a job"


def run() -> int:
    asked = parser(
        "A broker with CURVE against one without.",
        rounds=5,
        on_disk=True,
        calls=(5_000, "calls a measurement"),
        submits=(10_000, "submits a measurement"),
        drained=(5_000, "jobs drained a measurement"),
        moved_mb=(100, "megabytes moved a measurement, at most"),
        in_flight=(100, "calls and submits under way at once"),
        workers=(2, "worker processes"),
        body=(100, "bytes of a call's or submit's body"),
    )
    options = asked.parse_args()
    if cpu_s(os.getpid()) is None:
        raise CannotRun("no /proc here (not Linux), and processor time is half of the question")
    counts = (options.calls, options.submits, options.drained, options.moved_mb)
    load = Load(*counts, options.in_flight, options.workers, options.body, disk(options))
    contestants = {
        f"{name}, {side}": functools.partial(work, load, side == CURVE)
        for name, (_, work) in WORKS.items()
        for side in (PLAIN, CURVE)
    }
    began = time.monotonic()
    results, missing = interleaved(contestants, options.rounds, say, list(contestants), alternate=True)
    if options.json:
        figures = {"load": {**vars(load), "disk": load.disk.as_figures()}}
        print(as_json(figures, [], results, missing))
        return 0
    print(f"\nMedians of {options.rounds} rounds in {time.monotonic() - began:.0f} s, ", end="")
    print(f"{load.in_flight} in flight, {load.workers} workers, {os.cpu_count()} cores, {load.disk}:\n")
    print(report(results))
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(run))
