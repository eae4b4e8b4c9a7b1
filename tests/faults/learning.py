"""Runs each test once without a fault, and keeps which lines it runs and how long it takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.faults import crew, session
from tests.faults.fault import Place
from tests.faults.project import Project

PATIENCE_S = 180.0


class NothingLearned(Exception):
    """The tests cannot be run without a fault."""


class Known:
    """The tests without sockets."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.skipped = 0
        self.failed: list[str] = []  # without a fault, and why
        self._tests: dict[str, dict[int, set[str]]] = {}

    def learn(self, message: dict[str, Any]) -> None:
        test, outcome = message["ends"], message["outcome"]
        if outcome == session.PASSED:
            self.seconds[test] = message["seconds"]
        elif outcome == session.SKIPPED:
            self.skipped += 1
        else:
            self.failed.append(f"{test}: {message['why']}")

    def learn_lines(self, message: dict[str, Any]) -> None:
        of_file = self._tests.setdefault(message["file"], {})
        for line, tests in message["lines"]:
            of_file.setdefault(line, set()).update(test for test in tests if test in self.seconds)

    def tests_of(self, place: Place) -> list[str]:
        """Those that run the place, the quickest first."""
        of_file = self._tests.get(str(place.path), {})
        if place.at_import:
            # It was run before any test: whoever uses the module may notice it, first who runs its lines.
            near = set().union(*of_file.values())
            return sorted(self.seconds, key=lambda test: (test not in near, self.seconds[test], test))
        found = self._between(of_file, place.line, place.last_line)
        # A line of a longer expression is not always told of by Python.
        found = found or self._between(of_file, *place.statement)
        return sorted(found, key=lambda test: (self.seconds[test], test))

    @staticmethod
    def _between(of_file: dict[int, set[str]], first: int, last: int) -> set[str]:
        return set().union(*(of_file.get(line, set()) for line in range(first, last + 1)))


class _Lesson:
    """A share of the tests, in one process."""

    over = False
    patience_s = PATIENCE_S

    def __init__(self, project: Project, known: Known, share: tuple[int, int]) -> None:
        self.project = project
        self.known = known
        self.share = share
        self.fault = "it ended too soon"

    def work(self, folder: Path, send: Callable[[dict[str, Any]], None]) -> None:
        session.run(self.project, session.Wanted(share=self.share, trace=True), folder, send)

    def heard(self, message: dict[str, Any]) -> None:
        if "ends" in message:
            self.known.learn(message)
        elif "lines" in message:
            self.known.learn_lines(message)
        elif "done" in message:
            self.fault = ""
        elif "unfair" in message:
            self.fault = message["unfair"]
        elif "uncollected" in message:
            self.known.failed.append(f"{message['uncollected']}: {message['why']}")

    def ended(self, hung: bool, output: str) -> None:
        if hung or self.fault:
            raise NothingLearned(f"{'it hangs' if hung else self.fault}\n{output}")


def learned(project: Project, jobs: int, folder: Path) -> Known:
    known = Known()
    lessons = iter([_Lesson(project, known, (share, jobs)) for share in range(jobs)])
    crew.run(lambda: next(lessons, None), jobs, folder)
    if not known.seconds:
        raise NothingLearned("no test without sockets has passed")
    return known
