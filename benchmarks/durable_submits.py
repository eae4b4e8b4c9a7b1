"""Durable single submits: zmws on SQLite against gearmand on SQLite and beanstalkd, in one run. Read
README.md here first.

    python benchmarks/durable_submits.py [--jobs 20000] [--in-flight 100] [--body 100] [--flush-us 0]

One job a message, so many not yet acknowledged; each acknowledgement means that the job is on the disk.
Each round measures each contestant once, with an empty store, all on one disk.
"""

from __future__ import annotations

import contextlib
import functools
import getpass
import socket
import sqlite3
import struct
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness import (
    Broken,
    CannotRun,
    Disk,
    Process,
    Processes,
    as_json,
    build_c,
    disk,
    exit_code,
    figure,
    find_program,
    free_endpoint,
    interleaved,
    judge,
    median,
    parser,
    ratio,
    table,
    verdict_table,
    wait_until,
)
from own import Broker, check_waiting, submit_in_flight

SERVICE = "ECHO"
ID_PREFIX = "0190c3f2-8a4e-7c11-9b62-0"  # with the ten digits of a number as long as an id of ours
GEARMAN_SHARE = 10  # gearmand is given a tenth of the jobs: it is slower, and a round should end
WARM_UP_JOBS = 300
SILENCE_S = 60.0
GEARMAN_GATE, GEARMAN_AIM = 10.0, 15.0
BEANSTALKD_GATE, BEANSTALKD_AIM = 1.2, 2.0


@dataclass
class Load:
    jobs: int
    in_flight: int
    body_bytes: int
    disk: Disk


@dataclass
class Measured:
    jobs_per_s: float
    server_cpu_us: float | None  # a job
    client_cpu_us: float


# ---------------------------------------------------------------- ours


def zmws(load: Load, program: Path) -> Measured:
    """Loaded by a client in C, so that the broker is what is measured."""
    with Processes(load.disk.folder) as processes:
        broker = Broker(processes, [SERVICE], environment=load.disk.environment())

        def submit(name: str, jobs: int) -> tuple[float, float]:
            prefix = ID_PREFIX + name
            figures = [jobs, load.in_flight, load.body_bytes, SILENCE_S + jobs / 100]
            command = [program, broker.client_endpoint, SERVICE, *map(str, figures), prefix]
            client = processes.start(f"load-{name}", command)
            if client.wait(SILENCE_S + jobs / 100 + 10):
                raise Broken(client.why_ended())
            words = client.output.split()
            return float(words[1]), float(words[5])

        submit("w", WARM_UP_JOBS)
        cpu_before = broker.cpu_s()
        seconds, client_cpu_s = submit("l", load.jobs)
        cpu_s = broker.cpu_s() - cpu_before
        check_waiting(broker, SERVICE, load.jobs + WARM_UP_JOBS)
    return Measured(load.jobs / seconds, cpu_s / load.jobs * 1e6, client_cpu_s / load.jobs * 1e6)


def zmws_client(load: Load) -> Measured:
    """Loaded by our Python Client, as most will."""
    with Processes(load.disk.folder) as processes:
        broker = Broker(processes, [SERVICE], environment=load.disk.environment())
        params = "x" * load.body_bytes
        with broker.connect() as client:
            submit_in_flight(client, WARM_UP_JOBS, load.in_flight, SERVICE, params)
            cpu_before, own_before, begun = broker.cpu_s(), time.process_time(), time.monotonic()
            submit_in_flight(client, load.jobs, load.in_flight, SERVICE, params)
            seconds, own_cpu_s = time.monotonic() - begun, time.process_time() - own_before
            cpu_s = broker.cpu_s() - cpu_before
        check_waiting(broker, SERVICE, load.jobs + WARM_UP_JOBS)
    return Measured(load.jobs / seconds, cpu_s / load.jobs * 1e6, own_cpu_s / load.jobs * 1e6)


# ---------------------------------------------------------------- the others


