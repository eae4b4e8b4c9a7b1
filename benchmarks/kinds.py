"""What a job costs by the kind of its executor, and that a short one does not wait behind a long one, in one
run. Read README.md here first.

    python benchmarks/kinds.py [--calls 2000] [--rounds 3]

First: synchronous calls of an empty job, one after the other, to a worker of each kind in turn; judged is how
much longer an isolated one takes than an inline one. Then: jobs of 5 ms and jobs of 30 s on the same two
workers, which take both, with jobs ahead: how long a short one waited while a slot was free for it.
"""

from __future__ import annotations

import functools
import sys
import textwrap
import time
from collections.abc import Sequence

from harness import (
    Broken,
    Process,
    Processes,
    as_json,
    disk,
    exit_code,
    figure,
    interleaved,
    judge,
    median,
    parser,
    percentile,
    table,
    verdict_table,
)
from own import Broker, await_workers

EXTRA_GATE_US, EXTRA_AIM_US = 200.0, 120.0
WAIT_GATE_MS = 25.0
KINDS = {
    "inline": "",
    "threads": "concurrency = 2",
    "coroutines": "concurrency = 2",
    "children": "isolate = True",
}
FILE = """
    from zmws import WorkerBase


    class Worker(WorkerBase):
        service_name = "{service}"
        {declares}

        {work} work(self, job_id, params):
            return 1
"""
SHORT_S, LONG_S = 0.005, 30.0
BOTH = """
    import time

    from zmws import worker


    @worker("SHORT", prefetch=16)
    def short(asked_at: float) -> float:
        late = time.time() - asked_at
        time.sleep({short})
        return late


    @worker("LONG", prefetch=16)
    def long() -> None:
        time.sleep({long})
"""
SHORT_JOBS = 400


def start_worker(processes: Processes, broker: Broker, name: str, text: str) -> Process:
    file = processes.folder / f"{name}.py"
    file.write_text(textwrap.dedent(text))
    command = [sys.executable, "-m", "zmws", "worker", str(file), "--broker", broker.worker_endpoint]
    return processes.start(name, [*command, "--log-level", "error"])


def calls_us(broker: Broker, service: str, calls: int) -> float:
    """The median of a call, microseconds."""
    took = []
    with broker.connect() as client:
        for _ in range(calls):
            began = time.perf_counter()
            if client.call(service) != 1:
                raise Broken(f"{service} answered something else")
            took.append(time.perf_counter() - began)
    return percentile(sorted(took), 50) * 1e6


def short_beside_long(processes: Processes, broker: Broker) -> Sequence[float]:
    """How late each short job began, milliseconds, in order: one worker runs a long one all the while."""
    workers = [
        start_worker(processes, broker, f"both-{n}", BOTH.format(short=SHORT_S, long=LONG_S))
        for n in range(2)
    ]
    await_workers(broker, "SHORT", workers)
    with broker.connect() as client:
        client.submit("LONG")
        late = []
        for _ in range(SHORT_JOBS):
            # One at a time: there is always a slot free for it.
            late.append(1000 * client.call("SHORT", {"asked_at": time.time()}, timeout=LONG_S))
    return sorted(late)


def run() -> None:
    calls = (2_000, "calls a measurement")
    arguments = parser(__doc__.splitlines()[0], rounds=3, on_disk=True, calls=calls)
    options = arguments.parse_args()
    place = disk(options)
    with Processes(place.folder) as processes:
        broker = Broker(processes, [*map(str.upper, KINDS), "SHORT", "LONG"], environment=place.environment())
        for kind, declares in KINDS.items():
            work = "async def" if kind == "coroutines" else "def"
            service = kind.upper()
            text = FILE.format(service=service, declares=declares, work=work)
            await_workers(broker, service, [start_worker(processes, broker, kind, text)])
        contestants = {
            kind: functools.partial(calls_us, broker, kind.upper(), options.calls) for kind in KINDS
        }
        results, missing = interleaved(contestants, options.rounds, lambda us: f"{us:.0f} us a call")
        late = short_beside_long(processes, broker)
    middles = {kind: median(each) for kind, each in results.items()}
    inline, isolated = middles["inline"], middles["children"]
    extra = None if inline is None or isolated is None else isolated - inline
    worst = late[-1]
    judged = [
        *judge("us more for an isolated job", extra, EXTRA_GATE_US, EXTRA_AIM_US, at_most=True),
        *judge("ms that a short job waited", worst, WAIT_GATE_MS, None, at_most=True),
    ]
    if options.json:
        found = {"load": {**vars(options), "folder": None, "disk": place.as_figures()}, "us": middles}
        print(as_json({**found, "us_rounds": results, "late_ms": list(late)}, judged, {}, missing))
        return
    print(f"\nMedians of {options.rounds} rounds of {options.calls} calls, one after the other:\n")
    rows = [
        [kind, figure(us, "{:.0f}"), figure(None if us is None or inline is None else us - inline, "{:+.0f}")]
        for kind, us in middles.items()
    ]
    print(table(["kind", "us/call", "beside inline"], rows))
    told = ", ".join(f"{percent} % {percentile(late, percent):.1f}" for percent in (50, 99))
    print(
        f"\n{SHORT_JOBS} jobs of {1000 * SHORT_S:.0f} ms beside one of {LONG_S:.0f} s, ms until they began: "
    )
    print(f"{told}, at most {worst:.1f}\n")
    print(verdict_table(judged))


if __name__ == "__main__":
    sys.exit(exit_code(run))
