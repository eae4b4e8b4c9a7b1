"""What goes wrong in a history, and how it is mended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.simulation.broker import SimBroker
from tests.simulation.clients import SimClient
from tests.simulation.invariants import Watcher
from tests.simulation.our_worker import OurWorker
from tests.simulation.workers import SimWorker
from tests.simulation.world import World
from zmws.core.writes import DISK_FULL


class Faults:
    """One per history."""

    def __init__(
        self, world: World, watcher: Watcher, broker: SimBroker, workers: list[Any], clients: list[SimClient]
    ) -> None:
        self.world, self.watcher, self.broker = world, watcher, broker
        self.workers, self.clients = workers, clients

    def all(self) -> list[Callable[[], None]]:
        world, random = self.world, self.world.random
        ours = [worker for worker in self.workers if isinstance(worker, OurWorker)]
        plain = [worker for worker in self.workers if isinstance(worker, SimWorker)]

        def broker_crashes() -> None:
            self.watcher.punctual = False
            self.broker.crash()
            world.after(random.uniform(0.1, 3.0), lambda: None if self.broker.up else self.broker.start())

        def slow_disk() -> None:
            self.watcher.punctual = False
            self.broker.commit_s = (0.5, 2.0)
            world.after(random.uniform(1.0, 5.0), lambda: setattr(self.broker, "commit_s", (0.0005, 0.01)))

        def full_pipes() -> None:
            self.broker.full_probability = 0.5
            world.after(random.uniform(1.0, 5.0), lambda: setattr(self.broker, "full_probability", 0.0))

        def clock_jumps() -> None:
            world.clock_jumped = True
            world.wall_offset += random.choice((-3600.0, -5.0, 5.0, 3600.0))
            self.broker.clock_moved()

        def suspends() -> None:
            # Everybody stands still, and what has gone on then goes on at once.
            self.watcher.punctual = False
            world.suspended += random.choice((2.0, 10.0, 3600.0))
            self.broker.clock_moved()

        def full_disk() -> None:
            self.watcher.punctual = False
            self.watcher.answers.disk_was_full = True
            self.broker.disk.no_room = DISK_FULL
            world.after(random.uniform(1.0, 5.0), lambda: setattr(self.broker.disk, "no_room", None))

        def io_error() -> None:
            self.watcher.punctual = False
            self.broker.io_error = True

        def bad_reads() -> None:
            self.broker.bad_read_probability = 0.5
            world.after(random.uniform(1.0, 5.0), lambda: setattr(self.broker, "bad_read_probability", 0.0))

        return [
            bad_reads,
            broker_crashes,
            io_error,
            slow_disk,
            full_pipes,
            clock_jumps,
            suspends,
            full_disk,
            lambda: random.choice(ours).crash(),
            lambda: random.choice(ours).freeze(random.choice((0.3, 2.0, 6.0))),
            lambda: random.choice(self.workers).cut(random.choice((0.1, 0.4, 3.0, 8.0))),
            lambda: random.choice(self.clients).cut(random.choice((0.1, 2.0))),
            lambda: random.choice(ours).cut(random.choice((0.05, 0.2))),
            lambda: random.choice(plain).leave(random.choice((None, 0.0, 0.3, 2.0))) if plain else None,
        ]

    def mend(self) -> None:
        """Faults end: what is down comes back by itself, and nothing new happens."""
        self.broker.commit_s, self.broker.full_probability = (0.0005, 0.01), 0.0
        self.broker.disk.no_room = None
        self.broker.io_error = False
        self.broker.bad_read_probability = 0.0
        if not self.broker.up:
            self.broker.start()
