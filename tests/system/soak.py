"""A soak: processes are killed and stopped by chance, the supervisor too, while jobs are submitted.

    python -m tests.system.soak --seconds 600 --seed 1

At each look `zmws status` is compared with what there is. At the end every acknowledged job is complete, and
no process is left.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.peers import wait_until
from tests.system.installation import Installation, installation, processes_in, supervisor_of, worker_table
from zmws.client.synchronous import Client
from zmws.errors import ZmwsError

WORKS = """
import random, time
from zmws import WorkerBase

class Works(WorkerBase):
    service_name = "WORKS"
    isolate = ISOLATE
    concurrency = CONCURRENCY

    def work(self, job_id, params):
        time.sleep(random.uniform(0, 0.05))
        return params
"""
QUICK = """
[supervisor]
ready_timeout = 10
silence_max = 3
check_interval = 0.5
restart_delay_max = 2
kill_after = 2
"""
SETTLED_S = 1.5  # what was so for so long, status is to know


@dataclass
class Soaked:
    """What came of it."""

    submitted: int = 0
    complete: int = 0
    blows: Counter[str] = field(default_factory=Counter)
    looks: int = 0
    wrong: list[str] = field(default_factory=list)


def soak(root: Path, seconds: float, seed: int) -> Soaked:
    """Do it; what was wrong is in `wrong`."""
    draw, soaked = random.Random(seed), Soaked()
    tables = worker_table("one", "one.py", 2) + worker_table("two", "two.py", 1)
    more = {"broker": "heartbeat_interval = 1", "more": QUICK}
    with installation(root, tables, **more) as zmws:
        for name, isolate in (("one", "False"), ("two", "True")):
            text = WORKS.replace("ISOLATE", isolate).replace("CONCURRENCY", "2" if name == "two" else "1")
            (root / f"{name}.py").write_text(text)
        assert zmws.run("start").code == 0
        stop = threading.Event()
        ids: list[str] = []
        loading = threading.Thread(target=_load, args=(zmws, stop, ids))
        loading.start()
        try:
            _blows(zmws, draw, soaked, time.monotonic() + seconds)
        finally:
            stop.set()
            loading.join()
        soaked.submitted = len(ids)
        _settle(zmws, soaked, ids)
    return soaked


def _load(zmws: Installation, stop: threading.Event, ids: list[str]) -> None:
    with Client(zmws.client, connect_timeout=20, reconnect_timeout=20) as client:
        while not stop.is_set():
            with contextlib.suppress(ZmwsError):
                ids.append(client.submit("WORKS", len(ids), retries=100).id)
            time.sleep(0.01)


def _blows(zmws: Installation, draw: random.Random, soaked: Soaked, until: float) -> None:
    resumed_at: dict[int, float] = {}
    died_at: dict[int, float] = {}
    was_killed = False  # the supervisor was, by us
    while time.monotonic() < until:
        time.sleep(draw.uniform(0.1, 0.8))
        now = time.monotonic()
        for pid in [one for one, at in resumed_at.items() if at <= now]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
            del resumed_at[pid]
        supervisor = supervisor_of(zmws.root)
        if supervisor is None:
            if not was_killed:
                soaked.wrong.append("the supervisor has ended by itself")
            soaked.blows["start"] += 1
            started = zmws.run("start", "--timeout", "3")
            was_killed = False
            if started.code != 0 and "not ready" not in started.err:
                soaked.wrong.append(f"start: {started.err}")
            continue
        victims = {**zmws.pids(), "supervisor": supervisor}
        is_first = not soaked.blows
        name = "supervisor" if is_first else draw.choice(sorted(victims))
        pid = victims[name]
        kind = name.partition("_")[0]
        with contextlib.suppress(ProcessLookupError):
            if is_first or draw.random() < 0.6:
                os.kill(pid, signal.SIGKILL)
                was_killed = was_killed or name == "supervisor"
                died_at[pid] = time.monotonic()
                soaked.blows[f"kill {kind}"] += 1
            else:
                os.kill(pid, signal.SIGSTOP)
                # Some are never let go on by us: that is the supervisor's matter, but for its own.
                if name == "supervisor" or draw.random() < 0.5:
                    resumed_at[pid] = time.monotonic() + draw.uniform(0.0, 3.0)
                soaked.blows[f"stop {kind}"] += 1
        # A reload without a supervisor would begin one: that is for `start`.
        has_died = name == "supervisor" or supervisor_of(zmws.root) in (None, *resumed_at)
        if draw.random() < 0.15 and not has_died:
            verb = draw.choice([["reload", "one"], ["reload"], ["scale", f"one={draw.randrange(1, 4)}"]])
            changed = zmws.run(*verb, "--timeout", "3")
            soaked.blows[verb[0]] += 1
            if "Traceback" in changed.err:
                soaked.wrong.append(f"{verb}: {changed.err}")
        if draw.random() < 0.4 and supervisor_of(zmws.root) not in resumed_at:
            _look(zmws, soaked, died_at)
    for pid in resumed_at:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def _look(zmws: Installation, soaked: Soaked, died_at: dict[int, float]) -> None:
    began, before = time.monotonic(), set(processes_in(zmws.root))
    ran = zmws.run("status", "--json")
    soaked.looks += 1
    try:
        rows = ran.json()["processes"]
    except ValueError:
        soaked.wrong.append(f"status is no JSON: {ran}")
        return
    for row in rows:
        if row["pid"] is not None and died_at.get(row["pid"], began) < began - SETTLED_S:
            soaked.wrong.append(f"status says that {row['name']} runs as {row['pid']}, which was killed")
        if row["pid"] is None and row["state"] == "running":
            soaked.wrong.append(f"status says that {row['name']} runs, and has no process")
    states = {row["state"] for row in rows}
    if ran.code == 0 and states != {"running"}:
        soaked.wrong.append(f"status ends with 0, and says {states}")
    shown = {row["pid"] for row in rows}
    unknown = before & set(processes_in(zmws.root)) - shown
    until = time.monotonic() + SETTLED_S
    while unknown and time.monotonic() < until:
        time.sleep(0.1)
        noted = set(zmws.pids().values())
        # The child of an isolated job has a noted process for its parent.
        unknown = {
            pid
            for pid in unknown & set(processes_in(zmws.root))
            if pid not in noted and _parent_of(pid) not in noted
        }
    if unknown:
        soaked.wrong.append(f"processes that nobody has noted: {unknown}")


def _parent_of(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _settle(zmws: Installation, soaked: Soaked, ids: list[str]) -> None:
    for pid in processes_in(zmws.root):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    wait_until(lambda: zmws.run("start").code == 0, 60, "all to run")
    _look(zmws, soaked, {})
    status = zmws.run("status")
    if status.code != 0:
        soaked.wrong.append(f"status at the end: {status.out} {status.err}")
    with Client(zmws.client, connect_timeout=20, reconnect_timeout=20) as client:

        def unfinished() -> list[str]:
            return [one for one in ids if client.job(one).status()["state"] != "complete"]

        try:
            wait_until(
                lambda: client.service("WORKS")["complete"] >= len(ids), 60 + len(ids) / 50, "all jobs"
            )
        except AssertionError:
            soaked.wrong.append(f"not complete: {unfinished()}")
        soaked.complete = len(ids) - len(unfinished())
        if soaked.complete != len(ids):
            soaked.wrong.append(
                f"{len(ids) - soaked.complete} of {len(ids)} acknowledged jobs are not complete"
            )
    if "Traceback" in (zmws.root / "logs" / "supervisor.txt").read_text():
        soaked.wrong.append((zmws.root / "logs" / "supervisor.txt").read_text())
    stopped = zmws.run("stop")
    left = [*processes_in(zmws.root), *filter(None, [supervisor_of(zmws.root)])]
    if stopped.code != 0 or left:
        soaked.wrong.append(f"left at the end: {left}, {stopped}")


def main() -> int:
    """From the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        soaked = soak(Path(folder), given.seconds, given.seed)
    told = [f"seed {given.seed}: {dict(sorted(soaked.blows.items()))}, {soaked.looks} looks at status"]
    told.append(f"{soaked.submitted} jobs acknowledged, {soaked.complete} complete")
    told += [f"WRONG: {wrong}" for wrong in soaked.wrong]
    sys.stdout.write("\n".join(told) + "\n")
    return 1 if soaked.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
