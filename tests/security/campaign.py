"""A hostile campaign: peers that attack every socket and HTTP, with keys and without, while honest callers
are answered.

    python -m tests.security.campaign [--messages 1000000] [--connections 10000] [--seconds 500] [--seed N]

It starts a broker that asks for keys (CURVE on all four sockets), one that asks nobody, a gateway with
tokens, and honest workers; then the attackers (attackers.py), each a process of its own, pinned to the
last core and limited in rate, while all else has the others. It prints what was sent, what was refused,
memory and descriptors at intervals, and how long the honest calls took. The exit code is 1 where a promise is
broken:

Promise 1: nobody crashes, and no fault is in a log.
Promise 2: memory is flat: the last third's most is at most 1.2 times the first third's, and 20 MB.
Promise 3: each honest caller is answered, and the 99th percentile of all its calls is under 100 ms.
Promise 4: what was held comes free: afterwards there are about as many descriptors as before.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.client
import json
import math
import os
import random
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.hostile import each_bad_value
from tests.keyed import write_keys
from tests.peers import REPOSITORY, BrokerProcess, await_workers, wait_until
from tests.security.attackers import ROLES, shares
from zmws.client import Client
from zmws.key_file import KeyFile
from zmws.settings import key_files
from zmws.testing.processes import HeldPorts, RunningProcess, environment, process

MIB = 1024 * 1024
P99_MS_MAX = 100.0
GROWTH_FACTOR_MAX, GROWTH_BYTES_MAX = 1.2, 20_000_000
DESCRIPTORS_MORE_MAX = 60
LATE_S = 10.0  # a call that takes longer was not answered
EVERY_S = 0.02  # an honest call
LOOKS = 40
QUIET_CALLS = 400
ASKED, ASKED_LARGE = 6_000, 100  # requests with hostile values, of which each is sent often
LARGE_BYTES = 5_000
ATTACKED = ("E", "X", "NOPE", "S*", "EVIL")  # the services that keys of attackers are for

# What is kept on purpose is soon as much as it may be.
SETTINGS = """
[broker]
memory_keep = 2.0
memory_keep_bytes_max = "4 MiB"
waiting_memory_max = 500
services_max = 500
sessions_max = 500
batches_open_max = 200
schedules_max = 100
keys_max = 200
history_max = 100
asks_max = 500
[services.ECHO]
[services.E]
max_waiting = 500
keep = 5
[services.X]
max_waiting = 500
retries = 0
keep = 5
"""
ECHO = """
from zmws import WorkerBase


class Echo(WorkerBase):
    service_name = "ECHO"

    def work(self, job_id, params):
        return params
"""
KEYS: dict[str, dict[str, Any]] = {
    "honest": {"role": "client", "services": ("ECHO",)},
    "worker": {"role": "worker", "services": ("ECHO",)},
    "gateway": {"role": "gateway"},
    "operator": {"role": "operator"},
    "gone": {"role": "operator"},
    **{f"bad-{role}": {"role": role, "services": ATTACKED, "limits": {"waiting_max": 500}} for role in ROLES},
    "bad-news": {"role": "viewer"},
}
TOKENS: dict[str, dict[str, Any]] = {
    "http-honest": {"role": "client", "services": ("ECHO",)},
    **{f"http-{role}": {"role": role, "services": ATTACKED} for role in ROLES},
    "http-news": {"role": "viewer"},
}


# ---------------------------------------------------------------- the honest


class Honest:
    """One caller in good faith, all the while."""

    def __init__(self, name: str, call: Callable[[int], bool]) -> None:
        self.name = name
        self.took: list[tuple[float, float]] = []  # when, and how long
        self.wrong: list[str] = []
        self._call = call
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._call_on, name=name)

    def _call_on(self) -> None:
        number = 0
        while not self._over.wait(EVERY_S):
            number += 1
            began = time.perf_counter()
            try:
                if not self._call(number):
                    self.wrong.append(f"{number}: another answer")
            except Exception as fault:
                self.wrong.append(f"{number}: {fault!r}")
            self.took.append((time.monotonic(), time.perf_counter() - began))

    def __enter__(self) -> Honest:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(60)

    def between(self, begin: float, end: float) -> list[float]:
        """The milliseconds of the calls that ended in this time, in order."""
        return sorted(1e3 * took for at, took in list(self.took) if begin <= at < end)


def percentile(ordered: list[float], percent: float) -> float:
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else float("nan")


def by_zmq(client: Client) -> Callable[[int], bool]:
    return lambda number: client.call("ECHO", {"n": number}, timeout=LATE_S) == {"n": number}


def by_http(connection: http.client.HTTPConnection, token: str) -> Callable[[int], bool]:
    """Over one connection that is kept."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def call(number: int) -> bool:
        try:
            connection.request("POST", "/SYNC-ECHO", json.dumps({"n": number}), headers)
            answer = connection.getresponse()
            body = answer.read()
        except BaseException:
            connection.close()
            raise
        if answer.status != 200 or json.loads(body) != {"n": number}:
            raise AssertionError(f"{answer.status} {body[:300]!r}")
        return True

    return call


