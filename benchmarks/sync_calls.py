"""Synchronous calls: the zmws broker against the C floor, in one run. Read README.md here first.

    python benchmarks/sync_calls.py [--calls N] [--in-flight 100] [--workers 2] [--body 100] [--rounds 5]

Each round measures each contestant once, one after another, with the same load program and the same
workers, so that only the broker between them differs. Judged are the medians of the rounds' ratios.
"""

from __future__ import annotations

import functools
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
    Watched,
    as_json,
    build_c,
    exit_on_sigterm,
    figure,
    free_endpoint,
    interleaved,
    judge,
    median,
    note,
    parser,
    ratio,
    table,
    verdict_table,
    wait_until,
)
from own import Broker

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


BrokerStart = Callable[[Processes, Load], tuple[Watched, str, str]]


def contestants(programs: dict[str, Path]) -> dict[str, BrokerStart]:
    """Name -> what starts a broker: its process, and its client and worker endpoints."""

    def program(*command: str | Path) -> BrokerStart:
        def start(processes: Processes, load: Load) -> tuple[Watched, str, str]:
            client, worker = free_endpoint(), free_endpoint()
            broker = processes.start("broker", [*command, client, worker, str(load.lifetime_s)])
            return broker, client, worker

        return start

    def zmws(processes: Processes, _load: Load) -> tuple[Watched, str, str]:
        broker = Broker(processes, [])
        return broker.process, broker.client_endpoint, broker.worker_endpoint

    python = program(sys.executable, HERE / "python_floor.py")
    return {"floor": program(programs["floor"]), "zmws": zmws, "python": python}


def measure(start: BrokerStart, programs: dict[str, Path], load: Load) -> Measured:
    """One broker, its workers, one load. Raises CannotRun before the load began, Broken after."""
    with Processes() as processes:
        broker, client, worker = start(processes, load)
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


def _wait_for_answers(client_endpoint: str, broker: Watched, workers: Sequence[Process]) -> None:
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
    broker: Watched,
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


def say(measured: Measured) -> str:
    cpu = figure(measured.broker_cpu_us, "{:.0f} us")
    return f"{measured.calls_per_s:6.0f} calls/s  {cpu} of broker CPU"


def summary(results: dict[str, list[Measured]]) -> dict[str, dict[str, float | None]]:
    """Medians over the rounds."""
    floor = results["floor"]
    return {
        name: {
            "calls_per_s": median(one.calls_per_s for one in each),
            "broker_cpu_us": median(one.broker_cpu_us for one in each),
            "speed_ratio": ratio([one.calls_per_s for one in each], [one.calls_per_s for one in floor]),
            "cpu_ratio": ratio([one.broker_cpu_us for one in each], [one.broker_cpu_us for one in floor]),
        }
        for name, each in results.items()
    }


def report(found: dict[str, dict[str, float | None]]) -> str:
    head = ["broker", "calls/s", "CPU us/call", "calls/s : floor", "CPU : floor"]
    rows = [
        [
            name,
            figure(line["calls_per_s"], "{:.0f}"),
            figure(line["broker_cpu_us"], "{:.0f}"),
            figure(line["speed_ratio"]),
            figure(line["cpu_ratio"]),
        ]
        for name, line in found.items()
    ]
    return table(head, rows)


def main() -> int:
    asked = parser(
        "Synchronous calls: zmws against the C floor.",
        rounds=5,
        calls=(20_000, "calls a measurement"),
        in_flight=(100, "requests under way at once"),
        workers=(2, "worker processes"),
        body=(100, "bytes of a request's body"),
    )
    options = asked.parse_args()
    load = Load(options.calls, options.in_flight, options.workers, options.body)
    exit_on_sigterm()
    try:
        programs = build_c(["floor", "load_client", "echo_worker"])
    except CannotRun as reason:
        note(f"cannot run: {reason}")
        return 2
    if not Path("/proc/self/stat").exists():
        note("no /proc here (not Linux): broker CPU is not measured")
    measures = {
        name: functools.partial(measure, command, programs, load)
        for name, command in contestants(programs).items()
    }
    try:
        results, missing = interleaved(measures, options.rounds, say, needed=["floor"])
    except (CannotRun, Broken) as reason:
        note(f"failed: {reason}")
        return 1
    found = summary(results)
    judged = []
    if (zmws := found.get("zmws")) is not None:
        judged += judge("calls/s, zmws / floor", zmws["speed_ratio"], SPEED_GATE, SPEED_AIM)
        judged += judge("broker CPU a call, zmws / floor", zmws["cpu_ratio"], CPU_GATE, CPU_AIM, at_most=True)
    if options.json:
        print(as_json({"load": vars(load), "medians": found}, judged, results, missing))
        return 0
    print(
        f"\nMedians of {options.rounds} rounds, {load.calls} calls each, {load.in_flight} in flight, ", end=""
    )
    print(f"{load.workers} workers, {load.body_bytes}-byte bodies:\n\n{report(found)}\n")
    for name, why in missing.items():
        print(f"{name} was skipped: {why}")
    if judged:
        print(verdict_table(judged))
    return 0


if __name__ == "__main__":
    sys.exit(main())
