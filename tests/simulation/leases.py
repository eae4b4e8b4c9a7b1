"""Leases: a token is good as long as its time says, over restarts of the broker too."""

from __future__ import annotations

import json
from typing import Any

from tests.simulation.clocks import Clocks
from tests.simulation.violation import demand
from tests.simulation.world import World
from zmws.core.broker import Broker
from zmws.core.job import Job
from zmws.core.states import CANCELLED
from zmws.wire.messages import Answer, ClientRequest

ENDS = ("complete", "fail", "release")


class LeaseTokens:
    """The tokens that were leased, and until when they are good."""

    def __init__(self, world: World, clocks: Clocks) -> None:
        self.world, self._clocks = world, clocks
        self._good: dict[str, tuple[float, bool]] = {}  # until when, and whether its job is stored
        self._asked: dict[
            Any, tuple[str, bool]
        ] = {}  # by who asked, and number: the token, and if it was good
        self._ended: set[str] = set()  # an end of it was reported

    def asked(self, peer: Any, message: ClientRequest) -> None:
        """A question has come."""
        if message.service not in ("zmws.report", "zmws.extend"):
            return
        said = json.loads(message.body[0])
        token = said["token"]
        until, stored = self._good.get(token, (0.0, False))
        if message.service == "zmws.extend" and until > self.world.now:
            self._good[token] = (min(until, self.world.now + said["seconds"]), stored)
        self._asked[peer, message.reply_to.envelope] = (token, token not in self._ended)
        if said.get("kind") in ENDS:
            self._ended.add(token)

    def restarted(self) -> None:
        """What a broker's end takes with it: jobs in memory. By a stepped wall nobody knows the time left."""
        jumped = self.world.clock_jumped or self.world.suspended
        self._good = {t: (at, stored) for t, (at, stored) in self._good.items() if stored and not jumped}

    def answered(self, peer: Any, message: Answer, told: dict[str, Any], core: Broker) -> None:
        """An answer leaves."""
        if message.service == "zmws.lease" and message.body[0] == b"200":
            # Its time began before the write that its answer waits for.
            until = min(self.world.now + told["ttr"] - 1.0, self._clocks.over_at(told["token"].encode()))
            self._good.setdefault(told["token"], (until, told["kind"] == "stored"))
            return
        if message.service not in ("zmws.report", "zmws.extend"):
            return
        token, good = self._asked.get((peer, message.reply_to.envelope), ("", False))
        if message.body[0] == b"409" and good:
            until, _ = self._good.get(token, (0.0, False))
            job = core.held.find(token.rsplit("/", 2)[0])
            attempt = int(token.rsplit("/", 2)[1])
            cancelled = job is None or job.state == CANCELLED or _was_cancelled(job, attempt)
            demand(self.world.now > until or cancelled, f"the leased {token} is dead before its time")


def _was_cancelled(job: Job, attempt: int) -> bool:
    """Whether this attempt was, though the job was retried since."""
    ended = [entry for entry in job.attempts if entry["attempt"] == attempt]
    return any(entry.get("error", {}).get("code") == "cancelled" for entry in ended)
