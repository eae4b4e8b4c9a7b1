"""Questions that change something, asked again: the repeat gets the first answer.

Rule 1: such a question may bear `ask`, the asker's own id for it. Whoever asks again under it, over whatever
        connection, is given the first answer, or waits for it with the first.
Rule 2: an answer is kept for `memory_keep`, of the latest `asks_max` of them.
Rule 3: the same `ask` with another question is refused: two questions have two ids.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from zmws.core.job import Caller, Pending
from zmws.core.timers import Reminder
from zmws.core.turn import Turn
from zmws.wire.messages import Answer


@dataclass(slots=True)
class Asked:
    """One such question: who waits for its answer, or what that was."""

    service: str
    asked: dict[str, Any]
    callers: list[Caller] = field(default_factory=list)
    frames: tuple[bytes, ...] | None = None
    after: Pending | None = None  # the write that the answer speaks of
    until: float = 0.0  # monotonic: how long the answer is kept


class Asks:
    """The questions under way that may be asked again, and the answers of those before."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._under_way: dict[str, Asked] = {}
        self._kept: OrderedDict[str, Asked] = OrderedDict()  # by when they were answered
        self._reminder = Reminder[None](lambda _: self.forget_old())

    def known(self, ask: str) -> Asked | None:
        """The question that was asked under this id."""
        return self._under_way.get(ask) or self._kept.get(ask)

    @property
    def full(self) -> bool:
        """Whether as many are under way as may be."""
        return len(self._under_way) >= self._turn.limits.asks_max

    def begin(self, ask: str, service: str, asked: dict[str, Any], caller: Caller) -> None:
        """A question is asked for the first time."""
        self._under_way[ask] = Asked(service, asked, [caller])

    def again(self, known: Asked, caller: Caller) -> None:
        """It is asked again."""
        if known.frames is not None:
            self._tell(known, caller)
        elif not any(one.same_as(caller) for one in known.callers):
            known.callers.append(caller)

    def answer(self, ask: str, frames: tuple[bytes, ...], after: Pending | None) -> None:
        """It is answered: all who asked are told."""
        known = self._under_way.pop(ask)
        known.frames, known.after = frames, after
        known.until = self._turn.now + self._turn.limits.memory_keep_s
        self._kept[ask] = known
        if len(self._kept) > self._turn.limits.asks_max:
            self._kept.popitem(last=False)
        if len(self._kept) == 1:
            self._turn.timers.add(known.until, self._reminder, None)
        callers, known.callers = known.callers, []
        for caller in callers:
            self._tell(known, caller)

    def _tell(self, known: Asked, caller: Caller) -> None:
        assert known.frames is not None, known
        answer = Answer(known.service, known.frames, caller.reply_to)
        self._turn.send(caller.peer, answer, known.after)

    def forget_old(self) -> None:
        """Forget the answers whose time has passed."""
        while self._kept and next(iter(self._kept.values())).until <= self._turn.now:
            self._kept.popitem(last=False)
        if self._kept:
            self._turn.timers.add(next(iter(self._kept.values())).until, self._reminder, None)
