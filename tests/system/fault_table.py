"""What happens to a job, for each fault and each kind of executor: what an operator sees of it, and how soon
the job runs elsewhere, or has ended.

    python -m tests.system.fault_table --kind children --markdown FILE

It takes some minutes a kind: heartbeats are as they are set by default. In each row a second worker of the
same service stands by. A row is wrong where the job is lost or runs twice with a valid token, where a
process is left behind at the end, or where it takes longer than WORKERS gives it. Some rows need root:
`ip netns` for the network that is cut, a cgroup for want of memory; libfaketime for the clock.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.peers import await_workers, wait_until
from tests.system.fault_stand import (
    KINDS,
    SERVICE,
    Stand,
    await_value,
    below,
    little_memory,
    network,
    runs,
    stand,
    system,
)
from zmws.client import Job
from zmws.errors import JobTimeout

INTERVAL_S, LIVENESS = 5.0, 3  # the broker's defaults
EXPIRY_S = INTERVAL_S * LIVENESS
CANCEL_GRACE_S = 5.0
TTR_S = 2.0
SOON_S = 2.5  # about one second, on a machine that has other work
FREE_S, OTHERS_S = 45.0, 40.0

ALL = tuple(KINDS)
HERE = tuple(kind for kind in KINDS if kind != "children")
CHILDREN = ("children",)


@dataclass
class Fault:
    """A row, of each of its kinds."""

    name: str
    text: str
    run: Callable[[Stand], Job]
    kinds: tuple[str, ...] = ALL
    within_s: float = SOON_S
    free_within_s: float | None = None
    more: str = ""  # what the workers' class declares
    workers: int = 2


@dataclass
class Row:
    """What was found."""

    fault: str
    kind: str
    seen: str = ""
    went_on_s: float | None = None
    within_s: float = 0.0
    free_s: float | None = None
    end: str = ""
    wrong: list[str] = field(default_factory=list)

    def cells(self) -> list[str]:
        went_on = "-" if self.went_on_s is None else f"{self.went_on_s:.1f} (<= {self.within_s:g})"
        free = "-" if self.free_s is None else f"{self.free_s:.1f}"
        cells = [self.fault, self.kind, self.seen, went_on, free, self.end, "; ".join(self.wrong) or "ok"]
        return [re.sub(r"\s+", " ", cell).replace("|", "\\|") for cell in cells]


HEAD = [
    "fault",
    "kind",
    "what an operator sees",
    "goes on after s",
    "slot free after s",
    "the job",
    "verdict",
]
FAULTS: list[Fault] = []


def fault(name: str, text: str, **more: object) -> Callable[[Callable[[Stand], Job]], Callable[[Stand], Job]]:
    def known(run: Callable[[Stand], Job]) -> Callable[[Stand], Job]:
        FAULTS.append(Fault(name, text, run, **more))  # type: ignore[arg-type]
        return run

    return known


def _waiting(at: Stand, do: str = "waits", **more: object) -> tuple[Job, int, int]:
    """A job at work, its process and its worker's."""
    job = at.submit(do, **more)
    begun = at.await_note("begun", job)
    return job, begun["pid"], begun["worker"]


def _past_ttr(at: Stand, do: str, **more: object) -> Job:
    """A job whose fault is that it runs on when its ttr has passed."""
    job = at.submit(do, ttr=TTR_S, **more)
    at.breaks(at.await_note("begun", job)["at"] + TTR_S)
    return job


def _breaks_itself(at: Stand, do: str, **more: object) -> Job:
    job = at.submit(do, **more)
    at.breaks(at.await_note("begun", job)["at"])
    return job


# ---------------------------------------------------------------- somebody kills or stops


@fault("worker-killed", "`kill -9` of the worker")
def _worker_killed(at: Stand) -> Job:
    job, _, worker = _waiting(at)
    at.breaks()
    os.kill(worker, signal.SIGKILL)
    return job


@fault("child-killed", "`kill -9` of the child", kinds=CHILDREN)
def _child_killed(at: Stand) -> Job:
    job, pid, _ = _waiting(at)
    at.breaks()
    os.kill(pid, signal.SIGKILL)
    return job


