"""One fault's trial: the tests that run over it are run until one notices it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.faults import session
from tests.faults.fault import Fault
from tests.faults.noticing import CRASHED, NOTICED
from tests.faults.project import Project

UNFAIR = "unfair"  # the module cannot be imported, or no test can be collected
HUNG = "hung"  # a test hangs, which counts as noticed
DIED = "died"  # the process ended in the middle of a test: noticed too
SURVIVED = "survived"

START_PATIENCE_S = 60.0
TIMES_AS_LONG = 10.0


class Trial:
    """It is a task of the crew."""

    def __init__(
        self,
        project: Project,
        fault: Fault,
        tests: list[str] | None,
        seconds: dict[str, float],
        patience_s: float,
        output: bool = False,
    ) -> None:
        self.project = project
        self.fault = fault
        self.tests = tests  # None: all
        self.source = fault.place.path.read_bytes()
        self.verdict = UNFAIR
        self.test = ""  # the test that noticed it, or hung
        self.why = ""
        self.ran = 0
        self.crashed: list[str] = []  # tests that broke down, which says nothing
        self.output = ""
        self.took_s = 0.0
        self.over = False
        self.patience_s = START_PATIENCE_S
        self._usual_s = seconds
        self._least_s = patience_s
        self._wants_output = output
        self._under_way = ""
        self._begun = time.monotonic()

    def work(self, folder: Path, send: Callable[[dict[str, Any]], None]) -> None:
        change = (self.fault.place.path, self.fault.changed(self.source))
        wanted = session.Wanted(tests=self.tests, change=change, output=self._wants_output)
        session.run(self.project, wanted, folder, send)

    def heard(self, message: dict[str, Any]) -> None:
        if "begins" in message:
            self._under_way = message["begins"]
            self.patience_s = max(self._least_s, TIMES_AS_LONG * self._usual_s.get(self._under_way, 0.0))
        elif "ends" in message:
            self.ran += message["outcome"] != session.SKIPPED
            self._under_way, self.patience_s = "", START_PATIENCE_S
            if message["outcome"] == NOTICED:
                self.verdict, self.test, self.why = NOTICED, message["ends"], message["why"]
                self.over = not self._wants_output
            elif message["outcome"] == CRASHED:
                self.crashed.append(message["ends"])
                self.why = message["why"]
        elif "unfair" in message:
            self.why = message["unfair"]
        elif "uncollected" in message:
            # A file of tests that cannot be imported: the tests in it break down.
            self.crashed.append(message["uncollected"])
            self.why = message["why"]
        elif "done" in message and self.verdict == UNFAIR and (self.ran or self.tests == []):
            self.verdict = SURVIVED

    def ended(self, hung: bool, output: str) -> None:
        self.output = output
        self.took_s = time.monotonic() - self._begun
        if self._under_way and self.verdict == UNFAIR:
            self.verdict, self.test = HUNG if hung else DIED, self._under_way

    @property
    def is_fair(self) -> bool:
        return self.verdict != UNFAIR

    @property
    def is_noticed(self) -> bool:
        return self.verdict in (NOTICED, HUNG, DIED)
