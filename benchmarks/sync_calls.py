"""Synchronous calls: the zmws broker against the C floor, in one run. Read README.md here first.

    python benchmarks/sync_calls.py [--calls N] [--in-flight 100] [--workers 2] [--body 100] [--rounds 5]

Each round measures each contestant once, one after another, with the same load program and the same
workers, so that only the broker between them differs. Judged are the medians of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import zmq
from harness import (
    HERE,
    Broken,
    CannotRun,
    Process,
    Processes,
    build_c,
    exit_on_sigterm,
    free_endpoint,
    wait_until,
)
from harness import table as as_table

SERVICE = "ECHO"
CALL = f"SYNC-{SERVICE}"
START_TIMEOUT_S = 15.0
CALLS_PER_S_MIN = 200  # slower than this is broken, not slow
SPEED_GATE, SPEED_AIM = 0.55, 0.65
CPU_GATE, CPU_AIM = 3.0, 2.5


@dataclass
class Load:
    calls: int
    in_flight: int
    workers: int
    body_bytes: int

    @property
    def timeout_s(self) -> int:
        return 20 + self.calls // CALLS_PER_S_MIN

    @property
    def lifetime_s(self) -> int:
        """After this long a program of ours ends by itself, whatever became of this one."""
        return int(START_TIMEOUT_S) + 2 * self.timeout_s + 30


@dataclass
class Measured:
    calls_per_s: float
    broker_cpu_us: float | None  # a call; None where there is no /proc


@dataclass
class Verdict:
    kind: str  # gate or aim
    what: str
    limit: float
    ratio: float | None
    passed: bool | None  # None: not measured


BrokerCommand = Callable[[str, str, Load], list[str]]


def contestants(programs: dict[str, Path]) -> dict[str, BrokerCommand]:
    """Name -> the command line of a broker, given its client and worker endpoints."""

    def floor(client: str, worker: str, load: Load) -> list[str]:
        return [str(programs["floor"]), client, worker, str(load.lifetime_s)]

    def python(client: str, worker: str, load: Load) -> list[str]:
        return [sys.executable, str(HERE / "python_floor.py"), client, worker, str(load.lifetime_s)]

    def zmws(client: str, worker: str, _load: Load) -> list[str]:
        endpoints = ["--client", client, "--worker", worker, "--news", free_endpoint(), "--mdp", ""]
        return [sys.executable, "-m", "zmws", "broker", *endpoints]

    return {"floor": floor, "zmws": zmws, "python": python}


def measure(broker_command: BrokerCommand, programs: dict[str, Path], load: Load) -> Measured:
    """One broker, its workers, one load. Raises CannotRun before the load began, Broken after."""
    client, worker = free_endpoint(), free_endpoint()
    with Processes() as processes:
        broker = processes.start("broker", broker_command(client, worker, load))
        echo: list[str | Path] = [programs["echo_worker"], worker, SERVICE, str(load.lifetime_s)]
        workers = [processes.start(f"worker-{number}", echo) for number in range(load.workers)]
        _wait_for_answers(client, broker, workers)
        _run_load(processes, "warm-up", client, broker, programs, load, calls=min(500, load.calls))
        cpu_before = broker.cpu_s()
        seconds = _run_load(processes, "load", client, broker, programs, load, load.calls)
        cpu_after = broker.cpu_s()
    cpu_us = None
    if cpu_before is not None and cpu_after is not None:
        cpu_us = (cpu_after - cpu_before) / load.calls * 1e6
    return Measured(load.calls / seconds, cpu_us)


def _wait_for_answers(client_endpoint: str, broker: Process, workers: Sequence[Process]) -> None:
    """Call until the broker answers and every worker has had a call."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    caller = context.socket(zmq.DEALER)
    caller.linger = 0
    caller.connect(client_endpoint)
    last_answer: list[bytes] = []

    def everyone_works() -> bool:
        nonlocal last_answer
        for process in (broker, *workers):
            if process.ended:
                raise CannotRun(process.why_ended())
        for number in range(2 * len(workers)):
            caller.send_multipart([b"%d" % number, b"", b"MDPC02", b"\x01", CALL.encode(), b"anyone there?"])
        answered = False
        while caller.poll(20 if answered else 100):  # a refusal comes at once: do not spin on it
            last_answer = caller.recv_multipart()
            answered = answered or last_answer[-1] == b"anyone there?"
        return answered and all(worker.output for worker in workers)

    try:
        if not wait_until(everyone_works, START_TIMEOUT_S):
            raise CannotRun(
                f"not working after {START_TIMEOUT_S:.0f} s; last answer: {last_answer or 'none'}"
            )
    finally:
        context.destroy(linger=0)


def _run_load(
    processes: Processes,
    name: str,
    client: str,
    broker: Process,
    programs: dict[str, Path],
    load: Load,
    calls: int,
) -> float:
    """Seconds that `calls` calls took."""
    figures = [calls, load.in_flight, load.body_bytes, load.timeout_s]
    command = [str(programs["load_client"]), client, CALL, *map(str, figures)]
    client_process = processes.start(name, command)
    code = client_process.wait(load.timeout_s + 10)
    if broker.ended:
        raise Broken(broker.why_ended())
    if code != 0:
        raise Broken(client_process.why_ended())
    return float(client_process.output.split()[1])


