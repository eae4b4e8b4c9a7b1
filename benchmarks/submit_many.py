"""Many jobs a message against one: zmws against itself, in one run. Read README.md here first.

    python benchmarks/submit_many.py [--jobs 20000] [--many 100000] [--in-flight 100] [--body 100]

Both ways the jobs are durable: `zmws.submit` with a list of a thousand, and single submits. Measured
through our Client, as most will use it, and over a bare socket, which shows the broker's own limit.
Each round measures each contestant once, with an empty store.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from durable_submits import Load, Measured, say, zmws, zmws_client
from harness import (
    Broken,
    Processes,
    as_json,
    build_c,
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
from own import JOBS_A_MESSAGE, Broker, accepted_on_disk, check_waiting, many_jobs, many_message
from wire import Wire

SERVICE = "ECHO"
GATE, AIM = 5.0, 15.0


@dataclass
class Took:
    """What the submits of a measurement took."""

    seconds: float
    own_cpu_s: float


def many(load: Load, submit: Callable[[Broker, int, str], Took]) -> Measured:
    """`load.jobs` jobs, a thousand a message."""
    with Processes(load.disk.folder) as processes:
        broker = Broker(processes, [SERVICE], environment=load.disk.environment())
        params = "x" * load.body_bytes
        submit(broker, JOBS_A_MESSAGE, params)  # to warm up
        cpu_before = broker.cpu_s()
        took = submit(broker, load.jobs, params)
        cpu_s = broker.cpu_s() - cpu_before
        check_waiting(broker, SERVICE, load.jobs + JOBS_A_MESSAGE)
    jobs_per_s = load.jobs / took.seconds
    return Measured(jobs_per_s, cpu_s / load.jobs * 1e6, took.own_cpu_s / load.jobs * 1e6)


def raw(broker: Broker, jobs: int, params: str) -> Took:
    """Two messages under way, made before the clock starts."""
    messages = [many_message(listed) for listed in many_jobs(SERVICE, jobs, params)]
    with Wire(broker.client_endpoint) as wire:
        begun, own_before = time.monotonic(), time.process_time()
        accepted = wire.submit_many(messages)
        took = Took(time.monotonic() - begun, time.process_time() - own_before)
    if accepted != jobs:
        raise Broken(f"{accepted} of {jobs} jobs were accepted")
    return took


def through_client(a_call: int, broker: Broker, jobs: int, params: str) -> Took:
    """`Client.submit_many`, one call after another; ids are the client's."""
    with broker.connect() as client:
        client.ask("zmws.stats")  # connected
        begun, own_before = time.monotonic(), time.process_time()
        for first in range(0, jobs, a_call):
            count = min(a_call, jobs - first)
            for job in client.submit_many([{"service": SERVICE, "params": params} for _ in range(count)]):
                accepted_on_disk(job)
        return Took(time.monotonic() - begun, time.process_time() - own_before)


def run() -> None:
    asked = parser(
        "Many jobs a message against one a message.",
        rounds=3,
        on_disk=True,
        jobs=(20_000, "single submits a measurement"),
        many=(100_000, f"jobs a measurement, {JOBS_A_MESSAGE} a message"),
        in_flight=(100, "single submits not yet acknowledged"),
        body=(100, "bytes of a job's body"),
    )
    options = asked.parse_args()
    place = disk(options)
    single_load = Load(options.jobs, options.in_flight, options.body, place)
    many_load = Load(options.many, options.in_flight, options.body, place)
    program = build_c(["load_client"])["load_client"]
    contestants: dict[str, Callable[[], Measured]] = {
        "single, Client": functools.partial(zmws_client, single_load),
        "many, Client": functools.partial(many, many_load, functools.partial(through_client, JOBS_A_MESSAGE)),
        "all in one call, Client": functools.partial(
            many, many_load, functools.partial(through_client, options.many)
        ),
        "single, bare": functools.partial(zmws, single_load, program),
        "many, bare": functools.partial(many, many_load, raw),
    }
    results, missing = interleaved(contestants, options.rounds, say, needed=list(contestants))
    speeds = {name: [one.jobs_per_s for one in each] for name, each in results.items()}
    medians = {
        name: {
            "jobs_per_s": median(speeds[name]),
            "server_cpu_us": median(one.server_cpu_us for one in each),
            "client_cpu_us": median(one.client_cpu_us for one in each),
        }
        for name, each in results.items()
    }
    judged = []
    for by in ("Client", "bare"):
        measured = ratio(speeds[f"many, {by}"], speeds[f"single, {by}"])
        judged += judge(f"jobs/s, many / single, {by}", measured, GATE, AIM)
    if options.json:
        load = {**vars(single_load), "many": options.many, "disk": place.as_figures()}
        print(as_json({"load": load, "medians": medians}, judged, results, missing))
        return
    rows = [[name, *(figure(value, "{:.0f}") for value in line.values())] for name, line in medians.items()]
    print(
        f"\nMedians of {options.rounds} rounds, {options.jobs} single jobs with {options.in_flight} in ",
        end="",
    )
    print(f"flight, {options.many} jobs {JOBS_A_MESSAGE} a message, {options.body}-byte bodies, {place}:\n")
    print(table(["submits", "jobs/s", "broker CPU us/job", "client us/job"], rows) + "\n")
    print(verdict_table(judged))


if __name__ == "__main__":
    sys.exit(exit_code(run))
