"""What is asked of the broker in a history."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from tests.simulation.broker import SimBroker
from tests.simulation.clients import SimClient
from tests.simulation.invariants import Watcher
from tests.simulation.world import World
from zmws.client.answers import accepted
from zmws.errors import Refused, ZmwsError
from zmws.wire.at_client import Reply
from zmws.wire.mdp import PARAM_JSON

SERVICES = ("A", "B", "F", "Q")
LOOKED_BACK_ON = 30  # jobs


def _unheard(reply: Any) -> None:
    """Nobody looks at this answer here; the invariants do."""


class Load:
    """One per history."""

    def __init__(self, world: World, watcher: Watcher, broker: SimBroker, clients: list[SimClient]) -> None:
        self.world, self.watcher, self.broker, self.clients = world, watcher, broker, clients
        self._jobs: list[tuple[str, str]] = []
        self._asks = 0

    def ask(self, n: int) -> None:
        random = self.world.random
        client = random.choice(self.clients)
        service = random.choice(SERVICES)
        body = (PARAM_JSON + json.dumps({"n": n}).encode(),)
        options: dict[str, Any] = {"id": f"job-{self.world.seed}-{n}"}
        kind = random.random()
        if kind < 0.08:
            return self._submit_many(client, n)
        if kind < 0.15:
            return self._operate(client, service)
        if kind < 0.2:
            return self._lease(client, n, random.choice("AB"))
        if kind < 0.4:
            timeout = random.choice((None, 5.0, 20.0)) if service != "F" else 20.0
            self.watcher.asks(options["id"], 0.0, timeout or 0.0)
            client.ask(service, True, options, body, timeout, self._check_call(options["id"], body))
            return
        if random.random() < 0.2:
            options["unique"] = random.choice("xy")
        if random.random() < 0.2:
            options["delay"] = random.uniform(0.1, 5.0)
        elif random.random() < 0.1:
            at = datetime.fromtimestamp(self.world.wall + random.uniform(-1.0, 5.0), UTC)
            options["at"] = at.isoformat()
        if random.random() < 0.2:
            options["priority"] = random.randint(-5, 5)
        if random.random() < 0.2:
            options["group"] = random.choice("gh")
        if random.random() < 0.2:
            options["expires"] = random.uniform(0.1, 5.0)
        if random.random() < 0.2:
            options["keep"] = random.uniform(0.0, 5.0)
        if random.random() < 0.1:
            options["durability"] = "memory"
            options.pop("unique", None)
        if random.random() < 0.9:
            options["retries"] = random.choice((3, 3, 6, 0))
        if service != "F" and random.random() < 0.02:
            body = (PARAM_JSON + json.dumps({"n": n, "poison": True}).encode(),)
            options["retries"] = random.choice((0, 1, 2))
        self.watcher.asks(options["id"], options.get("delay", 0.0), options.get("expires", 0.0))
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

    def burst(self, n: int) -> None:
        """Short jobs, one message of many after the other."""
        client = self.world.random.choice(self.clients)
        for number in range(3):
            self._submit_many(client, 1000 * n + number, "Q")

    def _submit_many(self, client: SimClient, n: int, service: str | None = None) -> None:
        """Many in one message, perhaps the same message twice."""
        random = self.world.random
        service = service or random.choice(SERVICES)
        jobs = []
        for k in range(random.randint(3, 12)):
            job = {"service": service, "params": {"n": n, "k": k}, "id": f"many-{self.world.seed}-{n}-{k}"}
            if random.random() < 0.3:
                job["group"] = random.choice("ghi")
            if random.random() < 0.2:
                job["priority"] = random.randint(-5, 5)
            if random.random() < 0.2:
                job["delay"] = random.uniform(0.1, 3.0)
            if random.random() < 0.1:
                job["expires"] = random.uniform(0.5, 5.0)
            if random.random() < 0.3:
                job["keep"] = 1
            self.watcher.asks(job["id"], job.get("delay", 0.0), job.get("expires", 0.0))
            jobs.append(
                job | {"retries": random.choice((3, 6, 6, 0)) if service == "Q" else random.choice((3, 6))}
            )
        body = (json.dumps(jobs).encode(),)

        def then(reply: Any) -> None:
            if not isinstance(reply, Reply) or reply.body[0] != b"200":
                return
            verdicts = json.loads(reply.body[1])
            self.watcher.demand(len(verdicts) == len(jobs), "submit_many: a verdict is missing")
            for job, verdict in zip(jobs, verdicts, strict=True):
                if "code" not in verdict:
                    self.watcher.demand(verdict["id"] == job["id"], "submit_many: verdicts out of order")
                    result = PARAM_JSON + json.dumps(job["params"]).encode()
                    self.watcher.acknowledged[job["id"]] = (result,)

        for _ in range(random.choice((1, 1, 2))):
            client.ask("zmws.submit", True, {}, body, 30.0, then)

    def _operate(self, client: SimClient, service: str) -> None:
        """What an operator does to many jobs, or to a service."""
        random = self.world.random
        verb, asked = random.choice(
            (
                ("cancel", {"service": service, "state": "waiting"}),
                ("cancel", {"group": "g"}),
                ("retry", {"state": "failed"}),
                ("retry", {"service": service}),
                ("retry", {"state": "cancelled"}),
                ("retry", {"service": service, "state": "expired"}),
                ("purge", {"service": service}),
                ("pause", {"service": service}),
                ("forget", {"service": service}),
                ("drain", {"service": service}),
                ("drain", {"worker": self._some_worker()}),
            )
        )

        def then(reply: Any) -> None:
            # Only when it is answered: the pause itself may still be on its way.
            if verb == "pause":
                resume = partial(self.change, client, "zmws.resume", asked, 60.0)
                self.world.after(random.uniform(0.5, 4.0), resume)

        self.change(client, f"zmws.{verb}", asked, 30.0, then)

    def _some_worker(self) -> str:
        """The id of a worker that there is, if there is one."""
        known = self.broker.core.roster.sessions.by_peer.values() if self.broker.up else ()
        ids = sorted(session.id for session in known) or ["nobody"]
        return str(self.world.random.choice(ids))

    def change(
        self,
        client: SimClient,
        service: str,
        asked: dict[str, Any],
        timeout_s: float,
        then: Callable[[Any], None] = _unheard,
    ) -> None:
        """A question that changes something, under an id of its own; perhaps somebody else repeats it."""
        self._asks += 1
        ask = f"ask-{self._asks}"
        question = (json.dumps({**asked, "ask": ask, "by": f"who asks {ask}"}).encode(),)

        client.ask(service, True, {}, question, timeout_s, then)
        # (A restarted broker knows no answers: the repeat of a pause would undo an earlier resumption.)
        if service != "zmws.pause" and self.world.chance(0.3):
            again, delay = self.world.random.choice(self.clients), self.world.random.uniform(0.0, 3.0)
            self.world.after(delay, partial(again.ask, service, True, {}, question, timeout_s, _unheard))

    def _lease(self, client: SimClient, n: int, service: str) -> None:
        """A worker without a socket of its own, which may go away without a word."""
        random = self.world.random
        fate = random.choice(("complete", "complete", "complete", "fail", "release", "abandon"))
        asked = {"service": service, "lease": f"lease-{n}", "wait": random.uniform(0.0, 5.0), "ttr": 5.0}

        def then(reply: Any) -> None:
            if not isinstance(reply, Reply) or reply.body[0] != b"200":
                return
            job = json.loads(reply.body[1])
            report = {"token": job["token"], "kind": fate, "result": job["params"], "error": "bad luck"}
            said = (json.dumps(report).encode(),)
            if fate == "abandon":
                return
            if random.random() < 0.3:
                more = (json.dumps({"token": job["token"], "seconds": 8}).encode(),)
                client.ask("zmws.extend", True, {}, more, 10.0, _unheard)
            told = partial(client.ask, "zmws.report", True, {}, said, 10.0, _unheard)
            for _ in range(random.choice((1, 1, 2))):
                self.world.after(random.uniform(0.0, 4.0), told)

        client.ask("zmws.lease", True, {}, (json.dumps(asked).encode(),), 15.0, then)

    def _follow(self, client: SimClient, job_id: str) -> None:
        chance = self.world.random.random()
        question = (json.dumps({"id": job_id}).encode(),)
        if chance < 0.2:
            wait = (json.dumps({"id": job_id, "timeout": 20}).encode(),)
            client.ask("zmws.wait", True, {}, wait, 40.0, _unheard)
        elif chance < 0.3:
            delay = self.world.random.choice((0.0, 0.02, self.world.random.uniform(0.0, 3.0)))
            self.world.after(delay, partial(self.change, client, "zmws.cancel", {"id": job_id}, 10.0))
        elif chance < 0.35:
            self.world.after(8.0, lambda: self.change(client, "zmws.retry", {"id": job_id}, 10.0))
        elif chance < 0.4:
            client.ask("zmws.job", True, {}, question, 10.0, _unheard)
        elif chance < 0.5:
            watch = (json.dumps({"id": job_id, "timeout": 5, "after": 1}).encode(),)
            client.ask("zmws.events", True, {}, watch, 15.0, _unheard)
        elif chance < 0.55:
            client.ask("zmws.jobs", True, {}, (b'{"limit": 5}',), 10.0, _unheard)
        elif chance < 0.65:
            stack = (json.dumps({"id": job_id, "timeout": 1}).encode(),)
            ask = partial(client.ask, "zmws.stack", True, {}, stack, 10.0, _unheard)
            self.world.after(self.world.random.uniform(0.0, 3.0), ask)
        if chance > 0.5:
            why = partial(client.ask, "zmws.why", True, {}, question, 10.0, _unheard)
            for _ in range(2):
                self.world.after(self.world.random.uniform(0.0, 6.0), why)
        elif chance > 0.4:
            client.ask("zmws.failures", True, {}, (b'{"limit": 1000}',), 10.0, _unheard)

    def look_back(self) -> None:
        """Ask of jobs in the store why they waited, and of all why they failed."""
        client = self.clients[0]
        for job_id in list(self.broker.disk.rows)[-LOOKED_BACK_ON:]:
            question = (json.dumps({"id": job_id}).encode(),)
            client.ask("zmws.why", True, {}, question, 30.0, _unheard)
        client.ask("zmws.failures", True, {}, (b'{"limit": 1000}',), 30.0, _unheard)

    def _check_call(self, job_id: str, body: tuple[bytes, ...]) -> Callable[[Any], None]:
        def then(reply: Any) -> None:
            if isinstance(reply, Reply) and reply.kind == "final":
                self.watcher.demand(reply.body == body, f"a call got {reply.body!r} instead of {body!r}")
            elif isinstance(reply, Reply) and json.loads(reply.body[0][12:])["code"] == "expired":
                self.watcher.not_before(job_id, "expired")

        return then
