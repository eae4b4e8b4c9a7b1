"""Chains, batches, follow-ups and schedules, as they are asked for in a history."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from tests.simulation.clients import SimClient
from tests.simulation.load import Load
from tests.simulation.world import World
from zmws.wire.at_client import Reply

SERVED = ("A", "B", "Q")  # by workers that can ask for more


class Workflows:
    """One per history."""

    def __init__(self, world: World, load: Load, clients: list[SimClient]) -> None:
        self.world, self.load, self.clients = world, load, clients
        self._schedules: list[str] = []
        self._stopped = False

    def ask(self, n: int) -> None:
        random = self.world.random
        what = random.choice((self._chain, self._batch, self._batch, self._family, self._schedule))
        what(n, random.choice(self.clients))

    def stop(self) -> None:
        """Nothing recurs any more."""
        self._stopped = True
        for name in self._schedules:
            self._question(self.clients[0], "zmws.schedule", {"do": "remove", "name": name}, 120.0)

    # ------------------------------------------------------------ what is asked

    def _job(self, **params: Any) -> dict[str, Any]:
        random = self.world.random
        job: dict[str, Any] = {"service": random.choice(SERVED), "params": params}
        job["retries"] = random.choice((3, 6, 1, 0))
        if random.random() < 0.3:
            job["on_complete"] = random.choice(SERVED)
        if random.random() < 0.3:
            job["on_failed"] = random.choice(SERVED)
        if random.random() < 0.2:
            job["keep"] = random.choice((0, 2))
        if random.random() < 0.1:
            job["expires"] = 3.0
        return job

    def _items(self, n: int, **options: Any) -> list[dict[str, Any]]:
        """What a job is to ask for."""
        random = self.world.random
        count = random.choice((0, 1, 1, 2, 4))
        return [self._job(follows=f"{n}-{k}") | options for k in range(count)]

    def _family(self, n: int, client: SimClient) -> None:
        """A job that asks for others, some of which ask for more."""
        random = self.world.random
        items = self._items(n)
        for item in items:
            if random.random() < 0.3:
                item["params"]["enqueue"] = self._items(n)
            if random.random() < 0.2:
                item["unique"] = "one"
            others = sorted(self.load.watcher.acknowledged)
            if others and random.random() < 0.2:
                item["id"] = random.choice(others)  # somebody else's
        if random.random() < 0.2:
            items.append({"chain": self._steps(n)})
        job = self._job(enqueue=items) | {"id": f"family-{n}"}
        if random.random() < 0.1:
            job["durability"] = "memory"
        self._submit(client, [job])

    def _steps(self, n: int) -> list[dict[str, Any]]:
        random = self.world.random
        steps = [self._job(chain=n)]
        for step in range(random.choice((1, 2, 4))):
            job = self._job(chain=n, step=step)
            if random.random() < 0.4:
                job |= {"params": None, "previous": [""]}
            elif random.random() < 0.5:
                job["previous"] = ["/result"]
            if random.random() < 0.2:
                job["delay"] = 1.0
            steps.append(job)
        return steps

    def _chain(self, n: int, client: SimClient) -> None:
        self._submit(client, [{"id": f"chain-{n}", "chain": self._steps(n)}])
        if self.world.chance(0.3):
            cancel = partial(self.load.change, client, "zmws.cancel", {"chain": f"chain-{n}"}, 30.0)
            self.world.after(self.world.random.uniform(0.0, 5.0), cancel)

    def _batch(self, n: int, client: SimClient) -> None:
        """Opened, filled, closed, by a client that goes on when it was answered."""
        random, batch = self.world.random, f"batch-{n}"
        asked: dict[str, Any] = {"id": batch, "keep": random.choice((None, 3))}
        for name in ("then", "failed"):
            if random.random() < 0.8:
                asked[name] = {"service": random.choice(SERVED), "params": random.choice((None, {"n": n}))}
        jobs = [self._job(batch=n, k=k) | {"batch": batch} for k in range(random.randint(0, 6))]
        for k, job in enumerate(jobs):
            job["id"] = f"{batch}-{k}"
            if random.random() < 0.3:
                job["params"]["enqueue"] = self._items(n, batch=batch)
        if random.random() < 0.3:
            jobs.append({"chain": self._steps(n), "batch": batch, "id": f"{batch}-chain"})

        def close(_: Any = None) -> None:
            self._question(client, "zmws.close", {"id": batch}, 60.0)
            if random.random() < 0.3:
                wait = json.dumps({"id": batch, "timeout": 20}).encode()
                client.ask("zmws.batch", True, {}, (wait,), 60.0, lambda reply: None)

        def add() -> None:
            # One more, after what may have been a restart; it is open as long as nobody has closed it.
            late = self._job(batch=n, late=True) | {"batch": batch, "id": f"{batch}-late"}
            self._submit(client, [late], close)

        def fill(_: Any) -> None:
            if jobs:
                self._submit(client, jobs, lambda reply: self.world.after(random.uniform(0.0, 3.0), add))
            else:
                close()

        self._question(client, "zmws.open", asked, 60.0, fill)
        for verb in ("cancel", "retry"):
            if self.world.chance(0.3):
                act = partial(self.load.change, client, f"zmws.{verb}", {"batch": batch}, 30.0)
                self.world.after(random.uniform(0.0, 15.0), act)

    def _schedule(self, n: int, client: SimClient) -> None:
        if self._stopped:
            return
        random, name = self.world.random, f"s{n}"
        self._schedules.append(name)
        asked = {"do": "add", "name": name, "service": random.choice(SERVED), "params": {"n": n}}
        asked |= {
            "every": random.choice((1, 1.1, 2, 5)),
            "missed": random.choice(("none", "once", "all", "all")),
        }
        asked |= {"overlap": random.choice(("allow", "skip", "cancel")), "missed_max": 20}
        asked["options"] = {"retries": 6, "expires": random.choice((None, 4))}
        if random.random() < 0.3:
            asked["jitter"] = 0.5
        self._question(client, "zmws.schedule", asked, 60.0)
        for verb in ("pause", "resume", "run", "remove"):
            if random.random() < 0.3:
                act = partial(self._question, client, "zmws.schedule", {"do": verb, "name": name}, 60.0)
                self.world.after(random.uniform(0.0, 15.0), act)

    # ------------------------------------------------------------ how

    def _submit(
        self,
        client: SimClient,
        jobs: list[dict[str, Any]],
        then: Callable[[Any], None] = lambda reply: None,
    ) -> None:
        client.ask("zmws.submit", True, {}, (json.dumps(jobs).encode(),), 60.0, then)

    def _question(
        self,
        client: SimClient,
        service: str,
        asked: dict[str, Any],
        timeout_s: float,
        then: Callable[[Any], None] = lambda reply: None,
    ) -> None:
        """What changes something is asked under an id; who was not answered goes on all the same."""

        def answered(reply: Any) -> None:
            if isinstance(reply, Reply):
                then(reply)

        self.load.change(client, service, asked, timeout_s, answered)
