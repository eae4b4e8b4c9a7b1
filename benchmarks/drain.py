"""Jobs drained by Python workers, results stored: zmws against Huey on SQLite and against Taskiq, Dramatiq
and Celery on Redis, in one run. Read README.md here first.

    python benchmarks/drain.py [--jobs 20000] [--workers 2 | --shape public]
        [--peers-python PYTHON] [--compiled FOLDER]

The jobs are there before the workers start; their work returns 1, which all store. The rate is taken
from the first job seen done to the last, so that how fast the workers start does not count.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import redis_server
from harness import (
    REPOSITORY,
    CannotRun,
    Drained,
    Process,
    Processes,
    Verdict,
    as_json,
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
)
from machine import this_machine
from own import Broker, drained, fill
from peers import PEERS, Load, Peer, drain, versions

import zmws

SERVICE = "NO-OP"
COMPILED = "zmws, compiled"
SHAPES = {"public": (20_000, 10)}  # jobs, workers
WORKERS_JUDGED = 2  # the limits are for so many
HUEY_GATE, HUEY_AIM = 3.0, 4.0
REDIS_GATE = 3.0  # against the best of those on Redis
CPU_GATE_US, CPU_AIM_US = 210.0, 150.0


@dataclass
class Found:
    """What a contestant came to: medians, but for the ratio, which is taken within the rounds."""

    jobs_per_s: float | None
    cpu_us: float | None
    server_us: float | None
    whole_s: float | None
    zmws_is: float | None  # so many times as fast


def ours(load: Load, checkout: Path = REPOSITORY) -> Drained:
    """`zmws broker` and `zmws worker` processes; the CPU is all of theirs. `checkout`: whose zmws that is."""
    with Processes(load.disk.folder, checkout) as processes:
        broker = Broker(processes, [SERVICE], environment=load.disk.environment())
        fill(broker, SERVICE, load.jobs, None)
        workers: list[Process] = []

        def start() -> None:
            workers.extend(broker.python_workers(SERVICE, load.workers))

        return drained(broker, SERVICE, load.jobs, workers, start, load.timeout_s)


def found(results: Mapping[str, Sequence[Drained]]) -> dict[str, Found]:
    speeds = {name: [one.jobs_per_s for one in each] for name, each in results.items()}
    return {
        name: Found(
            median(speeds[name]),
            median(one.cpu_us for one in each),
            median(one.server_us for one in each),
            median(one.whole_s for one in each),
            ratio(speeds["zmws"], speeds[name]) if "zmws" in speeds else None,
        )
        for name, each in results.items()
    }


def verdicts(figures: Mapping[str, Found]) -> list[Verdict]:
    """What is not there is not measured."""

    def against(name: str | None) -> float | None:
        return figures[name].zmws_is if name and name in figures else None

    on_redis = [peer.name for peer in PEERS if peer.on_redis and peer.name in figures]
    best = max(on_redis, key=lambda name: figures[name].jobs_per_s or 0.0, default=None)
    of_redis = "the best on Redis" + (f" ({best})" if best else "")
    cpu_us = figures["zmws"].cpu_us if "zmws" in figures else None
    return [
        *judge("jobs/s, zmws / huey", against("huey"), HUEY_GATE, HUEY_AIM),
        *judge(f"jobs/s, zmws / {of_redis}", against(best), REDIS_GATE, None),
        *judge("CPU us a job of zmws in all", cpu_us, CPU_GATE_US, CPU_AIM_US, at_most=True),
    ]


def described(peer: Peer, python: str) -> dict[str, object]:
    of_what = versions(peer, python)
    if peer.on_redis:
        of_what["redis-server"] = redis_server.version()
    return {"title": peer.title, "keeps": peer.keeps, "versions": of_what}


def say(drained: Drained) -> str:
    cpu = figure(drained.cpu_us, "{:.0f} us")
    return (
        f"{drained.jobs_per_s:6.0f} jobs/s  {cpu} of CPU a job in all  {drained.whole_s:.1f} s with the start"
    )


def asked() -> argparse.Namespace:
    made = parser(
        "Jobs drained by Python workers, results stored: zmws against Huey, Taskiq, Dramatiq and Celery.",
        rounds=3,
        on_disk=True,
        json_file=True,
        jobs=(20_000, "jobs a measurement"),
        workers=(2, "worker processes"),
    )
    shapes = "; ".join(f"{name}: {jobs} jobs, {workers} workers" for name, (jobs, workers) in SHAPES.items())
    made.add_argument("--shape", choices=SHAPES, help=f"instead of --jobs and --workers ({shapes})")
    made.add_argument(
        "--peers-python",
        "--huey-python",
        default=sys.executable,
        metavar="PYTHON",
        help="a Python that has the peers installed (this one)",
    )
    made.add_argument(
        "--one-at-a-time",
        action="store_true",
        help="a worker of each peer does one job at a time, as ours does (Dramatiq: 8, Taskiq: 100)",
    )
    made.add_argument(
        "--compiled",
        type=Path,
        metavar="FOLDER",
        help="where zmws lies compiled: ZMWS_COMPILE=1 pip install --no-deps --target FOLDER .",
    )
    options = made.parse_args()
    if options.shape:
        options.jobs, options.workers = SHAPES[options.shape]
    return options


def run() -> None:
    options = asked()
    load = Load(options.jobs, options.workers, disk(options))
    contestants: dict[str, Callable[[], Drained]] = {
        peer.name: functools.partial(drain, peer, load, options.peers_python, options.one_at_a_time)
        for peer in PEERS
    }
    contestants["zmws"] = functools.partial(ours, load)
    if options.compiled:
        if not list(options.compiled.glob("zmws/core/node.*.so")):
            raise CannotRun(f"there is no compiled zmws in {options.compiled}")
        contestants[COMPILED] = functools.partial(ours, load, options.compiled.absolute())
    results, missing = interleaved(contestants, options.rounds, say)
    figures = found(results)
    judged = verdicts(figures) if load.workers == WORKERS_JUDGED else []
    if options.json:
        about = {peer.name: described(peer, options.peers_python) for peer in PEERS if peer.name in results}
        for name in ("zmws", COMPILED):
            if name in results:
                kept = {"keeps": "SQLite, on disk", "versions": {"zmws": zmws.__version__}}
                about[name] = {"title": name, **kept}
        told = {
            "machine": vars(this_machine()),
            "load": {
                **vars(load),
                "shape": options.shape,
                "one_at_a_time": options.one_at_a_time,
                "disk": load.disk.as_figures(),
            },
            "contestants": about,
            "medians": {name: vars(one) for name, one in figures.items()},
        }
        options.json.write_text(as_json(told, judged, results, missing) + "\n")
    show(options, load, figures, missing)
    if judged:
        print(verdict_table(judged))
    else:
        print(f"The gates are for {WORKERS_JUDGED} workers: nothing is judged.")


def show(
    options: argparse.Namespace, load: Load, figures: Mapping[str, Found], missing: Mapping[str, str]
) -> None:
    forms = ["{:.0f}", "{:.0f}", "{:.0f}", "{:.1f}", "{:.2f}"]
    rows = [
        [name, *(figure(value, form) for value, form in zip(vars(one).values(), forms, strict=True))]
        for name, one in figures.items()
    ]
    shape = f"the {options.shape} shape: " if options.shape else ""
    print(f"\nMedians of {options.rounds} rounds, {shape}{load.jobs} jobs each, ", end="")
    print(f"{load.workers} workers, {load.disk}:\n")
    head = ["", "jobs/s", "CPU us/job", "of it the server", "s with the start", "zmws/it, jobs/s"]
    print(table(head, rows) + "\n")
    for name, why in missing.items():
        print(f"{name} was skipped: {why}")


if __name__ == "__main__":
    sys.exit(exit_code(run))
