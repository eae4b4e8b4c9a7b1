"""Rounds of `kill -9` on broker and workers under a load of chains, batches and follow-ups, and a checker.

    python -m tests.system.family_crash --rounds 100 --seed 7

The checker trusts nothing that the broker says: it reads the store's file when all has ended.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import sqlite3
import sys
import threading
import time
from collections import Counter, defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.peers import BrokerProcess, RunningProcess, await_workers, wait_until, worker_process
from tests.system.crash import folder_of_run
from tests.system.lasting import lasting_broker, patient
from zmws import PREVIOUS
from zmws.client import Client
from zmws.core.states import COMPLETE, FINAL_STATES
from zmws.errors import ZmwsError
from zmws.wire.values import PARAM_JSON

SERVICE, THEN = "FAMILY", "CONCLUDE"
CLIENTS = 3
DRAIN_S = 180.0
AWAY_S = 120.0  # longer than any broker stays away here
KINDS = ("prefetch = 16", "concurrency = 4", "isolate = True; concurrency = 2")

WORKER = """
service_name = "FAMILY"
retries = 8
backoff = 0.02
{declares}

def work(self, job_id, params):
    if isinstance(params, dict):
        if params.get("sleep"):
            time.sleep(params["sleep"])
        if self.job.attempt <= params.get("fails", 0):
            raise RuntimeError("as it was told")
        for n in range(params.get("makes", 0)):
            more = dict(makes=params.get("then_makes", 0), value=n)
            self.job.enqueue("FAMILY", more, batch=self.job.batch if params.get("joins") else None)
    return params
