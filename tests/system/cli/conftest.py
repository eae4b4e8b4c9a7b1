"""An installation that runs, with a worker that fails in every way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.cli.shaky import SHAKY
from tests.system.installation import SAMPLES, Installation, installation, worker_table
from zmws.testing import free_ports


@pytest.fixture(scope="package")
def zmws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One running installation for all tests here."""
    root = tmp_path_factory.mktemp("installation")
    (root / "shaky.py").write_text(SHAKY)
    with installation(root, SAMPLES + worker_table("shaky", "shaky.py")) as made:
        started = made.run("start")
        assert started.code == 0, started.err
        yield made
        assert made.run("stop").code == 0


@pytest.fixture
def nowhere(tmp_path: Path) -> str:
    """An address at which nothing answers."""
    return f"tcp://127.0.0.1:{free_ports(1)[0]}"
