"""One run of pytest within a forked process, and what it tells about each test."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.faults.importing import import_all, replace_text
from tests.faults.noticing import CRASHED, NOTICED, judged
from tests.faults.project import Project
from tests.faults.refusing import Refusal
from tests.faults.tracer import Tracer

PASSED = "passed"
SKIPPED = "skipped"
_WORST_FIRST = (NOTICED, CRASHED, SKIPPED, PASSED)

Send = Callable[[dict[str, Any]], None]
ReportHook = Generator[None, pytest.TestReport, pytest.TestReport]


@dataclass(frozen=True)
class Wanted:
    """Which tests are run, and how."""

    tests: list[str] | None = None  # in this order; None: all
    share: tuple[int, int] = (0, 1)  # of all tests: the first of two has (0, 2)
    change: tuple[Path, bytes] | None = None  # a file and its text with a fault
    trace: bool = False
    output: bool = False  # the failures are printed, and pytest ends as usual


class Session:
    """The plugin: it picks the tests, and sends one message when a test begins and one when it ends."""

    def __init__(self, project: Project, wanted: Wanted, send: Send) -> None:
        self.project = project
        self.wanted = wanted
        self.send = send
        self.refusal = Refusal()
        self.tracer = Tracer(project.sources()) if wanted.trace else None
        self._outcome = PASSED
        self._why = ""

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        return True if self.project.is_excluded(collection_path) else None

    @pytest.hookimpl(tryfirst=True)
    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        # A test over a range of seeds becomes a test for each seed: each has lines and a time of its own.
        original = metafunc.parametrize

        def parametrize(names: Any, values: Any, *args: Any, **named: Any) -> None:
            values = list(values)
            if values and all(isinstance(value, range) for value in values):
                values = [range(n, n + 1) for value in values for n in value]
                named["ids"] = [str(value.start) for value in values]
            original(names, values, *args, **named)

        metafunc.parametrize = parametrize  # type: ignore[assignment, method-assign]

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if self.wanted.tests is None:
            share, of = self.wanted.share
            items[:] = items[share::of]
            return
        known = {item.nodeid: item for item in items}
        items[:] = [known[test] for test in self.wanted.tests if test in known]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> None:
        if self.tracer:
            self.tracer.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[Any]:
        self.send({"begins": item.nodeid})
        if self.tracer:
            self.tracer.begins(item.nodeid)
        self._outcome, self._why = PASSED, ""
        begun = time.perf_counter()
        self.refusal.active, self.refusal.used = True, False
        try:
            done = yield
        finally:
            self.refusal.active = False
        seconds = time.perf_counter() - begun
        if self.refusal.used:
            self._outcome = SKIPPED  # whatever the test has made of it
        self.send({"ends": item.nodeid, "outcome": self._outcome, "why": self._why, "seconds": seconds})
        if self._outcome == NOTICED and self.wanted.change:
            item.session.shouldstop = "the fault is noticed"
        return done

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> ReportHook:
        if call.excinfo is not None:
            self._judge(call.excinfo.value)
        report = yield
        if self.refusal.used and report.failed:
            # It has caught the refusal itself. This is not what whoever reads the output looks for.
            report.outcome, report.longrepr = "skipped", (str(item.path), 0, "Skipped: it was refused")
        return report

    def pytest_sessionfinish(self) -> None:
        if self.tracer:
            for file, lines in self.tracer.stop().items():
                self.send({"file": file, "lines": list(lines.items())})

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.send({"uncollected": report.nodeid, "why": str(report.longrepr)[-500:]})

    def _judge(self, error: BaseException) -> None:
        outcome = SKIPPED if isinstance(error, pytest.skip.Exception) else judged(error, self.project)
        if _WORST_FIRST.index(outcome) < _WORST_FIRST.index(self._outcome):
            self._outcome = outcome
            self._why = f"{type(error).__name__}: {error}"[:500]


def run(project: Project, wanted: Wanted, folder: Path, send: Send) -> None:
    """Called in the forked process. What it sends last is `done`, or `unfair`: it cannot be imported."""
    sys.path.insert(0, str(project.root))
    if wanted.change:
        replace_text(project, *wanted.change)
    try:
        import_all(project)
    except Exception as error:
        send({"unfair": f"{type(error).__name__}: {error}"})
        return
    if wanted.tests == []:
        send({"done": 0})
        return
    _same_examples_each_time()
    options = ["-p", "no:cacheprovider", "-o", "timeout=0", f"--basetemp={folder / 'tests'}"]
    # Hypothesis is there already, so that a child need not import it.
    options += ["-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"]
    # What a refused socket leaves behind is told of in whichever test comes next.
    options += ["-W", "ignore::pytest.PytestUnraisableExceptionWarning"]
    options += ["--tb=short"] if wanted.output else ["--tb=no"]
    where = [project.tests]
    if wanted.tests is not None:
        where = sorted({test.partition("::")[0] for test in wanted.tests})
    plugin = Session(project, wanted, send)
    send({"done": int(pytest.main([*options, *project.pytest_options, *where], plugins=[plugin]))})


def _same_examples_each_time() -> None:
    # The lines that were learned are those of these examples. Nothing is kept in the checkout.
    hypothesis.settings.register_profile(
        "faults",
        database=None,
        derandomize=True,
        deadline=None,
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    hypothesis.settings.load_profile("faults")
    random.seed(0)
