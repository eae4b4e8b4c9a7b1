"""Power cuts of the store's disk under a mixed load, and the set checker over all of them.

    python -m tests.system.power --cuts 20 --seed 7
    python -m tests.system.power --cuts 20 --lax          a broker that does not sync: it must lose jobs

The disk is an ext4 file system on a loop device. A cut is ext4's own shutdown, which drops whatever had not
reached the device, and the broker stops in the same moment: what is mounted again afterwards is what a
machine finds when its power is back.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import sys
import time
from pathlib import Path

from tests.peers import await_workers, wait_until
from tests.system.crash import await_drained, folder_of_run
from tests.system.disks import NotPossible, PowerlessDisk
from tests.system.lasting import lasting_broker, patient
from tests.system.ledger import Findings, Ledger, check, read_runs
from tests.system.load import SERVICE, Load, Workers

IMAGE_MIB = 256
LAX = ("-m", "tests.system.lax_broker")


def cut_power(folder: Path, cuts: int, seed: int, lax: bool = False, progress: bool = False) -> Findings:
    """So many cuts in this folder; what the checker finds in the end. Raises disks.NotPossible."""
    chance, ledger = random.Random(seed), Ledger()
    with contextlib.ExitStack() as stack:
        disk = stack.enter_context(PowerlessDisk(folder / "image", folder / "disk", IMAGE_MIB))
        store = f'url = "sqlite:{disk.place}/zmws.db"\nfree_bytes_min = "8 MiB"\n'
        # A small reserve makes for a short WAL: many checkpoints, among which the cuts fall. The lax broker
        # syncs at checkpoints alone; it forgets even which services there are.
        store += f"[services.{SERVICE}]" if lax else 'reserve_bytes = "1 MiB"'
        program = {"program": LAX} if lax else {}
        broker = stack.enter_context(lasting_broker(folder, store, **program))
        workers = stack.enter_context(Workers(folder, broker.worker, 2))
        with patient(broker) as client:
            await_workers(client, 2, SERVICE)
        load = stack.enter_context(Load(broker.client, broker.news, folder, ledger, chance.randrange(2**32)))
        for n in range(1, cuts + 1):
            before, few = ledger.counts["acknowledgements"], chance.randint(20, 300)
            enough = lambda most=before + few: ledger.counts["acknowledgements"] >= most  # noqa: E731
            wait_until(enough, 60, "acknowledgements")
            # A machine without power says nothing more. (Under ext4's shutdown an fdatasync that is on its
            # way may return 0 although its transaction is dropped: about one cut in seven, without zmws.)
            broker.freeze()
            disk.cut()
            broker.kill()
            disk.unmount()
            disk.mount()
            broker.start()
            broker.await_ready()
            assert not workers.faults(), workers.faults()
            if load.failed:
                break
            if progress:
                told = f"cut {n}: {len(ledger.attempted)} attempted, {len(ledger.acknowledged)} acknowledged"
                sys.stdout.write(told + "\n")
                sys.stdout.flush()
        load.stop()
        await_drained(broker)
        assert broker.stop() == 0, broker.said()
        findings = check(ledger, disk.place / "zmws.db", read_runs(folder))
    return findings


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cuts", type=int, default=20)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument("--lax", action="store_true", help="with synchronous=NORMAL: jobs must be lost")
    given = parser.parse_args()
    began_at = time.monotonic()
    with folder_of_run(keep=False) as folder:
        try:
            findings = cut_power(folder, given.cuts, given.seed, given.lax, progress=True)
        except NotPossible as reason:
            sys.stdout.write(f"{reason}\n")
            return 2
    took_s = time.monotonic() - began_at
    sys.stdout.write(f"\n{given.cuts} power cuts, seed {given.seed}, {took_s:.0f} s\n")
    sys.stdout.write("\n".join(findings.lines()) + "\n")
    lost = findings.wrong["acknowledged jobs lost"]
    if given.lax:
        sys.stdout.write(
            "it has lost jobs, as it must\n" if lost else "IT HAS LOST NOTHING: a test of nothing\n"
        )
        return 0 if lost else 1
    sys.stdout.write("nothing wrong\n" if findings.ok else "WRONG\n")
    return 0 if findings.ok else 1


if __name__ == "__main__":
    sys.exit(main())
