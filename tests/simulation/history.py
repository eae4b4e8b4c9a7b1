"""One seeded history: a load, faults, a time without faults, and the invariants."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.simulation.actors import ForeignWorker, SimBroker, SimClient, SimWorker
from tests.simulation.invariants import Violation, Watcher
from tests.simulation.world import World
from zmws.client.answers import accepted
from zmws.core.mdp import PARAM_JSON
from zmws.core.messages import Reply
from zmws.core.options import ServiceOptions
from zmws.errors import Refused, ZmwsError

LOAD_S = 20.0
QUIET_S = 90.0
SERVICES = ("A", "B", "F")


class History:
    """Everything that happens under one seed."""

    def __init__(self, seed: int) -> None:
        self.world = world = World(seed)
        random = world.random
        self.watcher = watcher = Watcher(world)
        limited = ServiceOptions(ttr=30.0, backoff=0.5, max_running=random.choice((None, 1, 2)))
        services = {"A": ServiceOptions(ttr=30.0, backoff=0.5), "B": limited, "F": ServiceOptions(ttr=30.0)}
        self.broker = SimBroker(world, watcher, services)
        misfortune = random.choice((0.0, 0.0, 0.3))
        self.workers: list[Any] = []
        for n in range(random.randint(2, 4)):
            service = "B" if n == 1 else "A"
            self.workers.append(SimWorker(world, self.broker, watcher, f"w{n}", service, misfortune))
        self.workers.append(ForeignWorker(world, self.broker, watcher, "f0", "F"))
        self.clients = [SimClient(world, self.broker, watcher, f"c{n}") for n in range(random.randint(1, 3))]
        self._jobs: list[tuple[str, str]] = []

    def run(self) -> None:
        """Raises Violation, or AssertionError out of the core itself."""
        world, random = self.world, self.world.random
        for n in range(random.randint(20, 50)):
            world.after(random.uniform(0.1, LOAD_S), lambda n=n: self._ask(n))
        for fault in random.sample(self._faults(), random.randint(0, 5)):
            for _ in range(random.randint(1, 3)):
                world.after(random.uniform(0.5, LOAD_S + 5), fault)
        world.run(LOAD_S + 10)
        self._mend()
        world.run(LOAD_S + 10 + QUIET_S)
        disk = self.broker.disk
        self.watcher.at_the_end(self.broker.core, self.broker.gate, disk, self.workers, self.clients)

    # ------------------------------------------------------------ the load

    def _ask(self, n: int) -> None:
        random = self.world.random
        client = random.choice(self.clients)
        service = random.choice(SERVICES)
        body = (PARAM_JSON + json.dumps({"n": n}).encode(),)
        options: dict[str, Any] = {"id": f"job-{self.world.seed}-{n}"}
        kind = random.random()
        if kind < 0.35:
            timeout = random.choice((None, 5.0, 20.0)) if service != "F" else 20.0
            client.ask(service, True, options, body, timeout, self._check_call(body))
            return
        if random.random() < 0.2:
            options["unique"] = random.choice("xy")
        if random.random() < 0.2:
            options["delay"] = random.uniform(0.1, 5.0)
        if random.random() < 0.2:
            options["priority"] = random.randint(-5, 5)
        if random.random() < 0.2:
            options["group"] = random.choice("gh")
        if random.random() < 0.1:
            options["expires"] = random.uniform(0.1, 5.0)
        if random.random() < 0.1:
            options["durability"] = "memory"
            options.pop("unique", None)
        options["retries"] = random.choice((3, 3, 10, 0))
        self._submit(client, service, options, body)
        if random.random() < 0.2:
            # A submit repeated by somebody else, perhaps while the original is under way.
            again = random.choice(self.clients)
            self.world.after(random.uniform(0.0, 0.05), lambda: self._submit(again, service, options, body))

    def _submit(
        self, client: SimClient, service: str, options: dict[str, Any], body: tuple[bytes, ...]
    ) -> None:
        def then(reply: Any) -> None:
            if isinstance(reply, ZmwsError):
                return
            try:
                job_id, note = accepted(reply)
            except Refused:
                return
            if note.get("durability") == "disk":
                # An existing job under a unique key has a body of its own.
                if job_id == options["id"]:
                    self.watcher.acknowledged[job_id] = body
                self._jobs.append((job_id, service))
                self._follow(client, job_id)

        client.ask(service, False, options, body, None, then)

    def _follow(self, client: SimClient, job_id: str) -> None:
        chance = self.world.random.random()
        question = (json.dumps({"id": job_id, "timeout": 20}).encode(),)
        if chance < 0.2:
            client.ask("zmws.wait", True, {}, question, 40.0, lambda reply: None)
        elif chance < 0.3:
            delay = self.world.random.uniform(0.0, 3.0)
            ask = lambda: client.ask("zmws.cancel", True, {}, question, 10.0, lambda reply: None)  # noqa: E731
            self.world.after(delay, ask)
        elif chance < 0.35:
            self.world.after(
                8.0, lambda: client.ask("zmws.retry", True, {}, question, 10.0, lambda reply: None)
            )
        elif chance < 0.4:
            client.ask("zmws.job", True, {}, question, 10.0, lambda reply: None)
        elif chance < 0.45:
            client.ask("zmws.jobs", True, {}, (b'{"limit": 5}',), 10.0, lambda reply: None)

    def _check_call(self, body: tuple[bytes, ...]) -> Callable[[Any], None]:
        def then(reply: Any) -> None:
            if isinstance(reply, Reply) and reply.kind == "final":
                self.watcher.demand(reply.body == body, f"a call got {reply.body!r} instead of {body!r}")

        return then

    # ------------------------------------------------------------ the faults

    def _faults(self) -> list[Callable[[], None]]:
        world, random = self.world, self.world.random
        ours = [worker for worker in self.workers if isinstance(worker, SimWorker)]

        def broker_crashes() -> None:
            self.broker.crash()
            world.after(random.uniform(0.1, 3.0), lambda: None if self.broker.up else self.broker.start())

        def slow_disk() -> None:
            self.broker.commit_s = (0.5, 2.0)
            world.after(random.uniform(1.0, 5.0), lambda: setattr(self.broker, "commit_s", (0.0005, 0.01)))

        def full_pipes() -> None:
            self.broker.full_probability = 0.5
            world.after(random.uniform(1.0, 5.0), lambda: setattr(self.broker, "full_probability", 0.0))

        def clock_jumps() -> None:
            world.clock_jumped = True
            world.wall_offset += random.choice((-3600.0, -5.0, 5.0, 3600.0))

        def full_disk() -> None:
            self.broker.disk._bytes_max = 0
            world.after(random.uniform(1.0, 5.0), lambda: setattr(self.broker.disk, "_bytes_max", 1 << 30))

        return [
            broker_crashes,
            slow_disk,
            full_pipes,
            clock_jumps,
            full_disk,
            lambda: random.choice(ours).crash(),
            lambda: random.choice(ours).freeze(random.choice((0.3, 2.0, 6.0))),
            lambda: random.choice(self.workers).cut(random.choice((0.1, 0.4, 3.0, 8.0))),
            lambda: random.choice(self.clients).cut(random.choice((0.1, 2.0))),
            lambda: random.choice(ours).cut(random.choice((0.05, 0.2))),
        ]

    def _mend(self) -> None:
        """Faults end: what is down comes back by itself, and nothing new happens."""
        self.broker.commit_s, self.broker.full_probability = (0.0005, 0.01), 0.0
        self.broker.disk._bytes_max = 1 << 30
        if not self.broker.up:
            self.broker.start()


def run_seed(seed: int) -> None:
    """Run one history; a violation says how to see it again and what came before it."""
    history = History(seed)
    try:
        history.run()
    except AssertionError as broken:
        tail = "\n".join(history.world.trace[-60:])
        raise Violation(
            f"seed {seed}: {broken}\n{tail}\nagain: bin/test tests/simulation --seeds 1 --first-seed {seed}"
        ) from broken
