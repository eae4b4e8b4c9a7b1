"""Tries one fault after the other until enough fair ones have been tried."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults import crew
from tests.faults.fault import Fault
from tests.faults.learning import Known
from tests.faults.project import Project
from tests.faults.trial import Trial


@dataclass
class Hunt:
    """Faults are taken in the order they were drawn, so that the seed alone says which are tried: for one
    that proves unfair the next is taken."""

    project: Project
    known: Known
    faults: Iterator[Fault]
    count: int
    patience_s: float
    told: Callable[[Hunt], None]
    fair: list[Trial] = field(default_factory=list)
    unfair: list[Trial] = field(default_factory=list)
    _order: list[Trial] = field(default_factory=list)

    def run(self, jobs: int, folder: Path) -> None:
        crew.run(self._next, jobs, folder)
        self.fair.sort(key=self._order.index)

    @property
    def noticed(self) -> list[Trial]:
        return [trial for trial in self.fair if trial.is_noticed]

    @property
    def survivors(self) -> list[Trial]:
        return [trial for trial in self.fair if not trial.is_noticed]

    @property
    def percent(self) -> float:
        return 100.0 * len(self.noticed) / len(self.fair) if self.fair else 100.0

    def _next(self) -> Trial | None:
        if len(self._order) - len(self.unfair) >= self.count:
            return None
        fault = next(self.faults, None)
        if fault is None:
            return None
        tests = self.known.tests_of(fault.place)
        trial = _Told(self.project, fault, tests, self.known.seconds, self.patience_s)
        trial.hunt = self
        self._order.append(trial)
        return trial


class _Told(Trial):
    """A trial whose end the hunt is told of."""

    hunt: Hunt

    def ended(self, hung: bool, output: str) -> None:
        super().ended(hung, output)
        if self.is_fair:
            self.hunt.fair.append(self)
            self.hunt.told(self.hunt)
        else:
            self.hunt.unfair.append(self)
