"""How an installation is: its processes, and its broker."""

from __future__ import annotations

import contextlib
import os
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zmws.errors import Refused, ZmwsError
from zmws.supervisor.broker import Broker, client_of, look
from zmws.supervisor.door import Asked, NoSupervisor
from zmws.supervisor.pidfile import PidFile
from zmws.supervisor.processes import BROKER, DIED, RUNNING, Installation, State
from zmws.supervisor.vitals import Vitals, vitals


@dataclass(frozen=True, slots=True)
class Disk:
    """Bytes of the job store, with what is not yet merged into it (`wal_bytes`), and bytes that are free
    there."""

    store_bytes: int
    free_bytes: int
    wal_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Status:
    """`out_of_descriptors`: how many a broker has in use and may have, if that is why nobody can ask it.
    By the name of a process: `vitals` what the system tells of it, `workers` what the broker does (a row of
    zmws.workers), `stale` the worker file that is newer than it is. `supervisor`: what it says (door.py),
    None where none runs, or `supervisor_fault` says why it cannot be asked.
    `services`: rows of zmws.services. `disk`: None where jobs are kept in memory. `warnings`: what the broker
    says is wrong."""

    processes: list[State]
    broker: Broker
    out_of_descriptors: tuple[int, int] | None
    vitals: dict[str, Vitals]
    workers: dict[str, dict[str, Any]]
    stale: dict[str, Path]
    supervisor: dict[str, Any] | None
    supervisor_fault: str
    services: list[dict[str, Any]]
    disk: Disk | None
    warnings: list[dict[str, Any]]

    @property
    def copies(self) -> dict[str, dict[str, Any]]:
        """What the supervisor says of each process that it keeps."""
        rows = [] if self.supervisor is None else self.supervisor["copies"]
        return {row["name"]: row for row in rows}

    @property
    def all_run(self) -> bool:
        """Whether all runs that is to run."""
        kept = all(row["state"] == RUNNING for row in self.copies.values() if row["wanted"])
        return kept and not self.supervisor_fault and not any(one.state == DIED for one in self.processes)


_PATIENCE_S = 3.0  # with the supervisor


def status(installation: Installation) -> Status:
    """How it is now."""
    kept, fault = None, ""
    try:
        kept = kept_by_supervisor(installation)
    except ZmwsError as wrong:
        fault = str(wrong)
    copies = {row["name"]: row for row in ([] if kept is None else kept["copies"])}
    noted = installation.noted()
    wanted = {name for name, copy in copies.items() if copy["wanted"]}
    names = [
        process.name
        for process in installation.processes(True, True, with_spare=True)
        if not process.is_spare or process.name in {*noted, *wanted}
    ]
    names += [name for name in sorted({*noted, *wanted}) if name not in names]
    states = [_state(installation.state(name), copies.get(name)) for name in names]
    broker = look(installation)
    row = next(one for one in states if one.name == BROKER)
    used_up = None
    if broker.stats is None:
        # Such a broker accepts nobody who could ask it: seen from outside, it says why.
        found = descriptors_of(row.pid) if row.pid is not None else None
        used_up = found if found is not None and found[0] >= found[1] else None
    elif row.state != RUNNING:
        # In the foreground, as systemd runs it: nobody has noted it.
        row.state, row.pid, row.last_sign_at = RUNNING, broker.pid, None
    pids = {one.name: one.pid for one in states if one.pid is not None}
    found_of = {name: told for name, pid in pids.items() if (told := vitals(pid)) is not None}
    said = _asked(installation, pids) if broker.what == "ours" else _Told()
    stale, disk = _stale(installation), disk_of(installation)
    more = (kept, fault, said.services, disk, said.warnings)
    return Status(states, broker, used_up, found_of, said.workers, stale, *more)


def kept_by_supervisor(installation: Installation) -> dict[str, Any] | None:
    """What the supervisor says of itself and of what it keeps; None where none runs. Raises ZmwsError where
    one hangs, or is another user's."""
    try:
        with contextlib.closing(Asked(installation.run_dir, {"verb": "status"}, _PATIENCE_S)) as asked:
            for answer in asked.answers():
                told: dict[str, Any] | None = answer.get("done")
                return told
    except NoSupervisor:
        pass
    return None


def _state(seen: State, copy: dict[str, Any] | None) -> State:
    """How it is, as the supervisor has it, where it keeps it."""
    if copy is not None and (copy["wanted"] or copy["pid"] is not None or seen.state == DIED):
        return State(seen.name, copy["state"], copy["pid"], None)
    return seen


@dataclass(slots=True)
class _Told:
    """What the broker says: of our workers, by name; of services; and what is wrong."""

    workers: dict[str, dict[str, Any]] = field(default_factory=dict)
    services: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[dict[str, Any]] = field(default_factory=list)


def _asked(installation: Installation, pids: dict[str, int]) -> _Told:
    told = _Told()
    try:
        with client_of(installation, 1.0) as client:
            asked = [client.answer_future(f"zmws.{what}") for what in ("workers", "services", "warnings")]
            workers, told.services = (one.result() for one in asked[:2])
            with contextlib.suppress(Refused):  # an older broker
                told.warnings = asked[2].result()
    except ZmwsError:
        return told
    rows = {(row["host"], row["pid"]): row for row in workers}
    host = socket.gethostname()
    told.workers = {name: rows[host, pid] for name, pid in pids.items() if (host, pid) in rows}
    return told


def disk_of(installation: Installation) -> Disk | None:
    """What the store takes up, and what its disk has room for; None where jobs are kept in memory."""
    path = installation.settings.store_path
    if path is None:
        return None
    try:
        there = os.statvfs(path.parent)
        size, wal = (
            file.stat().st_size if file.exists() else 0 for file in (path, path.with_name(path.name + "-wal"))
        )
    except OSError:
        return None
    return Disk(size + wal, there.f_bavail * there.f_frsize, wal)


def _stale(installation: Installation) -> dict[str, Path]:
    """Those that run another version of their file than there is now."""
    return {
        process.name: process.worker.file
        for process in installation.processes(False, True, with_spare=True)
        if process.worker is not None
        and PidFile(installation.run_dir, process.name).runs_older(process.worker.file)
    }


def descriptors_of(pid: int) -> tuple[int, int] | None:
    """How many a process has in use, and how many it may have; None where the system does not tell."""
    try:
        limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
        (allowed,) = [int(line.split()[3]) for line in limits if line.startswith("Max open files")]
        return len(list(Path(f"/proc/{pid}/fd").iterdir())), allowed
    except (OSError, ValueError):
        return None
