"""Every request is answered: itself, and not only its repeat; in time; and with what is true.

A client of ours repeats what is unanswered under the same number, and would hide that the first was never
answered, or wrongly. So each answer is looked at as it leaves the broker, and each request has its own time.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from typing import Any

from tests.simulation.violation import demand
from tests.simulation.world import World
from tests.store.model import ModelStore
from zmws.core.states import FINAL_STATES, TRANSITIONS
from zmws.wire.messages import Accepted, Answer, ClientRequest, Completed, Failed

Key = tuple[Any, Any]  # who asked, and the envelope that numbers what he asked
AT_ONCE_S = 1.5  # less than a client of ours waits before it repeats
WAITS = {"zmws.wait": "timeout", "zmws.events": "timeout", "zmws.stack": "timeout", "zmws.lease": "wait"}
WAITS["zmws.batch"] = "timeout"


class Answers:
    """Requests and answers, by who asked."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.requests: Counter[Key] = Counter()
        self.answers: Counter[Key] = Counter()
        self.asked: dict[Key, ClientRequest] = {}
        self.bodies: dict[str, tuple[bytes, ...]] = {}  # by job id: what its params are
        self.told_new: set[str] = set()  # stored jobs that were acknowledged as new
        self.first: dict[str, tuple[bytes, ...]] = {}  # by `ask`: its first answer
        self.disk_was_full = False
        self._open: dict[Key, tuple[float, float]] = {}  # since when, and until when

    def requested(self, peer: Any, message: ClientRequest) -> None:
        """Somebody asks."""
        key = (peer, message.reply_to.envelope)
        self.requests[key] += 1
        if peer[0] != "client":
            return
        self.asked[key] = message
        now = self.world.now
        self._open.setdefault(key, (now, now + self._within(message)))
        if message.options:
            job_id = json.loads(message.options).get("id")
            if job_id is not None:
                self.bodies.setdefault(job_id, message.body)

    def _within(self, message: ClientRequest) -> float:
        name = message.service
        if name in WAITS:
            return AT_ONCE_S + float(json.loads(message.body[0]).get(WAITS[name], 0.0))
        return 1e9 if message.sync and not name.startswith("zmws.") else AT_ONCE_S

    def gone(self, peer: Any) -> None:
        """A connection broke: nobody there is answered."""
        for key in [key for key in self._open if key[0] == peer]:
            del self._open[key]

    def restarted(self) -> None:
        """A new broker: nobody is connected, and no answers are known."""
        self._open.clear()
        self.first.clear()

    def overdue(self, punctual: bool) -> None:
        """Nobody waits for longer than he must."""
        if not punctual:
            return
        for key, (since, until) in self._open.items():
            late = self.world.now > until
            demand(not late, f"{self.asked[key]} of {since:.2f} s is not answered")

    def none_open(self) -> None:
        """At the end nothing is unanswered."""
        for key in self._open:
            demand(False, f"{self.asked[key]} was never answered over its own connection")

    # ------------------------------------------------------------ what leaves

    def left(self, peer: Any, message: Any, disk: ModelStore) -> None:
        """An answer leaves the gate."""
        key = (peer, message.reply_to.envelope)
        self.answers[key] += 1
        demand(self.answers[key] <= self.requests[key], f"{key} got more answers than it asked")
        self._open.pop(key, None)
        asked = self.asked.get(key)
        if asked is None:
            return
        if isinstance(message, Answer):
            self._answer(asked, message, disk)
        elif isinstance(message, Accepted):
            self._accepted(asked, message)
        elif isinstance(message, Completed):
            right = message.body == asked.body
            demand(right, f"a call got {message.body!r} instead of {asked.body!r}")
        else:
            assert isinstance(message, Failed), message
            self._failed(asked, message)

    def _accepted(self, asked: ClientRequest, message: Accepted) -> None:
        options = json.loads(asked.options or b"{}")
        known = "unique" in options or message.job_id == options.get("id")
        demand(known and message.service == asked.service, f"{asked} was answered {message}")
        wanted = options.get("durability", "disk")
        demand(message.durability == wanted, f"{message.job_id} was to be on {wanted}: {message}")
        if wanted == "disk":
            # (A record with a `keep` of its own may be forgotten by now: then the id is a new one's.)
            again = not message.existing and message.job_id in self.told_new
            twice = again and "keep" not in options
            demand(not twice, f"{message.job_id} was acknowledged as new twice")
            if not message.existing:
                self.told_new.add(message.job_id)

    def _failed(self, asked: ClientRequest, message: Failed) -> None:
        code = json.loads(message.error)["code"]
        options = json.loads(asked.options or b"{}")
        stored = not asked.sync and options.get("durability", "disk") == "disk"
        only_expires = code == "bad_option" and "expires" in options
        if not message.job_made and stored and not only_expires:
            self.refused(code)
        demand(message.job_made or not asked.sync or code != "disk_full", f"a call was refused {code}")

    def refused(self, code: str) -> None:
        """A stored job was refused. There is one reason in the simulator: a full disk; and it is told so."""
        demand(code in ("disk_full", "id_conflict"), f"a stored job was refused: {code}")
        demand(code != "disk_full" or self.disk_was_full, "a job was refused disk_full, and there was room")

    def _answer(self, asked: ClientRequest, message: Answer, disk: ModelStore) -> None:
        status, name = message.body[0], message.service
        demand(name == asked.service, f"{asked} was answered by {name}")
        demand(status != b"400", f"the simulator's own question is none: {message}")
        if not name.startswith("zmws."):
            return
        said, told = json.loads(asked.body[0]), json.loads(message.body[1])
        if isinstance(said, dict) and "ask" in said:
            first = self.first.setdefault(said["ask"], message.body)
            demand(first == message.body, f"{said} was answered {first!r} and then {message.body!r}")
        if status not in (b"200", b"202"):
            return
        if name == "zmws.submit":
            self._verdicts(said, told)
        elif name in ("zmws.job", "zmws.wait") and "state" in told:
            self._record(said, told)
            ended = told["state"] in FINAL_STATES
            demand(ended or name == "zmws.job", f"a wait of {told['id']} was answered: {told['state']}")
        elif name == "zmws.events":
            self._events(said, told)
        elif name == "zmws.lease" and status == b"200":
            demand(told["service"] == said["service"], f"{said} was given {told['service']}")
            self._params(told)
        elif name in ("zmws.pause", "zmws.resume"):
            paused = {"service": said["service"], "paused": name == "zmws.pause"}
            demand(told == paused, f"{said} was answered {told}")

    def _verdicts(self, said: list[dict[str, Any]], told: list[dict[str, Any]]) -> None:
        demand(len(said) == len(told), "submit_many: a verdict is missing")
        for job, verdict in zip(said, told, strict=True):
            job_id = f"{job['id']}:1" if "chain" in job else job["id"]
            demand(verdict.get("id") == job_id, "submit_many: verdicts out of order")
            in_memory = job.get("durability") == "memory" and verdict.get("code") == "queue_full"
            only_expires = verdict.get("code") == "bad_option" and "expires" in job
            if "code" in verdict and not (only_expires or in_memory):
                self.refused(verdict["code"])

    def _record(self, said: dict[str, Any], told: dict[str, Any]) -> None:
        demand(told["id"] == said["id"], f"{said} was answered with {told['id']}")
        self._params(told)
        if told["state"] == "complete":
            demand(told["result"] == told["params"], f"{told['id']} has the result {told['result']}")
        numbers = [entry["attempt"] for entry in told["attempts"]]
        demand(numbers == sorted(set(numbers)), f"the attempts of {told['id']} are {numbers}")

    def _params(self, told: dict[str, Any]) -> None:
        body = self.bodies.get(told["id"])
        if body is not None:
            params = json.loads(body[0].partition(b" ")[2])
            demand(told["params"] == params, f"the params of {told['id']} are {told['params']}")

    def _events(self, said: dict[str, Any], told: list[dict[str, Any]]) -> None:
        numbers = [event["n"] for event in told]
        rising = numbers == sorted(set(numbers)) and all(n > said.get("after", 0) for n in numbers)
        demand(rising, f"the events of {said} are numbered {numbers}")
        states = [event["state"] for event in told if event["kind"] == "state"]
        for one, next_one in itertools.pairwise(states):
            may = next_one in TRANSITIONS[one].values()
            demand(may, f"an event of {said} leads from {one} to {next_one}")