# ---------------------------------------------------------------- what is attacked


@dataclass
class Watched:
    """A process that is to live, and what it takes."""

    name: str
    running: RunningProcess
    sizes: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    began_at: float = 0.0

    def look(self) -> None:
        folder = Path(f"/proc/{self.running.pid}")
        with contextlib.suppress(OSError):
            pages = int((folder / "statm").read_text().split()[1])
            self.sizes.append(pages * os.sysconf("SC_PAGE_SIZE"))
            self.descriptors.append(len([*(folder / "fd").iterdir()]))

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.running.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def faults(self) -> list[str]:
        lines = self.running.text().splitlines()
        return [line for line in lines if "Traceback" in line or " ERROR " in line or "Assertion" in line]


@dataclass
class Stand:
    keyed: BrokerProcess
    plain: BrokerProcess
    watched: list[Watched]
    honest: list[Honest]
    operator: Client
    of_plain: Client
    told: dict[str, Any]  # to the attackers

    def counters(self) -> dict[str, Counter[str]]:
        asked = {"keyed": self.operator, "plain": self.of_plain}
        return {name: Counter(one.ask("zmws.stats")["counters"]) for name, one in asked.items()}


@contextlib.contextmanager
def stand(folder: Path) -> Iterator[Stand]:
    """All of it runs, until the block ends."""
    keyed_folder, plain_folder = folder / "keyed", folder / "plain"
    for made in (keyed_folder, plain_folder):
        made.mkdir()
        (made / "echo.py").write_text(ECHO)
    public, keys = write_keys(keyed_folder / "etc" / "keys", KEYS)
    tokens = {name: f"zmws_{secrets.token_urlsafe(32)}" for name in TOKENS}
    for name, given in TOKENS.items():
        proof = hashlib.sha256(tokens[name].encode()).hexdigest()
        key_files.write(keyed_folder / "etc" / "keys" / f"{name}.token", KeyFile(name, hash=proof, **given))
    with contextlib.ExitStack() as stack:
        keyed = stack.enter_context(
            BrokerProcess(keyed_folder, toml=f'{SETTINGS}\n[security]\ncurve = "on"\n')
        )
        plain = stack.enter_context(BrokerProcess(plain_folder, toml=SETTINGS))
        assert keyed.running is not None and plain.running is not None
        watched = [Watched("broker", keyed.running), Watched("plain", plain.running)]

        def started(broker: BrokerProcess, name: str, *command: str) -> RunningProcess:
            return stack.enter_context(
                process(
                    [sys.executable, "-m", "zmws", *command, "-c", str(broker.settings)],
                    broker.folder / f"{name}.log",
                    broker.folder,
                )
            )

        with HeldPorts(1) as ports:
            http_address = f"127.0.0.1:{ports[0]}"
        gateway = started(keyed, "gateway", "gateway", "--http", http_address)
        watched.append(Watched("gateway", gateway))
        for broker in (keyed, plain):
            for number in range(2):
                started(broker, f"echo{number}", "worker", "echo.py")
        operator = stack.enter_context(keyed.connect(key=keys["operator"]))
        operator.ask("zmws.key", {"do": "revoke", "name": "gone"})
        of_plain = stack.enter_context(plain.connect())
        for client in (operator, of_plain):
            await_workers(client, 2, "ECHO")
        connection = http.client.HTTPConnection(http_address, timeout=LATE_S)
        stack.callback(connection.close)
        callers = {
            "with a key": by_zmq(stack.enter_context(keyed.connect(key=keys["honest"]))),
            "without": by_zmq(of_plain),
            "by HTTP": by_http(connection, tokens["http-honest"]),
        }
        wait_until(lambda: _answers(callers["by HTTP"]), 20, "the gateway to answer")

        def shown(key: KeyFile) -> tuple[str, str, str]:
            return key.public, key.secret, key.broker

        told = {
            "keyed": {name: getattr(keyed, name) for name in ("client", "worker", "news", "mdp")},
            "plain": {name: getattr(plain, name) for name in ("client", "worker", "news", "mdp")},
            "http": http_address,
            "public": public,
            "keys": {
                **{role: shown(keys[f"bad-{role}"]) for role in (*ROLES, "news")},
                "revoked": shown(keys["gone"]),
            },
            "tokens": {name.removeprefix("http-"): token for name, token in tokens.items()},
        }
        honest = [Honest(name, call) for name, call in callers.items()]
        yield Stand(keyed, plain, watched, honest, operator, of_plain, told)


