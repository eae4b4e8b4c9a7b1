"""Writes down which test runs which lines of the watched files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import coverage


class Tracer:
    """Runs while the tests do; `begins` is told of each test."""

    def __init__(self, files: Sequence[Path]) -> None:
        os.environ["COVERAGE_CORE"] = "ctrace"  # the newer one does not know which test is running
        self._files = [str(file) for file in files]
        self._coverage = coverage.Coverage(data_file=None, config_file=False, include=self._files)

    def start(self) -> None:
        self._coverage.start()

    def begins(self, test: str) -> None:
        self._coverage.switch_context(test)

    def stop(self) -> dict[str, dict[int, list[str]]]:
        """For each file and line the tests that ran it."""
        self._coverage.stop()
        data = self._coverage.get_data()
        return {file: data.contexts_by_lineno(file) for file in self._files}
