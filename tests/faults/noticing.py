"""Says of a failed test whether it has noticed the fault, or only broke down itself.

A test that breaks down says nothing to whoever reads it, and would break down for other reasons too: so
only what the test claims counts, what the shipped code claims, and an exception out of the shipped code.
"""

from __future__ import annotations

import traceback

import pytest

from tests.faults.project import Project

NOTICED = "noticed"
CRASHED = "crashed"


def judged(error: BaseException, project: Project) -> str:
    """Of a group, as Hypothesis raises it, one is enough."""
    if isinstance(error, BaseExceptionGroup):
        found = [judged(one, project) for one in error.exceptions]
        return NOTICED if NOTICED in found else CRASHED
    if isinstance(error, (AssertionError, pytest.fail.Exception)):
        return NOTICED
    return NOTICED if _comes_from_shipped_code(error, project) else CRASHED


def _comes_from_shipped_code(error: BaseException, project: Project) -> bool:
    # The innermost frame of ours decides: a library that shipped code has called speaks for its caller.
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        filename = frame.f_code.co_filename
        if project.is_test(filename):
            return False
        if project.is_shipped(filename):
            return True
    return False
