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
import re
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.peers import RunningProcess, await_workers, process, wait_until
from tests.system.ledger import Findings, Ledger, check, read_runs
from tests.system.load import SERVICE, Load, Workers
from zmws.client import Client

NAMES = ("client", "worker", "news", "mdp")
UP_S_MAX = 0.8  # a broker that is killed by the clock lives no longer
DRAIN_S = 180.0


def quiet_ports(count: int) -> list[int]:
    """Ports that nobody listens on, below those that the system gives to outgoing connections: one that
    tries again and again to reach a dead broker's port among them would meet itself in the end."""
    text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text()
    below = min(int(text.split()[0]), 32768)
    with contextlib.ExitStack() as stack:
        ports: list[int] = []
        while len(ports) < count:
            one = stack.enter_context(socket.socket())
            port = random.randrange(10_000, below)
            with contextlib.suppress(OSError):
                one.bind(("127.0.0.1", port))
                ports.append(port)
        return ports


class CrashingBroker:
    """A broker process on ports that stay the same over its lives."""

    def __init__(self, folder: Path, store: str = "", command: tuple[str, ...] = ("zmws", "broker")) -> None:
        """`store`: more of its settings. `command`: the module, and its arguments before `-c FILE`."""
        self.folder = folder
        self.log = folder / "broker.log"
        self.addresses = dict(zip(NAMES, (f"tcp://127.0.0.1:{port}" for port in quiet_ports(4)), strict=True))
        lines = [f'{name} = "{address}"' for name, address in self.addresses.items()]
        settings = folder / "etc" / "zmws.toml"
        settings.parent.mkdir(exist_ok=True)
        said = "\n".join(["[broker]", "heartbeat_interval = 0.5", *lines, "[store]", "check = 0.5", store])
        settings.write_text(said + "\n")
        self._command = [sys.executable, "-m", *command, "-c", str(settings)]
        self._life = contextlib.ExitStack()
        self._began_at = 0
        self.running: RunningProcess | None = None

    def start(self) -> None:
        """Begin a life, without waiting for it to be up."""
        assert self.running is None
        self._began_at = self.log.stat().st_size if self.log.exists() else 0
        self.running = self._life.enter_context(process(self._command, self.log, cwd=self.folder))

    def await_up(self, timeout_s: float = 30.0) -> None:
        """Until it is bound."""
        wait_until(self._is_up, timeout_s, "the broker is up")

    def _is_up(self) -> bool:
        assert self.running is not None
        said = self.said()
        assert self.running.popen.poll() is None, f"the broker ended by itself:\n{said[-3000:]}"
        return len(re.findall(r": (client|worker|news|mdp): \S+$", said, re.M)) == len(NAMES)

    def said(self) -> str:
        """The log of this life."""
        with self.log.open(errors="replace") as file:
            file.seek(self._began_at)
            return file.read()

    def kill(self) -> None:
        """kill -9. Fails if it was dead already."""
        assert self.running is not None
        was = self.running.popen.poll()
        said = self.said()
        assert was is None and "Traceback" not in said, f"the broker ended by itself, {was}:\n{said[-3000:]}"
        self.running.signal(signal.SIGKILL)
        self._end()

    def freeze(self) -> None:
        """SIGSTOP: what it has not sent by now it does not send; a system call under way does not return."""
        assert self.running is not None
        self.running.signal(signal.SIGSTOP)

    def stop(self, timeout_s: float = 20.0) -> int:
        """SIGTERM; its exit code."""
        assert self.running is not None
        self.running.signal(signal.SIGTERM)
        code = self.running.popen.wait(timeout_s)
        self._end()
        return code

    def await_end(self, timeout_s: float = 20.0) -> int:
        """Until it has ended by itself; its exit code."""
        assert self.running is not None
        code = self.running.popen.wait(timeout_s)
        self._end()
        return code

    def _end(self) -> None:
        self.running = None
        self._life.close()

    def connect(self) -> Client:
        return Client(self.addresses["client"], connect_timeout=20, reconnect_timeout=60)

    def __enter__(self) -> CrashingBroker:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()


def await_drained(broker: CrashingBroker, timeout_s: float = DRAIN_S) -> None:
    """Until nothing waits, is scheduled or runs."""
    with broker.connect() as client:

        def drained() -> bool:
            row = next(row for row in client.services() if row["service"] == SERVICE)
            return not (row["waiting"] or row["scheduled"] or row["running"])

        wait_until(drained, timeout_s, "all jobs have ended")


def _kill_at_some_moment(broker: CrashingBroker, ledger: Ledger, chance: random.Random) -> str:
    kind = chance.random()
    if kind < 0.15:  # while it starts, or recovers
        moment = time.monotonic() + chance.uniform(0.05, 0.8)
        wait_until(lambda: time.monotonic() >= moment, 5)
        broker.kill()
        return "kills while it started or soon after"
    before, few = ledger.counts["acknowledgements"], int(2 ** chance.uniform(0, 7))
    broker.await_up()
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
        broker = stack.enter_context(CrashingBroker(folder))
        broker.start()
        broker.await_up()
        addresses = broker.addresses
        workers = stack.enter_context(Workers(folder, addresses["worker"], 4))
        with broker.connect() as client:
            await_workers(client, 4, SERVICE)
        load = stack.enter_context(
            Load(addresses["client"], addresses["news"], folder, ledger, chance.randrange(2**32))
        )
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
        broker.await_up()
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