def _answers(call: Callable[[int], bool]) -> bool:
    try:
        return call(0)
    except (OSError, AssertionError, http.client.HTTPException):
        return False


# ---------------------------------------------------------------- the campaign


def campaign(
    folder: Path,
    messages: int,
    connections: int,
    seconds: float,
    seed: int,
    say: Callable[[str], None],
    late: float = 0.0,
) -> list[str]:
    """Attack, and say what became of it. Gives the promises that were broken. `late`: honest calls may take
    so many times what they take when nobody attacks, if that is more: for a machine that is busy anyway."""
    mine = sorted(os.sched_getaffinity(0))
    theirs, ours = mine[-1:], mine[:-1] or mine
    os.sched_setaffinity(0, ours)  # what is started from here on has them too
    try:
        with stand(folder) as made, contextlib.ExitStack() as callers:
            made.told |= {"seed": seed, "seconds": seconds, "cores": theirs}
            made.told |= {"asked": _asked(seed), "asked_small": ASKED}
            made.told["shares"] = {kind: two for kind, *two in shares(messages, connections)}
            for honest in made.honest:
                callers.enter_context(honest)
            quiet_calls = QUIET_CALLS if seconds > 60 else QUIET_CALLS // 4
            wait_until(lambda: all(len(one.took) > quiet_calls for one in made.honest), 60, "honest calls")
            limits = {}
            for honest in made.honest:
                calls = honest.between(0, math.inf)
                limits[honest.name] = max(P99_MS_MAX, late * percentile(calls, 99))
                p50, p99 = percentile(calls, 50), percentile(calls, 99)
                say(f"before, {honest.name}: p50 {p50:.1f} ms, p99 {p99:.1f} ms, max {calls[-1]:.0f} ms")
            before = made.counters()
            for one in made.watched:
                one.look()
            quiet = [one.descriptors[0] for one in made.watched]
            began = time.monotonic()
            cpu = [one.cpu_s() for one in made.watched]
            told, took_s = _attack(made, folder, seconds, say)
            ended = time.monotonic()
            busy = [(one.cpu_s() - used) / took_s for one, used in zip(made.watched, cpu, strict=True)]
            broken = _broken_by_the_held(made, quiet)
            callers.close()
            after = made.counters()
            broken += _alive(made)
            say(_sent(told, took_s, [one.name for one in made.watched], busy))
            say(_refused({name: after[name] - before[name] for name in after}))
            broken += _memory(made, say)
            broken += _honest(made, began, ended, limits, say)
            return broken
    finally:
        os.sched_setaffinity(0, mine)