"""


class Asked:
    """What the clients were told was accepted. Thread-safe."""

    def __init__(self) -> None:
        self.chains: dict[str, int] = {}  # how many steps
        self.batches: set[str] = set()  # that were closed
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self._lock = threading.Lock()

    def note(self, what: str, chain: tuple[str, int] | None = None, batch: str | None = None) -> None:
        """One more was accepted."""
        with self._lock:
            self.counts[what] += 1
            if chain is not None:
                self.chains[chain[0]] = chain[1]
            if batch is not None:
                self.batches.add(batch)


def _job(chance: random.Random) -> dict[str, Any]:
    return {
        "sleep": chance.choice((0, 0, 0.01, 0.1)),
        "fails": chance.choice((0, 0, 0, 1, 2, 100)),
        "makes": chance.choice((0, 0, 1, 3)),
        "then_makes": chance.choice((0, 0, 2)),
        "joins": chance.random() < 0.7,
    }


def _ask(client: Client, n: str, chance: random.Random, asked: Asked) -> None:
    """One chain, or one batch."""
    if chance.random() < 0.5:
        steps: list[Any] = [(SERVICE, _job(chance))]
        for _ in range(chance.randint(1, 4)):
            params = PREVIOUS if chance.random() < 0.4 else {"before": PREVIOUS, **_job(chance)}
            steps.append((SERVICE, params, {"retries": chance.choice((1, 8))}))
        client.chain(steps, id=f"chain-{n}")
        asked.note("chains", chain=(f"chain-{n}", len(steps)))
        return
    options = {"retries": chance.choice((0, 2, 8))}
    jobs = [(SERVICE, _job(chance), {**options, "id": f"batch-{n}-{k}"}) for k in range(chance.randint(0, 8))]
    with client.batch(then=THEN, failed=THEN, id=f"batch-{n}") as batch:
        batch.add_many(jobs)
        if chance.random() < 0.3:
            batch.add_chain([(SERVICE, _job(chance)), (SERVICE, PREVIOUS)], id=f"batch-{n}-chain")
    asked.note("batches", batch=f"batch-{n}")


def _be_a_client(
    broker: BrokerProcess, seed: int, name: int, asked: Asked, stopping: threading.Event
) -> None:
    chance = random.Random(seed)
    try:
        with broker.connect(connect_timeout=AWAY_S, reconnect_timeout=AWAY_S) as client:
            for n in itertools.count():
                if stopping.is_set():
                    return
                _ask(client, f"{name}-{n}", chance, asked)
    except ZmwsError as wrong:
        asked.faults.append(f"client {name}: {wrong!r}")


def crash(folder: Path, rounds: int, seed: int, progress: bool = False) -> tuple[list[str], Counter[str]]:
    """So many rounds in this folder: what is wrong in the end, and what there was."""
    chance, asked, stopping = random.Random(seed), Asked(), threading.Event()
    with ExitStack() as stack:
        broker = stack.enter_context(lasting_broker(folder, more_toml()))
        made = itertools.count(1)

        def add() -> RunningProcess:
            n = next(made)
            body = WORKER.format(declares=KINDS[n % len(KINDS)])
            flags = ["--log-level", "error"]
            return stack.enter_context(
                worker_process(folder, broker.worker, body, f"worker-{n}", flags=flags)
            )

        workers = [add() for _ in range(3)]
        told = "service_name = 'CONCLUDE'\ndef work(self, job_id, params): return params"
        stack.enter_context(worker_process(folder, broker.worker, told, "told"))
        with patient(broker) as client:
            await_workers(client, 3, SERVICE)
            await_workers(client, 1, THEN)
        clients = [
            threading.Thread(target=_be_a_client, args=(broker, chance.random(), name, asked, stopping))
            for name in range(CLIENTS)
        ]
        for thread in clients:
            thread.start()
        try:
            for n in range(1, rounds + 1):
                before, few = asked.counts.total(), int(2 ** chance.uniform(1, 6))
                moment = time.monotonic() + chance.uniform(0.0, 4.0)
                enough = lambda: asked.counts.total() >= before + few or time.monotonic() > moment  # noqa: B023, E731
                wait_until(enough, 60, "something was accepted, or time has passed")
                if chance.random() < 0.3:
                    one = workers.pop(chance.randrange(len(workers)))
                    one.popen.kill()
                    one.popen.wait(10)
                    workers.append(add())
                    asked.note("kills of a worker")
                broker.kill()
                broker.start()
                if asked.faults:
                    break
                if progress and n % 20 == 0:
                    sys.stdout.write(f"round {n}: {dict(asked.counts)}\n")
                    sys.stdout.flush()
            broker.await_ready()
        finally:
            stopping.set()
            for thread in clients:
                thread.join(180)
        with patient(broker) as client:

            def drained() -> bool:
                rows = client.services()
                busy = any(row["waiting"] or row["scheduled"] or row["running"] for row in rows)
                # While a batch concludes, its job is on no list yet.
                return not busy and not next(client.batches(state="running"), None)

            wait_until(drained, DRAIN_S, "all jobs have ended")
        assert broker.stop() == 0, broker.said()
    wrong, there = check(folder / "var" / "zmws.db", asked)
    return asked.faults + wrong, asked.counts + there


def more_toml() -> str:
    """Settings of the broker that make the load what it is."""
    return "[services.FAMILY]\n[services.CONCLUDE]\n"


# ---------------------------------------------------------------- the checker


def check(store: Path, asked: Asked) -> tuple[list[str], Counter[str]]:
    """What is wrong in the store's file, and how much of what it has."""
    with contextlib.closing(sqlite3.connect(store)) as connection:
        connection.row_factory = sqlite3.Row
        columns = (
            "id, service, state, parent, batch, chain, step, steps, concludes, body, jobs.number AS number"
        )
        rows = connection.execute(f"SELECT {columns} FROM jobs JOIN bodies USING (number)").fetchall()
        batches = connection.execute("SELECT * FROM batches").fetchall()
    wrong = [f"{row['id']} is {row['state']}" for row in rows if row["state"] not in FINAL_STATES]
    children: defaultdict[str, list[sqlite3.Row]] = defaultdict(list)
    members: defaultdict[str, list[str]] = defaultdict(list)
    chains: defaultdict[str, dict[int, sqlite3.Row]] = defaultdict(dict)
    for row in rows:
        if row["parent"] is not None:
            children[row["parent"]].append(row)
        if row["batch"] is not None:
            members[row["batch"]].append(row["state"])
        if row["chain"] is not None:
            if row["step"] in chains[row["chain"]]:
                wrong.append(f"step {row['step']} of {row['chain']} is there twice")
            chains[row["chain"]][row["step"]] = row
    for row in rows:
        wrong += _follow_ups(row, children[row["id"]])
    for chain, length in asked.chains.items():
        wrong += _chain(chain, length, chains[chain])
    known = {row["id"]: row for row in rows}
    for batch in batches:
        wrong += _batch(batch, members[batch["id"]], known)
    missing = asked.batches - {batch["id"] for batch in batches}
    wrong += [f"{batch} was closed, and is not there" for batch in missing]
    there = Counter({"jobs": len(rows), "of them complete": sum(row["state"] == COMPLETE for row in rows)})
    there["that followed"] = sum(map(len, children.values()))
    return wrong, there


