"""An installation's folder for each test of the settings."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """An installation folder with two worker files."""
    root = tmp_path / "site"
    for folder in ("etc", "workers"):
        (root / folder).mkdir(parents=True)
    for name in ("reverse.py", "sleep.py"):
        (root / "workers" / name).write_text("")
    return root