def _asked(seed: int) -> list[list[str]]:
    """Requests for the attackers; bytes as JSON can hold them."""
    small, large = list[tuple[bytes, ...]](), list[tuple[bytes, ...]]()
    for one in each_bad_value():
        (small if sum(map(len, one.frames)) < LARGE_BYTES else large).append(one.frames)
    chance = random.Random(seed)
    some = [*chance.sample(small, ASKED), *chance.sample(large, ASKED_LARGE)]
    return [[part.decode("latin-1") for part in one] for one in some]


def _attack(
    made: Stand, folder: Path, seconds: float, say: Callable[[str], None]
) -> tuple[dict[str, Counter[str]], float]:
    file = folder / "stand.json"
    file.write_text(json.dumps(made.told))
    running: dict[str, subprocess.Popen[bytes]] = {}
    began, looks = time.monotonic(), 0
    with contextlib.ExitStack() as stack:
        for kind in made.told["shares"]:
            command = [sys.executable, "-m", "tests.security.attackers", str(file), kind]
            log = stack.enter_context((folder / f"attacker-{kind}.log").open("wb"))
            popen = subprocess.Popen(
                command, cwd=REPOSITORY, env=environment(), stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
            stack.callback(_ended, popen)
            running[kind] = popen
        until = began + 2 * seconds + 60
        while any(one.poll() is None for one in running.values()) and time.monotonic() < until:
            with contextlib.suppress(subprocess.TimeoutExpired):
                next(one for one in running.values() if one.poll() is None).wait(seconds / LOOKS)
            for one in made.watched:
                one.look()
            looks += 1
            if looks % max(1, LOOKS // 10) == 0:
                say(_line(made, time.monotonic() - began, seconds / 10))
        took_s = time.monotonic() - began
    told = {}
    for kind in running:
        lines = (folder / f"attacker-{kind}.log").read_text(errors="replace").splitlines()
        assert lines and lines[-1].startswith("{"), f"the attacker {kind} failed: {lines[-5:]}"
        told[kind] = Counter(json.loads(lines[-1])["told"])
    return told, took_s


def _ended(popen: subprocess.Popen[bytes]) -> None:
    if popen.poll() is None:
        popen.kill()
    popen.wait(10)


def _line(made: Stand, at_s: float, of_s: float) -> str:
    now = time.monotonic()
    parts = [f"{at_s:6.1f} s"]
    for one in made.watched:
        parts.append(f"{one.name} {one.sizes[-1] / 1e6:.0f} MB {one.descriptors[-1]} fd")
    for honest in made.honest:
        calls = honest.between(now - of_s, now)
        most = calls[-1] if calls else float("nan")
        parts.append(f"{honest.name} p99 {percentile(calls, 99):.1f} max {most:.0f} ms")
    return " | ".join(parts)


# ---------------------------------------------------------------- what became of it


def _sent(told: dict[str, Counter[str]], took_s: float, names: list[str], busy: list[float]) -> str:
    lines = []
    for kind, counted in told.items():
        lines.append(f"{kind}: {counted.pop('messages')} messages, {counted.pop('connections')} connections")
        lines += [f"    {what:44} {count:8}" for what, count in sorted(counted.items())]
    used = ", ".join(f"{name} {100 * part:.0f} %" for name, part in zip(names, busy, strict=True))
    lines.append(f"in {took_s:.0f} s; processor time of a core: {used}")
    return "\n".join(lines)


def _refused(counted: dict[str, Counter[str]]) -> str:
    lines = []
    for name, counters in counted.items():
        lines.append(f"counted by the broker ({name}):")
        lines += [f"    {what:44} {count:8}" for what, count in sorted(counters.items()) if count]
    return "\n".join(lines)


def _alive(made: Stand) -> list[str]:
    broken = []
    for one in made.watched:
        if one.running.ended:
            broken.append(f"{one.name} died with {one.running.popen.returncode}: {one.running.text()[-500:]}")
        faults = one.faults()
        if faults:
            broken.append(f"{one.name} has {len(faults)} faults in its log: {faults[:3]}")
    return broken


def _memory(made: Stand, say: Callable[[str], None]) -> list[str]:
    broken = []
    for one in made.watched:
        third = max(1, len(one.sizes) // 3)
        first, last = max(one.sizes[:third]), max(one.sizes[-third:])
        shown = " ".join(f"{size / 1e6:.0f}" for size in one.sizes[:: max(1, len(one.sizes) // 20)])
        say(f"{one.name}: MB {shown}; first third {first / 1e6:.1f}, last {last / 1e6:.1f}")
        say(f"{one.name}: descriptors {one.descriptors[0]}, most {max(one.descriptors)}")
        if last > GROWTH_FACTOR_MAX * first + GROWTH_BYTES_MAX:
            broken.append(f"{one.name} grew from {first / 1e6:.1f} to {last / 1e6:.1f} MB")
    return broken


def _honest(
    made: Stand, began: float, ended: float, limits: dict[str, float], say: Callable[[str], None]
) -> list[str]:
    broken = []
    for one in made.honest:
        calls = one.between(began, ended)
        p50, p99 = percentile(calls, 50), percentile(calls, 99)
        say(
            f"honest, {one.name}: {len(calls)} calls, p50 {p50:.1f} ms, p99 {p99:.1f} ms, "
            f"max {calls[-1] if calls else float('nan'):.0f} ms, wrong {len(one.wrong)} {one.wrong[:3]}"
        )
        if one.wrong:
            broken.append(f"{len(one.wrong)} honest calls {one.name} were not answered: {one.wrong[:3]}")
        if not p99 < limits[one.name]:
            broken.append(f"honest calls {one.name}: p99 {p99:.1f} ms")
    return broken


def _broken_by_the_held(made: Stand, quiet: list[int]) -> list[str]:
    """What the attackers held comes free in a moment."""

    def free() -> bool:
        for one in made.watched:
            one.look()
        now = [one.descriptors[-1] for one in made.watched]
        return all(n <= most + DESCRIPTORS_MORE_MAX for n, most in zip(now, quiet, strict=True))

    try:
        wait_until(free, 30, "descriptors to come free")
    except AssertionError:
        now = {one.name: one.descriptors[-1] for one in made.watched}
        return [f"descriptors do not come free: {now}, before {quiet}"]
    return []


def main() -> int:
    """By hand."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, help="that it is to take [2,000 messages a second]")
    parser.add_argument("--seed", type=int, default=random.randrange(10**9))
    parser.add_argument("--folder", type=Path, help="keep the logs there; it is made")
    given = parser.parse_args()
    seconds = given.seconds or max(10.0, given.messages / 2_000)
    say: Callable[[str], None] = lambda text: print(text, flush=True)  # noqa: E731
    say(f"seed {given.seed}, {given.messages} messages, {given.connections} connections, {seconds:.0f} s")
    with contextlib.ExitStack() as stack:
        folder = given.folder
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        else:
            folder.mkdir(parents=True)
        broken = campaign(folder, given.messages, given.connections, seconds, given.seed, say)
    say("\n".join([f"BROKEN: {one}" for one in broken]) or "every promise is kept")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