def _follow_ups(row: sqlite3.Row, children: list[sqlite3.Row]) -> list[str]:
    """A complete job has all that it asked for, each once; any other has none."""
    body = row["body"][4:]
    params = json.loads(body[len(PARAM_JSON) :]) if body.startswith(PARAM_JSON) else None
    wanted = params.get("makes", 0) if isinstance(params, dict) and row["service"] == SERVICE else 0
    wanted = wanted if row["state"] == COMPLETE else 0
    found = sorted(
        child["id"] for child in children if child["chain"] != row["chain"] or row["chain"] is None
    )
    expected = sorted(f"{row['id']}:{n}" for n in range(1, wanted + 1))
    return [] if found == expected else [f"{row['id']}, {row['state']}, has {found} and not {expected}"]


def _chain(chain: str, length: int, steps: dict[int, sqlite3.Row]) -> list[str]:
    """Step after step, up to the first that did not complete, and no further."""
    numbers = sorted(steps)
    if numbers != list(range(1, len(numbers) + 1)) or not numbers:
        return [f"{chain} has the steps {numbers}"]
    *before, last = [steps[n]["state"] for n in numbers]
    if any(state != COMPLETE for state in before):
        return [f"{chain} went on after {before}"]
    if last == COMPLETE and len(numbers) != length:
        return [f"{chain} ends after {len(numbers)} of {length} steps, which are complete"]
    return []


def _batch(batch: sqlite3.Row, states: list[str], known: dict[str, sqlite3.Row]) -> list[str]:
    """Its counts are those of its members, and what follows is there once."""
    counts = Counter(states)
    found = {state: batch[state] for state in ("complete", "failed", "cancelled", "expired")}
    if batch["total"] != len(states) or found != {state: counts[state] for state in found}:
        return [f"{batch['id']} counts {batch['total']}, {found}, and there are {counts}"]
    if not batch["closed"]:
        return []  # its client was on its way to close it when the load ended
    kind = "then" if counts[COMPLETE] == len(states) else "failed"
    there = [one for one in ("then", "failed") if f"{batch['id']}:{one}" in known]
    if there != [kind] or batch["ended_at"] is None:
        return [f"{batch['id']} has ended with {counts}, and {there} follow"]
    told = json.loads(known[f"{batch['id']}:{kind}"]["concludes"])
    return [] if told["total"] == len(states) else [f"{batch['id']}: {told}, and there are {counts}"]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument("--keep", action="store_true", help="leave the folder as it is, and say where")
    given = parser.parse_args()
    began_at = time.monotonic()
    with folder_of_run(given.keep) as folder:
        if given.keep:
            sys.stdout.write(f"in {folder}\n")
        wrong, counts = crash(folder, given.rounds, given.seed, progress=True)
    sys.stdout.write(f"\n{given.rounds} rounds, seed {given.seed}, {time.monotonic() - began_at:.0f} s\n")
    sys.stdout.write("".join(f"{count:8} {what}\n" for what, count in counts.items()))
    sys.stdout.write("\n".join(wrong[:50]) + "\nWRONG\n" if wrong else "nothing wrong\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
