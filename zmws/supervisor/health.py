"""Who is to be killed although its process runs: what hangs, and what takes up too much. Pure.

Rule 1: only what keeps others from their work is killed: a worker whose job is over and holds the
        interpreter, one that the broker has not known for a long while, a broker that does not answer.
Rule 2: only time counts in which somebody has looked: a supervisor that was stopped itself, or a machine that
        was asleep, has nobody killed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Row = Mapping[str, Any]


@dataclass(slots=True)
class Health:
    """What has been seen so far. `silence_max_s`: for the broker; `unknown_max_s`: for workers."""

    silence_max_s: float
    unknown_max_s: float
    _silent_s: float = 0.0
    _unknown_s: dict[str, float] = field(default_factory=dict)

    def of_broker(self, answered: bool, looked_s: float) -> str | None:
        """Why the broker, which runs, is to be killed, if it is. `looked_s`: since the last look, or less."""
        self._silent_s = 0.0 if answered else self._silent_s + looked_s
        if not self.silence_max_s or self._silent_s < self.silence_max_s:
            return None
        silent_s, self._silent_s = self._silent_s, 0.0
        return f"it has not answered for {silent_s:.0f} s"

    def of_workers(
        self, names: Iterable[str], rows: Mapping[str, Row], stats: Row, wall: float, looked_s: float
    ) -> dict[str, str]:
        """Which of these, which run, are to be killed, and why. `rows`: of zmws.workers, by their names;
        `wall`: now, in seconds since 1970; `looked_s`: the time since the look before, or less."""
        grace_s = 2 * float(stats["limits"]["cancel_grace_s"])
        wrong = {}
        unknown, self._unknown_s = self._unknown_s, {}
        for name in names:
            row = rows.get(name)
            if row is None:
                self._unknown_s[name] = unknown.get(name, 0.0) + looked_s
                if self._unknown_s[name] >= self.unknown_max_s:
                    wrong[name] = f"the broker has not known it for {self._unknown_s.pop(name):.0f} s"
                continue
            silent_s = wall - datetime.fromisoformat(row["heard_at"]).timestamp()
            if silent_s >= grace_s and any(job["state"] == "hung" for job in row["jobs"]):
                wrong[name] = (
                    f"its job is over and does not end, and it has said nothing for {silent_s:.0f} s"
                )
        return wrong
