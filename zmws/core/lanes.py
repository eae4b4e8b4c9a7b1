"""Whose attempts are kept, so that one sees what each worker did, and when and why one vanished (lane.py).

Rule 1: `lanes_workers_max` workers have a lane: those that came first, and who comes takes the place of who
        has been gone for longest. Who finds none gets the next that is free.
Rule 2: who is gone keeps the lane for `lanes_s`; the same process that comes back goes on in it.
Rule 3: who leases has no lane: a lease is one job. Nothing of this is on disk: a broker begins anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from zmws.core.lane import Lane
from zmws.core.session import Session
from zmws.core.turn import Turn

_Process = tuple[str, str | None, int | None]


@dataclass(slots=True, eq=False)
class Laned:
    """A worker that has a lane. Who is gone is known by this alone; times are steady."""

    lane: Lane
    id: str
    host: str | None
    pid: int | None
    services: list[str]
    slots: int
    registered_at: float  # by the wall
    session: Session | None = field(repr=False)  # None: it is gone
    gone_at: float = 0.0
    why: str | None = None


class Lanes:
    """The workers that have a lane."""

    def __init__(self, turn: Turn) -> None:
        self.turn = turn
        self._here: dict[Session, Laned] = {}
        self._gone: dict[_Process, Laned] = {}  # who went first is first
        self._without: dict[Session, None] = {}  # who came first is first

    def came(self, session: Session) -> None:
        """A worker has registered."""
        if self.turn.limits.lanes_s:
            self._forget()
            self._without[session] = None
            if not self._give(session) and self._gone:
                del self._gone[next(iter(self._gone))]
                self._give(next(iter(self._without)))

    def went(self, session: Session, why: str) -> None:
        """And is gone; what it held has ended."""
        self._without.pop(session, None)
        known = self._here.pop(session, None)
        if known is not None:
            known.session, known.slots = None, session.slots
            known.gone_at, known.why = self.turn.steady, why
            self._gone[_process(session)] = known

    def all(self) -> Iterable[Laned]:
        """Those that have a lane, gone ones too."""
        self._forget()
        return (*self._here.values(), *self._gone.values())

    @property
    def without(self) -> Iterable[Session]:
        """Those that are here, and have none."""
        return self._without

    def _forget(self) -> None:
        """Drop who is gone for too long; others may have their places."""
        oldest = self.turn.steady - self.turn.limits.lanes_s
        while self._gone:
            first = next(iter(self._gone))
            if self._gone[first].gone_at >= oldest:
                break
            del self._gone[first]
        while self._without and self._give(next(iter(self._without))):
            pass

    def _give(self, session: Session) -> bool:
        """A lane, its own of before if it had one; false if there is no room."""
        limits, info = self.turn.limits, session.info
        known = self._gone.pop(_process(session), None)
        if known is None and len(self._here) + len(self._gone) >= limits.lanes_workers_max:
            return False
        self._here[session] = Laned(
            Lane(limits.lanes_s) if known is None else known.lane,
            session.id,
            info.host if info is not None else None,
            info.pid if info is not None else None,
            session.service_names,
            session.slots,
            session.registered_at,
            session,
        )
        session.lane = self._here[session].lane
        del self._without[session]
        return True


def _process(session: Session) -> _Process:
    """What is the same when a worker's connection comes back."""
    info = session.info
    return (session.id, None, None) if info is None else (session.id, info.host, info.pid)