@fault("idle-child-killed", "`kill -9` of all idle children, a job right behind", kinds=CHILDREN, workers=1)
def _idle_child_killed(at: Stand) -> Job:
    (worker,) = at.workers
    children = below(worker)[1:]
    at.breaks()
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    return at.submit("returns")


@fault(
    "worker-stopped", "SIGSTOP of the worker, SIGCONT when the job runs elsewhere", within_s=EXPIRY_S + 1.5
)
def _worker_stopped(at: Stand) -> Job:
    job, _, worker = _waiting(at)
    at.breaks()
    os.kill(worker, signal.SIGSTOP)
    at.await_note("begun", job, 2, EXPIRY_S + 15)
    at.open_gate()
    os.kill(worker, signal.SIGCONT)
    _late_result_is_refused(at)
    return job


def _late_result_is_refused(at: Stand) -> None:
    refused = lambda: at.client.stats()["counters"].get("results_refused", 0)  # noqa: E731
    try:
        wait_until(refused, 10)
        at.told.append("late result refused")
    except AssertionError:
        at.told.append("no late result came")


@fault("child-stopped", "SIGSTOP of the child, past its ttr", kinds=CHILDREN, free_within_s=6)
def _child_stopped(at: Stand) -> Job:
    job = at.submit("waits", ttr=TTR_S)
    begun = at.await_note("begun", job)
    os.kill(begun["pid"], signal.SIGSTOP)
    at.breaks(begun["at"] + TTR_S)
    return job


# ---------------------------------------------------------------- work() holds on


@fault("loop", "an endless loop in Python, past its ttr", free_within_s=2 * CANCEL_GRACE_S + 2)
def _loop(at: Stand) -> Job:
    return _past_ttr(at, "spins")


@fault("holds-lock", "C code holds the interpreter's lock for 3 x the expiry", within_s=3 * EXPIRY_S + 2)
def _holds_lock(at: Stand) -> Job:
    return _breaks_itself(at, "holds_lock", seconds=3 * EXPIRY_S)


def _others(at: Stand, holds: Job, count: int = 6) -> Job:
    """More jobs, now, while one holds its worker; the one that ended last."""
    at.holds, at.until_end = holds, True
    at.breaks()
    jobs = [at.submit("returns") for _ in range(count)]
    until = time.monotonic() + OTHERS_S
    ended = []
    for job in jobs:
        with contextlib.suppress(JobTimeout):
            ended.append((job.wait(max(0.1, until - time.monotonic()))["ended_at"], job))
    if len(ended) < count:
        at.wrong.append(f"{count - len(ended)} of {count} have not ended after {OTHERS_S:g} s")
    failures = sum(job.status()["failures"] for job in jobs)
    at.told.append(f"the last of {len(ended)}; {failures} failures of all of them")
    return max(ended, key=lambda one: one[0])[1]


@fault(
    "lock-held-others",
    "C code holds the interpreter's lock of a worker with two slots; 6 other jobs come when it is silent",
    kinds=("threads", "coroutines", "children"),
)
def _lock_held_others(at: Stand) -> Job:
    job = at.submit("holds_lock", seconds=3 * EXPIRY_S)
    begun = at.await_note("begun", job)
    silent_at = begun["at"] + EXPIRY_S + 1
    wait_until(lambda: time.monotonic() > silent_at, EXPIRY_S + 5)
    return _others(at, job)


@fault(
    "loop-others",
    "an endless loop in Python (ttr 2 s) in a worker with two slots; 6 other jobs come while it runs",
    kinds=("threads", "coroutines", "children"),
)
def _loop_others(at: Stand) -> Job:
    job = at.submit("spins", ttr=TTR_S, retries=0)
    at.await_note("begun", job)
    return _others(at, job)


@fault("never-returns", "work() sleeps past its ttr", free_within_s=2 * CANCEL_GRACE_S + 2)
def _never_returns(at: Stand) -> Job:
    return _past_ttr(at, "never_returns")


@fault(
    "cancel-ignored",
    "cancel of a job that ignores everything",
    within_s=CANCEL_GRACE_S + 1,
    free_within_s=2 * CANCEL_GRACE_S + 2,
)
def _cancel_ignored(at: Stand) -> Job:
    job, _, _ = _waiting(at, "ignores_all")
    at.breaks()
    job.cancel()
    return job


