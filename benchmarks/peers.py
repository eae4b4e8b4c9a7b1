"""The peers of drain.py: how each one's jobs are enqueued, its workers started, and its results counted.

Every peer has a program beside this file, NAME_app.py, with the same two functions: `enqueue(jobs)` gives the
id of the last job, `result(id)` what it has returned. It runs in the Python that has the peers installed.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from harness import (
    HERE,
    Broken,
    CannotRun,
    Disk,
    Drained,
    Process,
    Processes,
    check_alive,
    cpu_of,
    watch_drain,
)
from redis_server import RedisServer

ASK_TIMEOUT_S = 60.0
JOBS_PER_S_MIN = 50  # slower than this is broken, not slow

VERSIONS = """
import importlib.metadata, json, sys

found = {}
for name in sys.argv[1:]:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


@dataclass
class Load:
    jobs: int
    workers: int
    disk: Disk

    @property
    def timeout_s(self) -> float:
        return 60 + self.jobs / JOBS_PER_S_MIN


class Place(Protocol):
    """Where a peer keeps its jobs and results."""

    @property
    def environment(self) -> Mapping[str, str]:
        """What the peer's programs find it by."""

    @property
    def servers(self) -> Sequence[Process]:
        """The processes it is kept by."""

    def results(self) -> int:
        """How many are stored."""

    def close(self) -> None:
        """What was opened to count them."""


class SqliteFile:
    """Huey's file."""

    def __init__(self, processes: Processes) -> None:
        database = processes.folder / "huey.db"
        self.environment = {"HUEY_DB": str(database)}
        self.servers: list[Process] = []
        self._address = f"file:{database}?mode=ro"
        self._connection: sqlite3.Connection | None = None

    def results(self) -> int:
        if self._connection is None:  # Huey makes the file when the first job is enqueued
            self._connection = sqlite3.connect(self._address, uri=True)
        return int(self._connection.execute("SELECT count(*) FROM kv").fetchone()[0])

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


@dataclass
class Peer:
    """A library that does jobs, and how its workers are started: a command behind `python -m`."""

    name: str
    title: str
    keeps: str  # where jobs and results are, in a few words
    packages: Sequence[str]
    place: Callable[[Processes], Place]
    command: str  # {workers}: how many processes; {number}: one command for each process, which has a number
    faster: Sequence[str] = ()  # what it is faster with, and uses where it is installed
    one_at_a_time: str = ""  # the flag by which a worker does one job at a time, where it does more

    @property
    def app(self) -> str:
        return f"{self.name}_app"

    @property
    def on_redis(self) -> bool:
        return self.place is RedisServer

    def commands(self, python: str, workers: int, one_at_a_time: bool = False) -> list[list[str]]:
        count = workers if "{number}" in self.command else 1
        texts = [self.command.format(workers=workers, number=number) for number in range(count)]
        more = self.one_at_a_time.split() if one_at_a_time else []
        return [[python, "-m", *text.split(), *more] for text in texts]


IN_REDIS = "Redis, nothing on disk"

# What a command does not name is as it comes; README.md here says why it names what it does.
PEERS = [
    Peer(
        "huey",
        "Huey",
        "SQLite, on disk",
        ["huey"],
        SqliteFile,
        "huey.bin.huey_consumer huey_app.huey -q -n -k process -w {workers}",
    ),
    Peer(
        "taskiq",
        "Taskiq",
        IN_REDIS,
        ["taskiq", "taskiq-redis", "redis"],
        RedisServer,
        "taskiq worker taskiq_app:broker --workers {workers} --log-level WARNING",
        faster=["hiredis", "uvloop"],
        one_at_a_time="--max-async-tasks 1",
    ),
    Peer(
        "dramatiq",
        "Dramatiq",
        IN_REDIS,
        ["dramatiq", "redis"],
        RedisServer,
        "dramatiq dramatiq_app --processes {workers}",
        faster=["hiredis"],
        one_at_a_time="--threads 1",
    ),
    Peer(
        "celery",
        "Celery",
        IN_REDIS,
        ["celery", "redis"],
        RedisServer,
        "celery --app celery_app worker --pool solo --hostname worker{number}@bench --loglevel WARNING"
        " --without-gossip --without-mingle --without-heartbeat",
        faster=["hiredis"],
    ),
]


def versions(peer: Peer, python: str) -> dict[str, str]:
    """Of its packages, as that Python has them. Raises CannotRun when one is not installed, Broken when that
    cannot be told."""
    command = [python, "-c", VERSIONS, *peer.packages, *peer.faster]
    try:
        asked = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise CannotRun(f"{python} does not run: {error.strerror}") from None
    if asked.returncode:
        raise Broken(f"{python} does not tell what is installed: {asked.stderr.strip()}")
    found: dict[str, str] = json.loads(asked.stdout)
    missing = [name for name in peer.packages if name not in found]
    if missing:
        raise CannotRun(
            f"{python} has no {' and no '.join(missing)} (pip install {' '.join(missing)}, or --peers-python"
            " of an environment that has)"
        )
    return found


def drain(peer: Peer, load: Load, python: str, one_at_a_time: bool = False) -> Drained:
    """Its jobs are enqueued, then its workers start. The CPU is that of its workers and its server. Raises
    CannotRun when it is not installed, Broken when it is and fails."""
    versions(peer, python)
    with Processes(load.disk.folder) as processes, contextlib.closing(peer.place(processes)) as place:
        environment = {**load.disk.environment(), **place.environment, "PYTHONPATH": str(HERE)}

        def ask(name: str, call: str, timeout_s: float) -> str:
            """What a call of its program gives."""
            program = f"import {peer.app}; print({peer.app}.{call})"
            process = processes.start(name, [python, "-c", program], environment)
            if process.wait(timeout_s):
                raise Broken(process.why_ended())
            return process.output.strip()

        last = ask("enqueue", f"enqueue({load.jobs})", load.timeout_s)
        running = [*place.servers]

        def start() -> None:
            for number, command in enumerate(peer.commands(python, load.workers, one_at_a_time)):
                running.append(processes.start(f"{peer.name}-{number}", command, environment))

        def done() -> int:
            check_alive(running)
            return place.results()

        found = watch_drain(
            start,
            done,
            load.jobs,
            lambda: cpu_of(running),
            load.timeout_s,
            lambda: cpu_of(place.servers) if place.servers else None,
        )
        result = ask("result", f"result({last!r})", ASK_TIMEOUT_S)
    if result != "1":
        raise Broken(f"job {last} has the result {result}")
    return found
