"""What a batch costs: many members submitted, done and concluded, against the same jobs without one, in one
run. Read README.md here first.

    python benchmarks/workflows.py [--jobs 100000] [--rounds 3]

Each round does both on a broker of its own, on disk, with two workers of no-op jobs. Judged is the processor
time of the broker a job, from the first submit to the last end, and the most memory it had. Exits with 1 when
a gate is missed.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import (
    Broken,
    CannotRun,
    Disk,
    Processes,
    as_json,
    check_alive,
    disk,
    exit_code,
    figure,
    interleaved,
    judge,
    median,
    parser,
    ratio,
    table,
    verdict_table,
    wait_until,
)
from own import Broker, service_row

SERVICE, THEN = "NO-OP", "THEN"
PLAIN, BATCH = "jobs", "members of a batch"
WORKERS = 2
COST_GATE, MEMORY_GATE_MB = 1.3, 300.0


@dataclass
class Measured:
    """One work."""

    jobs_per_s: float
    cpu_us: float  # of the broker, a job
    memory_mb: float  # the most that the broker had


def measure(place: Disk, jobs: int, in_batch: bool) -> Measured:
    """Submit and do so many, in messages of a thousand, while workers run. Raises Broken, CannotRun."""
    with Processes(place.folder) as processes:
        broker = Broker(processes, [SERVICE, THEN], environment=place.environment())
        workers = broker.python_workers(SERVICE, WORKERS)
        with broker.connect() as client:
            cpu, begun = broker.cpu_s(), time.monotonic()
            asked = ({"service": SERVICE} for _ in range(jobs))
            batch = None
            if in_batch:
                batch = client.batch(asked, then=THEN, id="measured")
            else:
                while chunk := [job for _, job in zip(range(1000), asked, strict=False)]:
                    refused = [job for job in client.submit_many(chunk) if isinstance(job, Exception)]
                    if refused:
                        raise Broken(f"a job was refused: {refused[0]}")

            def done() -> bool:
                check_alive([broker.process, *workers])
                time.sleep(0.05)
                return bool(service_row(client, SERVICE)["complete"] >= jobs)

            if not wait_until(done, 60 + jobs / 50):
                raise Broken(f"{service_row(client, SERVICE)} after all that time")
            took, used = time.monotonic() - begun, broker.cpu_s() - cpu
            if batch is not None:
                row = batch.wait(timeout=10)
                concluded = client.job(row["then_id"]).status()["concludes"]
                if row["complete"] != jobs or concluded["complete"] != jobs:
                    raise Broken(f"the batch has ended as {row}")
            memory = most_memory_mb(broker.process.pid)
    return Measured(jobs / took, used / jobs * 1e6, memory)


def most_memory_mb(pid: int) -> float:
    """The most that a process has had resident. Raises CannotRun."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    except (OSError, ValueError) as wrong:
        raise CannotRun(f"no /proc here: {wrong}") from None
    return int(line.split()[1]) / 1024


def run() -> int:
    about = str(__doc__).split("\n\n")[0]
    options = parser(about, 3, on_disk=True, jobs=(100_000, "jobs, and members")).parse_args()
    place = disk(options)
    contestants = {
        PLAIN: functools.partial(measure, place, options.jobs, False),
        BATCH: functools.partial(measure, place, options.jobs, True),
    }
    results, missing = interleaved(contestants, options.rounds, say, needed=(PLAIN, BATCH), alternate=True)
    cost = ratio([one.cpu_us for one in results[BATCH]], [one.cpu_us for one in results[PLAIN]])
    most = max(one.memory_mb for one in results[BATCH])
    judged = judge("broker's processor time a member, of a job's", cost, COST_GATE, None, at_most=True)
    judged += judge("most memory of the broker with the batch, MB", most, MEMORY_GATE_MB, None, at_most=True)
    if options.json:
        print(as_json({"jobs": options.jobs}, judged, results, missing))
    else:
        head = ["", "jobs/s", "broker us/job", "most MB"]
        print(
            f"\nMedians of {options.rounds} rounds, {options.jobs} jobs each, {WORKERS} workers, {place}:\n"
        )
        print(table(head, [[name, *_medians(each)] for name, each in results.items()]) + "\n")
        print(verdict_table(judged))
    return int(any(one.passed is False for one in judged))


def say(one: Measured) -> str:
    return f"{one.jobs_per_s:.0f} jobs/s  {one.cpu_us:.0f} us  {one.memory_mb:.0f} MB"


def _medians(measured: Sequence[Measured]) -> list[str]:
    each = zip(*(vars(one).values() for one in measured), strict=True)
    return [figure(median(values), "{:.0f}") for values in each]


if __name__ == "__main__":
    sys.exit(exit_code(run))