# ---------------------------------------------------------------- work() ends its process


@fault("segfault", "a segfault (`ctypes.string_at(0)`)")
def _segfault(at: Stand) -> Job:
    return _breaks_itself(at, "reads_null")


@fault("exit", "`os._exit(0)`")
def _exit(at: Stand) -> Job:
    return _breaks_itself(at, "ends_process")


@fault("sys-exit", "`sys.exit()` in work()")
def _sys_exit(at: Stand) -> Job:
    return _breaks_itself(at, "leaves")


@fault("max-memory", "a job goes past `max_memory`", more='max_memory = "150 MiB"')
def _max_memory(at: Stand) -> Job:
    job = _breaks_itself(at, "eats", bytes=200 * 2**20)
    begun = at.await_note("ended", job)
    at.breaks(begun["at"])

    def gone() -> bool:
        return not Path(f"/proc/{begun['pid']}").exists() or at.workers[begun["worker"]].ended

    wait_until(gone, 10, "it has left")
    worker = at.workers[begun["worker"]]
    if at.kind == "children":
        at.told.append("the child left, the worker stays" if not worker.ended else "the worker left")
    else:
        at.told.append(f"exit code {worker.popen.wait(10)}")
    return job


@fault("out-of-memory", "the system's out-of-memory killer")
def _out_of_memory(at: Stand) -> Job:
    job, pid, worker = _waiting(at, "eats_all")
    try:
        with little_memory(below(worker), 150 * 2**20):
            at.breaks()
            at.open_gate()
            wait_until(lambda: not runs(pid), 30, "it is killed")
            at.breaks()
            at.told.append("real, in a cgroup")
    except OSError as wrong:
        at.breaks()
        os.kill(pid, signal.SIGKILL)
        at.told.append(f"simulated by SIGKILL: {wrong}")
    return job


# ---------------------------------------------------------------- the connection, the broker, the clock


@fault("deaf-busy", "the worker's I/O thread stalls while the job runs (ttr 25 s)", within_s=1.5)
def _deaf_busy(at: Stand) -> Job:
    job = at.submit("waits", ttr=25.0)
    begun = at.await_note("begun", job)
    stalled = at.folder / f"stalled-{begun['worker']}"
    stalled.touch()
    at.breaks(begun["at"] + 25.0)
    at.await_note("begun", job, 2, 60)
    at.open_gate()
    stalled.unlink()
    _late_result_is_refused(at)
    return job


@fault(
    "deaf-idle",
    "the I/O thread of an idle worker stalls, a job comes for it, a second worker after that (ttr 20 s)",
    within_s=21.0,
    workers=1,
)
def _deaf_idle(at: Stand) -> Job:
    (worker,) = at.workers
    stalled = at.folder / f"stalled-{worker}"
    stalled.touch()
    wait_until(lambda: Path(f"{stalled}-in").exists(), 2 * INTERVAL_S, "it says something, and stalls")
    job = at.submit("returns", ttr=20.0)
    at.breaks()
    wait_until(lambda: job.status()["state"] == "running", 10)
    at.start_worker()
    at.await_note("begun", job, 1, 90)
    first = at.notes("begun", job)[0]
    if first["worker"] == worker:
        at.wrong.append("it ran in the stalled worker")
    stalled.unlink()
    return job


@fault("broker-killed", "`kill -9` of the broker in mid-job, and a new start", within_s=2 * INTERVAL_S)
def _broker_killed(at: Stand) -> Job:
    job, _, _ = _waiting(at)
    at.breaks()
    at.broker.restart()
    await_workers(at.client, 2, SERVICE, 30)
    at.told.append(f"both workers known again after {time.monotonic() - at.fault_at:.1f} s")
    at.open_gate()
    return job


@fault("network-cut", "the network is cut, and back when the job runs elsewhere", within_s=EXPIRY_S + 1.5)
def _network_cut(at: Stand) -> Job:
    raise NotImplementedError("run by _run_cut")


def _run_cut(at: Stand, inside: list[str], cut: list[str], back: list[str]) -> Job:
    at.start_worker(*inside)
    at.await_workers()
    job, _, _ = _waiting(at)
    at.start_worker()
    at.await_workers()
    at.breaks()
    system(*cut)
    at.await_note("begun", job, 2, EXPIRY_S + 15)
    at.open_gate()
    system(*back)
    _late_result_is_refused(at)
    await_workers(at.client, 2, SERVICE, 30)
    at.told.append("veth in a network namespace; the worker came back")
    return job


