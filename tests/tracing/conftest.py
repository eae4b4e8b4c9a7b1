"""Tracing, switched on for one test, into memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.tracing.kept import Kept
from zmws.tracing import instrument, uninstrument


@pytest.fixture
def kept() -> Iterator[Kept]:
    """The spans of this process."""
    found = Kept()
    instrument(found.provider)
    try:
        yield found
    finally:
        uninstrument()
        found.provider.shutdown()
