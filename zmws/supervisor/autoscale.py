"""How many copies of a worker there are to be, by what waits for them. Pure.

Rule 1: up fast: while the oldest job has waited for longer than `target_wait`, copies double, and no more are
        added before those are ready. What waits while none runs gets one at once.
Rule 2: down slowly: one at a time, when it was not needed for `down_after`. Only an idle one goes.
Rule 3: no copy is added that could not do anything: for a paused service, past its max_running, or past what
        all copies may take up of the memory and of the processors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from zmws.settings.sections import MIB, ScaleSettings

_DOWN_STEPS = 10  # one copy goes each so many parts of down_after, at most


@dataclass(frozen=True, slots=True)
class Seen:
    """How it is now. `have`: copies that run, or start; `idle`: those that could go, in that order.

    `waiting` jobs, `oldest_s` the time that the oldest has waited; `slots` of a copy; `max_running` of the
    service; `memory_bytes` of all copies; `cpu_percent` of the machine. `fatal`: copies that do not
    come up. `is_known`: the broker knows the service."""

    have: int
    starting: int
    idle: Sequence[str]
    waiting: int
    oldest_s: float
    fatal: int = 0
    is_known: bool = True
    is_paused: bool = False
    slots: int = 1
    max_running: int | None = None
    memory_bytes: int = 0
    cpu_percent: float = 0.0


@dataclass(slots=True)
class Autoscale:
    """That of one worker. `why`: what was done last, and why, or why nothing can be."""

    given: ScaleSettings
    why: str = "nothing has had to wait"
    _needed: list[tuple[float, int]] = field(default_factory=list)
    _down_at: float | None = None  # none goes before

    def count(self, seen: Seen, now: float) -> int:
        """How many there are to be."""
        given, have = self.given, seen.have
        if have < given.min:
            return self._because(given.min, "as few as there are to be")
        if have > given.max:
            return self._because(given.max, "as many as there may be")
        if self._down_at is None:
            self._down_at = now + given.down_after  # what was before nobody knows
        needed = have if seen.waiting and not seen.is_paused else have - len(seen.idle)
        self._needed = [one for one in self._needed if one[0] > now - given.down_after] + [(now, needed)]
        if not seen.is_known and have == 0:
            return self._because(1, "the broker does not know the service before a worker has told it")
        if seen.waiting and not seen.is_paused and (have == 0 or seen.oldest_s > given.target_wait):
            return self._up(seen)
        return self._down(seen, now)

    def _up(self, seen: Seen) -> int:
        given, have = self.given, seen.have
        if seen.starting:
            return have
        most = given.max
        if seen.max_running is not None:
            most = min(most, math.ceil(seen.max_running / seen.slots))
        waits = f"the oldest of {seen.waiting} waiting has waited for {seen.oldest_s:.1f} s"
        if seen.fatal:
            self.why = f"no more: {seen.fatal} of {have} do not come up; {waits}"
            return have
        if have >= most:
            bound = "max" if most == given.max else f"max_running = {seen.max_running} of the service"
            self.why = f"no more, by {bound}: {waits}"
            return have
        if have and given.memory_max is not None and seen.memory_bytes >= given.memory_max:
            self.why = f"no more, by memory_max: they have {seen.memory_bytes // MIB} MiB; {waits}"
            return have
        if have and given.cpu_max is not None and seen.cpu_percent >= given.cpu_max:
            self.why = f"no more, by cpu_max: {seen.cpu_percent:.0f} % of the processors are in use; {waits}"
            return have
        return self._because(min(most, have + max(1, min(have, math.ceil(seen.waiting / seen.slots)))), waits)

    def _down(self, seen: Seen, now: float) -> int:
        given, have = self.given, seen.have
        most_needed = max(needed for _, needed in self._needed)
        assert self._down_at is not None
        if have <= max(given.min, most_needed) or not seen.idle or now < self._down_at:
            return have
        self._down_at = now + given.down_after / _DOWN_STEPS
        return self._because(have - 1, f"no job has needed it for {given.down_after:g} s")

    def _because(self, count: int, why: str) -> int:
        self.why = why
        return count