@fault("clock-stepped", "the broker's clock steps an hour forward and back in mid-job", within_s=6)
def _clock_stepped(at: Stand) -> Job:
    clock = at.folder / "clock"
    job, _, _ = _waiting(at, ttr=60.0)
    later = at.submit("returns", delay=600.0)
    at.breaks()
    clock.write_text("+3600\n")
    told_at = at.submit("returns", delay=300.0).status()
    time.sleep(2)
    forward = at.client.stats()
    clock.write_text("+0\n")
    time.sleep(2)
    at.open_gate()
    state = later.status()["state"]
    if state != "scheduled":
        at.wrong.append(f"a job of delay 600 is {state}")
    stepped = [str(value) for value in told_at.values() if re.match(r"\d{4}-\d\d-\d\dT", str(value))]
    at.told.append(f"libfaketime; a job made then says {stepped[0] if stepped else forward}")
    return job


# ---------------------------------------------------------------- what work() has started


def _grandchildren(at: Stand, do: str, of_child: bool = False, **more: object) -> Job:
    job, pid, worker = _waiting(at, do, **more)
    started = at.await_note("started", job)["pids"]
    all_of_it = {*started, *below(pid)[1:]} if at.kind == "children" else {*started}
    at.breaks()
    os.kill(pid if of_child else worker, signal.SIGKILL)
    at.await_note("begun", job, 2, 40)
    time.sleep(1)
    left = [one for one in all_of_it if runs(one)]
    at.told.append(f"grandchildren left: {len(left)} of {len(all_of_it)}")
    if left:
        at.wrong.append("grandchildren are left")
    for one in left:
        os.kill(one, signal.SIGKILL)
    return job


# What was forked holds the connection of a worker whose work() forks itself: only heartbeats tell its death.
@fault("fork", "os.fork in work(), then `kill -9` of the worker", within_s=EXPIRY_S + 1.5)
def _fork(at: Stand) -> Job:
    return _grandchildren(at, "forks")


@fault("pool-fork", "a Pool (fork) in work(), then `kill -9` of the worker", within_s=EXPIRY_S + 1.5)
def _pool_fork(at: Stand) -> Job:
    return _grandchildren(at, "pool", how="fork")


@fault("pool-spawn", "a Pool (spawn) in work(), then `kill -9` of the worker")
def _pool_spawn(at: Stand) -> Job:
    return _grandchildren(at, "pool", how="spawn")


@fault("fork-child-killed", "os.fork in work(), then `kill -9` of the child", kinds=CHILDREN)
def _fork_child_killed(at: Stand) -> Job:
    return _grandchildren(at, "forks", of_child=True)


@fault("pool-cancelled", "cancel of a job with a Pool (fork)", kinds=CHILDREN, within_s=CANCEL_GRACE_S + 1)
def _pool_cancelled(at: Stand) -> Job:
    job, _, _ = _waiting(at, "pool", how="fork")
    started = at.await_note("started", job)["pids"]
    at.breaks()
    job.cancel()
    wait_until(lambda: all(row["state"] == "idle" for row in at.client.workers()), 20)
    time.sleep(1)
    left = [one for one in started if runs(one)]
    at.told.append(f"grandchildren left in a child that lives on: {len(left)} of {len(started)}")
    return job


# ---------------------------------------------------------------- a row


def _faketime() -> Path | None:
    return next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


def measure(one: Fault, kind: str, folder: Path) -> Row:
    """Make the fault, and look what becomes of it."""
    row = Row(one.text, kind, within_s=one.within_s)
    if one.name == "network-cut":
        try:
            with (
                network() as (address, inside, cut, back),
                stand(folder, kind, one.more, 0, address=address) as at,
            ):
                _finish(at, one, row, _run_cut(at, inside, cut, back))
        except OSError as wrong:
            row.end = f"not done: no network namespace here ({wrong})"
        return row
    environment = None
    if one.name == "clock-stepped":
        if (library := _faketime()) is None:
            row.end = "not done here: no libfaketime; the simulator steps the clock"
            return row
        (folder / "clock").write_text("+0\n")
        environment = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(folder / "clock"),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
    with stand(folder, kind, one.more, one.workers, broker_environment=environment) as at:
        _finish(at, one, row, one.run(at))
    return row


