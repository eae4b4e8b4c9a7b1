"""Many workers: what a thousand idle ones cost the broker, and how soon two hundred are back after a restart.
Read README.md here first.

    python benchmarks/crowd.py [--idle 1000] [--back 200] [--seconds 20]

The workers are the shipped dialogue, many of them in each of a few processes, each with a socket of its own.
Judged are the broker's processor time while all are idle, and the time from the restarted broker's first
answer until all are registered again, in heartbeat intervals.
"""

from __future__ import annotations

import argparse
import random
import sys
import time

import zmq
from harness import Broken, Process, Processes, as_json, disk, exit_code, judge, parser, verdict_table
from own import Broker, service_row

CPU_GATE_PERCENT, CPU_AIM_PERCENT = 3.0, 1.0
BACK_GATE = 2.0
PROCESSES = 4
INTERVAL_S = 5.0
SERVICE = "CROWD"
READY_TIMEOUT_S = 120.0


def be_a_crowd(endpoint: str, count: int, prefix: str) -> None:
    """So many workers in this process, until it is ended."""
    from zmws.dialog.actions import Open, Transmit
    from zmws.dialog.worker import WorkerDialog
    from zmws.line.dealer import Dealer

    context, poller = zmq.Context(), zmq.Poller()
    context.set(zmq.MAX_SOCKETS, 4 * count + 100)
    crowd = []
    for n in range(count):
        dialog = WorkerDialog(SERVICE, f"{prefix}-{n}", [endpoint], random.random)
        crowd.append((dialog, Dealer(context, poller)))
        dialog.start(time.monotonic())

    def act(dialog: WorkerDialog, dealer: Dealer) -> None:
        for action in dialog.take():
            if isinstance(action, Open):
                dealer.open(action.endpoint, action.ping_s, action.silence_s)
            elif isinstance(action, Transmit):
                dealer.send(action.frames)

    for dialog, dealer in crowd:
        act(dialog, dealer)
    while True:
        poller.poll(50)
        now = time.monotonic()
        for dialog, dealer in crowd:
            while (event := dealer.event()) is not None:
                if event == "up":
                    dialog.connected(now)
                else:
                    dialog.disconnected(now)
                    act(dialog, dealer)
            while (frames := dealer.recv()) is not None:
                dialog.receive(now, frames)
            dialog.tick(now)
            act(dialog, dealer)


def start(processes: Processes, broker: Broker, count: int, name: str) -> list[Process]:
    started = []
    for n in range(PROCESSES):
        share = count // PROCESSES + (n < count % PROCESSES)
        command = [sys.executable, __file__, "--be", f"{broker.worker_endpoint},{share},{name}{n}"]
        started.append(processes.start(f"{name}{n}", command))
    return started


def await_count(broker: Broker, count: int, crowd: list[Process]) -> float:
    """Until so many are registered; when that was seen."""
    until = time.monotonic() + READY_TIMEOUT_S
    with broker.connect() as client:
        while time.monotonic() < until:
            for process in crowd:
                if process.ended:
                    raise Broken(process.why_ended())
            if service_row(client, SERVICE)["workers"] >= count:
                return time.monotonic()
            time.sleep(0.05)
    raise Broken(f"not all of {count} workers are registered after {READY_TIMEOUT_S:.0f} s")


def idle_percent(broker: Broker, seconds: float) -> float:
    """Of a core, while nothing is asked."""
    before, began = broker.cpu_s(), time.monotonic()
    time.sleep(seconds)
    return 100 * (broker.cpu_s() - before) / (time.monotonic() - began)


def run() -> None:
    figures = {
        "idle": (1_000, "idle workers"),
        "back": (200, "workers that come back"),
        "seconds": (20, "that they are idle"),
    }
    arguments = parser(__doc__.splitlines()[0], rounds=1, on_disk=True, **figures)
    arguments.add_argument("--be", help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.be:
        endpoint, count, name = options.be.rsplit(",", 2)
        return be_a_crowd(endpoint, int(count), name)
    place = disk(options)
    with Processes(place.folder) as processes:
        broker = Broker(processes, [SERVICE], environment=place.environment())
        alone = idle_percent(broker, options.seconds)
        crowd = start(processes, broker, options.idle, "idle")
        await_count(broker, options.idle, crowd)
        time.sleep(2 * INTERVAL_S)
        idle = idle_percent(broker, options.seconds)
    with Processes(place.folder) as processes:
        broker = Broker(processes, [SERVICE], environment=place.environment())
        crowd = start(processes, broker, options.back, "back")
        await_count(broker, options.back, crowd)
        broker.kill()
        time.sleep(3.0)  # so that they try less and less often
        broker.start()
        broker.await_answer()
        began = time.monotonic()
        back_s = await_count(broker, options.back, crowd) - began
    judged = [
        *judge(f"% of a core, {options.idle} idle", idle, CPU_GATE_PERCENT, CPU_AIM_PERCENT, at_most=True),
        *judge(
            f"intervals until {options.back} are back", back_s / INTERVAL_S, BACK_GATE, None, at_most=True
        ),
    ]
    if options.json:
        found = {"load": {**vars(options), "folder": None}, "alone": alone, "idle": idle, "back_s": back_s}
        print(as_json(found, judged, {}, {}))
        return None
    print(f"\nThe broker alone: {alone:.2f} % of a core; with {options.idle} idle workers: {idle:.2f} %.")
    print(f"{options.back} workers are back {back_s:.1f} s after the restarted broker's first answer.\n")
    print(verdict_table(judged))
    return None


if __name__ == "__main__":
    sys.exit(exit_code(run))