def run_rounds(
    programs: dict[str, Path], load: Load, rounds: int, note: Callable[[str], None]
) -> tuple[dict[str, list[Measured]], dict[str, str]]:
    """All measurements by contestant, and why a contestant is missing."""
    commands = contestants(programs)
    results: dict[str, list[Measured]] = {name: [] for name in commands}
    missing: dict[str, str] = {}
    for round_number in range(1, rounds + 1):
        for name, command in commands.items():
            if name in missing:
                continue
            try:
                measured = measure(command, programs, load)
            except CannotRun as reason:
                if name == "floor":
                    raise
                missing[name] = str(reason)
                note(f"{name} is skipped: {reason}")
                continue
            except Broken as reason:
                raise Broken(f"{name}: {reason}") from None
            results[name].append(measured)
            cpu = _figure(measured.broker_cpu_us, "{:.0f} us")
            note(f"round {round_number}  {name:<6}  {measured.calls_per_s:6.0f} calls/s  {cpu} of broker CPU")
    return {name: results[name] for name in results if name not in missing}, missing


def summary(results: dict[str, list[Measured]]) -> dict[str, dict[str, float | None]]:
    """Medians over the rounds; a ratio is taken within its round, where both met the same noise."""
    floor = results["floor"]
    found = {}
    for name, rounds in results.items():
        speed = [mine.calls_per_s / base.calls_per_s for mine, base in zip(rounds, floor, strict=True)]
        cpu = [
            mine.broker_cpu_us / base.broker_cpu_us
            for mine, base in zip(rounds, floor, strict=True)
            if mine.broker_cpu_us and base.broker_cpu_us
        ]
        cpu_us = [mine.broker_cpu_us for mine in rounds if mine.broker_cpu_us is not None]
        found[name] = {
            "calls_per_s": statistics.median(mine.calls_per_s for mine in rounds),
            "broker_cpu_us": statistics.median(cpu_us) if cpu_us else None,
            "speed_ratio": statistics.median(speed),
            "cpu_ratio": statistics.median(cpu) if cpu else None,
        }
    return found


def verdicts(zmws: dict[str, float | None]) -> list[Verdict]:
    speed, cpu = zmws["speed_ratio"], zmws["cpu_ratio"]
    found = []
    for kind, speed_limit, cpu_limit in (("gate", SPEED_GATE, CPU_GATE), ("aim", SPEED_AIM, CPU_AIM)):
        passed = None if speed is None else speed >= speed_limit
        found.append(Verdict(kind, "calls/s, zmws / floor, at least", speed_limit, speed, passed))
        passed = None if cpu is None else cpu <= cpu_limit
        found.append(Verdict(kind, "broker CPU a call, zmws / floor, at most", cpu_limit, cpu, passed))
    return found


def report(found: dict[str, dict[str, float | None]]) -> str:
    head = ["broker", "calls/s", "CPU us/call", "calls/s : floor", "CPU : floor"]
    rows = [
        [
            name,
            _figure(line["calls_per_s"], "{:.0f}"),
            _figure(line["broker_cpu_us"], "{:.0f}"),
            _figure(line["speed_ratio"], "{:.2f}"),
            _figure(line["cpu_ratio"], "{:.2f}"),
        ]
        for name, line in found.items()
    ]
    return as_table(head, rows)


def _figure(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _verdict_row(verdict: Verdict) -> list[str]:
    word = "not measured" if verdict.passed is None else "pass" if verdict.passed else "MISS"
    limit, ratio = _figure(verdict.limit, "{:.2f}"), _figure(verdict.ratio, "{:.2f}")
    return [f"{verdict.kind:<4}  {verdict.what}", limit, ratio, word]


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def main() -> int:
    parser = argparse.ArgumentParser(description="Synchronous calls: zmws against the C floor.")
    parser.add_argument("--calls", type=positive, default=20_000, help="calls a measurement (20000)")
    parser.add_argument("--in-flight", type=positive, default=100, help="requests under way at once (100)")
    parser.add_argument("--workers", type=positive, default=2, help="worker processes (2)")
    parser.add_argument("--body", type=positive, default=100, help="bytes of a request's body (100)")
    parser.add_argument("--rounds", type=positive, default=5, help="measurements of each broker (5)")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    options = parser.parse_args()
    load = Load(options.calls, options.in_flight, options.workers, options.body)
    exit_on_sigterm()

    def note(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    try:
        programs = build_c(["floor", "load_client", "echo_worker"])
    except CannotRun as reason:
        note(f"cannot run: {reason}")
        return 2
    if not Path("/proc/self/stat").exists():
        note("no /proc here (not Linux): broker CPU is not measured")
    try:
        results, missing = run_rounds(programs, load, options.rounds, note)
    except (CannotRun, Broken) as reason:
        note(f"failed: {reason}")
        return 1
    found = summary(results)
    judged = verdicts(found["zmws"]) if "zmws" in found else []
    if options.json:
        rounds = {name: [vars(one) for one in each] for name, each in results.items()}
        figures = {"load": vars(load), "medians": found, "verdicts": [vars(verdict) for verdict in judged]}
        print(json.dumps({**figures, "rounds": rounds, "skipped": missing}, indent=2))
        return 0
    print(
        f"\nMedians of {options.rounds} rounds, {load.calls} calls each, {load.in_flight} in flight, ", end=""
    )
    print(f"{load.workers} workers, {load.body_bytes}-byte bodies:\n\n{report(found)}\n")
    for name, why in missing.items():
        print(f"{name} was skipped: {why}")
    if judged:
        print(as_table(["", "limit", "ratio", ""], [_verdict_row(verdict) for verdict in judged]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