def gearmand(load: Load) -> Measured:
    """Background jobs, each with a unique key as ours has an id, with its SQLite queue."""
    program = find_program("gearmand", "gearman-job-server")
    jobs = max(1, load.jobs // GEARMAN_SHARE)
    with Processes(load.disk.folder) as processes:
        port = free_endpoint().rpartition(":")[2]
        database = processes.folder / "gearmand.db"
        command = [program, "-L", "127.0.0.1", "-p", port, "-l", "stderr", "-u", _own_name()]
        command += ["-P", str(processes.folder / "gearmand.pid")]
        command += ["-q", "libsqlite3", f"--libsqlite3-db={database}"]
        server = processes.start("gearmand", command, load.disk.environment())
        body = b"x" * load.body_bytes

        def request(number: int) -> bytes:
            data = b"%s\0%s%010d\0%s" % (SERVICE.encode(), ID_PREFIX.encode(), number, body)
            return struct.pack(">4sII", b"\0REQ", 18, len(data)) + data  # SUBMIT_JOB_BG

        with _connection(server, int(port)) as wire:
            measured = _submit_pipelined(load, server, wire, jobs, request, _gearman_answers)
        server.end()
        with contextlib.closing(sqlite3.connect(database)) as connection:
            rows = connection.execute("SELECT count(*) FROM gearman_queue").fetchone()[0]
    if rows != jobs + WARM_UP_JOBS:
        raise Broken(f"{jobs + WARM_UP_JOBS} jobs accepted, and {rows} in its queue's file")
    return measured


def _own_name() -> str:
    return getpass.getuser()  # gearmand will not run as root unless it is told to


def _gearman_answers(data: bytes) -> tuple[int, bytes]:
    """How many JOB_CREATED there are, and what is left of the data."""
    at = count = 0
    while len(data) - at >= 12:
        magic, kind, size = struct.unpack_from(">4sII", data, at)
        if len(data) - at < 12 + size:
            break
        if magic != b"\0RES" or kind != 8:
            raise Broken(f"gearmand answered {data[at : at + 80]!r}")
        at += 12 + size
        count += 1
    return count, data[at:]


def beanstalkd(load: Load) -> Measured:
    """With a binlog that is flushed at every put."""
    program = find_program("beanstalkd", "beanstalkd")
    with Processes(load.disk.folder) as processes:
        port = free_endpoint().rpartition(":")[2]
        binlog = processes.folder / "binlog"
        binlog.mkdir()
        command = [program, "-l", "127.0.0.1", "-p", port, "-b", str(binlog), "-f", "0"]
        server = processes.start("beanstalkd", command, load.disk.environment())
        put = b"put 1 0 3600 %d\r\n%s\r\n" % (load.body_bytes, b"x" * load.body_bytes)
        with _connection(server, int(port)) as wire:
            measured = _submit_pipelined(load, server, wire, load.jobs, lambda _: put, _beanstalkd_answers)
            wire.sendall(b"stats\r\n")
            stats = wire.recv(65_536).decode()
    waiting = [int(line.split()[1]) for line in stats.splitlines() if line.startswith("current-jobs-ready:")]
    if waiting != [load.jobs + WARM_UP_JOBS]:
        raise Broken(f"{load.jobs + WARM_UP_JOBS} jobs accepted, and {waiting} waiting")
    return measured


def _beanstalkd_answers(data: bytes) -> tuple[int, bytes]:
    """How many INSERTED there are, and what is left of the data."""
    lines, _, rest = data.rpartition(b"\r\n")
    if lines.count(b"INSERTED ") != lines.count(b"\r\n") + bool(lines):
        raise Broken(f"beanstalkd answered {lines[:80]!r}")
    return lines.count(b"INSERTED "), rest


@contextlib.contextmanager
def _connection(server: Process, port: int) -> Iterator[socket.socket]:
    """Connected as soon as the server listens. Raises CannotRun."""
    found: list[socket.socket] = []

    def listens() -> bool:
        if server.ended:
            raise CannotRun(server.why_ended())
        with contextlib.suppress(OSError):
            found.append(socket.create_connection(("127.0.0.1", port)))
        time.sleep(0.05)
        return bool(found)

    if not wait_until(listens, 15):
        raise CannotRun(f"{server.name} does not listen on port {port}")
    with found[0] as wire:
        wire.settimeout(SILENCE_S)
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield wire


def _submit_pipelined(
    load: Load,
    server: Process,
    wire: socket.socket,
    jobs: int,
    request: Callable[[int], bytes],
    answers: Callable[[bytes], tuple[int, bytes]],
) -> Measured:
    """The jobs over one TCP connection, `in_flight` not yet answered."""

    def submit(first: int, count: int) -> float:
        begun, sent, done, data = time.monotonic(), 0, 0, b""
        while done < count:
            room = min(load.in_flight - (sent - done), count - sent)
            if room:
                wire.sendall(b"".join(request(first + sent + n) for n in range(room)))
                sent += room
            try:
                more = wire.recv(65_536)
            except TimeoutError:
                raise Broken(f"{done} of {count} jobs accepted, and no more") from None
            if not more:
                raise Broken(f"{server.name} closed the connection")
            answered, data = answers(data + more)
            done += answered
        return time.monotonic() - begun

    submit(0, WARM_UP_JOBS)
    cpu_before, own_before = server.cpu_s(), time.process_time()
    seconds = submit(WARM_UP_JOBS, jobs)
    own_cpu_s, cpu_after = time.process_time() - own_before, server.cpu_s()
    cpu_us = None
    if cpu_before is not None and cpu_after is not None:
        cpu_us = (cpu_after - cpu_before) / jobs * 1e6
    return Measured(jobs / seconds, cpu_us, own_cpu_s / jobs * 1e6)


# ---------------------------------------------------------------- the run


def say(measured: Measured) -> str:
    cpu = figure(measured.server_cpu_us, "{:.0f} us")
    return (
        f"{measured.jobs_per_s:6.0f} jobs/s  CPU a job: server {cpu}, client {measured.client_cpu_us:.0f} us"
    )


def run() -> None:
    asked = parser(
        "Durable single submits: zmws against gearmand and beanstalkd.",
        rounds=3,
        on_disk=True,
        jobs=(20_000, "jobs a measurement; gearmand gets a tenth"),
        in_flight=(100, "submits not yet acknowledged"),
        body=(100, "bytes of a job's body"),
    )
    options = asked.parse_args()
    load = Load(options.jobs, options.in_flight, options.body, disk(options))
    program = build_c(["load_client"])["load_client"]
    contestants: dict[str, Callable[[], Measured]] = {
        "gearmand": functools.partial(gearmand, load),
        "beanstalkd": functools.partial(beanstalkd, load),
        "zmws": functools.partial(zmws, load, program),
        "zmws, Client": functools.partial(zmws_client, load),
    }
    results, missing = interleaved(contestants, options.rounds, say)
    speeds = {name: [one.jobs_per_s for one in each] for name, each in results.items()}

    def against(name: str, peer: str) -> float | None:
        return ratio(speeds[name], speeds[peer]) if name in speeds and peer in speeds else None

    medians = {
        name: {
            "jobs_per_s": median(speeds[name]),
            "server_cpu_us": median(one.server_cpu_us for one in each),
            "client_cpu_us": median(one.client_cpu_us for one in each),
            "to_gearmand": against(name, "gearmand"),
            "to_beanstalkd": against(name, "beanstalkd"),
        }
        for name, each in results.items()
    }
    judged = [
        *judge("jobs/s, zmws / gearmand", against("zmws", "gearmand"), GEARMAN_GATE, GEARMAN_AIM),
        *judge("jobs/s, zmws / beanstalkd", against("zmws", "beanstalkd"), BEANSTALKD_GATE, BEANSTALKD_AIM),
    ]
    if options.json:
        figures = {**vars(load), "disk": load.disk.as_figures()}
        print(as_json({"load": figures, "medians": medians}, judged, results, missing))
        return
    head = ["server", "jobs/s", "CPU us/job", "client us/job", ": gearmand", ": beanstalkd"]
    forms = ["{:.0f}", "{:.0f}", "{:.0f}", "{:.2f}", "{:.2f}"]
    rows = [
        [name, *(figure(value, form) for value, form in zip(line.values(), forms, strict=True))]
        for name, line in medians.items()
    ]
    print(
        f"\nMedians of {options.rounds} rounds, {load.jobs} jobs each, {load.in_flight} in flight, ", end=""
    )
    print(f"{load.body_bytes}-byte bodies, {load.disk}:\n")
    print(table(head, rows) + "\n")
    for name, why in missing.items():
        print(f"{name} was skipped: {why}")
    print(verdict_table(judged))


if __name__ == "__main__":
    sys.exit(exit_code(run))
