"""A lease as a taker: who asked for a job over zmws.lease stands in the ring as a worker does
(desk/leases.py)."""

from __future__ import annotations

import json
from collections.abc import Callable

from zmws.core.job import Caller, Job, leased
from zmws.core.question import Asker
from zmws.core.taker import Assignment, Ring, Taker
from zmws.core.turn import Turn
from zmws.wire.messages import Answer


class Lease(Taker):
    """One asker, until it has a job or has waited for long enough."""

    def __init__(
        self,
        turn: Turn,
        caller: Caller,
        asker: Asker,
        lease_id: str,
        ring: Ring,
        ttr_s: float,
        until: float,
        given: Callable[[Lease, bytes], None],
    ) -> None:
        """It waits until monotonic `until`. `given`: called with the token when it has a job."""
        super().__init__(turn, (ring,))
        self.caller = caller
        self.asker = asker
        self.lease_id = self.id = lease_id
        self.name = f"lease:{lease_id}"
        self.ttr_s = ttr_s
        self.until = until
        self._given = given

    @property
    def service(self) -> str:
        """The service it asks a job of."""
        return self.rings[0].service

    def has_room(self, service: str) -> bool:
        """It takes one job."""
        return not self.holding

    def give(self, assignment: Assignment, job: Job) -> None:
        """The answer, which is held for the write of the start: unlike a worker, whoever leases cannot say
        again what it holds, so what it is told must hold."""
        turn = self.turn
        self.holding[assignment.token] = assignment
        self._given(self, assignment.token)
        body = json.dumps(leased(job, turn.lead, turn.now), default=str).encode()
        turn.send(
            self.caller.peer, Answer("zmws.lease", (b"200", body), self.caller.reply_to), job.last_write
        )

    def send_late(self, assignment: Assignment, job: Job) -> bool:
        """The answer waits by itself."""
        return True

    def drop(self, assignment: Assignment, deadline: float) -> None:
        """It has no connection of its own to be told by; its report will be refused."""

    def let_lie(self, assignment: Assignment) -> None:
        """Nothing is sent ahead to it."""

    def ends_by(self, at: float) -> None:
        """It is not looked at again: its time is all that bounds it, and Life ends that."""
