"""Jobs drained by two Python workers, results stored: zmws against Huey on SQLite, in one run. Read
README.md here first.

    python benchmarks/drain.py [--jobs 20000] [--workers 2] [--huey-python PYTHON]

The jobs are there before the workers start; their work returns 1, which both store. The rate is taken
from the first job seen done to the last, so that how fast the workers start does not count.
"""

from __future__ import annotations

import contextlib
import functools
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

from harness import (
    HERE,
    Broken,
    CannotRun,
    Disk,
    Drained,
    Process,
    Processes,
    as_json,
    check_alive,
    cpu_of,
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
    watch_drain,
)
from own import Broker, drained, fill

SERVICE = "NO-OP"
GATE, AIM = 1.5, 3.0
JOBS_PER_S_MIN = 50  # slower than this is broken, not slow


@dataclass
class Load:
    jobs: int
    workers: int
    disk: Disk

    @property
    def timeout_s(self) -> float:
        return 60 + self.jobs / JOBS_PER_S_MIN


def zmws(load: Load) -> Drained:
    """`zmws broker` and `zmws worker` processes; the CPU is all of theirs."""
    with Processes(load.disk.folder) as processes:
        broker = Broker(processes, [SERVICE], environment=load.disk.environment())
        fill(broker, SERVICE, load.jobs, None)
        workers: list[Process] = []

        def start() -> None:
            workers.extend(broker.python_workers(SERVICE, load.workers))

        return drained(broker, SERVICE, load.jobs, workers, start, load.timeout_s)


def huey(load: Load, python: str) -> Drained:
    """Huey's consumer with worker processes; the CPU is all of theirs."""
    if subprocess.run([python, "-c", "import huey"], capture_output=True).returncode:
        raise CannotRun(
            f"{python} has no huey (pip install huey, or --huey-python of an environment that has)"
        )
    with Processes(load.disk.folder) as processes:
        database = processes.folder / "huey.db"
        environment = {**load.disk.environment(), "HUEY_DB": str(database), "PYTHONPATH": str(HERE)}
        enqueue = [python, "-c", f"import huey_app; huey_app.enqueue({load.jobs})"]
        if processes.start("enqueue", enqueue, environment).wait(load.timeout_s):
            raise Broken("huey could not enqueue")
        command = [python, "-m", "huey.bin.huey_consumer", "huey_app.huey", "-q", "-n", "-k", "process"]
        command += ["-w", str(load.workers)]
        running: list[Process] = []
        with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:

            def start() -> None:
                running.append(processes.start("huey", command, environment))

            def done() -> int:
                check_alive(running)
                return int(connection.execute("SELECT count(*) FROM kv").fetchone()[0])

            def used() -> float | None:
                return cpu_of(running)

            return watch_drain(start, done, load.jobs, used, load.timeout_s)


def say(drained: Drained) -> str:
    cpu = figure(drained.cpu_us, "{:.0f} us")
    return (
        f"{drained.jobs_per_s:6.0f} jobs/s  {cpu} of CPU a job in all  {drained.whole_s:.1f} s with the start"
    )


def run() -> None:
    asked = parser(
        "Jobs drained by Python workers, results stored: zmws against Huey on SQLite.",
        rounds=3,
        on_disk=True,
        jobs=(20_000, "jobs a measurement"),
        workers=(2, "worker processes"),
    )
    asked.add_argument("--huey-python", default=sys.executable, help="a Python that has huey (this one)")
    options = asked.parse_args()
    load = Load(options.jobs, options.workers, disk(options))
    contestants: dict[str, Callable[[], Drained]] = {
        "huey": functools.partial(huey, load, options.huey_python),
        "zmws": functools.partial(zmws, load),
    }
    results, missing = interleaved(contestants, options.rounds, say)
    speeds = {name: [one.jobs_per_s for one in each] for name, each in results.items()}
    against = ratio(speeds["zmws"], speeds["huey"]) if len(speeds) == 2 else None
    medians = {
        name: {
            "jobs_per_s": median(speeds[name]),
            "cpu_us": median(one.cpu_us for one in each),
            "whole_s": median(one.whole_s for one in each),
        }
        for name, each in results.items()
    }
    judged = judge("jobs/s, zmws / huey", against, GATE, AIM)
    if options.json:
        figures = {**vars(load), "disk": load.disk.as_figures()}
        print(as_json({"load": figures, "medians": medians}, judged, results, missing))
        return
    forms = ["{:.0f}", "{:.0f}", "{:.1f}"]
    rows = [
        [name, *(figure(value, form) for value, form in zip(line.values(), forms, strict=True))]
        for name, line in medians.items()
    ]
    print(
        f"\nMedians of {options.rounds} rounds, {load.jobs} jobs each, {load.workers} workers, {load.disk}:\n"
    )
    print(table(["", "jobs/s", "CPU us/job", "s with the start"], rows) + "\n")
    for name, why in missing.items():
        print(f"{name} was skipped: {why}")
    print(verdict_table(judged))


if __name__ == "__main__":
    sys.exit(exit_code(run))
