"""One seeded history: a load, faults, a time without faults, and the invariants."""

from __future__ import annotations

from typing import Any

from tests.simulation.broker import SimBroker
from tests.simulation.clients import SimClient
from tests.simulation.faults import Faults
from tests.simulation.foreign import ForeignWorker, StrictClient
from tests.simulation.invariants import Watcher
from tests.simulation.load import SERVICES, Load
from tests.simulation.quick import SimQuickWorker
from tests.simulation.slots import SimSlotsWorker
from tests.simulation.violation import Violation
from tests.simulation.workers import SimWorker
from tests.simulation.workflows import Workflows
from tests.simulation.world import World
from zmws.core.options import ServiceOptions

LOAD_S = 20.0
QUIET_S = 900.0  # at most: a service that runs one job at a time may have many that hang


class History:
    """Everything that happens under one seed."""

    def __init__(self, seed: int) -> None:
        self.world = world = World(seed)
        random = world.random
        services = {
            "A": ServiceOptions(ttr=30.0, backoff=0.5, rate=random.choice((None, None, 4.0))),
            "B": ServiceOptions(ttr=30.0, backoff=0.5, max_running=random.choice((None, 1, 2))),
            "F": ServiceOptions(ttr=30.0),
            "Q": ServiceOptions(
                ttr=30.0,
                backoff=0.5,
                rate=random.choice((None, None, None, 10.0)),
                max_running=random.choice((None, None, None, 4)),
            ),
        }
        self.watcher = watcher = Watcher(world, services)
        self.broker = broker = SimBroker(world, watcher, services)
        misfortune = random.choice((0.0, 0.0, 0.3))
        self.workers: list[Any] = []
        for n in range(random.randint(2, 3)):
            service = "B" if n == 1 else "A"
            self.workers.append(SimWorker(world, broker, watcher, f"w{n}", service, misfortune))
        for n in range(random.choice((0, 1, 1, 2))):
            both = random.choice(({"A": 3, "B": 2}, {"B": 3, "A": 3}))
            self.workers.append(SimSlotsWorker(world, broker, watcher, f"m{n}", both, 3, misfortune))
        for n in range(random.choice((1, 2, 2))):
            slots, prefetch = random.choice(((1, 3), (1, 16), (2, 4)))
            quick = SimQuickWorker(world, broker, watcher, f"q{n}", "Q", misfortune, slots, prefetch)
            self.workers.append(quick)
        self.workers.append(ForeignWorker(world, broker, watcher, "f0", "F"))
        self.clients = [SimClient(world, broker, watcher, f"c{n}") for n in range(random.randint(1, 3))]
        self.strict = StrictClient(world, broker, "s0")
        self.load = Load(world, watcher, broker, self.clients)
        self.workflows = Workflows(world, self.load, self.clients)
        self.faults = Faults(world, watcher, broker, self.workers, self.clients)

    def run(self) -> None:
        """Raises Violation, or AssertionError out of the core itself."""
        world, random = self.world, self.world.random
        for n in range(random.randint(20, 50)):
            world.after(random.uniform(0.1, LOAD_S), lambda n=n: self.load.ask(n))
        for _ in range(random.randint(0, 3)):
            service, count = random.choice(SERVICES), random.randint(1, 20)
            world.after(random.uniform(0.5, LOAD_S), lambda s=service, n=count: self.strict.burst(s, n))
        for _ in range(random.choice((0, 0, 1, 3))):
            # Nobody serves it: it is known as long as one of its jobs is.
            world.after(random.uniform(0.5, LOAD_S), lambda: self.strict.burst("U", random.randint(1, 3)))
        for n in range(random.choice((0, 1, 2))):
            world.after(random.uniform(0.5, LOAD_S), lambda n=n: self.load.burst(n + 1))
        for n in range(random.choice((0, 1, 2, 3, 5))):
            world.after(random.uniform(0.5, LOAD_S), lambda n=n: self.workflows.ask(n))
        faults = random.sample(self.faults.all(), random.randint(0, 5))
        self.watcher.ahead.faultless = not faults
        for fault in faults:
            for _ in range(random.randint(1, 3)):
                world.after(random.uniform(0.5, LOAD_S + 5), fault)
        world.run(LOAD_S + 10)
        self.faults.mend()
        self.workflows.stop()
        until, clients = world.now + QUIET_S, [*self.clients, self.strict]
        while world.now < until and not self._is_over():
            world.run(world.now + 10)
        self.load.look_back()
        world.run(world.now + 20)
        if not self.broker.node.idle:
            world.run(world.now + 0.5)  # a commit of just this moment, such as a prune's
        self.watcher.at_the_end(self.broker.core, self.broker.node, self.broker.disk, self.workers, clients)
        self._stop()

    def _stop(self) -> None:
        """The broker stops: all that it has counted is in the store."""
        self.broker.stop()
        self.world.run(self.world.now + 0.5)
        self.watcher.figures.all_written(self.broker.core, self.broker.disk)

    def _is_over(self) -> bool:
        """Whether nothing is left to do: what remains is to see that all is told and nobody forgotten."""
        held = self.broker.core.held
        jobs = held.stored or held.overflow or any(one.unfinished_count for one in held.services.values())
        free = [session for service in held.services.values() for session in service.ring]
        known = {session.name for session in free} | {getattr(session, "peer", None) for session in free}
        if any(worker.known_as not in known for worker in self.workers):
            return False
        asked = any(client.asked != client.answered for client in [*self.clients, self.strict])
        return not (jobs or asked or any(list(worker.unconfirmed) for worker in self.workers))


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
