"""What is sent ahead, as the wire tells it: when it may be, and that nothing lies while a slot is free
(docs/protocol.md, prefetch)."""

from __future__ import annotations

from tests.simulation.turns import Before, can_be_given, suspect
from tests.simulation.violation import demand
from tests.simulation.world import World
from zmws.core.broker import Broker
from zmws.core.session import Session
from zmws.wire.messages import WorkerRequest

LIES_S = 0.02 + 3 * 0.02 + 0.001  # until it is released, and three ways that a message goes
LIES_S_MAX = 1.0 + 0.021  # where a process stands, or messages are lost


class Ahead:
    """Looks at every REQUEST that is more than its worker can begin, and at what becomes of it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.faultless = False  # nothing befalls anybody in this history
        self.count = 0  # of what was sent ahead
        self._free_since: dict[bytes, float] = {}  # unbegun, and somebody else could begin it
        self._given: dict[bytes, float] = {}  # sent ahead, and not known to have begun

    def restarted(self) -> None:
        self._free_since.clear()
        self._given.clear()

    def given(self, message: WorkerRequest, in_hand: int, slots: int, core: Broker) -> None:
        """A REQUEST leaves, for who has so many jobs beside it."""
        if in_hand < slots:
            return
        self.count += 1
        job = core.held.live(message.token)
        assert job is not None, message
        demand(job.retries != 0, f"{job.id}, which may run only once, was sent ahead")
        demand(not suspect(job), f"the suspect {job.id} was sent ahead")
        self._given[message.token] = self.world.now

    def began(self, token: bytes) -> None:
        self._given.pop(token, None)

    def after(self, core: Broker, before: Before, starts: set[bytes]) -> None:
        """Nobody that could begin it was passed over; and nothing lies while a slot is free."""
        now = self.world.now
        for token in starts:
            assignment = core.held.assignments.get(token)
            if assignment is None or not isinstance(assignment.taker, Session) or not assignment.ahead:
                continue
            ring = core.held.services[assignment.service or ""].ring
            free = [one for one in ring if can_be_given(one, ring, now)]
            demand(not free, f"{token!r} was sent ahead, and {free} could have begun it")
        for token in list(self._given):
            assignment = core.held.assignments.get(token)
            if assignment is None or assignment.job is None:
                self._given.pop(token)
                self._free_since.pop(token, None)
                continue
            ring = core.held.services[assignment.job.service].ring
            if not any(can_be_given(one, ring, now) for one in ring if one is not assignment.taker):
                self._free_since.pop(token, None)
                continue
            since = max(self._free_since.setdefault(token, now), self._given[token])
            most = LIES_S if self.faultless else LIES_S_MAX
            if not self.faultless and not assignment.ahead and isinstance(assignment.taker, Session):
                # FINALs have moved it up: a process that stands from that moment on is not known from one
                # that runs it, until it is taken for lost.
                most += assignment.taker.expiry_s
            demand(now - since <= most, f"{token!r} has lain for {now - since:.3f} s, and a slot was free")