def _finish(at: Stand, one: Fault, row: Row, job: Job) -> None:
    record = job.wait(EXPIRY_S * 3 + 30)
    is_cancelled = record["state"] == "cancelled"
    if not is_cancelled:
        at.check(job, record)
    victim = at.notes("begun", at.holds or job)[0]["worker"]
    if one.workers == 1 and len(at.workers) > 1:
        victim = next(iter(at.workers))
    free_at = _free_at(at, victim, at.holds or job)
    row.free_s = None if free_at is None else free_at - at.fault_at
    row.went_on_s = row.free_s if is_cancelled else at.went_on_after(job)
    if is_cancelled and at.kind != "children":
        row.within_s = 2 * CANCEL_GRACE_S + 1  # it cannot be killed: its worker leaves
    if row.went_on_s is None:
        at.wrong.append("it never went on")
    elif row.went_on_s > row.within_s:
        at.wrong.append(f"late: {row.went_on_s:.1f} s, not {row.within_s:g}")
    if one.free_within_s is not None and (row.free_s is None or row.free_s > one.free_within_s):
        at.wrong.append(f"its slot is not free within {one.free_within_s:g} s")
    row.seen = _seen(at, victim, record)
    left = at.end()
    if left:
        at.wrong.append(f"left at the end: {left}")
    attempts = f"attempt {record['attempt']}, {record['failures']} failures"
    row.end = "; ".join([f"{record['state']}, {attempts}", *at.told])
    row.wrong = at.wrong


def _free_at(at: Stand, victim: int, job: Job) -> float | None:
    return await_value(lambda: at.watch.free_at(victim, job.id, at.fault_at), FREE_S)


def _seen(at: Stand, victim: int, record: dict[str, object]) -> str:
    states = [f"{state} {s:.1f}" for s, state in at.watch.states(victim, at.fault_at)[:6]]
    told = ["state: " + ", ".join(states)]
    attempts = record.get("attempts")
    first = attempts[0] if isinstance(attempts, list) and attempts else {}
    error = first.get("error") or {}
    text = ": ".join(str(error[name]) for name in ("code", "type", "error") if name in error)
    if text:
        told.append(f"attempt {first['attempt']}: {text[:170]}")
    lines = re.findall(r"^\S+Z (?:WARNING|ERROR) zmws\S*: (?:\[[^]]*\] )?(.*)$", at.log(victim), re.M)
    if lines:
        told.append(f"log: {lines[0][:120]}")
    code = at.workers[victim].popen.poll()
    if code is not None:
        told.append(f"the worker ended: {code}")
    return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", "; ".join(told))


def rows(only: str | None, kind: str | None) -> Iterator[Row]:
    for one in FAULTS:
        if only is not None and only != one.name:
            continue
        for here in one.kinds:
            if kind is not None and kind != here:
                continue
            with tempfile.TemporaryDirectory(prefix="zmws-fault-") as folder:
                try:
                    yield measure(one, here, Path(folder))
                except Exception as wrong:  # a row that could not be done is told as one that is wrong
                    traceback.print_exc()
                    yield Row(one.text, here, wrong=[f"not measured: {str(wrong).splitlines()[:1]}"])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", metavar="FAULT", choices=[one.name for one in FAULTS])
    parser.add_argument("--kind", choices=ALL)
    parser.add_argument("--markdown", metavar="FILE", type=Path)
    given = parser.parse_args()
    lines = [f"| {' | '.join(HEAD)} |", f"|{'---|' * len(HEAD)}"]
    wrong = 0
    for row in rows(given.only, given.kind):
        wrong += bool(row.wrong)
        lines.append(f"| {' | '.join(row.cells())} |")
        sys.stdout.write(lines[-1] + "\n")
        sys.stdout.flush()
        if given.markdown is not None:
            given.markdown.write_text("\n".join(lines) + "\n")
    sys.stdout.write(f"{len(lines) - 2} rows, {wrong} wrong\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
