"""What can be given a job: a worker's session, or a lease (session.py, lease.py).

Rule 1: what a taker holds is an Assignment per token. One whose attempt is over keeps its slot until the
        taker lets go of it: by a FINAL, a RELEASE, or by being lost.
Rule 2: a taker with room for a job of a service stands in that service's ring, once. After each job it gets
        it goes to the tail: so the one that has waited longest is next, slots or not (round-robin). The ring
        is a dict, whose order is the order of waiting and from which any taker can be taken at once.
Rule 3: a suspect, a job whose worker died with it, is held alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

from zmws.core.ahead import Fewest
from zmws.core.job import Job
from zmws.core.lane import Lane
from zmws.core.tokens import job_id_of
from zmws.core.turn import Turn


@dataclass(slots=True, eq=False)
class Assignment:
    """A job in the hands of a taker, under one token. Times are monotonic unless named `_at`."""

    token: bytes
    service: str | None  # None: of a job that is not known any more
    job: Job | None  # None: the attempt is over, but the taker has not let go of it
    taker: Taker | None = None  # None: an earlier life of the broker gave it, and nobody has named it yet
    since_at: float | None = None
    given: float = 0.0  # when it was given, or named by who has it
    unsent: bool = False  # it may run only once: its REQUEST leaves when the start is on disk
    ahead: bool = False  # it was sent ahead: there are older ones for all slots
    begun: float | None = None  # when it was dispatched, or moved up by a FINAL; None: by an earlier life
    expected_s: float | None = None  # how long it will run, by experience
    ttr_s: float = 0.0
    name_by: float | None = None  # a worker of ours that heard of it has named it by then; None: it has
    unheard: bool = False  # it has not, though its heartbeats come
    drop_by: float | None = None  # the attempt is over, and until then the taker may let go of it
    alone: bool = False  # a suspect: the taker holds nothing beside it until it has let go
    hung: bool = False  # it has not; of a foreign worker: it came back, and owes that FINAL until `drop_by`

    @property
    def job_id(self) -> str:
        """The job, or the one that is over."""
        return job_id_of(self.token) or ""


class Ring(dict["Taker", None]):
    """Who serves one service: the takers with room for a job of it, the longest waiting first."""

    __slots__ = ("ahead", "overdue", "reserved", "service", "workers")
    __hash__ = object.__hash__  # type: ignore[assignment]  # one a service, and it is itself alone

    def __init__(self, service: str) -> None:
        super().__init__()
        self.service = service
        self.workers: dict[Taker, None] = {}  # sessions, with room or without
        self.reserved: Taker | None = None  # who is given nothing until a suspect can be held alone
        self.ahead: Fewest[Taker] = Fewest()  # who may be given more than it can begin
        self.overdue: dict[bytes, Assignment] = {}  # what was sent ahead and lies, by token (ahead.py)


class Taker(ABC):
    """The root of both kinds. `name` stands in records as the worker."""

    name: str
    lease_id: str | None = None  # it is no worker, but a lease of this id
    ttr_s: float | None = None  # the time to run that it gives a job, where that is not the job's own
    ours = False  # it speaks as docs/protocol.md has it, "The extensions"
    gone = False  # it takes nothing any more
    blocked_until = 0.0  # it could not be sent to: passed over until then
    lane: Lane | None = None  # where its attempts are kept when they have ended, if they are (lanes.py)
    # It gets nothing before it is empty, and then a suspect of this ring's service.
    reserved: Ring | None = None

    def __init__(self, turn: Turn, rings: Iterable[Ring]) -> None:
        self.turn = turn
        self.rings = tuple(rings)
        self._turns = self.rings  # the one that was given a job least lately is first
        self.holding: dict[bytes, Assignment] = {}  # by token, the oldest first

    @property
    def stalled(self) -> bool:
        """It says nothing, or does not hear what it is sent: passed over as long as that is so."""
        return False

    @property
    def can_be_emptied(self) -> bool:
        """Whether it will have nothing in hand when what it runs has ended."""
        return False

    @abstractmethod
    def has_room(self, service: str) -> bool:
        """Whether it may get a job of this service now."""

    def takes_ahead(self, service: str, expected_s: float) -> bool:
        """Whether it may be given a job that it cannot begin yet, and that will run so long."""
        return False

    @abstractmethod
    def give(self, assignment: Assignment, job: Job) -> None:
        """Hand a job over: it holds it from now on."""

    @abstractmethod
    def send_late(self, assignment: Assignment, job: Job) -> bool:
        """That it holds this is on disk, which its REQUEST has waited for. False: it takes nothing any more,
        and has not got it."""

    @abstractmethod
    def drop(self, assignment: Assignment, deadline: float) -> None:
        """The attempt, which was to end at `deadline`, is over by another's word (a cancel, its ttr): tell
        it."""

    @abstractmethod
    def let_lie(self, assignment: Assignment) -> None:
        """What it was sent ahead was given away: it is not to begin it."""

    @abstractmethod
    def ends_by(self, at: float) -> None:
        """What it holds ends at monotonic `at`, at the latest: be reminded of it."""

    def stand_in_line(self) -> None:
        """Stand in the ring of each service that there is room for, and in no other. The services take turns:
        the one that was given a job least lately is dispatched first."""
        woken = self.turn.woken
        for ring in self._turns:
            if not self.has_room(ring.service):
                ring.pop(self, None)
            elif self not in ring:
                ring[self] = None
                woken.pop(ring.service, None)
                woken[ring.service] = None
            elif not self.holding:
                # A suspect may wait for just that, or it was kept free for one, and passed over.
                self.turn.woken[ring.service] = None

    def leave_line(self) -> None:
        """Get no job any more."""
        for ring in self.rings:
            ring.pop(self, None)

    def go_to_the_tail(self, given: Ring) -> None:
        """It was given a job out of this ring."""
        if len(self.rings) > 1:
            self._turns = (*(ring for ring in self._turns if ring is not given), given)
        for ring in self.rings:
            if ring.pop(self, self) is None and self.has_room(ring.service):
                ring[self] = None
