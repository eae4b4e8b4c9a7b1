"""What it costs a running load when somebody looks on without pause, and how long each answer takes.

    python benchmarks/insight.py [--jobs 1000000] [--rounds 3]

A broker on a store with many jobs, ten thousand of them failed of forty causes. Synchronous calls are
measured without anybody who looks on, then with one who asks the same question again and again; each round
does all. Exits with 1 when a gate is missed.
"""

from __future__ import annotations

import contextlib
import functools
import json
import multiprocessing
import sqlite3
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness import (
    Disk,
    Processes,
    Verdict,
    disk,
    exit_code,
    figure,
    judge,
    median,
    note,
    parser,
    table,
    verdict_table,
)
from insight_store import NOW, fail, fill_series, id_of, make
from own import Broker, await_workers
from wire import Wire

from zmws import Client
from zmws.store.sqlite.disk import SqliteStore

SERVICE = "ECHO"
NOBODY = "nobody"
CALLS_GATE, ANSWER_GATE_S = 1.3, 0.3
QUESTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "nothing": ("zmws.hello", {}),  # what the asker itself takes of the machine
    "newest jobs": ("zmws.jobs", {"limit": 100}),
    "failed jobs": ("zmws.jobs", {"state": "failed", "limit": 100}),
    "jobs of a service": ("zmws.jobs", {"service": "SERVICE-007", "limit": 100}),
    "search, a hit": ("zmws.jobs", {"q": "lorem", "limit": 20}),
    "search, none": ("zmws.jobs", {"q": "no such text", "limit": 20}),
    "seconds": ("zmws.series", {}),
    "minutes": ("zmws.series", {"step": "minute"}),
    "failures": ("zmws.failures", {"limit": 40}),
    "services": ("zmws.services", {}),
    "why a job waits": ("zmws.why", {"id": id_of(7)}),
    "warnings": ("zmws.warnings", {}),
    "metrics": ("zmws.metrics", {}),
}


def ask_on(endpoint: str, kinds: Sequence[str], stop: Any, taken: Any) -> None:
    """Ask one question after the other until told to stop; how long each answer took."""
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    with Client(endpoint) as client:
        while not stop.is_set():
            for kind in kinds:
                service, question = QUESTIONS[kind]
                began = time.monotonic()
                client.ask(service, question)
                times[kind].append(time.monotonic() - began)
    taken.put(times)


class Looking:
    """A process that looks on."""

    def __init__(self, endpoint: str, kinds: Sequence[str]) -> None:
        self._stop, self._taken = multiprocessing.Event(), multiprocessing.Queue()
        self._process = multiprocessing.Process(
            target=ask_on, args=(endpoint, kinds, self._stop, self._taken), daemon=True
        )
        self._process.start()
        time.sleep(0.5)  # it is at work by then: nothing tells

    def end(self) -> dict[str, list[float]]:
        self._stop.set()
        times: dict[str, list[float]] = self._taken.get(timeout=60)
        self._process.join(10)
        return times


def filled(path: Path, jobs: int, failed: int) -> None:
    """A store as `insight_store` makes it, but of these days: nothing of it is to be forgotten yet."""
    make(path, jobs, failed, 500)
    store = SqliteStore(path)
    fail(store, jobs, failed)
    store.close()
    fill_series(path)
    later = int(time.time() - NOW) // 3600 * 3600
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE jobs SET forget_at = forget_at + ? WHERE forget_at IS NOT NULL", (later,))
        connection.execute("UPDATE series SET at = at + ?", (later,))
        connection.execute("UPDATE causes SET last_at = last_at + ?", (later,))


def measured(
    wire: Wire, endpoint: str, rounds: int, calls: int
) -> Iterator[tuple[str, float, dict[str, list[float]]]]:
    """Who looks on at what, how many calls a second were made meanwhile, and how long the answers took."""
    call = functools.partial(wire.call, SERVICE, in_flight=100, body_bytes=100)
    call(2_000)
    for number in range(1, rounds + 1):
        for name in (NOBODY, *QUESTIONS):
            looking = None if name == NOBODY else Looking(endpoint, (name,))
            rate = calls / call(calls)
            note(f"round {number}  {name:<18} {rate:8.0f} calls/s")
            yield name, rate, {} if looking is None else looking.end()


def judged(
    rates: dict[str, list[float]], answers: dict[str, list[float]]
) -> tuple[list[Verdict], dict[str, Any], str]:
    base = median(rates[NOBODY])
    verdicts: list[Verdict] = []
    rows = []
    figures: dict[str, Any] = {NOBODY: base}
    for kind in QUESTIONS:
        rate = median(rates[kind])
        slower = base / rate if base and rate else None
        longest, usual = max(answers[kind]), median(answers[kind])
        count = f"{len(answers[kind])}"
        rows.append([kind, figure(slower), figure(usual, "{:.3f}"), figure(longest, "{:.3f}"), count])
        verdicts += judge(f"{kind}: calls a second, without / with", slower, CALLS_GATE, None, at_most=True)
        verdicts += judge(f"{kind}: seconds an answer", usual, ANSWER_GATE_S, None, at_most=True)
        figures[kind] = {"slower": slower, "median_s": usual, "longest_s": longest}
    head = ["looked at without pause", "calls slower by", "an answer, s", "the longest", "answers"]
    return verdicts, figures, table(head, rows)


def measure(load: Disk, jobs: int, failed: int, rounds: int, calls: int) -> int:
    rates: dict[str, list[float]] = {}
    answers: dict[str, list[float]] = {kind: [] for kind in QUESTIONS}
    with Processes(load.folder) as processes:
        note(f"making a store of {jobs:,} jobs")
        filled(processes.folder / "broker.db", jobs, failed)
        broker = Broker(processes, [SERVICE], environment=load.environment())
        workers = broker.python_workers(SERVICE, 2, answer="params")
        await_workers(broker, SERVICE, workers)
        with Wire(broker.client_endpoint, broker.durability) as wire:
            for name, rate, times in measured(wire, broker.client_endpoint, rounds, calls):
                rates.setdefault(name, []).append(rate)
                for kind, one in times.items():
                    answers[kind] += one
    verdicts, figures, shown = judged(rates, answers)
    print(f"\n{jobs:,} jobs in the store, {rounds} rounds, {load}:\n\n{shown}\n\n{verdict_table(verdicts)}")
    note(json.dumps(figures))
    return 0 if all(verdict.passed for verdict in verdicts) else 1


def run() -> int:
    asked = parser(
        "What it costs a running load when somebody looks on without pause.",
        rounds=3,
        on_disk=True,
        jobs=(1_000_000, "jobs in the store"),
        failed=(10_000, "of them failed"),
        calls=(20_000, "calls a measurement"),
    )
    options = asked.parse_args()
    return measure(disk(options), options.jobs, options.failed, options.rounds, options.calls)


if __name__ == "__main__":
    sys.exit(exit_code(run))
