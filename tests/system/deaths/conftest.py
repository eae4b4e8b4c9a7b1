"""What the workers write down."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.deaths.acting import Notes


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    return Notes(tmp_path)
