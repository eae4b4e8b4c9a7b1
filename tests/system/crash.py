"""Rounds of `kill -9` on the broker under a mixed load, and a set checker over all of them.

    python -m tests.system.crash --rounds 300 --seed 7

The workers survive the broker's deaths (one of them is killed now and then, too), the clients repeat what
was not answered, and the broker comes back on the same ports and the same store. Some kills come while it
still starts. When all is over and drained, `ledger.check` compares what was told with what is there.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.peers import BrokerProcess, await_workers, wait_until
from tests.system.lasting import lasting_broker, patient
from tests.system.ledger import Findings, Ledger, check, read_runs
from tests.system.load import SERVICE, Load, Workers

UP_S_MAX = 0.8  # a broker that is killed by the clock lives no longer
DRAIN_S = 180.0


def await_drained(broker: BrokerProcess, timeout_s: float = DRAIN_S) -> None:
    """Until nothing waits, is scheduled or runs."""
    with patient(broker) as client:

        def drained() -> bool:
            row = next(row for row in client.services() if row["service"] == SERVICE)
            return not (row["waiting"] or row["scheduled"] or row["running"])

        wait_until(drained, timeout_s, "all jobs have ended")


def _kill_at_some_moment(broker: BrokerProcess, ledger: Ledger, chance: random.Random) -> str:
    kind = chance.random()
    if kind < 0.15:  # while it starts, or recovers
        moment = time.monotonic() + chance.uniform(0.05, 0.8)
        wait_until(lambda: time.monotonic() >= moment, 5)
        broker.kill()
        return "kills while it started or soon after"
    before, few = ledger.counts["acknowledgements"], int(2 ** chance.uniform(0, 7))
    broker.await_ready()
    if kind < 0.4:
        moment = time.monotonic() + chance.uniform(0.0, UP_S_MAX)
        wait_until(lambda: time.monotonic() >= moment, 5)
        what = "kills at a moment by the clock"
    else:
        enough = lambda: ledger.counts["acknowledgements"] >= before + few  # noqa: E731
        wait_until(enough, 60, "acknowledgements")
        what = "kills at a number of acknowledgements"
    broker.kill()
    return what


def crash(folder: Path, rounds: int, seed: int, progress: bool = False) -> Findings:
    """So many rounds in this folder; what the checker finds in the end."""
    chance, ledger = random.Random(seed), Ledger()
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(lasting_broker(folder))
        workers = stack.enter_context(Workers(folder, broker.worker, 4))
        with patient(broker) as client:
            await_workers(client, 4, SERVICE)
        load = stack.enter_context(Load(broker.client, broker.news, folder, ledger, chance.randrange(2**32)))
        for n in range(1, rounds + 1):
            ledger.count(_kill_at_some_moment(broker, ledger, chance))
            if chance.random() < 0.15:
                workers.kill_one(chance)
            broker.start()
            assert not workers.faults(), workers.faults()
            if load.failed:
                break
            if progress and n % 20 == 0:
                told = (
                    f"round {n}: {len(ledger.attempted)} attempted, {len(ledger.acknowledged)} acknowledged"
                )
                sys.stdout.write(f"{told}, {len(ledger.complete)} confirmed\n")
                sys.stdout.flush()
        broker.await_ready()
        load.stop()
        await_drained(broker)
        assert broker.stop() == 0, broker.said()
    findings = check(ledger, folder / "var" / "zmws.db", read_runs(folder))
    findings.sizes["kills of a worker"] = workers.killed
    return findings


@contextlib.contextmanager
def folder_of_run(keep: bool) -> Iterator[Path]:
    """A temporary folder for a run by hand. SIGTERM ends the run as Ctrl-C does: nothing is left behind."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if keep:
        yield Path(tempfile.mkdtemp(prefix="zmws-run-"))
        return
    with tempfile.TemporaryDirectory(prefix="zmws-run-") as name:
        yield Path(name)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument("--keep", action="store_true", help="leave the folder as it is, and say where")
    given = parser.parse_args()
    began_at = time.monotonic()
    with folder_of_run(given.keep) as folder:
        if given.keep:
            sys.stdout.write(f"in {folder}\n")
        findings = crash(folder, given.rounds, given.seed, progress=True)
    took_s = time.monotonic() - began_at
    sys.stdout.write(f"\n{given.rounds} rounds, seed {given.seed}, {took_s:.0f} s\n")
    sys.stdout.write("\n".join(findings.lines()) + "\n")
    sys.stdout.write("nothing wrong\n" if findings.ok else "WRONG\n")
    return 0 if findings.ok else 1


if __name__ == "__main__":
    sys.exit(main())
